#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""swarm-layer as the agent's child: what it is asked, what it tells, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from fault import PROGRAM, FaultTest
from harness import Child


class ChildTest(FaultTest):
    def start(self, fault):
        self.proxy.fault = fault
        self.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(json.dumps(self.request()).encode() + b"\n")
        self.process.stdin.flush()

    def stalled(self):
        self.fill(12)
        asked, self.over, self.waited = threading.Event(), threading.Event(), False

        def fault(h):
            if h.command == "PATCH":
                next(h.body())
                asked.set()
                self.waited = not self.over.wait(60)
                return True
        self.start(fault)
        self.assertTrue(asked.wait(20), "no PATCH came")

    def ended(self):
        """It does not wait for the answer that the registry owes it."""
        out = self.process.stdout.read()
        self.assertNotEqual(self.process.wait(), 0)
        self.process.stdout.close()
        self.over.set()
        self.assertFalse(self.waited)
        self.assertNotIn(b'"result"', out)
        self.assertNotIn(b'"error"', out)
        self.assertFalse(os.path.exists(self.index))
        self.assertEqual([f for f in os.listdir(self.scratch.path) if "index" in f and self.id().rsplit(".", 1)[1] in f], [])

    def test_sigterm(self):
        self.stalled()
        self.process.send_signal(signal.SIGTERM)
        self.ended()
        self.process.stdin.close()

    def test_stdin_closed(self):
        self.stalled()
        self.process.stdin.close()
        self.ended()

    @unittest.skipUnless(os.environ.get("SWARM_CRASH_POINTS") == "1", "crash points are not compiled in")
    def test_crash_points(self):
        """Killed anywhere: no result, no index, and the next attempt with the same names works."""
        self.fill(12)
        log = self.upper + ".crash-log"
        points = ["layer-started", "layer-blob-half", "layer-blob-pushed", "layer-manifest-pushed", "layer-proven"]
        for point in points:
            child = Child(PROGRAM, self.request(), environment={"SWARM_CRASH_POINT": point, "SWARM_CRASH_LOG": log})
            self.assertEqual(child.status, -signal.SIGKILL, point)
            self.assertIsNone(child.result)
            self.assertFalse(os.path.exists(self.index))
        self.works(self.push())
        with open(log) as f:
            self.assertEqual({line.strip() for line in f}, set(points))

    def test_bad_requests(self):
        good = self.request()
        for change in ({"verb": "fly"}, {"verb": 1}, {"unknown": 1}, {"image": "a b"}, {"image": good["image"].split("@")[0] + ":1"}, {"repository": "UP"},
                       {"tag": "a/b"}, {"upperdir": "relative"}, {"registry": {"url": "ftp://x"}}, {"registry": {"url": "http://u:p@x"}},
                       {"registry": {**good["registry"], "username": "only"}}, {"registry": []}, {"generation": -1}, {"layers_max": 1 << 40}, {"lossy": 1}):
            child = Child(PROGRAM, {**good, **change})
            self.assertEqual(child.error["code"], "InvalidArgument", (change, child.error))
            self.assertEqual(self.proxy.seen, [])

    def test_upperdir_gone(self):
        child = self.push(upperdir=self.upper + "/none")
        self.assertEqual(child.error["code"], "FilesRefused")
        self.assertIn(self.upper, child.error["message"])

    def test_progress(self):
        self.fill(12)

        def fault(h):
            if h.command == "PATCH":
                time.sleep(1.3)
        child = self.push(fault)
        self.assertIsNotNone(child.result)
        progress = [line for line in child.lines if line["type"] == "progress"]
        self.assertGreater(len(progress), 1)
        self.assertLess(len(progress), 10 * child.seconds + 2)
        self.assertEqual(child.lines[-1]["type"], "result")


if __name__ == "__main__":
    harness.need_root()
    harness.private_namespaces()
    unittest.main(verbosity=2)
