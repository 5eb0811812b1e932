#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Crash tests on the provider in memory: quick, so every operation meets every one of its points, twice in a row too, and
kills at any moment come on top. SWARM_SEED=N is other ones, SWARM_SEED=random some that say their number."""

import os
import random
import sys
import time

import crash_cases
import tap
from bus import BusError
from checker import Expect, FakeChecker, check
from daemon import FakeWorld


class World(FakeWorld):
    image = FakeWorld.IMAGE

    def __init__(self, build):
        super().__init__(build)
        self.expect = Expect()
        self.checker = FakeChecker(self.state_dir, self.fake_state, self.bus)
        self.serial = 0

    def write(self, name):
        self.serial += 1
        session = self.id_of(name)
        self.command(op="write", session=session, value=self.serial)
        self.expect.files[session] = self.serial

    def end_process(self, name):
        self.command(op="exit", session=self.id_of(name), code=3)

    def check(self, _name=None):
        check(self.checker, self.expect)


def fresh(world):
    """After a failed case the next one begins with a service that runs and nothing in it."""
    try:
        if not world.daemon.running():
            world.daemon.start()
        crash_cases.settle(world, 10)
        world.destroy_all()
        return True
    except (AssertionError, BusError, OSError):
        return False


def random_kill(world, operation, name, delay):
    """Killed after so long, wherever it is then."""
    crash_cases.prepare(world, operation, name)
    world.command(latency_usec={op: 2000 for op in (
        "resolve", "create", "run", "terminate", "capture", "thaw", "rest", "rest-update", "remove", "delete-image", "start")})
    crash_cases.begin(world, operation, name)
    time.sleep(delay)       # no proof: any moment will do
    world.daemon.kill()
    world.daemon.start()
    crash_cases.settle(world)
    crash_cases.verify(world, operation, name, "layer-started")     # that may have been the moment


def main():
    a = tap.arguments(__doc__, kills={"type": int, "default": 20})
    seed = os.environ.get("SWARM_SEED", "1")
    seed = random.randrange(2**32) if seed == "random" else int(seed)
    world = World(a.build)
    run = tap.Run(a.only, explain=lambda: world.daemon.tail(60))
    hit = set()
    try:
        world.daemon.start()
        serial = 0

        def name():
            nonlocal serial
            serial += 1
            return f"s{serial}"

        def case(title, function, *args):
            nonlocal world
            if run.case(title, function, *args):
                if run.wants(title):
                    world.destroy_all()
            elif not fresh(world):
                world.close(a.keep)
                world = World(a.build)
                world.daemon.start()

        points = {}
        for o in crash_cases.OPERATIONS.values():
            case(f"{o.name}: without a crash", lambda o=o: points.__setitem__(o.name, crash_cases.discover(world, o, name())))
        for o in crash_cases.OPERATIONS.values():
            for p in points.get(o.name, ()):
                hit.add(p)
                again = []
                case(f"{o.name}: killed at {p}", lambda o=o, p=p, a=again: a.append(crash_cases.crash(world, o, p, name())))
                if any(again):
                    case(f"{o.name}: killed at {p}, and again", lambda o=o, p=p: crash_cases.crash(world, o, p, name(), 3))

        rng = random.Random(seed)
        print(f"# SWARM_SEED={seed}", flush=True)
        for i in range(a.kills):
            o = rng.choice(list(crash_cases.OPERATIONS.values()))
            delay = rng.uniform(0, 0.08)
            case(f"{o.name}: killed at some time ({i})", lambda o=o, d=delay: random_kill(world, o, name(), d))

        def complete():
            missed = [p for p in crash_cases.table() if p not in hit and not p.startswith("layer-")]
            assert not missed, f"never passed: {', '.join(missed)}"
        run.case("every point was hit", complete)
    finally:
        world.close(a.keep)
        if a.keep:
            print(f"# kept: {world.folder}")
    return run.end()


if __name__ == "__main__":
    sys.exit(main())
