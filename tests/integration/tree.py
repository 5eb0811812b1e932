# SPDX-License-Identifier: LGPL-2.1-or-later
"""A tree with everything that gets lost on the way into an image and back, its changes, and its comparison."""

import contextlib
import errno
import hashlib
import os
import shutil
import socket
import stat
import struct
import subprocess

SECOND = 1_000_000_000
# What the Engine puts over the file system, or writes itself at every start.
NOT_OURS = {b"proc", b"sys", b"dev", b"etc/hosts", b"etc/hostname", b"etc/resolv.conf", b"etc/mtab", b".dockerenv"}
# Directories in which it makes those.
TOUCHED = {b"", b"etc"}


def walk(root):
    """→ {path: {attribute: value}}, all bytes and numbers. `links`: the other names of the file."""
    root = os.fsencode(root)
    found, inodes = {}, {}

    def visit(path):
        full = root + b"/" + path
        st = os.lstat(full)
        found[path] = entry = _entry(full, st)
        if path in TOUCHED:
            entry.pop("mtime")
        if not stat.S_ISDIR(st.st_mode) and st.st_nlink > 1:
            inodes.setdefault((st.st_dev, st.st_ino), []).append(path)
        if stat.S_ISDIR(st.st_mode):
            for name in sorted(os.listdir(full)):
                child = path + b"/" + name if path else name
                if child not in NOT_OURS:
                    visit(child)
    visit(b"")
    for group in inodes.values():
        for path in group:
            found[path]["links"] = tuple(sorted(group))
    return found


def _entry(full, st):
    e = {"type": stat.S_IFMT(st.st_mode), "mode": stat.S_IMODE(st.st_mode), "uid": st.st_uid, "gid": st.st_gid, "mtime": st.st_mtime_ns}
    if stat.S_ISREG(st.st_mode):
        e["size"] = st.st_size
        e["sha256"] = _hash(full)
    elif stat.S_ISLNK(st.st_mode):
        e["target"] = os.readlink(full)
    elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        e["rdev"] = st.st_rdev
    for name in os.listxattr(full, follow_symlinks=False):
        # ACLs are among them, as system.posix_acl_*.
        if not name.startswith("trusted.overlay."):
            e["xattr " + name] = os.getxattr(full, name, follow_symlinks=False)
    return e


def _hash(full):
    h = hashlib.sha256()
    with open(full, "rb") as f:
        while data := f.read(1 << 20):
            h.update(data)
    return h.hexdigest()


def differences(before, after):
    """→ {(path, attribute): (before, after)}; the attribute of a path that is not there is "there"."""
    found = {}
    for path in before.keys() | after.keys():
        b, a = before.get(path), after.get(path)
        if b is None or a is None:
            found[path, "there"] = (b is not None, a is not None)
            continue
        for key in b.keys() | a.keys():
            if b.get(key) != a.get(key):
                found[path, key] = (b.get(key), a.get(key))
    return found


def show(found, limit=30):
    lines = [f"{os.fsdecode(p)!a} {k}: {str(b)[:60]} → {str(a)[:60]}" for (p, k), (b, a) in sorted(found.items())[:limit]]
    return "\n".join(lines + ([f"… and {len(found) - limit} more"] if len(found) > limit else []))


# ---- making it


class Maker:
    def __init__(self, root):
        self.root = os.fsencode(root)

    def at(self, path):
        return self.root + b"/" + os.fsencode(path)

    def file(self, path, content=b"", mode=0o644, uid=0, gid=0, mtime=None):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.at(path))
        with open(self.at(path), "wb") as f:
            f.write(content)
        os.chown(self.at(path), uid, gid)
        os.chmod(self.at(path), mode)
        if mtime is not None:
            self.mtime(path, mtime)

    def dir(self, path, mode=0o755, uid=0, gid=0):
        os.mkdir(self.at(path))
        os.chown(self.at(path), uid, gid)
        os.chmod(self.at(path), mode)

    def mtime(self, path, ns):
        os.utime(self.at(path), ns=(ns, ns), follow_symlinks=False)

    def xattr(self, path, name, value):
        os.setxattr(self.at(path), name, value, follow_symlinks=False)

    def acl(self, path, *words):
        subprocess.run([b"setfacl", *[os.fsencode(w) for w in words], b"--", self.at(path)], check=True)

    def link(self, path, to):
        os.link(self.at(path), self.at(to), follow_symlinks=False)

    def symlink(self, target, path):
        os.symlink(os.fsencode(target), self.at(path))

    def node(self, path, kind, major, minor, mode=0o600):
        os.mknod(self.at(path), kind | mode, os.makedev(major, minor))

    def rm(self, path):
        full = self.at(path)
        if os.path.isdir(full) and not os.path.islink(full):
            shutil.rmtree(full)
        else:
            os.unlink(full)

    def rename(self, path, to):
        """As mv: across layers of an overlay a directory is copied."""
        try:
            os.rename(self.at(path), self.at(to))
        except OSError as e:
            if e.errno != errno.EXDEV:
                raise
            subprocess.run([b"cp", b"-a", b"--", self.at(path), self.at(to)], check=True)
            self.rm(path)


def capability(*bits):
    """Value of security.capability, version 2: permitted and effective."""
    mask = sum(1 << b for b in bits)
    return struct.pack("<IIIII", 0x02000001, mask & 0xffffffff, 0, mask >> 32, 0)


def make_first(m):
    """→ paths that cannot be kept: sockets."""
    t = 1_600_000_000 * SECOND
    m.dir("t", 0o751, 1000, 1000)
    for mode in (0o000, 0o400, 0o666, 0o755, 0o4755, 0o2755, 0o6711, 0o1644):
        m.file(f"t/mode-{mode:o}", b"x", mode)
    m.file("t/owner", b"x", uid=12345, gid=54321)
    m.file("t/owner-large", b"x", uid=3_000_000_000, gid=2_100_000)
    for name, ns in (("ns", t + 123_456_789), ("one-ns", t + 1), ("epoch", 0), ("future", 4_102_444_800 * SECOND + 999_999_999),
                     ("before-epoch", -1_500_000_000)):
        m.file(f"t/time-{name}", name.encode(), mtime=ns)
    for size in (0, 1, 511, 512, 513, 10239, 10240, 65537):
        m.file(f"t/size-{size}", os.urandom(size))
    m.file("t/large", os.urandom(5_000_001))
    with open(m.at("t/sparse"), "wb") as f:
        f.seek(40_000_000)
        f.write(b"the end")
        f.truncate(48_000_000)
    # links, in one directory, across directories, to a file of the base image
    m.file("t/link-a", b"linked", mtime=t + 5)
    m.dir("t/deep")
    m.link("t/link-a", "t/link-b")
    m.link("t/link-a", "t/deep/link-c")
    m.link("etc/group", "t/link-of-base")
    m.symlink("nowhere", "t/dangling")
    m.symlink("/etc/passwd", "t/absolute")
    m.symlink("../" * 60 + "long", "t/long-target")
    os.lchown(m.at("t/dangling"), 7, 8)
    m.mtime("t/dangling", t + 777_777_777)
    m.link("t/absolute", "t/absolute-again")
    os.mkfifo(m.at("t/fifo"), 0o640)
    m.node("t/null", stat.S_IFCHR, 1, 3, 0o666)
    m.node("t/block", stat.S_IFBLK, 7, 200)
    m.node("t/large-device", stat.S_IFCHR, 300, 70000)
    with socket.socket(socket.AF_UNIX) as s:
        here = os.open(".", os.O_RDONLY)
        try:
            os.chdir(m.at("t"))
            s.bind("socket")
        finally:
            os.fchdir(here)
            os.close(here)
    # names
    for i, name in enumerate((b"a b", b"new\nline", b"\xff\xfe not utf-8", "ünïcødé ☃".encode(), b"-rf", b"*?[x]", b"back\\slash", b"'\"`$(x)",
                              b"n" * 255, b"\xc3" * 250, b".hidden", b".wh", b"trailing ", b"wh.x", b"a=b", b"percent%41")):
        m.file(b"t/" + name, b"%d" % i)
    deep = "t/deep"
    for i in range(12):
        deep += "/" + "d" * 40
        m.dir(deep, 0o700 + i)
    m.file(deep + "/bottom", b"bottom")
    # attributes
    m.file("t/xattr", b"x")
    m.xattr("t/xattr", "user.plain", b"value")
    m.xattr("t/xattr", "user.binary", b"\x00=\n\xff" * 30)
    m.xattr("t/xattr", "user.large", os.urandom(2000))
    m.xattr("t/deep", "user.of-directory", b"d")
    m.file("t/capable", b"x", 0o755)
    m.xattr("t/capable", "security.capability", capability(10, 12, 21))
    m.file("t/acl", b"x", 0o640)
    m.acl("t/acl", "-m", "u:1234:rw,g:5678:r,m::rw")
    m.dir("t/acl-default")
    m.acl("t/acl-default", "-m", "d:u:1234:rwx,u:99:rx")
    m.file("t/acl-default/inherits", b"x")
    # the base image: deleted, replaced, made opaque, changed in one attribute only
    m.rm("etc/os-release")
    m.rm("usr/share")
    m.dir("usr/share", 0o700)
    m.file("usr/share/new", b"in an opaque directory")
    m.rm("bin/yes")
    m.dir("bin/yes")
    m.file("bin/yes/inside", b"a file of the base is a directory")
    m.rm("var/cache")
    m.file("var/cache", b"a directory of the base is a file")
    os.chmod(m.at("var/log"), 0o2770)
    os.chown(m.at("home/user"), 4242, 4243)
    m.mtime("etc/passwd", t + 42)
    m.mtime("usr/lib", t + 43_000_000)
    m.dir("t/empty", 0o1777)
    m.mtime("t/deep", t + 44)
    m.mtime("t", t + 987_654_321)
    return {b"t/socket"}


def make_second(m):
    t = 1_700_000_000 * SECOND
    # of the first generation: deleted, in every kind
    for name in ("mode-666", "size-0", "link-b", "long-target", "fifo", "block", "xattr", "acl-default", "empty", "sparse"):
        m.rm("t/" + name)
    m.rm(b"t/new\nline")
    # the same size and time, other bytes: only the ctime tells
    st = os.lstat(m.at("t/size-513"))
    m.file("t/size-513", os.urandom(513), mtime=st.st_mtime_ns)
    os.chmod(m.at("t/mode-755"), 0o711)
    os.chown(m.at("t/owner"), 1, 2)
    m.mtime("t/time-ns", t + 1)
    m.xattr("t/mode-400", "user.late", b"late")
    os.removexattr(m.at("t/capable"), "security.capability")
    m.acl("t/acl", "-b")
    # links: one broken, one new to a file that is in a lower layer now
    m.file("t/deep/link-c", b"no link any more")
    m.link("t/owner-large", "t/owner-large-too")
    # what was deleted comes back, as something else
    m.file("etc/os-release", b"ID=back\n")
    m.rm("usr/share")
    m.dir("usr/share")
    m.file("usr/share/newer", b"opaque again")
    m.dir("t/fifo")
    m.file("t/fifo/inside", b"x")
    m.symlink("mode-755", "t/xattr")
    m.rm("t/dangling")
    m.file("t/dangling", b"no symlink any more")
    m.rename("t/deep", "t/moved")
    m.rename("t/large", "t/large-moved")
    m.rm("bin/yes")
    with open(m.at("t/size-65537"), "ab") as f:
        f.write(b"more")
    return {b"t/socket"} & {b"t/" + n for n in os.listdir(m.at("t"))}


def make_third(m):
    # most of it goes; whiteouts of whiteouts, and a directory that was opaque twice
    for name in os.listdir(m.at("t")):
        if not name.startswith((b"mode", b"time", b"link")):
            m.rm(b"t/" + name)
    m.rm("usr/share")
    m.rm("etc/os-release")
    m.rm("var/cache")
    m.dir("var/cache", 0o755)
    m.file("var/cache/again", b"a directory again")
    m.dir("bin/yes")
    m.dir("t/deep")
    m.file("t/deep/link-c", b"a new directory of an old name")
    return set()


CYCLES = (make_first, make_second, make_third)
