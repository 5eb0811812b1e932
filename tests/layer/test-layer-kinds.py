#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a layer can hold at its limits, and what is left out or refused by name."""

import os
import socket
import stat
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from harness import Child
from session import PROGRAM, SessionTest, capability, write

HOLES_MAX, DROPPED_MAX = 64 << 30, 100


class KindsTest(SessionTest):
    def test_reserved_names(self):
        s = self.session("reserved")
        write(f"{s.merged}/dir/.wh.odd")
        s.generation += 1
        child = Child(PROGRAM, s.request())
        self.assertEqual(child.error["code"], "FilesRefused")
        self.assertIn("/dir/.wh.odd", child.error["message"])
        self.assertIn("--lossy (option `lossy`) of stop, hibernate or snapshot", child.error["message"])
        self.assertNotEqual(child.status, 0)
        child = s.save(lossy=True)
        self.assertTrue(any(d.startswith("/dir/.wh.odd") for d in child.result["dropped"]))
        s.check(child, without=(b"dir/.wh.odd",))

    def test_limits(self):
        """Of docs/limits.md."""
        s = self.session("limits")
        write(f"{s.merged}/sparse")
        os.truncate(f"{s.merged}/sparse", HOLES_MAX + (1 << 20))
        for i in range(DROPPED_MAX + 5):
            write(f"{s.merged}/.wh.{i}")
        s.generation += 1
        self.assertEqual(Child(PROGRAM, s.request()).error["code"], "FilesRefused")
        s.generation -= 1
        self.assertEqual(len(s.save(lossy=True).result["dropped"]), DROPPED_MAX)
        subprocess.run(f"rm -f {s.merged}/.wh.*", shell=True, check=True)
        s.generation += 1
        self.assertIn("/sparse", (child := Child(PROGRAM, s.request())).error["message"])
        self.assertIn("more than 64 GiB", child.error["message"])

    def test_socket_in_the_place_of_a_file(self):
        """What is left out does not bring back what it has replaced."""
        s = self.session("replaced-by-socket")
        m = s.merged

        def bind(path):
            if os.path.lexists(path):
                os.unlink(path)
            with socket.socket(socket.AF_UNIX) as k:
                here = os.open(".", os.O_RDONLY)
                os.chdir(os.path.dirname(path))
                k.bind(os.path.basename(path))
                os.fchdir(here)
                os.close(here)

        write(f"{m}/new/file")
        bind(f"{m}/etc/passwd")
        bind(f"{m}/etc/only-a-socket")
        bind(f"{m}/etc/.wh..opq")       # its whiteout would hide the whole directory
        bind(f"{m}/new/only-a-socket")
        time.sleep(0.05)
        sockets = tuple(p.encode() for p in ("etc/passwd", "etc/only-a-socket", "etc/.wh..opq", "new/only-a-socket"))
        names = s.check(s.save(), without=sockets)
        # Where no older layer has the directory, a whiteout would be seen.
        self.assertEqual({n for n in names[-1] if b".wh." in n}, {b"etc/.wh.passwd", b"etc/.wh.only-a-socket"})
        self.assertTrue(s.save().result["unchanged"])
        # By the index: a file of the last generation becomes a socket, a socket a file, and one goes.
        bind(f"{m}/new/file")
        os.unlink(f"{m}/etc/passwd")
        write(f"{m}/etc/passwd", b"back")
        os.unlink(f"{m}/new/only-a-socket")
        time.sleep(0.05)
        names = s.check(s.save(), without=sockets[1:] + (b"new/file",))
        self.assertEqual({n for n in names[-1] if b".wh." in n}, {b"new/.wh.file"})
        os.unlink(f"{m}/etc/passwd")
        bind(f"{m}/etc/passwd")
        # In the first of two passes, or in the second, which has a layer of its own if something is young at the freeze.
        layers = s.check(s.save(precopy=True), without=sockets + (b"new/file",))
        self.assertIn(b"etc/.wh.passwd", set().union(*layers[len(names):]))

    def test_whiteout_for_a_moment(self):
        """Where a directory has left to take the place of a deleted one, until overlay removes it."""
        s = self.session("moment")
        write(f"{s.merged}/opt/kept/new")
        os.mknod(f"{s.upper}/opt/was-here", stat.S_IFCHR, 0)
        s.generation += 1
        child = Child(PROGRAM, s.request(precopy=True), on_freeze=lambda: os.unlink(f"{s.upper}/opt/was-here"))
        self.assertIsNotNone(child.result, child.lines)
        self.assertEqual(child.types(), ["freeze", "read-done", "result"])
        self.assertEqual(child.result["session_layers"], 1)
        s.check(child)

    def test_long_paths(self):
        """What is saved can be unpacked where the paths of layers begin as they do here."""
        s = self.session("long")
        # Those of a layer begin behind /var/lib/docker/overlay2/ID/diff/, or what takes its place.
        room = 4095 - max(len(s.upper) + 1, 128)
        fd, length = os.open(s.merged, os.O_RDONLY), 0
        while length < room - 2:
            name = "d" * min(200, room - 2 - length)
            os.mkdir(name, dir_fd=fd)
            below = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd, length = below, length + len(name) + 1
        os.close(os.open("f" * (room - length), os.O_CREAT, dir_fd=fd))
        time.sleep(0.05)
        s.check(s.save())
        os.close(os.open("f" * (room - length + 1), os.O_CREAT, dir_fd=fd))
        child = Child(PROGRAM, s.request())
        self.assertEqual(child.error["code"], "FilesRefused")
        self.assertIn("too long", child.error["message"])
        child = s.save(lossy=True)
        self.assertEqual([d.rsplit("(")[-1] for d in child.result["dropped"]], ["its path is too long to be unpacked again)"])
        os.close(fd)

    def test_redirected_directories_refused(self):
        s = self.session("redirect")
        write(f"{s.merged}/dir/x")
        os.setxattr(f"{s.upper}/dir", "trusted.overlay.redirect", b"/else")
        s.generation += 1
        child = Child(PROGRAM, s.request())
        self.assertEqual(child.error["code"], "FilesRefused")
        self.assertIn("redirect_dir=off", child.error["message"])

    def test_redirected_left_out(self):
        """A session that has ended has no other way to save the rest. What it hid does not come back."""
        s = self.session("redirect-lossy")
        write(f"{s.merged}/dir/x")
        write(f"{s.merged}/etc/passwd", b"other")
        write(f"{s.merged}/kept")
        time.sleep(0.05)
        s.save()
        write(f"{s.merged}/dir/later")
        os.setxattr(f"{s.upper}/dir", "trusted.overlay.redirect", b"/else")
        os.setxattr(f"{s.upper}/etc/passwd", "trusted.overlay.metacopy", b"")
        gone = (b"dir", b"dir/x", b"dir/later", b"etc/passwd")
        for more, has_index in (({}, True), ({"precopy": True}, True), ({"image": s.base}, False)):
            time.sleep(0.05)
            s.has_index = has_index
            child = s.save(lossy=True, **more)
            self.assertEqual(child.result["dropped"], [f"/{name} (its data are in another layer)" for name in ("dir", "etc/passwd")])
            s.check(child, without=gone)

    def test_attributes_that_cannot_be_carried(self):
        s = self.session("attributes")
        write(f"{s.merged}/x")
        os.setxattr(f"{s.merged}/x", "user.empty", b"")
        os.setxattr(f"{s.merged}/x", "user.with=sign", b"1")
        os.setxattr(f"{s.merged}/x", "user.\u00fcml", b"1")
        os.setxattr(f"{s.merged}/x", b"user.\xff\n", b"1")
        write(f"{s.merged}/y")
        os.setxattr(f"{s.merged}/y", "user.overlay.opaque", b"y")
        write(f"{s.merged}/z")
        os.setxattr(f"{s.upper}/z", "security.capability", capability(3))
        child = s.save()
        self.assertEqual(sorted(child.result["dropped"]),
                         ["/x (user.\\xc3\\xbcml)", "/x (user.\\xff\\x0a)", "/x (user.empty)", "/x (user.with=sign)", "/y (user.overlay.opaque)"])
        names = s.check(child, without=(b"x", b"z"))
        self.assertIn(b"z", names[-1])
        root = self.scratch / "attributes-check-1"
        self.assertEqual(os.getxattr(f"{root}/z", "security.capability"), capability(2))
        # The second of two passes does not look at it again.
        s = self.session("attributes-of-the-first-pass")
        write(f"{s.merged}/x")
        os.setxattr(f"{s.merged}/x", "user.empty", b"")
        time.sleep(0.1)
        self.assertEqual(s.save(precopy=True).result.get("dropped"), ["/x (user.empty)"])

    def test_times_that_cannot_be_set(self):
        s = self.session("times")
        for name, seconds in (("a", -1), ("b", 0), ("c", 2**33), ("d", 10**10)):
            write(f"{s.merged}/{name}")
            os.utime(f"{s.merged}/{name}", (seconds, seconds))
        kept = os.stat(f"{s.merged}/d").st_mtime == 10**10      # ext4 does, up to 2446
        why = "(its time, which is not between 1970 and 2262)"
        self.assertEqual(s.save().result["dropped"], [f"/{name} {why}" for name in ("ad" if kept else "a")])

    def test_attributes_up_to_the_limit(self):
        s = self.session("many-attributes", self.scratch.disk("disk-for-attributes", "-O", "ea_inode"))
        write(f"{s.merged}/x")
        for i in range(12):     # 64 KiB each, which is all there is room for
            os.setxattr(f"{s.merged}/x", f"user.{i:02}", b"v" * 65536)
        s.save()
        os.setxattr(f"{s.merged}/x", "user.12", b"v")
        child = Child(PROGRAM, s.request())
        self.assertEqual(child.error["code"], "FilesRefused")
        self.assertIn("larger than a layer can hold", child.error["message"])
        self.assertIn("--lossy (option `lossy`) of stop, hibernate or snapshot", child.error["message"])
        self.assertEqual(s.save(lossy=True).result["dropped"], ["/x (user.12)"])

    def test_more_attribute_names_than_the_kernel_tells(self):
        where = self.scratch / "tmpfs-for-names"
        os.mkdir(where)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", where], check=True)
        self.scratch.mounts.append(where)
        s = self.session("many-names", where)
        write(f"{s.merged}/x")
        os.setxattr(f"{s.upper}/x", "security.capability", capability(2))
        try:
            for i in range(270):
                os.setxattr(f"{s.upper}/x", f"user.{i:03}" + "n" * 240, b"v")
        except OSError as e:
            self.skipTest(f"no user attributes on tmpfs before Linux 6.6: {e}")
        s.generation += 1
        child = Child(PROGRAM, s.request())
        self.assertEqual(child.error["code"], "FilesRefused")
        self.assertIn("larger than a layer can hold", child.error["message"])
        child = s.save(lossy=True)
        self.assertEqual(child.result["dropped"], ["/x (its attributes, whose names fill more than 64 KiB)"])
        s.check(child, without=(b"x",))
        root = self.scratch / f"many-names-check-{s.generation}"
        self.assertEqual(os.getxattr(f"{root}/x", "security.capability"), capability(2))

    def test_capabilities_are_needed(self):
        s = self.session("capless")
        write(f"{s.merged}/x")
        s.generation += 1
        wrapper = self.scratch / "capless.sh"
        write(wrapper, f"#!/bin/sh\nexec setpriv --bounding-set=-sys_admin --inh-caps=-all {PROGRAM}\n".encode(), 0o755)
        child = Child(wrapper, s.request())
        self.assertIn("CAP_SYS_ADMIN", child.error["message"])


if __name__ == "__main__":
    harness.need_root()
    harness.private_namespaces()
    unittest.main(verbosity=2)
