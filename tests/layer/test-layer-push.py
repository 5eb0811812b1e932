#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pushes writable layers of real overlay mounts to a real registry, unpacks them again, compares everything."""

import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from harness import Child, Registry, Scratch, SlowMemory, compare, describe, pull, tar_of

PROGRAM = os.environ.get("SWARM_LAYER", "swarm-layer")
REPOSITORY = "sessions/default"


def write(path, data=b"x", mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, mode)


def make_lower_in(root):
    for d in ("etc", "usr/lib", "opt/gone", "opt/replaced/sub", "opt/kept/sub", "var/moved"):
        os.makedirs(os.path.join(root, d), exist_ok=True)
    write(f"{root}/etc/passwd", b"root\n")
    write(f"{root}/etc/deleted")
    write(f"{root}/etc/file-to-directory")
    write(f"{root}/etc/directory-to-file/inside")
    write(f"{root}/etc/chmodded", b"same data")
    write(f"{root}/opt/gone/a")
    write(f"{root}/opt/replaced/old")
    write(f"{root}/opt/replaced/sub/old")
    write(f"{root}/opt/kept/sub/a", b"a")
    write(f"{root}/var/moved/x", b"moved")
    write(f"{root}/usr/lib/one", b"linked")
    os.link(f"{root}/usr/lib/one", f"{root}/usr/lib/two")


def make_lower(root):
    make_lower_in(root)
    for top, _, files in os.walk(root, topdown=False):      # the library's tar has no nanoseconds
        for name in files:
            os.utime(os.path.join(top, name), (1700000000, 1700000000))
        os.utime(top, (1700000000, 1700000000))


def capability(version):
    if version == 3:
        return struct.pack("<IIIIII", 0x03000001, 1 << 10, 0, 0, 0, 1000)
    return struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


def change_all_kinds(m):
    """Every trap of the first generation, made through the mount."""
    os.unlink(f"{m}/etc/deleted")
    subprocess.run(["rm", "-rf", f"{m}/opt/gone", f"{m}/opt/replaced", f"{m}/etc/directory-to-file"], check=True)
    os.mkdir(f"{m}/opt/replaced")
    write(f"{m}/opt/replaced/new", b"new")
    os.makedirs(f"{m}/opt/replaced/sub/deep")
    write(f"{m}/etc/directory-to-file")
    os.unlink(f"{m}/etc/file-to-directory")
    write(f"{m}/etc/file-to-directory/inside")
    os.chmod(f"{m}/etc/chmodded", 0o4711)
    subprocess.run(["mv", f"{m}/var/moved", f"{m}/var/renamed"], check=True)
    write(f"{m}/new/empty", b"")
    write(f"{m}/new/big", os.urandom(3 * 1024 * 1024 + 17))
    write(f"{m}/new/exactly-a-piece", b"\0" * (1024 * 1024))
    for n in (511, 512, 513):
        write(f"{m}/new/size-{n}", b"z" * n)
    os.chown(f"{m}/new/empty", 12345678, 2**31 + 5)
    os.utime(f"{m}/new/empty", ns=(1, 1234567890123456789))
    write(f"{m}/new/old-time")
    os.utime(f"{m}/new/old-time", ns=(0, 1))
    write(f"{m}/new/first-link", b"linked" * 1000)
    os.makedirs(f"{m}/zzz")
    os.link(f"{m}/new/first-link", f"{m}/zzz/second-link")
    os.link(f"{m}/new/first-link", f"{m}/new/a-third-link")
    os.symlink("/nowhere", f"{m}/new/symlink")
    os.symlink("t" * 300, f"{m}/new/long-symlink")
    os.link(f"{m}/new/symlink", f"{m}/new/symlink-link", follow_symlinks=False)
    os.symlink(b"\xff\xfe", os.fsencode(f"{m}/new/") + b"odd-target")
    os.mkfifo(f"{m}/new/fifo")
    os.mknod(f"{m}/new/null", 0o20666, os.makedev(1, 3))
    os.mknod(f"{m}/new/loop", 0o60600, os.makedev(7, 300))
    s = socket.socket(socket.AF_UNIX)
    fd = os.open(f"{m}/new", os.O_RDONLY)
    s.bind(f"/proc/self/fd/{fd}/socket")        # the path itself may be too long for an address
    os.close(fd)
    s.close()
    with open(f"{m}/new/sparse", "wb") as f:
        f.seek(5 * 1024 * 1024)
        f.write(b"end")
        f.truncate(8 * 1024 * 1024)
    odd = [b"not-utf8-\xff\xfe", "nfd-e\u0301".encode(), "nfc-\u00e9".encode(), "\u65e5\u672c".encode(), b"new\nline", b"tab\t", b"back\\slash",
           b" space ", b"trailing.", b"-dash", b"\x01low", b"n" * 255, b"\xed\xa0\x80surrogate", b"quote'\"", b"star*?[", b"%41"]
    for name in odd:
        path = os.fsencode(f"{m}/new/odd/") + name
        write(path, name)
    deep = f"{m}/new/" + "/".join("d" * 200 for _ in range(12))
    os.makedirs(deep)
    write(f"{deep}/bottom", b"bottom")
    for name, value in (("user.text", b"value"), ("user.binary", bytes(range(256))), ("user.odd:/@#name", b"\xff\n"), ("user.long", b"v" * 2000)):
        os.setxattr(f"{m}/new/big", name, value)
        os.setxattr(f"{m}/new", name, value)
    os.chmod(f"{m}/new/exactly-a-piece", 0o4755)
    os.setxattr(f"{m}/new/exactly-a-piece", "security.capability", capability(2))
    os.link(f"{m}/new/exactly-a-piece", f"{m}/new/piece")
    subprocess.run(["setfacl", "-m", "u:1000:rw,g:5:r", f"{m}/new/size-511"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:1000:rwx", f"{m}/new/odd"], check=True)
    write(f"{m}/new/odd/inherited")
    write(f"{m}/new/odd/inherited-directory/x")
    write(f"{m}/new/odd/plain-directory/x")
    subprocess.run(["setfacl", "-b", f"{m}/new/odd/plain-directory"], check=True)
    write(f"{m}/new/odd/plain-directory/y")
    os.chmod(f"{m}/new/size-513", 0o7777)
    os.chmod(f"{m}/zzz", 0o1777)
    write(f"{m}/usr/lib/one", b"copied up")


class Session:
    """One container's life: an overlay over an image, saved again and again."""

    def __init__(self, test, name, lowers, image, where=None):
        self.test, self.name, self.image, self.base = test, name, image, image
        self.upper, self.merged = test.scratch.overlay(name, lowers, where)
        self.generation = 0
        self.index = test.scratch / f"{name}.index"
        self.has_index = False

    def request(self, **more):
        q = {"verb": "push", "registry": {"url": self.test.registry.url, "timeout_usec": 10000000}, "image": self.image, "repository": REPOSITORY,
             "tag": f"{self.name}-g{self.generation}", "session": self.name, "generation": self.generation, "job": 7,
             "upperdir": self.upper, "new_index": self.index, "frozen_realtime_usec": int(time.time() * 1e6)}
        if self.has_index:
            q.update(index=self.index, fallback_image=self.base)
        q.update(more)
        return q

    def save(self, index=True, **more):
        self.generation += 1
        request = self.request(**more)
        on_freeze = None
        child = Child(PROGRAM, request, on_freeze=on_freeze)
        self.test.assertIsNotNone(child.result, child.lines)
        self.image = child.result["image"]
        self.has_index = index
        return child

    def check(self, child, without=()):
        root = self.test.scratch / f"{self.name}-check-{self.generation}"
        os.mkdir(root)
        names = pull(self.test.registry, REPOSITORY, child.result["manifest_digest"], root)
        compare(describe(self.merged, without), describe(root, without))
        return names


class PushTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = Scratch()
        cls.registry = Registry(cls.scratch)
        cls.lower = cls.scratch / "lower"
        os.mkdir(cls.lower)
        make_lower(cls.lower)
        cls.base = cls.registry.push_base("library/base", "1", [tar_of(cls.lower)])

    @classmethod
    def tearDownClass(cls):
        cls.registry.close()
        cls.scratch.close()

    def session(self, name, where=None):
        return Session(self, name, [self.lower], self.base, where)

    def test_every_kind_over_four_generations(self):
        s = self.session("kinds")
        m = s.merged
        change_all_kinds(m)
        time.sleep(0.1)         # what is younger than 20 ms counts as changed the next time
        child = s.save()
        s.check(child)
        self.assertEqual(child.result["session_layers"], 1)
        self.assertIn("/new/socket (socket)", child.result["dropped"])
        self.assertEqual(child.types(), ["read-done", "result"])
        # deletions, replacements and changes of type
        time.sleep(0.05)
        os.unlink(f"{m}/new/empty")
        subprocess.run(["rm", "-rf", f"{m}/zzz", f"{m}/etc/file-to-directory", f"{m}/opt/kept"], check=True)
        write(f"{m}/etc/file-to-directory", b"a file again")
        write(f"{m}/new/size-512", b"changed")
        os.unlink(f"{m}/new/size-511")
        write(f"{m}/new/size-511/now-a-directory")
        subprocess.run(["mv", f"{m}/new/odd", f"{m}/odd"], check=True)
        os.rename(f"{m}/new/symlink", f"{m}/new/renamed-symlink")
        child = s.save()
        names = s.check(child)
        self.assertNotIn(b"new/big", names[-1])
        self.assertIn(b"opt/.wh.kept", names[-1])
        self.assertLess(child.result["uncompressed_bytes"], 1 << 20)
        self.assertEqual(child.result["session_layers"], 2)
        # a directory of the base that is deleted and made again is opaque now; one of ours is not
        time.sleep(0.05)
        os.mkdir(f"{m}/opt/kept")
        write(f"{m}/opt/kept/only")
        subprocess.run(["rm", "-rf", f"{m}/opt/replaced"], check=True)
        write(f"{m}/opt/replaced/third")
        os.unlink(f"{m}/etc/passwd")
        time.sleep(0.1)
        child = s.save()
        names = s.check(child)
        self.assertIn(b"opt/kept/.wh..wh..opq", names[-1])
        # nothing
        time.sleep(0.05)
        before = self.registry.manifest(REPOSITORY, child.result["manifest_digest"])
        child = s.save()
        self.assertTrue(child.result["unchanged"])
        self.assertEqual(child.result.get("bytes", 0), 0)
        after = self.registry.manifest(REPOSITORY, child.result["manifest_digest"])
        self.assertEqual(before["layers"], after["layers"])
        self.assertNotEqual(before["annotations"], after["annotations"])
        s.check(child)

    def test_links_divided(self):
        """A moved directory keeps its files' change times: their other names come along all the same."""
        s = self.session("links")
        m = s.merged
        write(f"{m}/a/one", b"linked" * 100)
        write(f"{m}/a/two", b"linked" * 200)
        os.makedirs(f"{m}/m/dir")
        os.link(f"{m}/a/one", f"{m}/m/dir/one")
        os.link(f"{m}/a/two", f"{m}/m/dir/two")
        os.link(f"{m}/a/two", f"{m}/zz-two")
        time.sleep(0.1)
        s.check(s.save())
        time.sleep(0.1)
        os.rename(f"{m}/m/dir", f"{m}/m/else")
        s.check(s.save())

    def test_restored_elsewhere(self):
        """The next container runs from the generation: its upperdir is small, its base layers are not new."""
        s = self.session("first")
        change_all_kinds(s.merged)
        child = s.save()
        root = self.scratch / "restored-lower"
        os.mkdir(root)
        pull(self.registry, REPOSITORY, child.result["manifest_digest"], root)
        t = Session(self, "restored", [root], child.result["image"])
        os.unlink(f"{t.merged}/new/big")
        write(f"{t.merged}/etc/more")
        child = t.save()
        t.check(child)
        self.assertEqual(child.result["session_layers"], 2)
        manifest = self.registry.manifest(REPOSITORY, child.result["manifest_digest"])
        self.assertEqual(manifest["annotations"]["org.swarm.orchestrator.base-layers"], "1")

    def test_same_tree_same_bytes(self):
        s = self.session("same")
        change_all_kinds(s.merged)
        s.save(index=False)
        a = self.registry.manifest(REPOSITORY, "same-g1")
        s.image = s.base
        s.save(index=False)
        b = self.registry.manifest(REPOSITORY, "same-g2")
        self.assertEqual(a["layers"], b["layers"])

    def test_empty(self):
        s = self.session("empty")
        child = s.save()
        self.assertTrue(child.result["unchanged"])
        self.assertEqual(child.result.get("session_layers", 0), 0)
        s.check(child)
        write(f"{s.merged}/x")
        child = s.save()
        self.assertFalse(child.result.get("unchanged", False))
        s.check(child)

    def test_precopy(self):
        s = self.session("precopy")
        m = s.merged
        change_all_kinds(m)
        time.sleep(0.1)         # what is younger than a tick counts as changed

        def meanwhile():
            write(f"{m}/new/size-512", b"changed before the freeze")
            os.unlink(f"{m}/new/size-513")
            write(f"{m}/late/file")
            subprocess.run(["rm", "-rf", f"{m}/opt/kept"], check=True)
            os.mkdir(f"{m}/opt/kept")

        s.generation += 1
        child = Child(PROGRAM, s.request(precopy=True), on_freeze=meanwhile)
        self.assertIsNotNone(child.result, child.lines)
        self.assertEqual(child.types(), ["freeze", "read-done", "result"])
        self.assertEqual(child.result["session_layers"], 2)
        s.image, s.has_index = child.result["image"], True
        names = s.check(child)
        self.assertNotIn(b"new/big", names[-1])
        # and the index of the second pass serves the next generation
        time.sleep(0.1)
        os.unlink(f"{m}/late/file")
        child = s.save(precopy=True)
        s.check(child)

    def test_disk_without_room(self):
        """An index that cannot be written costs time and nothing else; the older one goes on to serve."""
        s = self.session("full")
        m = s.merged
        disk = self.scratch / "small"
        os.mkdir(disk)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
        try:
            s.index = f"{disk}/index"
            change_all_kinds(m)
            s.check(s.save())
            first = s.image
            for i in range(3000):
                write(f"{m}/many/with-a-name-that-is-rather-long-{i}")
            child = s.save()
            self.assertRegex(child.errors, "index of session full cannot be written to .*: No space left on device")
            s.check(child)
            # the next one builds upon the generation of the index that is still there
            write(f"{m}/many/more")
            s.generation += 1
            child = Child(PROGRAM, s.request(precopy=True, image=first), on_freeze=lambda: write(f"{m}/many/last"))
            self.assertIsNotNone(child.result, child.lines)
            self.assertEqual(child.types(), ["freeze", "read-done", "result"])
            self.assertEqual(child.result["session_layers"], 2)
            s.check(child)
        finally:
            subprocess.run(["umount", disk], check=True)

    def test_disk_fails_to_sync(self):
        """An index after which pages may be dirty would miss what is written to them."""
        s = self.session("unsynced")
        write(f"{s.merged}/a")
        children = []

        def push():
            harness.fail_syncfs()
            children.append(s.save())

        thread = threading.Thread(target=push)      # what it starts cannot sync either
        thread.start()
        thread.join()
        self.assertRegex(children[0].errors, "index of session unsynced cannot be written to .*: Input/output error")
        self.assertFalse(os.path.exists(s.index))
        s.check(children[0])

    def test_precopy_while_writing(self):
        """The first pass runs over a tree that changes under it; the result is that of the freeze."""
        s = self.session("busy")
        m = s.merged
        write(f"{m}/grow", b"")
        script = f"""
i=0
while :; do
    i=$((i + 1)); echo $i >> {m}/grow; mkdir -p {m}/d$((i % 7))/e; echo $i > {m}/d$((i % 7))/e/f$((i % 11))
    rm -rf {m}/d$(((i + 3) % 7)); mv -T {m}/d$((i % 7)) {m}/e$((i % 5)) 2>/dev/null; ln -f {m}/grow {m}/l$((i % 3))
    truncate -s $((i % 3 * 1000)) {m}/cut; rm -rf {m}/usr/lib; mkdir -p {m}/usr/lib/$i
done"""
        for i in range(3000):
            write(f"{m}/many/{i % 50}/{i}", b"m" * 100)
        for _ in range(3):
            writer = subprocess.Popen(["sh", "-c", script], stderr=subprocess.DEVNULL, start_new_session=True)

            def freeze():
                """Until the last command of the shell is gone too."""
                try:
                    while True:
                        os.killpg(writer.pid, signal.SIGKILL)
                        writer.poll()
                        time.sleep(0.01)
                except ProcessLookupError:
                    writer.wait()
            try:
                s.generation += 1
                child = Child(PROGRAM, s.request(precopy=True), on_freeze=freeze)
            finally:
                freeze()
            self.assertIsNotNone(child.result, child.lines)
            s.image, s.has_index = child.result["image"], True
            s.check(child)

    def test_write_under_way(self):
        """A write has set the change time before the first of two passes began, and brings the bytes after that."""
        s = self.session("under-way")
        write(f"{s.merged}/x", b"1" * mmap.PAGESIZE)
        try:
            memory = SlowMemory()
        except OSError as e:
            self.skipTest(str(e))
        with open(f"{s.merged}/x", "r+b") as f:
            writer = threading.Thread(target=os.pwrite, args=(f.fileno(), memory.bytes, 0))
            writer.start()
            memory.wait()
            time.sleep(0.1)
            copying = []

            def watch(_, line):
                copying.extend(["copying"] if line.get("stage") == "copying" else [])
                if len(copying) == 2:       # told once a second where nothing moves: the pass stands and waits
                    memory.ready()

            def freeze():
                memory.ready()
                writer.join()
            try:
                s.generation += 1
                child = Child(PROGRAM, s.request(precopy=True), on_freeze=freeze, on_line=watch)
            finally:
                freeze()
        self.assertIsNotNone(child.result, child.lines)
        s.check(child)

    def test_directory_gone_while_opened(self):
        s = self.session("gone")
        for name in ("a", "gone", "z"):
            write(f"{s.merged}/{name}/file")
        time.sleep(0.1)
        s.save()
        os.unlink(f"{s.merged}/gone/file")
        try:
            thread = harness.amid(f"{s.upper}/gone", harness.FAN_OPEN_PERM, 1, lambda: os.rmdir(f"{s.merged}/gone"))
        except OSError as e:
            self.skipTest(str(e))
        child = s.save(precopy=True)
        thread.join()
        s.check(child)

    def test_name_told_twice(self):
        """A name that is removed and made again while a large directory is read may come a second time."""
        s = self.session("twice", self.scratch.disk("disk-in-order", "-O", "^dir_index"))
        names = [f"{s.merged}/large/{i:0200}" for i in range(1500)]      # more than one read tells
        for name in names:
            write(name, b"")
        time.sleep(0.1)

        def again():
            os.unlink(names[0])
            write(f"{names[0][:-1]}-", b"in its place")
            write(names[0], b"again")
        try:
            thread = harness.amid(f"{s.upper}/large", harness.FAN_ACCESS_PERM, 2, again)
        except OSError as e:
            self.skipTest(str(e))
        child = s.save(precopy=True)
        thread.join()
        s.check(child)

    def test_index_of_earlier_boot(self):
        """A power loss may leave a file's newer bytes under its older change time."""
        s = self.session("boot")
        write(f"{s.merged}/a")
        s.save()
        write(f"{s.merged}/b")
        self.assertEqual(s.save().result["session_layers"], 2)
        other, boot = self.scratch / "boot_id", "/proc/sys/kernel/random/boot_id"
        write(other, b"f47ac10b-58cc-4372-a567-0e02b2c3d479\n")
        subprocess.run(["mount", "--bind", other, boot], check=True)
        try:
            child = s.save()
            self.assertEqual(child.result["session_layers"], 1)    # a full walk upon the base
            s.check(child)
            write(f"{s.merged}/c")
            self.assertEqual(s.save().result["session_layers"], 2)
            write(other, b"")           # not known: nothing is passed over, and what is written then does not serve later
            self.assertEqual(s.save().result["session_layers"], 1)
            self.assertEqual(s.save().result["session_layers"], 1)
        finally:
            subprocess.run(["umount", boot], check=True)
        self.assertEqual(s.save().result["session_layers"], 1)

    def test_index_unusable(self):
        s = self.session("index")
        write(f"{s.merged}/a")
        s.save()
        os.unlink(f"{s.merged}/a")
        write(f"{s.merged}/b")
        with open(s.index, "r+b") as f:
            f.seek(40)
            f.write(b"!")
        child = s.save()
        self.assertEqual(child.result["session_layers"], 1)    # a full walk upon the base
        s.check(child)
        # the generation of the index is gone from the registry
        digest = child.result["manifest_digest"]
        gone = Child(PROGRAM, {"verb": "delete", "registry": {"url": self.registry.url}, "image": child.result["image"]})
        self.assertIsNotNone(gone.result, gone.lines)
        again = Child(PROGRAM, {"verb": "delete", "registry": {"url": self.registry.url}, "image": child.result["image"]})
        self.assertIsNotNone(again.result, again.lines)
        # by its tag, which is all that is known of a push that was cut off
        child = s.save()
        tagged = child.result["image"].split("@")[0] + ":" + s.request()["tag"]
        for _ in range(2):
            gone = Child(PROGRAM, {"verb": "delete", "registry": {"url": self.registry.url}, "image": tagged})
            self.assertIsNotNone(gone.result, gone.lines)
        verify = Child(PROGRAM, {"verb": "verify", "registry": {"url": self.registry.url}, "image": child.result["image"]})
        self.assertIsNone(verify.result)
        write(f"{s.merged}/c")
        child = s.save()
        self.assertNotEqual(digest, child.result["manifest_digest"])
        self.assertEqual(child.result["session_layers"], 1)
        s.check(child)
        # the index is of another generation than the one to build upon
        older = s.image
        write(f"{s.merged}/e")
        time.sleep(0.05)
        s.save()
        s.generation += 1
        s.check(Child(PROGRAM, s.request(image=older)))
        # another directory has taken the place of the one that the index is of
        os.rename(s.upper, s.upper + "-before")
        os.mkdir(s.upper)
        write(f"{s.upper}/d")
        self.assertEqual(s.save().result["session_layers"], 1)
        # an index without a fallback that cannot be used
        os.unlink(s.index)
        s.generation += 1
        q = s.request()
        del q["fallback_image"]
        child = Child(PROGRAM, q)
        self.assertEqual(child.error["code"], "FilesRefused")

    def test_young_files_count_as_changed(self):
        """A change time has the grain of a tick: what is as young as the freeze may change once more without a new one."""
        s = self.session("young")
        write(f"{s.merged}/old")
        time.sleep(0.1)
        frozen = time.time()
        time.sleep(0.1)
        write(f"{s.merged}/young")
        s.save(frozen_realtime_usec=int(frozen * 1e6))
        child = s.save()
        self.assertEqual(s.check(child)[-1], [b"young"])
        self.assertTrue(s.save().result["unchanged"])

    def test_whole_seconds(self):
        """Where change times have no fractions, a file may change once more in the second of the save."""
        s = self.session("seconds", self.scratch.disk("disk-of-seconds", "-I", "128"))
        name = f"{s.merged}/x"
        for _ in range(10):     # until a save and a change after it fall in one second
            write(name, b"1")
            before = os.stat(name).st_ctime_ns
            time.sleep(0.1)
            s.save()
            write(name, b"2")
            s.check(s.save())
            if os.stat(name).st_ctime_ns == before:
                break

    def test_written_through_a_mapping(self):
        """A page that is dirty takes a second write without a new change time."""
        s = self.session("mapping")
        write(f"{s.merged}/mapped", b"1" * 4096)
        with open(f"{s.merged}/mapped", "r+b") as f, mmap.mmap(f.fileno(), 4096) as m:
            for precopy in (False, True):
                m[0] = ord("2")
                time.sleep(0.1)
                s.save(precopy=precopy)
                m[0] = ord("3")
                s.check(s.save())

    def test_reserved_names(self):
        s = self.session("reserved")
        write(f"{s.merged}/dir/.wh.odd")
        s.generation += 1
        child = Child(PROGRAM, s.request())
        self.assertEqual(child.error["code"], "FilesRefused")
        self.assertIn("/dir/.wh.odd", child.error["message"])
        self.assertIn("lossy", child.error["message"])
        self.assertNotEqual(child.status, 0)
        child = s.save(lossy=True)
        self.assertTrue(any(d.startswith("/dir/.wh.odd") for d in child.result["dropped"]))
        s.check(child, without=(b"dir/.wh.odd",))

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

    def test_capabilities_are_needed(self):
        s = self.session("capless")
        write(f"{s.merged}/x")
        s.generation += 1
        wrapper = self.scratch / "capless.sh"
        write(wrapper, f"#!/bin/sh\nexec setpriv --bounding-set=-sys_admin --inh-caps=-all {PROGRAM}\n".encode(), 0o755)
        child = Child(wrapper, s.request())
        self.assertIn("CAP_SYS_ADMIN", child.error["message"])

    def test_too_many_layers(self):
        s = self.session("layers")
        write(f"{s.merged}/a")
        s.save(layers_max=2)
        write(f"{s.merged}/b")
        self.assertEqual(s.save(layers_max=2).result["session_layers"], 2)
        write(f"{s.merged}/c")
        child = s.save(layers_max=2)    # too long with the index: starts again upon the base
        self.assertEqual(child.result["session_layers"], 1)
        s.check(child)
        s.generation += 1
        q = s.request(layers_max=1)
        del q["index"], q["fallback_image"]
        child = Child(PROGRAM, q)
        self.assertEqual(child.error["code"], "ImageRefused")

    def test_resolve(self):
        q = {"verb": "resolve", "registry": {"url": self.registry.url}, "image": f"{self.registry.host}/library/base:1"}
        child = Child(PROGRAM, q)
        self.assertEqual(child.result["image"], self.base)
        self.assertEqual(child.result["working_dir"], "/srv")
        child = Child(PROGRAM, {**q, "image": f"{self.registry.host}/library/none:1"})
        self.assertEqual(child.error["code"], "NoSuchImage")
        child = Child(PROGRAM, {**q, "image": "UPPER/Case:1"})
        self.assertEqual(child.error["code"], "InvalidArgument")

    def test_resolve_index_and_volumes(self):
        base = self.registry.push_base("library/volumes", "1", [tar_of(self.lower)], oci=True, config={
            "config": {"Volumes": {"/z": {}, "/a": {}}, "User": "1000"}})
        digest = base.split("@")[1]
        data = self.registry.call("GET", f"/v2/library/volumes/manifests/{digest}", headers={"Accept": harness.MANIFESTS})[2]
        self.registry.put_manifest("library/volumes", "multi", {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
                {"mediaType": harness.OCI_MANIFEST, "digest": digest, "size": len(data),
                 "platform": {"os": "linux", "architecture": harness.ARCHITECTURE}}]})
        child = Child(PROGRAM, {"verb": "resolve", "registry": {"url": self.registry.url}, "image": f"{self.registry.host}/library/volumes:multi"})
        self.assertEqual(child.result["image"], base)
        self.assertEqual(child.result["volumes"], ["/a", "/z"])
        self.assertEqual(child.result["user"], "1000")

    def test_other_registry(self):
        """A base image in another registry is copied, not mounted."""
        other = Registry(self.scratch, "other")
        try:
            base = other.push_base("x/base", "1", [tar_of(self.lower), b"\0" * 10240])
            s = Session(self, "far", [self.lower], base)
            write(f"{s.merged}/x")
            s.check(s.save())
        finally:
            other.close()

    def test_verify(self):
        s = self.session("verify")
        write(f"{s.merged}/x", os.urandom(100000))
        child = s.save()
        q = {"verb": "verify", "registry": {"url": self.registry.url}, "image": child.result["image"]}
        self.assertIsNotNone(Child(PROGRAM, q).result)
        layer = self.registry.manifest(REPOSITORY, child.result["manifest_digest"])["layers"][-1]
        path = self.registry.blob_path(layer["digest"])
        with open(path, "r+b") as f:
            f.seek(50)
            byte = f.read(1)
            f.seek(50)
            f.write(bytes([byte[0] ^ 1]))
        child = Child(PROGRAM, q)
        self.assertEqual(child.error["code"], "RegistryFailed")
        self.assertIn(layer["digest"], child.error["message"])
        os.unlink(path)
        child = Child(PROGRAM, q)
        self.assertEqual(child.error["code"], "RegistryFailed")
        # a damaged generation is not built upon for ever
        write(f"{s.merged}/y")
        s.generation += 1
        child = Child(PROGRAM, s.request())
        self.assertEqual(child.error["code"], "RegistryFailed")
        s.check(s.save())


if __name__ == "__main__":
    harness.need_root()
    harness.private_mounts()
    unittest.main(verbosity=2)
