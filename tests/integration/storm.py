#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A storm on a rig: verbs at random on sessions that never stop writing, two at a time, while the service is killed, its child
is, the registry goes away or somebody cancels. Each process writes journals of its own, and what a container begins with must be
all that the one before had written, line by line. SWARM_SEED=N is another storm, SWARM_SEED=random one that says its number."""

import os
import random
import signal
import sys

import crash_cases
import store as stores
import tap
from bus import ENDED, BusError
from checker import REST
from failure_world import World
from rig import why_not
from waiting import wait_for

ROUNDS = 14
SESSIONS = 3
STAGES = 7              # as many changes of a job's stage as are waited for at most
JOURNALS = ("/home/user/main", "/home/user/child")
# Who has written a line is in it: a line that is missing cannot be taken for one that came later.
WRITE = 'while :; do i=$((i+1)); echo "$HOSTNAME $i" >>/home/user/%s; sleep 0.02; done'
COMMAND = ["/bin/sh", "-c", f"({WRITE % 'child'}) & trap 'exit 0' TERM; {WRITE % 'main'}"]
VERBS = {"running": ("Hibernate", "Hibernate", "Stop", "Snapshot", "Restart"), "rest": ("Start", "Restore")}


class Journals:
    """Of one container. They stay readable when it is gone, with all that was ever written."""

    def __init__(self, container):
        self.id, self.files = container["Id"], []
        for path in JOURNALS:
            # pylint: disable=consider-using-with
            self.files.append(open(f"/proc/{container['State']['Pid']}/root{path}", "rb"))

    def read(self):
        for f in self.files:
            f.seek(0)
        return [f.read() for f in self.files]

    def close(self):
        for f in self.files:
            f.close()


class Storm:
    def __init__(self, world, rng):
        self.w, self.rng = world, rng
        self.names = [f"storm-{i}" for i in range(SESSIONS)]
        self.last = {}          # the newest container that was seen to run, by name
        self.disturbances = [self.kill_service, self.kill_layer, self.cut_registry, self.cancel, self.leave_alone]

    def create(self):
        for name in self.names:
            self.w.bus.create_running(name, self.w.image, command=("as", COMMAND))
            self.last[name] = wait_for(lambda name=name: self.journals(name), f"{name} to write", 30)

    def journals(self, name):
        """Of the container that runs; None while it does not write yet, or ends just now."""
        container = self.w.engine.container_of(self.w.id_of(name))
        try:
            return Journals(container) if container else None
        except OSError:
            return None

    # ---- what happens meanwhile

    def kill_service(self, _job):
        self.w.daemon.kill()

    def kill_layer(self, _job):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                    words = f.read().rpartition(") ")
                if words[0].endswith("(swarm-layer") and int(words[2].split()[1]) == self.w.daemon.process.pid:
                    os.kill(int(pid), self.rng.choice((signal.SIGKILL, signal.SIGTERM)))
            except OSError:
                pass

    def cut_registry(self, _job):
        self.w.proxy.shut()

    def cancel(self, job):
        try:
            self.w.bus.manager("CancelJob", "tt", self.w.bus.job(job)["Id"], 0)
        except BusError:
            pass        # it is past that, or over

    def leave_alone(self, _job):
        pass

    # ---- a round

    def ask(self, name):
        """→ the job; None where it is refused."""
        verb = self.rng.choice(VERBS["rest" if self.w.bus.state(name) in REST else "running"])
        try:
            return self.w.bus.verb(verb, name), f"{verb} {name}"
        except BusError as e:
            return None, f"{verb} {name}: {e}"

    def wait_stages(self, job, n):
        """Until its stage has changed so often, or it has ended."""
        seen = []

        def moved():
            j = self.w.bus.job(job)
            if not seen or seen[-1] != j["Stage"]:
                seen.append(j["Stage"])
            return len(seen) > n or j["State"] in ENDED
        wait_for(moved, lambda: f"{job} to go on: {seen}", 60, 0)

    def recover(self):
        if not self.w.proxy.listener:
            self.w.proxy.open()
        if not self.w.daemon.running():
            self.w.daemon.start()
        crash_cases.settle(self.w, 120)

    def round(self):
        asked = [self.ask(name) for name in self.rng.sample(self.names, 2)]
        disturb, stages = self.rng.choice(self.disturbances), self.rng.randrange(STAGES)
        print(f"#   {', '.join(text for _, text in asked)}; {disturb.__name__} after {stages}", flush=True)
        jobs = [job for job, _ in asked if job]
        if jobs:
            self.wait_stages(jobs[0], stages)
            disturb(jobs[0])
        self.recover()
        for name in self.names:
            wait_for(lambda name=name: self.look(name), lambda name=name: f"{name} to run or to rest; it is {self.w.bus.session(name)}", 60)
        self.w.check()

    def saved(self, name):
        """What the generation that it rests on holds."""
        s = self.w.bus.session(name)
        row = next(g for g in stores.load(self.w.state_dir).generations(s["Id"]) if g.generation == s["Generation"])
        return [self.w.registry.read_file(*row.image.split("/", 1)[1].split("@"), path) for path in JOURNALS]

    def look(self, name):
        """→ whether it could be looked at: a main process that had its signal before the service was killed ends now."""
        before = self.last[name]
        if self.w.bus.state(name) in REST:
            self.compare(name, before, self.saved(name))
            return True
        now = self.journals(name)
        if now and now.id != before.id:
            self.compare(name, before, now.read())
            self.last[name] = now
            before.close()
        elif now:
            now.close()
        return now is not None

    def compare(self, name, before, now):
        """Nothing of it may be missing, and no line of it may be new: it had ended."""
        for path, old, new in zip(JOURNALS, before.read(), now):
            assert new is not None and new.startswith(old), f"{name}: {path} had {len(old)} bytes in {before.id[:12]}, and {len(new or b'')} are there"
            assert before.id[:12].encode() not in new[len(old):], f"{name}: {path} has more of {before.id[:12]} than that has written"


def main():
    if why_not():
        return tap.skip_all(why_not())
    a = tap.arguments(__doc__, rounds={"type": int, "default": ROUNDS, "help": "as many rounds"})
    seed = os.environ.get("SWARM_SEED", "1")
    seed = random.randrange(2**32) if seed == "random" else int(seed)
    print(f"# SWARM_SEED={seed}", flush=True)
    world = World(a.build)
    storm = Storm(world, random.Random(seed))
    run = tap.Run(a.only, explain=world.tail)
    try:
        world.daemon.start()
        storm.create()
        for i in range(a.rounds):
            if not run.case(f"round {i + 1}", storm.round):
                break
        run.case("the end of all", lambda: (world.destroy_all(), world.check()))
    finally:
        world.close(a.keep)
    return run.end()


if __name__ == "__main__":
    sys.exit(main())
