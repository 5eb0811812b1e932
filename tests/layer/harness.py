# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real registry, real overlay mounts and the child under test; only the standard library."""

import ctypes
import errno
import fcntl
import gzip
import hashlib
import io
import itertools
import json
import mmap
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

SKIP = 77
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFESTS = ", ".join([OCI_MANIFEST, DOCKER_MANIFEST, "application/vnd.oci.image.index.v1+json",
                       "application/vnd.docker.distribution.manifest.list.v2+json"])
CLONE_NEWNS, CLONE_NEWNET, MS_REC, MS_PRIVATE = 0x20000, 0x40000000, 0x4000, 0x40000
libc = ctypes.CDLL(None, use_errno=True)
# Below those that the kernel gives to connections: in a network of one's own nobody else has them.
ports = itertools.count(5000)


def need_root():
    if os.geteuid() != 0:
        print("needs root for overlay mounts and owners")
        sys.exit(SKIP)


def private_namespaces():
    """Mounts, and a network in which nobody else takes a port."""
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) < 0:
        raise OSError(ctypes.get_errno(), "unshare")
    SIOCSIFFLAGS, IFF_UP = 0x8914, 1
    with socket.socket() as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def fail_syncfs():
    """EIO for it, in this thread and what it starts, by a filter of system calls (seccomp(2))."""
    number = {"x86_64": 306, "aarch64": 267}[os.uname().machine]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in (
        (0x20, 0, 0, 0),                            # load the number
        (0x15, 0, 1, number),                       # not equal: skip one
        (0x06, 0, 0, 0x00050000 | errno.EIO),       # SECCOMP_RET_ERRNO
        (0x06, 0, 0, 0x7fff0000)))                  # SECCOMP_RET_ALLOW
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "prctl")


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Scratch:
    """A folder on a disk file system; gone at the end, with what is mounted in it."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="swarm-layer-test.", dir="/var/tmp")
        self.mounts = []

    def __truediv__(self, name):
        return os.path.join(self.path, name)

    def overlay(self, name, lowers, where=None):
        upper, work, merged = (os.path.join(where or self.path, f"{name}-{x}") for x in ("upper", "work", "merged"))
        for d in (upper, work, merged):
            os.mkdir(d)
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                        f"lowerdir={':'.join(lowers)},upperdir={upper},workdir={work}", merged], check=True)
        self.mounts.append(merged)
        return upper, merged

    def disk(self, name, *options):
        """An ext4 of its own."""
        where, image = self / name, self / f"{name}.image"
        os.mkdir(where)
        with open(image, "wb") as f:
            f.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", *options, image], check=True)
        subprocess.run(["mount", "-o", "loop", image, where], check=True)
        self.mounts.append(where)
        return where

    def close(self):
        for m in reversed(self.mounts):
            subprocess.run(["umount", "-l", m], check=False)
        shutil.rmtree(self.path, ignore_errors=True)


class Registry:
    """docker-registry on a port of its own."""

    def __init__(self, scratch, name="registry", htpasswd=None):
        self.port = next(ports)
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self.storage = scratch / name
        self.authorization = None
        config = {
            "version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": self.storage}, "delete": {"enabled": True}},
            "http": {"addr": self.host},
        }
        if htpasswd:
            config["auth"] = {"htpasswd": {"realm": "test", "path": htpasswd}}
        path = scratch / f"{name}.json"
        with open(path, "w") as f:
            json.dump(config, f)        # JSON is YAML
        with open(scratch / f"{name}.log", "w") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", path], stdout=subprocess.DEVNULL, stderr=log)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("docker-registry does not start")

    def close(self):
        self.process.terminate()
        self.process.wait()

    def call(self, method, path, data=None, headers=None):
        url = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
        if self.authorization:
            request.add_header("Authorization", self.authorization)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()

    def put_blob(self, repository, data):
        _, headers, _ = self.call("POST", f"/v2/{repository}/blobs/uploads/", b"")
        location = headers["Location"]
        self.call("PUT", location + ("&" if "?" in location else "?") + "digest=" + sha256(data), data,
                  {"Content-Type": "application/octet-stream"})
        return {"digest": sha256(data), "size": len(data)}

    def put_manifest(self, repository, tag, manifest):
        data = json.dumps(manifest).encode()
        self.call("PUT", f"/v2/{repository}/manifests/{tag}", data, {"Content-Type": manifest["mediaType"]})
        return sha256(data)

    def manifest(self, repository, reference):
        return json.loads(self.call("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": MANIFESTS})[2])

    def blob(self, repository, digest):
        data = self.call("GET", f"/v2/{repository}/blobs/{digest}")[2]
        assert sha256(data) == digest
        return data

    def blob_path(self, digest):
        h = digest.split(":")[1]
        return f"{self.storage}/docker/registry/v2/blobs/sha256/{h[:2]}/{h}/data"

    def push_base(self, repository, tag, layers, oci=False, config=None):
        """layers: tar bytes, base first. Returns host/repository@digest."""
        kind = "application/vnd.oci.image." if oci else "application/vnd.docker."
        config = {"architecture": ARCHITECTURE, "os": "linux", "config": {"Env": ["A=1"], "WorkingDir": "/srv"},
                  "rootfs": {"type": "layers", "diff_ids": [sha256(t) for t in layers]},
                  "history": [{"created_by": "test"} for _ in layers], **(config or {})}
        c = self.put_blob(repository, json.dumps(config).encode())
        c["mediaType"] = OCI_CONFIG if oci else "application/vnd.docker.container.image.v1+json"
        entries = []
        for t in layers:
            d = self.put_blob(repository, gzip.compress(t, 1, mtime=0))
            d["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip" if oci else "application/vnd.docker.image.rootfs.diff.tar.gzip"
            entries.append(d)
        digest = self.put_manifest(repository, tag, {"schemaVersion": 2, "mediaType": OCI_MANIFEST if oci else DOCKER_MANIFEST,
                                                     "config": c, "layers": entries})
        return f"{self.host}/{repository}@{digest}"


OCI_CONFIG = "application/vnd.oci.image.config.v1+json"


class Child:
    """One run of swarm-layer. Lines are collected; on_freeze is called before "frozen" is answered."""

    def __init__(self, program, request, on_freeze=None, on_line=None, timeout=120, environment=None):
        self.lines, self.result, self.error = [], None, None
        started = time.monotonic()
        errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                                        env={**os.environ, **(environment or {})})
        timer = threading.Timer(timeout, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            for text in self.process.stdout:
                line = json.loads(text)
                self.lines.append(line)
                if on_line:
                    on_line(self, line)
                if line["type"] == "freeze":
                    if on_freeze:
                        on_freeze()
                    self.process.stdin.write(b'{"type":"frozen"}\n')
                    self.process.stdin.flush()
            self.status = self.process.wait()
        finally:
            timer.cancel()
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            errors.seek(0)
            self.errors = errors.read().decode(errors="replace")
            errors.close()
            sys.stderr.write(self.errors)
        self.seconds = time.monotonic() - started
        last = self.lines[-1] if self.lines else {}
        if last.get("type") == "result":
            self.result = last
        elif last.get("type") == "error":
            self.error = last

    def types(self):
        return [line["type"] for line in self.lines if line["type"] != "progress"]


class SlowMemory:
    """A page that is not there until ready() is called: a write of it stops in the middle (userfaultfd)."""
    SYSCALL = {"x86_64": 323, "aarch64": 282}.get(os.uname().machine, -1)
    API, REGISTER, MISSING = 0xc018aa3f, 0xc020aa00, 1

    def __init__(self):
        self.bytes = mmap.mmap(-1, mmap.PAGESIZE)
        self.fd = libc.syscall(self.SYSCALL, os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "userfaultfd")
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.bytes))
        fcntl.ioctl(self.fd, self.API, struct.pack("QQQ", 0xaa, 0, 0))
        fcntl.ioctl(self.fd, self.REGISTER, struct.pack("QQQQ", start, mmap.PAGESIZE, self.MISSING, 0))

    def wait(self):
        """Until somebody stands there."""
        os.read(self.fd, 32)

    def ready(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


FAN_OPEN_PERM, FAN_ACCESS_PERM = 0x10000, 0x20000


def amid(path, mask, n, action):
    """Calls action() in another thread, once, while somebody stands in the nth open or read of a directory (fanotify)."""
    FAN_CLASS_CONTENT, FAN_CLOEXEC, FAN_MARK_ADD, FAN_MARK_REMOVE, FAN_ALLOW, FAN_ONDIR, AT_FDCWD = 4, 1, 1, 2, 1, 0x40000000, -100
    fd = libc.fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, os.O_RDONLY)
    mark = lambda flags: libc.fanotify_mark(fd, flags, ctypes.c_uint64(mask | FAN_ONDIR), AT_FDCWD, os.fsencode(path))
    if fd < 0 or mark(FAN_MARK_ADD) < 0:
        raise OSError(ctypes.get_errno(), "fanotify")

    def run():
        for i in range(n):
            event = struct.unpack("=IBBHQii", os.read(fd, 24))
            if i == n - 1:
                mark(FAN_MARK_REMOVE)
                action()
            os.write(fd, struct.pack("=iI", event[5], FAN_ALLOW))
            os.close(event[5])
        os.close(fd)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


# Unpacking, by the rules of image-spec layer.md.

def pax_bytes(value):
    return value.encode("utf-8", "surrogateescape")


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def mtime_nsec(member):
    text = member.pax_headers.get("mtime", str(int(member.mtime)))
    seconds, _, rest = text.partition(".")
    nsec = int((rest + "000000000")[:9] or 0)
    return int(seconds) * 10**9 + (-nsec if seconds.startswith("-") else nsec)


def make_entry(archive, m, path, root):
    existed = os.path.isdir(path) and not os.path.islink(path)
    if m.isdir():
        if not os.path.isdir(path) or os.path.islink(path):
            remove(path)
            os.mkdir(path)
    else:
        remove(path)
    if m.islnk():
        os.link(os.path.join(root, os.fsencode(m.linkname)), path, follow_symlinks=False)
    elif m.issym():
        os.symlink(os.fsencode(m.linkname), path)
    elif m.isfifo():
        os.mkfifo(path)
    elif m.ischr() or m.isblk():
        os.mknod(path, m.mode | (stat.S_IFCHR if m.ischr() else stat.S_IFBLK), os.makedev(m.devmajor, m.devminor))
    elif m.isreg():
        with open(path, "wb") as f:
            shutil.copyfileobj(archive.extractfile(m), f)
    elif not m.isdir():
        raise RuntimeError(f"unexpected type of {m.name}")
    os.chown(path, m.uid, m.gid, follow_symlinks=False)
    if existed:     # by an older layer; a layer of its own would not have these
        for x in os.listxattr(path, follow_symlinks=False):
            os.removexattr(path, x, follow_symlinks=False)
    for key, value in m.pax_headers.items():
        if key.startswith("SCHILY.xattr."):
            os.setxattr(path, key[len("SCHILY.xattr."):], pax_bytes(value), follow_symlinks=False)
    if not os.path.islink(path):
        os.chmod(path, m.mode)


def apply_layer(data, root):
    """Returns the names in the tar, in order."""
    root = os.fsencode(root)
    names, times, unpacked = [], [], set()
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        for m in archive:
            name = os.fsencode(m.name)
            names.append(name)
            assert not name.startswith((b"/", b"./")) and b".." not in name.split(b"/"), name
            directory, base = os.path.split(name)
            path = os.path.join(root, name)
            assert os.path.isdir(os.path.join(root, directory)), f"{name}: its parent has no entry"
            if base == b".wh..wh..opq":
                top = os.path.join(root, directory)
                for other in os.listdir(top):
                    if os.path.join(directory, other) not in unpacked:
                        remove(os.path.join(top, other))
                continue
            if base.startswith(b".wh."):
                remove(os.path.join(root, directory, base[4:]))
                continue
            make_entry(archive, m, path, root)
            unpacked.add(name)
            times.append((path, mtime_nsec(m), m.isdir()))
    for path, nsec, is_directory in sorted(times, key=lambda t: t[2]):
        os.utime(path, ns=(nsec, nsec), follow_symlinks=False)
    assert len(names) == len(set(names)), "a path comes twice"
    return names


def pull(registry, repository, reference, root):
    """Unpacks the image into the empty folder root; checks every digest. Returns the names of each layer."""
    manifest = registry.manifest(repository, reference)
    config = json.loads(registry.blob(repository, manifest["config"]["digest"]))
    assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"])
    if config.get("history"):
        assert sum(1 for h in config["history"] if not h.get("empty_layer")) == len(manifest["layers"])
    names = []
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"]):
        blob = registry.blob(repository, layer["digest"])
        assert len(blob) == layer["size"]
        tar = gzip.decompress(blob)
        assert sha256(tar) == diff_id
        names.append(apply_layer(tar, root))
    return names


def describe(root, without=()):
    """path → everything that must survive. Link groups are named by their first path."""
    root = os.fsencode(root)
    tree, groups = {}, {}
    for top, directories, files in os.walk(root):
        for name in sorted(directories + files):
            path = os.path.join(top, name)
            key = os.path.relpath(path, root)
            st = os.lstat(path)
            if stat.S_ISSOCK(st.st_mode) or key in without:
                continue
            fact = {"mode": oct(st.st_mode), "uid": st.st_uid, "gid": st.st_gid, "mtime": st.st_mtime_ns}
            if stat.S_ISREG(st.st_mode):
                fact["size"] = st.st_size
                with open(path, "rb") as f:
                    fact["sha256"] = hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else sha256(f.read())
            if stat.S_ISLNK(st.st_mode):
                fact["target"] = os.readlink(path)
            if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
                fact["rdev"] = st.st_rdev
            fact["xattrs"] = {x: os.getxattr(path, x, follow_symlinks=False) for x in os.listxattr(path, follow_symlinks=False)
                              if not x.startswith(("trusted.", "user.overlay.", "security.selinux"))}
            tree[key] = fact
            if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
                groups.setdefault(st.st_ino, []).append(key)
    for members in groups.values():
        for key in members:
            if len(members) > 1:
                tree[key]["links"] = tuple(sorted(members))
    return tree


def compare(wanted, found):
    problems = [f"missing {k}" for k in sorted(wanted.keys() - found.keys())]
    problems += [f"left over {k}" for k in sorted(found.keys() - wanted.keys())]
    for k in sorted(wanted.keys() & found.keys()):
        for x in sorted(wanted[k].keys() | found[k].keys()):
            if wanted[k].get(x) != found[k].get(x):
                problems.append(f"{k}: {x} is {found[k].get(x)!r:.200}, should be {wanted[k].get(x)!r:.200}")
    if problems:
        raise AssertionError("\n".join(problems[:40]))


def tar_of(root):
    """A base layer: the folder as docker would have made it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(os.listdir(root)):
            archive.add(os.path.join(root, name), name)
    return out.getvalue()


class RegistryTest(unittest.TestCase):
    """A registry with a base image, whose first layer is `lower`."""

    @classmethod
    def setUpClass(cls):
        cls.scratch = Scratch()
        cls.registry = Registry(cls.scratch)
        cls.lower = cls.scratch / "lower"
        os.mkdir(cls.lower)
        cls.fill_base(cls.lower)
        cls.base = cls.registry.push_base("library/base", "1", [tar_of(cls.lower), *cls.more_layers()])

    @classmethod
    def more_layers(cls):
        return []

    @classmethod
    def tearDownClass(cls):
        cls.registry.close()
        cls.scratch.close()
