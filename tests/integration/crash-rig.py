#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Crash tests on a rig: a real Engine, a real registry, real containers. The service, or the child that saves files, is
killed at every point that an operation passes."""

import sys

import crash_cases
import tap
from bus import BusError
from rig import RigWorld, why_not

# What one operation shows of a point another shows as well: the provider in memory tries them all. Every point of the table
# must be left, and every operation.
SKIP = {
    "destroy-at-rest", "delete-snapshot", "start", "restart",
    "snapshot/layer-started", "snapshot/layer-blob-half", "snapshot/layer-blob-pushed",
    "save-exited/layer-started", "save-exited/layer-blob-half", "save-exited/layer-blob-pushed", "save-exited/layer-manifest-pushed",
    "stop/layer-blob-half", "stop/layer-blob-pushed", "stop/layer-proven",
    "save-exited/capture-rested", "save-exited/capture-done", "stop/capture-rested", "stop/capture-done",
}


def fresh(world):
    try:
        if not world.daemon.running():
            world.daemon.start()
        crash_cases.settle(world, 30)
        world.destroy_all()
        return True
    except (AssertionError, BusError, OSError):
        return False


def main():
    if why_not():
        return tap.skip_all(why_not())
    a = tap.arguments(__doc__)
    world = RigWorld(a.build)
    run = tap.Run(a.only, explain=world.tail)
    hit = set()
    serial = 0
    try:
        world.daemon.start()
        name = "s0"

        def case(title, function, *args):
            """One session serves many cases: what it goes through adds up. A failure ends it."""
            nonlocal name, serial
            ok = run.case(title, function, *args)
            if not ok:
                assert fresh(world), "nothing can be tried any more"
            if not ok or (run.wants(title) and world.bus.state(name) is None):
                serial += 1
                name = f"s{serial}"
            return ok

        def remove():
            if world.bus.state(name) is not None:
                world.forget_files(name)
                world.bus.do("Destroy", name)

        points = {}
        for o in crash_cases.OPERATIONS.values():
            if o.needs is None:
                remove()
            case(f"{o.name}: without a crash", lambda o=o: points.__setitem__(o.name, crash_cases.discover(world, o, name)))
        for o in crash_cases.OPERATIONS.values():
            for p in points.get(o.name, ()):
                if o.name in SKIP or f"{o.name}/{p}" in SKIP:
                    continue
                hit.add(p)
                if o.needs is None:
                    remove()
                case(f"{o.name}: killed at {p}", lambda o=o, p=p: crash_cases.crash(world, o, p, name))

        def complete():
            missed = [p for p in crash_cases.table() if p not in hit]
            assert not missed, f"never passed: {', '.join(missed)}"
        run.case("every point was hit", complete)
    finally:
        world.close(a.keep)
    return run.end()


if __name__ == "__main__":
    sys.exit(main())
