# SPDX-License-Identifier: LGPL-2.1-or-later
"""SIGKILL at each crash point of each operation, a restart, and a look at everything. Common to the provider in memory
and to a rig.

Which points an operation passes is not written here: each operation is done once without a crash, and the points
that it passed are those at which it is then killed. That every point of the table in src/basic/crash-points.h is among them
is checked at the end."""

import os
import re

from bus import BusError
from checker import LASTING, REST
from waiting import wait_for

# From the record on, what was saved is proven, and nothing runs that could change it.
RECORDED = ("capture-record-saved", "capture-killed", "capture-rested", "capture-done")

HEADER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "basic", "crash-points.h")


def table():
    with open(HEADER, encoding="utf-8") as f:
        return re.findall(r'\bX\(\w+, "([-a-z]+)"\)', f.read())


def passed(world):
    """Points passed since forget()."""
    if not os.path.exists(world.crash_log):
        return []
    with open(world.crash_log, encoding="utf-8") as f:
        return list(dict.fromkeys(f.read().split()))


def forget(world):
    if os.path.exists(world.crash_log):
        os.unlink(world.crash_log)


class Operation:
    """`needs`: the state that the session is brought to first; `result`: the one that it has afterwards, None for gone;
    `ends`: where it may be instead when a crash and a restart are over."""

    def __init__(self, name, needs, result, ends, begin, snapshots=0):
        self.name, self.needs, self.result, self.begin, self.snapshots = name, needs, result, begin, snapshots
        self.ends = (result,) + ends


def _verb(verb, **options):
    return lambda world, name: world.bus.verb(verb, name, **options)


OPERATIONS = {o.name: o for o in (
    Operation("create", None, "running", (), lambda world, name: world.bus.create(name, world.image)),
    Operation("hibernate", "running", "hibernated", ("running",), _verb("Hibernate")),
    Operation("stop", "running", "stopped", ("running",), _verb("Stop")),
    Operation("restart", "running", "running", ("stopped",), _verb("Restart")),
    Operation("snapshot", "running", "running", (), _verb("Snapshot")),
    Operation("save-exited", "running", "stopped", ("running",), lambda world, name: world.end_process(name)),
    Operation("start", "stopped", "running", ("stopped",), _verb("Start")),
    Operation("restore", "hibernated", "running", ("hibernated",), _verb("Restore")),
    Operation("destroy", "running", None, (), _verb("Destroy"), snapshots=1),
    Operation("destroy-at-rest", "hibernated", None, (), _verb("Destroy")),
    Operation("delete-snapshot", "running", "running", (),
              lambda world, name: world.bus.manager("DeleteSnapshot", "sta{sv}t", name, 1, {}, 0), snapshots=2),
)}


def prepare(world, operation, name):
    """Brings a session where the operation begins, with files of its own."""
    if operation.needs is None:
        return
    state = world.bus.state(name)
    if state is None:
        world.bus.create_running(name, world.image)
    elif state in REST:
        world.bus.do("Start", name)
    for _ in range(operation.snapshots):
        world.write(name)
        world.bus.do("Snapshot", name)
    world.write(name)
    if operation.needs in REST:
        world.bus.do({"stopped": "Stop", "hibernated": "Hibernate"}[operation.needs], name)
    settle(world)
    state = world.bus.state(name)
    assert state == operation.needs, f"{name} is {state}, not {operation.needs}"


def settle(world, seconds=60):
    """Until nothing is at work and every session is in a state that lasts."""
    seen = {}

    def quiet():
        seen["providers"] = [p["Health"] for p in world.bus.manager("GetStatus")["Providers"]]
        seen["jobs"] = [(j["Type"], j["Stage"]) for j in world.bus.jobs(ended=False)]
        seen["states"] = [s["State"] for s in world.bus.sessions("State")]
        return all(h == "healthy" for h in seen["providers"]) and not seen["jobs"] and all(s in LASTING for s in seen["states"])
    wait_for(quiet, lambda: f"everything to settle: {seen}", seconds)


def begin(world, operation, name):
    """Begins the operation; the service may die before it answers. An end of a session is no answer either."""
    if operation.result is None:
        world.forget_files(name)
    try:
        operation.begin(world, name)
    except BusError:
        wait_for(lambda: not world.daemon.running(), f"{operation.name} was refused, or the service died of it", 10)


def discover(world, operation, name):
    """Does it once, without a crash → the points that it passed."""
    prepare(world, operation, name)
    forget(world)
    begin(world, operation, name)
    wait_end(world, operation, name)
    return passed(world)


def wait_end(world, operation, name):
    if operation.name == "save-exited":
        wait_for(lambda: world.bus.state(name) != "running", f"{name} to be seen as exited")
    settle(world)
    world.check()
    state = world.bus.state(name)
    assert state == operation.result, f"{name} is {state}, not {operation.result}"


def verify(world, operation, name, point=""):
    """What became of the session: a state that the operation allows, and its files, after a start where it rests."""
    world.check()
    state = world.bus.state(name)
    ends = operation.ends
    if point in RECORDED and operation.result in REST:
        ends = (operation.result,)
    # The base image is looked up before there is anything to go on with.
    ends += (("failed",) if operation.name == "create" and point == "layer-started" else ())
    assert state in ends, f"{name} is {state} after all, instead of one of {ends}"
    if operation.needs and state == "running":
        assert name in world.names_of_files(), f"nobody knows the files of {name}"
    if state in REST + ("failed",):
        world.bus.do("Start", name)
        settle(world)
        world.check()
    if state is not None:
        assert world.bus.state(name) == "running"


def crash(world, operation, point, name, times=1):
    """→ whether what resolves the rest passed the point again, so that a second crash there is worth a try."""
    prepare(world, operation, name)
    world.daemon.stop()
    for i in range(times):
        forget(world)
        world.daemon.start(SWARM_CRASH_POINT=point, wait=i == 0)
        if i == 0:
            begin(world, operation, name)
            if point.startswith("layer-"):
                # The child dies; the service sees it and undoes, or tries again and again.
                wait_for(lambda: point in passed(world), f"{point} to be passed")
                if operation.result is not None:
                    wait_for(lambda: not world.bus.jobs(ended=False), "the job to end", 60)
                break
            world.daemon.wait_killed()
        elif not died_again(world):
            world.daemon.stop()
            break
        assert point in passed(world)
    world.daemon.kill()
    forget(world)
    world.daemon.start()
    settle(world)
    again = point in passed(world)
    verify(world, operation, name, point)
    return again


def died_again(world):
    """A restart that may meet the same point while it resolves what was left."""
    def over():
        if not world.daemon.running():
            return "died"
        try:
            settle(world, 0)
        except (AssertionError, BusError):
            return None
        return "settled"
    return wait_for(over, "a restart to settle or to die", 60) == "died"
