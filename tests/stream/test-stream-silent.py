#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""swarm-stream with files of file systems that do not answer."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import silent  # noqa: E402  pylint: disable=wrong-import-position
from harness import *


class Silent(StreamTest):
    def setUp(self):
        super().setUp()
        try:
            self.file = silent.SilentFile()
        except OSError as e:
            self.skipTest(f"{e}")

    def test_asks_the_engine_all_the_same(self):
        """What is about to begin holds up a freeze, so no caller decides how long that takes."""
        null = self.open("/dev/null", os.O_RDWR)
        for place in range(3):
            with self.subTest(place=place):
                self.file.silent = {silent.GETATTR, silent.READ}
                child = self.child("command", [self.file.fd if i == place else null for i in range(3)], framed=True)
                c, first, *_ = self.engine.accept()
                self.assertEqual(first, "POST /v1.41/exec/x/start HTTP/1.1")
                c.sendall(UPGRADED)
                self.assertEqual(child.line(), {"status": 101})
                child.process.kill()

    def tearDown(self):
        self.file.close()


if __name__ == "__main__":
    unittest.main()
