# SPDX-License-Identifier: LGPL-2.1-or-later
"""Failures of the service's own machine: its disk, its child, the service itself, and the process of a session."""

import glob
import os
import shutil
import signal
import subprocess
import tempfile

import crash_cases
from bus import JOB, BusError
from waiting import wait_for


def state_disk_full(w):
    w.session()
    w.disk.fill()
    try:
        try:
            job = w.bus.wait_job(w.bus.verb("Hibernate", w.name))
            raise AssertionError(f"a hibernation began on a full disk and is {job['State']}")
        except BusError as e:
            assert "room" in str(e) or "space" in str(e), f"the refusal is {e}"
        w.runs()
        assert not w.bus.manager("GetStatus")["StoreHealthy"]
    finally:
        w.disk.empty()
    wait_for(lambda: w.bus.manager("GetStatus")["StoreHealthy"], "the store to be well again", 30)
    w.works()


def state_disk_full_at_a_destruction(w):
    """What was refused is not done later."""
    w.session()
    w.bus.do("Hibernate", w.name)
    session = w.id_of(w.name)
    w.disk.fill()
    try:
        w.bus.verb("Destroy", w.name)
        raise AssertionError("a destruction was accepted on a full disk")
    except BusError as e:
        assert "nothing was done" in str(e), f"the refusal is {e}"
    finally:
        w.disk.empty()
    wait_for(lambda: w.bus.manager("GetStatus")["StoreHealthy"], "the store to be well again", 30)
    crash_cases.settle(w)
    assert w.id_of(w.name) == session
    w.bus.do("Restore", w.name)
    w.runs()
    w.works()


def state_disk_full_in_the_middle(w):
    w.session()
    fault, job = w.held()
    w.disk.fill()
    try:
        fault.release()
        # It may be well again at once, if what was full is the disk for the session's index, which goes then.
        wait_for(lambda: not w.bus.manager("GetStatus")["StoreHealthy"] or w.bus.job(job)["State"] == "failed", "the store to fail", 30)
        wait_for(lambda: not w.paused(w.name), "the session to be thawed", 30)
    finally:
        w.disk.empty()
    w.bus.wait_job(job)
    crash_cases.settle(w)
    w.runs()
    w.works()


def state_from_a_backup(w, verb):
    """Made while something was saved, and put back after it was: what was said to be safe is."""
    # A new one: of an older one a generation beyond GenerationsMax= goes meanwhile, which the backup lists.
    if w.bus.state(w.name):
        w.expect.files.pop(w.id_of(w.name), None)
        w.bus.do("Destroy", w.name)
    w.session()
    written = dict(w.expect.files[w.id_of(w.name)])
    fault, job = w.held(verb)
    store = os.path.join(w.state_dir, "orchestrator.sqlite*")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as backup:
        for f in glob.glob(store):
            shutil.copy2(f, backup)
        fault.release()
        assert w.bus.wait_job(job)["State"] == "done"
        state, newest = w.bus.state(w.name), w.bus.session(w.name)["Generation"]
        w.daemon.stop()
        for f in glob.glob(store):
            os.unlink(f)
        for f in os.listdir(backup):
            shutil.copy2(os.path.join(backup, f), w.state_dir)
    w.daemon.start()
    crash_cases.settle(w)
    w.check()
    assert w.bus.state(w.name) == state, f"{w.name} was {state} and is {w.bus.session(w.name)}"
    if state == "running":
        w.write(w.name)
        w.bus.do("Hibernate", w.name)
    w.bus.do("Restore", w.name, generation=newest)
    w.expect.files[w.id_of(w.name)] = written
    w.runs()
    w.works()


def layer_killed(w):
    w.session()
    fault, job = w.held()
    child = child_of(w.daemon.process.pid, "swarm-layer")
    os.kill(child, signal.SIGKILL)
    end = w.bus.wait_job(job)
    fault.release()
    assert end["State"] == "failed" and end["ErrorMessage"], end
    w.runs()
    w.works()


def child_of(parent, name):
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{p}/stat", encoding="utf-8", errors="replace") as f:
                comm, rest = f.read().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        if comm == name and int(rest.split()[1]) == parent:
            return int(p)
    raise AssertionError(f"{parent} has no child {name}")


def canceled(w):
    w.session()
    fault, job = w.held()
    assert w.paused(w.name)
    w.bus.call(job, JOB, "Cancel", "t", 0)
    end = w.bus.wait_job(job)
    fault.release()
    assert end["State"] == "canceled", end
    w.runs()
    w.works()


def terminated(w):
    """SIGTERM with a hibernation in flight: thawed before the service is gone."""
    w.session()
    fault, job = w.held()
    assert w.paused(w.name)
    container = w.container(w.name)["Id"]
    w.daemon.stop()
    assert not w.engine.get(f"/containers/{container}/json")["State"]["Paused"], "it is still frozen"
    fault.release()
    w.daemon.start()
    assert w.bus.wait_job(job)["State"] == "interrupted"
    crash_cases.settle(w)
    w.runs()
    w.works()


def killed_and_thawed(w):
    """What the unit's ExecStopPost= does after a crash."""
    w.session()
    fault, _ = w.held()
    container = w.container(w.name)["Id"]
    w.daemon.kill()
    assert w.engine.get(f"/containers/{container}/json")["State"]["Paused"]
    p = subprocess.run(w.daemon.prefix + [w.daemon.program, "--thaw"], env={"PATH": os.environ["PATH"], **w.daemon.environment}, timeout=30,
                       capture_output=True, text=True, check=False)
    assert p.returncode == 0, p.stderr
    assert not w.engine.get(f"/containers/{container}/json")["State"]["Paused"], "it is still frozen"
    fault.release()
    w.daemon.start()
    crash_cases.settle(w)
    w.runs()
    w.works()


def process_ends(w):
    w.session()
    w.end_process(w.name)
    wait_for(lambda: w.bus.state(w.name) == "stopped", lambda: f"the session to be stopped; it is {w.bus.state(w.name)}", 60)
    s = w.bus.session(w.name)
    assert s["StopReason"] == "exited", s
    w.check()
    w.bus.do("Start", w.name)
    w.runs()


CASES = (
    ("state directory: full", state_disk_full),
    ("state directory: full at a destruction", state_disk_full_at_a_destruction),
    ("state directory: full in the middle of a hibernation", state_disk_full_in_the_middle),
    ("state directory: from a backup made during a hibernation", lambda w: state_from_a_backup(w, "Hibernate")),
    ("state directory: from a backup made during a snapshot", lambda w: state_from_a_backup(w, "Snapshot")),
    ("swarm-layer: killed", layer_killed),
    ("a hibernation is canceled", canceled),
    ("service: SIGTERM during a hibernation", terminated),
    ("service: SIGKILL during a hibernation, and the thaw after it", killed_and_thawed),
    ("session: its main process ends", process_ends),
)
