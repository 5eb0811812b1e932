#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random changes over many generations. The model is the container itself: what a pull gives must be what it was.
SWARM_SEED=N is another run, SWARM_SEED=random one that says its number."""

import os
import random
import shutil
import stat
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from harness import Child
from session import PROGRAM, Session, SessionTest, capability

SECONDS = 12            # no further container begins after that
GENERATIONS = 10
NAMES = (b"a", b"b", b"c", b"a.b", b"d", "\u00e9".encode(), b"\xff", b"n" * 255)
TIMES = (0, 1, 10**9, 1234567890123456789, 2**31 * 10**9 + 5, 2**33 * 10**9 + 3)


class Changes:
    """Each method is a change of its own to the tree at `root`; what cannot be done is not done."""

    def __init__(self, rng, root):
        self.rng, self.root = rng, os.fsencode(root)
        self.all = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")]
        self.all += 3 * [self.do_link, self.do_move_directory]          # links are divided by these alone

    def some(self, n):
        for _ in range(n):
            try:
                self.rng.choice(self.all)()
            except OSError:
                pass

    def new(self):
        return os.path.join(self.root, *(self.rng.choice(NAMES[:self.rng.choice((3, len(NAMES)))]) for _ in range(self.rng.randrange(1, 4))))

    def old(self):
        path = self.root
        while True:
            names = sorted(os.listdir(path))
            if not names:
                return path if path != self.root else self.new()
            path = os.path.join(path, self.rng.choice(names))
            if os.path.islink(path) or not os.path.isdir(path) or self.rng.random() < 0.3:
                return path

    def any(self):
        return self.rng.choice((self.old, self.new))()

    def file(self):
        path = self.old()
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise OSError
        return path

    def fill(self, path):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644), "wb") as f:
            f.write(self.rng.randbytes(self.rng.choice((0, 1, 511, 512, 513, 20000))))

    def do_write(self): self.fill(self.any())
    def do_write_new(self): self.fill(self.new())
    def do_truncate(self): os.truncate(self.file(), self.rng.choice((0, 5, 100000)))
    def do_make_directories(self): os.makedirs(self.new(), exist_ok=True)
    def do_remove(self): harness.remove(self.old())
    def do_rename(self): os.rename(self.old(), self.any())
    def do_link(self): os.link(self.old(), self.new(), follow_symlinks=False)
    def do_symlink(self): os.symlink(self.rng.choice((b"a", b"\xff", b"t" * 300)), self.new())
    def do_fifo(self): os.mkfifo(self.new())
    def do_device(self): os.mknod(self.new(), 0o20660, os.makedev(self.rng.choice((1, 511)), self.rng.choice((3, 2**20 - 1))))
    def do_chown(self): os.chown(self.old(), self.rng.choice((0, 1000, 2**32 - 3)), self.rng.choice((0, 2**31 + 1)), follow_symlinks=False)
    def do_attribute(self): os.setxattr(self.old(), "user." + self.rng.choice("ab"), self.rng.randbytes(5), follow_symlinks=False)
    def do_no_attribute(self): os.removexattr(self.old(), "user." + self.rng.choice("ab"), follow_symlinks=False)
    def do_capability(self): os.setxattr(self.file(), "security.capability", capability(2))

    def do_socket(self):
        path = self.file() if self.rng.random() < 0.5 else self.new()
        if os.path.lexists(path):
            os.unlink(path)
        os.mknod(path, 0o140755)

    def do_move_directory(self):
        path = os.path.dirname(self.old())
        if path != self.root:
            os.rename(path, os.path.join(os.path.dirname(path), self.rng.choice(NAMES)))

    def do_link_over(self):
        path = self.old()
        os.link(self.file(), path + b".new")
        os.rename(path + b".new", path)

    def do_exchange(self):
        if harness.libc.renameat2(-100, self.old(), -100, self.old(), 2) < 0:      # RENAME_EXCHANGE
            raise OSError

    def do_other_type(self):
        path = self.old()
        was_directory = os.path.isdir(path) and not os.path.islink(path)
        harness.remove(path)
        if was_directory and self.rng.random() < 0.5:
            self.fill(path)
        else:
            os.mkdir(path)
            self.fill(os.path.join(path, self.rng.choice(NAMES)))

    def do_chmod(self):
        path = self.old()
        if not os.path.islink(path):
            os.chmod(path, self.rng.choice((0, 0o644, 0o4755, 0o2755, 0o1777)))

    def do_time(self):
        t = self.rng.choice(TIMES)
        os.utime(self.old(), ns=(t, t), follow_symlinks=False)

    def do_acl(self):
        path = self.old()
        if not os.path.islink(path):
            default = ["-d"] if os.path.isdir(path) and self.rng.random() < 0.5 else []
            subprocess.run(["setfacl", *default, "-m", "u:1000:rwx,g:7:r", path], check=True)


class Model(SessionTest):
    def save(self, s, changes):
        """In one of the ways there are. With a damaged index the walk is a full one."""
        kind = changes.rng.choice(("index", "index", "precopy", "precopy", "full", "damaged"))
        if kind == "damaged" and s.has_index:
            with open(s.index, "r+b") as f:
                f.truncate(changes.rng.randrange(os.path.getsize(s.index)))
        if kind == "full":
            s.has_index, s.image = False, s.base
        n = changes.rng.randrange(20)
        s.generation += 1
        child = Child(PROGRAM, s.request(precopy=kind == "precopy"), on_freeze=lambda: changes.some(n))
        self.assertIsNotNone(child.result, child.lines)
        s.image, s.has_index = child.result["image"], True
        return child

    def container(self, rng, name, lower, image):
        """Returns what it was restored to in the end."""
        s = Session(self, name, [lower], image)
        changes = Changes(rng, s.merged)
        for _ in range(GENERATIONS):
            changes.some(rng.choice((0, 1, 5, 20, 60)))
            s.check(self.save(s, changes))
            root = self.scratch / f"{name}-check-{s.generation}"
            if rng.random() < 0.1:
                break
            if s.generation < GENERATIONS:
                shutil.rmtree(root)
        return root, s.image

    def test_model(self):
        seed = os.environ.get("SWARM_SEED", "1")
        seed = random.randrange(2**32) if seed == "random" else int(seed)
        print(f"SWARM_SEED={seed}", flush=True)
        rng, began, n = random.Random(seed), time.monotonic(), 0
        lower, image = self.lower, self.base
        while n == 0 or time.monotonic() < began + SECONDS:
            n += 1
            lower, image = self.container(rng, f"model-{n}", lower, image)
        print(f"{n} containers", flush=True)


if __name__ == "__main__":
    harness.need_root()
    harness.private_namespaces()
    unittest.main(verbosity=2)
