#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions that do not stand still. Writes that have begun before a save and end behind its read of the file: the next one, or the
second of two passes, has them."""

import mmap
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from harness import Child, SlowMemory
from session import PROGRAM, SessionTest, write


class WritesTest(SessionTest):
    def direct_write(self, s):
        """One past the page cache that has begun some time ago. Returns what lets it end."""
        write(f"{s.merged}/x", b"1" * 2 * mmap.PAGESIZE)
        os.sync()
        try:
            memory = SlowMemory()
            f = os.open(f"{s.merged}/x", os.O_WRONLY | os.O_DIRECT)
        except OSError as e:
            self.skipTest(str(e))
        writer = threading.Thread(target=os.pwrite, args=(f, memory.bytes, 0))
        writer.start()
        memory.wait()
        time.sleep(0.1)

        def end():
            memory.ready()
            if writer.is_alive():
                writer.join()
                os.close(f)
        self.addCleanup(end)
        return end

    def test_direct_write_over_two_passes(self):
        s = self.session("two-passes")
        end = self.direct_write(s)
        s.generation += 1
        child = Child(PROGRAM, s.request(precopy=True), on_freeze=end)
        self.assertIsNotNone(child.result, child.lines)
        s.check(child)

    def test_direct_write_over_two_saves(self):
        s = self.session("two-saves")
        end = self.direct_write(s)
        s.save()
        end()
        time.sleep(0.05)
        s.check(s.save())
        time.sleep(0.05)
        self.assertTrue(s.save().result["unchanged"])

    def test_open_for_writing(self):
        """Is sent once more only where it was changed a moment ago, as a database that rests is not."""
        s = self.session("open")
        write(f"{s.merged}/closed")
        write(f"{s.merged}/open")
        with open(f"{s.merged}/open", "r+b"):
            time.sleep(0.05)
            s.save()
            names = s.check(s.save())
            self.assertEqual(names[-1], [b"open"])
            ahead = self.scratch / "ahead"
            write(ahead)
            later = {"LD_PRELOAD": os.environ["SWARM_SET_CLOCK"], "SWARM_CLOCK_AHEAD": ahead}
            for unchanged in (False, True):
                s.generation += 1
                child = Child(PROGRAM, s.request(), environment=later)
                self.assertEqual(child.result.get("unchanged", False), unchanged)
                s.image = child.result["image"]

    def test_inode_that_comes_back_as_another_type(self):
        """What the two files are in the first of two layers is of no matter, but that has to be unpacked."""
        s = self.session("again")
        m = s.merged
        os.symlink("target", f"{m}/a")
        os.link(f"{m}/a", f"{m}/b", follow_symlinks=False)
        os.mkdir(f"{m}/m")
        os.mkdir(f"{m}/n")
        inode = os.lstat(f"{s.upper}/a").st_ino

        def replace():
            os.unlink(f"{m}/a")
            os.unlink(f"{m}/b")
            for i in range(3000):
                write(f"{m}/n/{i}")
                if os.stat(f"{s.upper}/n/{i}").st_ino == inode:
                    os.setxattr(f"{m}/n/{i}", "user.x", b"v")
                    os.link(f"{m}/n/{i}", f"{m}/n/{i}-too")
                    break
        try:
            thread = harness.amid(f"{s.upper}/m", harness.FAN_OPEN_PERM, 1, replace)
        except OSError as e:
            self.skipTest(str(e))
        child = s.save(precopy=True)
        thread.join()
        if not any(os.stat(f"{m}/n/{name}").st_nlink > 1 for name in os.listdir(f"{m}/n")):
            self.skipTest("the number does not come back")
        s.check(child)


if __name__ == "__main__":
    harness.need_root()
    harness.private_namespaces()
    unittest.main(verbosity=2)
