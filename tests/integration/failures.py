#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What fails around the service, on a rig: the registry in every way, the disks, the Engine in the middle of things, people
who lay hands on containers. Whatever it is, the session keeps its files, nobody stays frozen, and the job says why."""

import sys

import crash_cases
import failure_engine
import failure_machine
import failure_people
import failure_registry
import failure_streams
import tap
from bus import BusError
from engine import EngineError
from failure_world import World
from rig import why_not

# In this order: what ends soon after its Engine came back is started again, but not what the kernel has killed for its memory.
CASES = failure_registry.CASES + failure_machine.CASES + failure_engine.CASES + failure_people.CASES + failure_streams.CASES


def fresh(world):
    """After a failure: everything as it should be, nothing of the session."""
    world.proxy.clear()
    world.disk.empty()
    if not world.proxy.listener:
        world.proxy.open()
    try:
        if not world.engine.answers():
            world.rig.verb("engine", "start")
        if not world.daemon.running():
            world.daemon.start()
        for c in world.engine.containers():
            if c["State"]["Paused"]:
                world.engine.request("POST", f"/containers/{c['Id']}/unpause")
        crash_cases.settle(world, 60)
        world.destroy_all()
        world.expect.files.clear()
        world.expect.frozen.clear()
    except (AssertionError, BusError, EngineError, OSError) as e:
        print(f"# the end of that: {e}")


def main():
    if why_not():
        return tap.skip_all(why_not())
    a = tap.arguments(__doc__)
    world = World(a.build)
    run = tap.Run(a.only, after=world.check, explain=world.tail)
    try:
        world.daemon.start()
        for title, function in CASES:
            if not run.case(title, function, world):
                fresh(world)
    finally:
        world.close(a.keep)
    return run.end()


if __name__ == "__main__":
    sys.exit(main())
