# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ground of the failures: a rig with a session, a proxy before its registry, and a small disk for the service's state."""

import os
import subprocess

from fault_proxy import FaultProxy
from rig import RigWorld, SmallDisk
from waiting import wait_for

UPLOAD = r"^PATCH "     # of a layer; small blobs go in one PUT


class World(RigWorld):
    def __init__(self, build):
        self.disk = SmallDisk()
        try:
            super().__init__(build, state_dir=self.disk.folder)
        except BaseException:
            self.disk.close()
            raise
        self.proxy = FaultProxy(self.rig)
        self.name = "s0"
        self.serial_name = 0

    def close(self, keep=False):
        self.proxy.close()
        super().close(keep)
        if not keep:
            self.disk.close()

    def session(self, size=200_000):
        """The session of the tests, running, with new files that do not compress."""
        state = self.bus.state(self.name)
        if state is None:
            self.serial_name += 1
            self.name = f"s{self.serial_name}"
            self.bus.create_running(self.name, self.image)
        elif state != "running":
            self.bus.do("Start", self.name)
        self.write(self.name, "/home/user/bulk", os.urandom(size))
        self.write(self.name)
        return self.name

    def snapshot_all(self):
        """What the Engine takes along as it stops is then nothing that was not saved: newer ones always remove the containers."""
        for s in self.bus.sessions("Name", "State"):
            if s["State"] == "running":
                self.bus.do("Snapshot", s["Name"])

    def docker(self, *words):
        p = subprocess.run(["docker", "-H", f"unix://{self.rig.folder}/docker.sock", *words], check=False,
                           capture_output=True, text=True, timeout=60)
        if p.returncode != 0:
            print(f"# docker {words[0]}: {p.stderr.strip()}")
        p.check_returncode()
        return p.stdout.strip()

    def runs(self):
        assert self.bus.state(self.name) == "running", f"{self.name} is {self.bus.session(self.name)}"
        assert not self.paused(self.name), f"{self.name} is frozen"
        for path, content in self.expect.files[self.id_of(self.name)].items():
            assert self.read(self.name, path) == content, f"{path} is not what it was"

    def fails(self, verb, *words, seconds=150):
        """The verb fails with a sentence that has these words; the session runs on."""
        job = self.bus.wait_job(self.bus.verb(verb, self.name), seconds)
        assert job["State"] == "failed", f"{verb}: {job['State']}"
        text = job["ErrorMessage"]
        assert text.rstrip().endswith(".") and all(w.lower() in text.lower() for w in words), f"{verb} fails with {text!r}; {words} is expected in it"
        self.runs()
        return job

    def works(self):
        """Everything is well again."""
        self.bus.do("Hibernate", self.name)
        self.check()
        assert self.bus.state(self.name) == "hibernated", f"{self.name} is {self.bus.session(self.name)}"
        self.bus.do("Restore", self.name)
        self.runs()

    def held(self, verb="Hibernate"):
        """The verb, held in the middle of its upload → the fault to release, the job."""
        fault = self.proxy.fault("hold", UPLOAD, times=1)
        job = self.bus.verb(verb, self.name)
        wait_for(fault.held.is_set, f"{verb} to upload", 30)
        return fault, job
