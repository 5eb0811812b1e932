#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/busctl.md against dbus/*.xml and against swarmctl's own verbs and options."""

import subprocess
import sys
import unittest

import busctl_doc
from harness import SOURCE as ROOT
from swarmctl import SWARMCTL


class Page(unittest.TestCase):
    def test_calls_fit_the_interfaces(self):
        known = busctl_doc.interfaces(ROOT)
        for shown, calls in busctl_doc.blocks(ROOT):
            self.assertTrue(shown, f"no verb stands before {calls}")
            for call in calls:
                complaint = busctl_doc.check_call(call, known)
                self.assertIsNone(complaint, f"{call} {complaint}")

    def test_every_method_is_shown(self):
        self.assertEqual(busctl_doc.missing_methods(ROOT, busctl_doc.interfaces(ROOT)), set())

    def test_every_verb_is_shown(self):
        help_text = subprocess.run([SWARMCTL, "--help"], check=True, capture_output=True, text=True).stdout
        verbs = {line.split()[0] for line in help_text.splitlines() if line.startswith("  ") and line[2].isalpha()}
        shown = {s[1] for verbs_shown, _ in busctl_doc.blocks(ROOT) for s in verbs_shown}
        self.assertEqual(shown, verbs)

    def test_options_exist(self):
        for shown, _ in busctl_doc.blocks(ROOT):
            for words in shown:
                text = subprocess.run([SWARMCTL, words[1], "--help"], check=True, capture_output=True, text=True).stdout
                for word in words[2:]:
                    if word == "--":
                        break
                    if word.startswith("--"):
                        self.assertIn(word.split("=")[0], text, words)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
