#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What fails around the service, on a rig: the registry in every way, the disks, the Engine in the middle of things, people
who lay hands on containers. Whatever it is, the session keeps its files, nobody stays frozen, and the job says why."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile

import crash_cases
import tap
from bus import JOB, BusError
from checker import SESSION_LABEL
from engine import EngineError
from fault_proxy import FaultProxy
from registry import Registry
from rig import RigWorld, SmallDisk, why_not
from waiting import wait_for

PASSWORD = "correct-horse-battery"
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

    def docker(self, *words):
        return subprocess.run(["docker", "-H", f"unix://{self.rig.folder}/docker.sock", *words], check=True,
                              capture_output=True, text=True, timeout=60).stdout.strip()

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


# ---- the registry


def registry_down(w):
    w.session()
    w.proxy.shut()
    try:
        w.fails("Hibernate", "registry", w.rig.registry_address)
        w.fails("Snapshot", "registry")
    finally:
        w.proxy.open()
    w.works()


def registry_fault(w, *words, **fault):
    w.session()
    f = w.proxy.fault(fault.pop("action"), **fault)
    w.fails("Hibernate", "registry", *words)
    assert f.hits, "the fault was never met"
    w.proxy.clear()
    w.works()


def registry_passing(w, **fault):
    """One failure that passes is not worth a word."""
    w.session()
    f = w.proxy.fault(fault.pop("action"), times=1, **fault)
    w.bus.do("Hibernate", w.name)
    assert f.hits == 1
    w.proxy.clear()
    w.check()
    w.bus.do("Restore", w.name)
    w.runs()


def registry_loses_blob(w):
    """Acknowledged, and not there: only a proof that reads shows it. The same files can be saved when it is mended."""
    w.session()
    f = w.proxy.fault("lose", r"^PUT .*/blobs/uploads/", times=1)
    job = w.bus.wait_job(w.bus.verb("Hibernate", w.name), 120)
    assert f.hits == 1
    w.proxy.clear()
    if job["State"] == "failed":        # it may also have sent it again, and be right
        w.runs()
        w.works()
    else:
        assert job["State"] == "done"
        w.check()
        w.bus.do("Restore", w.name)
        w.runs()


def registry_restarts(w):
    w.session()
    fault, job = w.held("Snapshot")
    w.proxy.stop_registry()
    w.proxy.start_registry()
    fault.release()
    end = w.bus.wait_job(job, 120)
    assert end["State"] in ("done", "failed")
    w.proxy.clear()
    w.runs()
    w.works()


def registry_full(w):
    """Its disk, not ours."""
    disk = SmallDisk("40m")
    w.proxy.stop_registry()
    was = os.path.realpath(os.path.join(w.rig.folder, "registry"))
    config = os.path.join(w.rig.folder, "registry.yml")
    with open(config, encoding="utf-8") as f:
        text = f.read()
    try:
        shutil.copytree(was, os.path.join(disk.folder, "registry"))
        with open(config, "w", encoding="utf-8") as f:
            f.write(text.replace(was, os.path.join(disk.folder, "registry")))
        w.registry.folder = w.proxy.folder = os.path.join(disk.folder, "registry")
        w.proxy.start_registry()
        w.session(2_000_000)
        disk.fill()
        w.fails("Hibernate", "registry")
        disk.empty()
        w.works()
        w.check()
    finally:
        w.proxy.stop_registry()
        shutil.rmtree(was)
        shutil.copytree(os.path.join(disk.folder, "registry"), was)
        disk.close()
        with open(config, "w", encoding="utf-8") as f:
            f.write(text)
        w.registry.folder = w.proxy.folder = os.path.join(w.rig.folder, "registry")
        w.proxy.start_registry()


def credentials(w):
    """Right ones work, wrong ones are told; neither is told to anybody."""
    folder = w.rig.folder
    config = os.path.join(folder, "registry.yml")
    with open(config, encoding="utf-8") as f:
        text = f.read()
    crypted = subprocess.run(["perl", "-e", 'print crypt($ARGV[0], q($2y$05$abcdefghijklmnopqrstuu))', PASSWORD], check=True,
                             capture_output=True, text=True).stdout
    with open(os.path.join(folder, "htpasswd"), "w", encoding="utf-8") as f:
        f.write(f"pusher:{crypted}\n")
    creds = os.path.join(folder, "credentials")
    os.makedirs(creds, 0o700, exist_ok=True)

    def start(password):
        for name in ("swarm-registry-push", "swarm-registry-pull"):
            with open(os.path.join(creds, name), "w", encoding="utf-8") as f:
                f.write(f"pusher:{password}\n")
            os.chmod(os.path.join(creds, name), 0o600)
        w.daemon.stop()
        w.daemon.start(CREDENTIALS_DIRECTORY=creds)
    w.session()
    w.proxy.stop_registry()
    try:
        with open(config, "a", encoding="utf-8") as f:
            f.write(f"auth:\n  htpasswd:\n    realm: test\n    path: {folder}/htpasswd\n")
        w.proxy.start_registry()
        anonymous, w.checker.registry = w.checker.registry, Registry(w.rig.registry_address, w.rig.netns, "pusher", PASSWORD, w.registry.folder)
        w.fails("Hibernate", "credential")
        start("wrong-" + PASSWORD)
        w.fails("Hibernate", "credential")
        start(PASSWORD)
        fault, job = w.held("Snapshot")
        leaks = [p for p in os.listdir("/proc") if p.isdigit() for kind in ("cmdline", "environ") if _contains(f"/proc/{p}/{kind}", PASSWORD)]
        fault.release()
        assert not leaks, f"processes {leaks} show the password"
        w.bus.wait_job(job)
        w.works()
        w.check()
        w.checker.registry = anonymous
    finally:
        w.proxy.clear()
        w.proxy.stop_registry()
        with open(config, "w", encoding="utf-8") as f:
            f.write(text)
        w.proxy.start_registry()
        w.daemon.stop()
        w.daemon.start()
    with open(w.daemon.log, encoding="utf-8", errors="replace") as f:
        assert PASSWORD not in f.read(), "the log has the password"


def _contains(path, text):
    try:
        with open(path, "rb") as f:
            return text.encode() in f.read()
    except OSError:
        return False


# ---- this machine


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
        wait_for(lambda: not w.bus.manager("GetStatus")["StoreHealthy"], "the store to fail", 30)
        wait_for(lambda: not w.paused(w.name), "the session to be thawed", 30)
    finally:
        w.disk.empty()
    w.bus.wait_job(job)
    crash_cases.settle(w)
    w.runs()
    w.works()


def layer_killed(w):
    w.session()
    fault, job = w.held()
    child = _child_of(w.daemon.process.pid, "swarm-layer")
    os.kill(child, signal.SIGKILL)
    end = w.bus.wait_job(job)
    fault.release()
    assert end["State"] == "failed" and end["ErrorMessage"], end
    w.runs()
    w.works()


def _child_of(parent, name):
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


# ---- the Engine


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


def engine_restarts_under_a_running_session(w):
    """What was running runs again, with its files."""
    w.session()
    w.rig.verb("engine", "stop")
    wait_for(lambda: w.bus.manager("GetStatus")["Providers"][0]["Health"] == "unavailable", "the provider to be unavailable", 30)
    try:
        w.bus.do("Hibernate", w.name)
        raise AssertionError("a hibernation without an Engine is done")
    except (BusError, AssertionError) as e:
        assert "without an Engine" not in str(e), e
    w.rig.verb("engine", "start")
    crash_cases.settle(w, 120)
    wait_for(lambda: w.bus.state(w.name) == "running" and w.engine.container_of(w.id_of(w.name)), "the session to run again", 60)
    w.runs()
    w.works()


def engine_stops_and_may_make_a_swarm(w):
    """While it stops, it says on the connections that are left that it is in no Swarm. Its sessions are in one all the same."""
    w.configure("[Swarm]\nInitializeSwarm=yes\n")
    w.daemon.stop()
    w.daemon.start()
    try:
        w.session()
        w.rig.verb("engine", "stop")
        wait_for(lambda: w.bus.manager("GetStatus")["Providers"][0]["Health"] == "unavailable", "the provider to be unavailable", 30)
        assert w.bus.state(w.name) == "running", f"it is {w.bus.session(w.name)}"
        mend_network(w)
        w.rig.verb("engine", "start")
        crash_cases.settle(w, 120)
        wait_for(lambda: w.bus.state(w.name) == "running" and w.engine.container_of(w.id_of(w.name)), "the session to run again", 60)
        w.runs()
        w.works()
    finally:
        w.configure()
        w.daemon.stop()
        w.daemon.start()


# ---- other people


def process_ends(w):
    w.session()
    w.end_process(w.name)
    wait_for(lambda: w.bus.state(w.name) == "stopped", lambda: f"the session to be stopped; it is {w.bus.state(w.name)}", 60)
    s = w.bus.session(w.name)
    assert s["StopReason"] == "exited", s
    w.check()
    w.bus.do("Start", w.name)
    w.runs()


def killed_for_its_memory(w):
    """The one case of an exit whose reason the Engine alone knows."""
    eat = "until [ -e /eat ]; do sleep 0.1; done; x=x; while :; do x=$x$x; done"
    w.bus.create_running("greedy", w.image, memory_bytes=("t", 64 << 20), command=("as", ["/bin/sh", "-c", eat]))
    w.write("greedy")
    w.write("greedy", "/eat", b"")
    wait_for(lambda: w.bus.state("greedy") == "stopped", lambda: f"it to be stopped; it is {w.bus.session('greedy')}", 60)
    s = w.bus.session("greedy")
    assert s["StopReason"] == "resource-limit" and "memory" in s["StateDetail"], s
    w.check()
    w.forget_files("greedy")
    w.bus.do("Destroy", "greedy")


def restarted_by_somebody_else(w):
    """Its task has ended with the first run of it; what the second one writes is saved as well."""
    w.session()
    container = w.container(w.name)["Id"]
    w.docker("restart", "-t", "0", container)
    wait_for(lambda: w.bus.state(w.name) == "exited" and not w.bus.jobs(ended=False), lambda: f"it to be noticed; the session is {w.bus.state(w.name)}", 60)
    w.write(w.name)
    w.bus.do("Stop", w.name)
    w.check()
    w.bus.do("Start", w.name)
    w.runs()
    w.works()


def container_removed(w):
    """The files since the last generation are gone, and that is said."""
    w.session()
    w.bus.do("Snapshot", w.name)
    session = w.id_of(w.name)
    saved = dict(w.expect.files[session])
    w.write(w.name)
    w.expect.files[session] = saved
    w.docker("rm", "-f", w.container(w.name)["Id"])
    wait_for(lambda: w.bus.state(w.name) in ("stopped", "failed"), lambda: f"it to be noticed; the session is {w.bus.state(w.name)}", 60)
    s = w.bus.session(w.name)
    assert s["StopReason"] == "error" and s["StateDetail"], s
    w.check()
    w.bus.do("Start", w.name)
    w.runs()
    w.works()


def clone_outlives_its_source(w):
    """What it was made from stays with it, and goes with it."""
    source = w.session()
    w.bus.do("Snapshot", source)
    job = w.bus.wait_job(w.bus.manager("CreateSession", "sa{sv}t", "clone", {"from": source}, 0)[1])
    assert job["State"] == "done", job["ErrorMessage"]
    w.expect.files[w.id_of("clone")] = dict(w.expect.files[w.id_of(source)])
    w.forget_files(source)
    w.bus.do("Destroy", source)
    w.check()
    w.name = "clone"
    w.works()
    w.forget_files("clone")
    w.bus.do("Destroy", "clone")
    w.check()
    w.session()


def service_removed(w):
    w.session()
    w.bus.do("Snapshot", w.name)
    session = w.id_of(w.name)
    services = [s["ID"] for s in w.engine.services() if s["Spec"]["Labels"]["swarm.session"] == session]
    w.docker("service", "rm", *services)
    wait_for(lambda: w.bus.state(w.name) in ("stopped", "failed"), lambda: f"it to be noticed; the session is {w.bus.state(w.name)}", 60)
    assert w.bus.session(w.name)["StateDetail"]
    w.bus.do("Start", w.name)
    w.runs()
    w.works()


def service_removed_while_starting(w):
    """The job does not wait for what will never come."""
    w.serial_name += 1
    w.name = f"s{w.serial_name}"
    w.bus.create(w.name, w.image)
    services = wait_for(lambda: [s["ID"] for s in w.engine.services() if s["Spec"]["Name"] == w.name], "its service", 30)
    w.docker("service", "rm", *services)
    crash_cases.settle(w, 45)
    s = w.bus.session(w.name)
    assert s["State"] == "failed" and "removed from outside" in s["StateDetail"], s
    w.check()
    w.bus.do("Start", w.name)
    w.write(w.name)
    w.works()


def service_removed_at_rest(w):
    w.session()
    w.bus.do("Hibernate", w.name)
    session = w.id_of(w.name)
    w.docker("service", "rm", *[s["ID"] for s in w.engine.services() if s["Spec"]["Labels"]["swarm.session"] == session])
    w.bus.do("Restore", w.name)
    w.runs()


def log_of(w):
    with open(w.daemon.log, encoding="utf-8", errors="replace") as f:
        return f.read()


def service_updated_by_somebody_else(w):
    """Two tasks, then another container: it is said what that does to the files."""
    w.session()
    w.docker("service", "scale", "-d", f"{w.name}=2")
    wait_for(lambda: f"Service {w.name} was scaled to 2 tasks from outside" in log_of(w), "the scaling to be noticed", 30)
    w.docker("service", "scale", "-d", f"{w.name}=1")
    session = w.id_of(w.name)
    wait_for(lambda: len([c for c in w.engine.containers() if c["State"]["Running"] and c["Config"]["Labels"][SESSION_LABEL] == session]) == 1,
             "one container", 60)
    before = w.container(w.name)["Id"]
    w.expect.updated.add(session)
    w.docker("service", "update", "-d", "--force", w.name)
    wait_for(lambda: f"its container {before[:12]} was replaced from outside" in log_of(w), "the replacement to be noticed", 60)
    crash_cases.settle(w, 60)
    wait_for(lambda: w.container(w.name)["Id"] != before, "the other container to run", 60)
    w.docker("rm", before)      # Swarm keeps it as the history of its task
    w.expect.files[session] = {}
    w.write(w.name)
    w.runs()
    w.works()


def service_rolled_back_at_rest(w):
    """Swarm runs it from the generation before: that is said, and the newest is there to go on from."""
    w.session()
    w.works()
    session = w.id_of(w.name)
    before = {path: w.read(w.name, path) for path in w.expect.files[session]}
    w.write(w.name)
    w.bus.do("Hibernate", w.name)
    newest, files = w.bus.session(w.name)["Generation"], dict(w.expect.files[session])
    w.expect.updated.add(session)
    w.docker("service", "rollback", "-d", w.name)
    wait_for(lambda: w.bus.state(w.name) == "running", "it to run", 60)
    s = w.bus.session(w.name)
    assert s["Generation"] < newest and f"--generation={newest}" in s["StateDetail"], s
    w.expect.files[session] = before
    w.runs()
    w.bus.do("Stop", w.name, discard=True)
    w.bus.do("Restore", w.name, generation=newest)
    w.expect.files[session] = files
    w.runs()
    w.works()


def copy_of_somebody_else(w):
    """A container of an image that was committed from the session has its labels, and outlives it."""
    w.session()
    w.docker("commit", w.container(w.name)["Id"], "copy")
    copy = w.docker("run", "-d", "--entrypoint", "/bin/sleep", "copy", "1000")
    try:
        w.forget_files(w.name)
        w.bus.do("Destroy", w.name)
        assert w.engine.get(f"/containers/{copy}/json")["State"]["Running"], "the copy does not run any more"
    finally:
        w.docker("rm", "-f", copy)
        w.docker("rmi", "copy")


def paused_by_somebody_else(w):
    """Left alone: by a hibernation, by a restart of the service, by its thaw."""
    w.session()
    session, container = w.id_of(w.name), w.container(w.name)["Id"]
    w.docker("pause", container)
    w.expect.frozen.add(session)
    try:
        job = w.bus.wait_job(w.bus.verb("Hibernate", w.name))
        assert job["State"] == "failed" and "paused" in job["ErrorMessage"].lower(), job["ErrorMessage"]
        assert w.paused(w.name)
        w.daemon.kill()
        subprocess.run(w.daemon.prefix + [w.daemon.program, "--thaw"], env={"PATH": os.environ["PATH"], **w.daemon.environment}, timeout=30,
                       check=True, capture_output=True)
        w.daemon.start()
        crash_cases.settle(w)
        w.check()
        assert w.paused(w.name)
    finally:
        w.expect.frozen.discard(session)
        w.docker("unpause", container)
    w.runs()
    w.works()


def thawed_by_somebody_else(w):
    """It ran while its files were copied: what was copied is thrown away."""
    w.session()
    fault, job = w.held()
    w.docker("unpause", w.container(w.name)["Id"])
    w.write(w.name)
    fault.release()
    end = w.bus.wait_job(job)
    assert end["State"] == "failed", end
    w.proxy.clear()
    w.runs()
    w.works()


def copied_into_by_somebody_else(w, verb):
    """docker cp writes into a frozen container, and into an ended one: what it wrote is in the next generation."""
    w.session()
    container = w.container(w.name)["Id"]
    fault, job = w.held(verb)
    with tempfile.NamedTemporaryFile() as f:
        f.write(b"copied")
        f.flush()
        w.docker("cp", f.name, f"{container}:/home/user/copied")
    fault.release()
    end = w.bus.wait_job(job)
    assert end["State"] == "failed", end
    w.proxy.clear()
    crash_cases.settle(w)
    w.expect.files[w.id_of(w.name)]["/home/user/copied"] = b"copied"
    w.bus.do("Start", w.name)
    w.runs()
    w.works()


CASES = (
    ("registry: nobody answers", registry_down),
    ("registry: 500 to everything", lambda w: registry_fault(w, "500", action="status 500")),
    ("registry: 503 to the manifest", lambda w: registry_fault(w, "503", action="status 503", pattern=r"^PUT .*/manifests/")),
    ("registry: cuts every upload", lambda w: registry_fault(w, action="cut", pattern=UPLOAD, after=50_000)),
    ("registry: cuts one upload", lambda w: registry_passing(w, action="cut", pattern=UPLOAD, after=50_000)),
    ("registry: one 503", lambda w: registry_passing(w, action="status 503", pattern=r"^POST .*/uploads/")),
    ("registry: reads back something else", lambda w: registry_fault(w, action="corrupt", pattern=r"^GET .*/sessions/.*/blobs/")),
    ("registry: another manifest than was stored", lambda w: registry_fault(w, action="corrupt", pattern=r"^GET .*/sessions/.*/manifests/")),
    ("registry: cuts what is read back", lambda w: registry_fault(w, action="cut-answer", pattern=r"^GET .*/sessions/.*/blobs/", after=100)),
    ("registry: loses what it acknowledged", registry_loses_blob),
    ("registry: restarts during an upload", registry_restarts),
    ("registry: its disk is full", registry_full),
    ("registry: credentials", credentials),
    ("state directory: full", state_disk_full),
    ("state directory: full at a destruction", state_disk_full_at_a_destruction),
    ("state directory: full in the middle of a hibernation", state_disk_full_in_the_middle),
    ("swarm-layer: killed", layer_killed),
    ("a hibernation is canceled", canceled),
    ("service: SIGTERM during a hibernation", terminated),
    ("service: SIGKILL during a hibernation, and the thaw after it", killed_and_thawed),
    ("session: its main process ends", process_ends),
    ("engine: restarts under a running session", engine_restarts_under_a_running_session),
    ("engine: stops, and a Swarm may be made", engine_stops_and_may_make_a_swarm),
    ("engine: stopped during a hibernation", lambda w: engine_fails(w, "stop", "Hibernate")),
    ("engine: crashes during a hibernation", lambda w: engine_fails(w, "crash", "Hibernate")),
    ("engine: crashes during a snapshot", lambda w: engine_fails(w, "crash", "Snapshot")),
    ("engine: crashes during a stop", lambda w: engine_fails(w, "crash", "Stop")),
    ("engine: stopped during a restore", lambda w: engine_fails(w, "stop", "Restore")),
    ("engine: crashes during a creation", lambda w: engine_fails(w, "crash", "Create")),
    ("engine: crashes during a destruction", lambda w: engine_fails(w, "crash", "Destroy")),
    ("session: killed for its memory", killed_for_its_memory),
    ("session: its container is removed", container_removed),
    ("session: its clone outlives it", clone_outlives_its_source),
    ("session: its container is restarted by somebody else", restarted_by_somebody_else),
    ("session: its service is removed", service_removed),
    ("session: its service is removed while it starts", service_removed_while_starting),
    ("session: its service is removed at rest", service_removed_at_rest),
    ("session: its service is updated by somebody else", service_updated_by_somebody_else),
    ("session: its service is rolled back at rest", service_rolled_back_at_rest),
    ("session: a copy of it is somebody else's", copy_of_somebody_else),
    ("session: paused by somebody else", paused_by_somebody_else),
    ("session: thawed by somebody else", thawed_by_somebody_else),
    ("session: copied into by somebody else", lambda w: copied_into_by_somebody_else(w, "Hibernate")),
    ("session: copied into by somebody else when it has ended", lambda w: copied_into_by_somebody_else(w, "Stop")),
)


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
        if a.keep:
            print(f"# kept: {world.rig.folder}")
    return run.end()


if __name__ == "__main__":
    sys.exit(main())
