# SPDX-License-Identifier: LGPL-2.1-or-later
"""A push through a proxy that does to the registry's answers what a test says, and what must be true of it afterwards."""

import os
import time

from harness import Child, RegistryTest, compare, describe, pull, tar_of
from proxy import Proxy

PROGRAM = os.environ.get("SWARM_LAYER", "swarm-layer")
REPOSITORY = "sessions/faults"


class FaultTest(RegistryTest):
    @classmethod
    def fill_base(cls, lower):
        with open(f"{lower}/base", "w") as f:
            f.write("base")
        os.utime(f"{lower}/base", (1, 1))

    @classmethod
    def more_layers(cls):
        # longer than the range of the proof once compressed
        return [cls.big_layer()]

    @classmethod
    def big_layer(cls):
        d = cls.scratch / "lower-big"
        os.mkdir(d)
        with open(f"{d}/big", "wb") as f:
            f.write(os.urandom(50000))
        return tar_of(d)

    def setUp(self):
        self.proxy = Proxy(self.registry.port)
        self.upper = self.scratch / self.id().rsplit(".", 1)[1]
        os.mkdir(self.upper)
        with open(f"{self.upper}/file", "w") as f:
            f.write(self.id())
        self.index = self.upper + ".index"

    def tearDown(self):
        self.proxy.close()

    def fill(self, mib):
        with open(f"{self.upper}/big", "wb") as f:
            for _ in range(mib):
                f.write(os.urandom(1 << 20))

    def request(self, **more):
        image = self.base.replace(self.registry.host, self.proxy.host)
        # Whoever waits for the end of it says so: a registry answers when its disk has all of a blob.
        registry = {"url": self.proxy.url, "timeout_usec": 20000000, **more.pop("registry", {})}
        return {"verb": "push", "registry": registry, "image": image, "repository": REPOSITORY, "tag": "t-g1", "session": "t", "generation": 1,
                "job": 1, "upperdir": self.upper, "new_index": self.index, "frozen_realtime_usec": int(time.time() * 1e6), **more}

    def push(self, fault=None, **more):
        self.proxy.fault = fault
        return Child(PROGRAM, self.request(**more), timeout=60)

    def refused(self, child, *words):
        self.assertIsNotNone(child.error, child.lines)
        self.assertIsNone(child.result)
        self.assertNotEqual(child.status, 0)
        self.assertFalse(os.path.exists(self.index), "a failure leaves no index")
        self.assertEqual(child.error["code"], "RegistryFailed", child.error)
        for w in (self.proxy.host,) + words:
            self.assertIn(w, child.error["message"])
        self.assertTrue(child.error["message"].isprintable(), child.error["message"])
        self.assertLess(len(child.error["message"]), 900)

    def works(self, child):
        self.assertIsNotNone(child.result, child.lines)
        root = self.upper + ".check"
        os.mkdir(root)
        pull(self.registry, REPOSITORY, child.result["manifest_digest"], root)
        found = describe(root)
        compare(describe(self.upper), {k: v for k, v in found.items() if k not in (b"base", b"big") or k in describe(self.upper)})
