# SPDX-License-Identifier: LGPL-2.1-or-later
"""Failures of the Engine, in the middle of something."""

import os
import subprocess

import crash_cases
from bus import BusError
from waiting import wait_for


def mend_network(w):
    """A Docker that is killed while it makes or removes an overlay network leaves the VXLAN device in the host's namespace,
    and then starts no container in that network until it is gone ("error creating vxlan interface: file exists")."""
    run = ["nsenter", f"--net={w.rig.netns}", "--", "ip"]
    links = subprocess.run(run + ["-o", "link", "show", "type", "vxlan"], check=True, capture_output=True, text=True).stdout
    for line in links.splitlines():
        subprocess.run(run + ["link", "delete", line.split(":")[1].strip().split("@")[0]], check=True)


def engine_fails(w, how, verb):
    """The Engine goes in the middle of something, and comes back. Its containers end with it."""
    w.session()
    if how == "stop":
        w.snapshot_all()
        # What is uploaded then, and may be lost with its container.
        with open(w.root(w.name) + "/home/user/unsaved", "wb") as f:
            f.write(os.urandom(200_000))
    fault = None
    if verb in ("Hibernate", "Snapshot", "Stop"):
        fault, _ = w.held(verb)
    elif verb == "Restore":
        w.bus.do("Hibernate", w.name)
        w.bus.verb("Restore", w.name)
    elif verb == "Create":
        w.serial_name += 1
        w.name = f"s{w.serial_name}"
        w.bus.create(w.name, w.image)
    elif verb == "Destroy":
        w.forget_files(w.name)
        w.bus.verb("Destroy", w.name)
    w.rig.verb("engine", how)
    if fault:
        fault.release()
    mend_network(w)
    w.rig.verb("engine", "start")
    w.proxy.clear()
    crash_cases.settle(w, 120)
    w.check()
    state = w.bus.state(w.name)
    if verb == "Destroy":
        assert state is None, f"it is {state}"
        return
    wants = {"Hibernate": ("hibernated", "stopped", "running"), "Stop": ("stopped", "running")}.get(verb, ("running",))
    # A start that the Engine's end undid is told, and is there for another try.
    if verb in ("Create", "Restore"):
        wants = ("running", "failed", "hibernated", "stopped")
    assert state in wants, f"it is {w.bus.session(w.name)}"
    if state != "running":
        w.bus.do("Start", w.name)
    if verb != "Create":
        w.runs()


def runs_again(w):
    """By itself; or when it is started, where the Engine has removed its container as it stopped. 20.10 does that sometimes, newer
    ones always, and what was not saved by then is lost."""
    def is_there():
        return w.bus.state(w.name) == "running" and w.engine.container_of(w.id_of(w.name))

    wait_for(lambda: is_there() or "removed from outside" in w.bus.session(w.name)["StateDetail"], "the session to run again, or to be told as removed", 60)
    if w.bus.state(w.name) != "running":
        w.bus.do("Start", w.name)
    w.runs()


def engine_restarts_under_a_running_session(w):
    """What was running runs again, with its files."""
    w.session()
    w.snapshot_all()
    w.rig.verb("engine", "stop")
    wait_for(lambda: w.bus.manager("GetStatus")["Providers"][0]["Health"] == "unavailable", "the provider to be unavailable", 30)
    try:
        w.bus.do("Hibernate", w.name)
        raise AssertionError("a hibernation without an Engine is done")
    except (BusError, AssertionError) as e:
        assert "without an Engine" not in str(e), e
    w.rig.verb("engine", "start")
    crash_cases.settle(w, 120)
    runs_again(w)
    w.works()


def engine_stops_and_may_make_a_swarm(w):
    """While it stops, it says on the connections that are left that it is in no Swarm. Its sessions are in one all the same."""
    w.configure("[Swarm]\nInitializeSwarm=yes\n")
    w.daemon.stop()
    w.daemon.start()
    try:
        w.session()
        w.snapshot_all()
        w.rig.verb("engine", "stop")
        wait_for(lambda: w.bus.manager("GetStatus")["Providers"][0]["Health"] == "unavailable", "the provider to be unavailable", 30)
        assert w.bus.state(w.name) == "running", f"it is {w.bus.session(w.name)}"
        mend_network(w)
        w.rig.verb("engine", "start")
        crash_cases.settle(w, 120)
        runs_again(w)
        w.works()
    finally:
        w.configure()
        w.daemon.stop()
        w.daemon.start()


def engine_stops_without_the_service(w):
    """Swarm removes the containers of the node then, and its tasks say only later that they have ended. What is lost is told."""
    w.session()
    w.bus.do("Snapshot", w.name)
    w.bus.create_running("deaf", w.image, command=("as", ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]))
    w.daemon.stop()
    w.rig.verb("engine", "stop")
    mend_network(w)
    w.rig.verb("engine", "start")
    w.daemon.start()
    crash_cases.settle(w, 60)
    w.check()
    for name in (w.name, "deaf"):
        s = w.bus.session(name)
        assert s["State"] == "running" or s["StateDetail"], s
    w.bus.do("Destroy", "deaf")
    if w.bus.state(w.name) != "running":
        w.bus.do("Start", w.name)
    w.runs()
    w.works()


CASES = (
    ("engine: restarts under a running session", engine_restarts_under_a_running_session),
    ("engine: stops, and a Swarm may be made", engine_stops_and_may_make_a_swarm),
    ("engine: stops while the service is away", engine_stops_without_the_service),
    ("engine: stopped during a hibernation", lambda w: engine_fails(w, "stop", "Hibernate")),
    ("engine: crashes during a hibernation", lambda w: engine_fails(w, "crash", "Hibernate")),
    ("engine: crashes during a snapshot", lambda w: engine_fails(w, "crash", "Snapshot")),
    ("engine: crashes during a stop", lambda w: engine_fails(w, "crash", "Stop")),
    ("engine: stopped during a restore", lambda w: engine_fails(w, "stop", "Restore")),
    ("engine: crashes during a creation", lambda w: engine_fails(w, "crash", "Create")),
    ("engine: crashes during a destruction", lambda w: engine_fails(w, "crash", "Destroy")),
)
