# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions without an Engine: overlays over a base image of every kind of file, saved again and again into a registry."""

import os
import socket
import struct
import subprocess
import time

from harness import Child, RegistryTest, compare, describe, pull

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
           b" space ", b"trailing.", b"-dash", b"\x01low", b"n" * 255, b"\xed\xa0\x80surrogate",
           b"pair-\xed\xa0\xbd\xed\xb8\x80", b"pair-\xf0\x9f\x98\x80", b"quote'\"", b"star*?[", b"%41"]
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
        child = Child(PROGRAM, self.request(**more))
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


class SessionTest(RegistryTest):
    """With that base image."""

    @classmethod
    def fill_base(cls, lower):
        make_lower(lower)

    def session(self, name, where=None):
        return Session(self, name, [self.lower], self.base, where)
