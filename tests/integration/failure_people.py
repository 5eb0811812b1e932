# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is done to a session from outside: by the kernel, for its memory, and by somebody who lays hands on it with Docker."""

import os
import subprocess
import tempfile

import crash_cases
import store as stores
from checker import SESSION_LABEL
from waiting import wait_for


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
    try:
        w.docker("restart", "-t", "0", container)
        state = "exited"
    except subprocess.CalledProcessError as e:
        # Engine 28 has taken down the network by then, if no other container is in it: there is no second run.
        assert "network" in e.stderr and "not found" in e.stderr, e.stderr
        state = "stopped"
    wait_for(lambda: w.bus.state(w.name) == state and not w.bus.jobs(ended=False), lambda: f"it to be noticed; the session is {w.bus.state(w.name)}", 60)
    if state == "exited":
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


def upperdir(container):
    with open(f"/proc/{container['State']['Pid']}/mountinfo", encoding="utf-8") as f:
        root = next(line for line in f if line.split()[4] == "/")
    return next(o for o in root.split(",") if o.startswith("upperdir=")).split("=", 1)[1].strip()


def container_half_removed(w, verb):
    """Docker cannot remove all of it, and calls what is left dead, for good. No file of that is saved; the last generation is there."""
    w.session()
    w.bus.do("Snapshot", w.name)
    session, container = w.id_of(w.name), w.container(w.name)
    saved = dict(w.expect.files[session])
    w.write(w.name)
    w.expect.files[session] = saved
    stuck = upperdir(container) + "/home/user/written"
    subprocess.run(["chattr", "+i", stuck], check=True)
    try:
        try:
            w.docker("rm", "-f", container["Id"])
            raise AssertionError("it was removed")
        except subprocess.CalledProcessError:
            pass
        wait_for(lambda: w.bus.state(w.name) == "exited" and not w.bus.jobs(ended=False), lambda: f"it to be noticed; it is {w.bus.session(w.name)}", 60)
        assert "discard" in w.bus.session(w.name)["StateDetail"], w.bus.session(w.name)
    finally:
        subprocess.run(["chattr", "-i", stuck], check=True)
    if verb == "Destroy":
        w.forget_files(w.name)
        w.bus.do("Destroy", w.name)
        return
    w.bus.do("Stop", w.name, discard=True)
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


def node_drained(w, verb=None):
    """Swarm ends what runs there. Its files are saved, whatever was under way, and it runs again when the node is active; one that was
    to be hibernated stays so."""
    w.session()
    fault = w.held(verb)[0] if verb else None
    node = w.docker("node", "ls", "--quiet")
    w.docker("node", "update", "--availability", "drain", node)
    try:
        if fault:
            wait_for(lambda: not w.engine.container_of(w.id_of(w.name)), "its container to end", 30)
            fault.release()
        wait_for(lambda: w.bus.state(w.name) in ("stopped", "hibernated") and not w.bus.jobs(ended=False),
                 lambda: f"its files to be saved; it is {w.bus.session(w.name)}", 60)
        w.proxy.clear()
        w.check()
    finally:
        w.docker("node", "update", "--availability", "active", node)
    if w.bus.state(w.name) == "hibernated":
        w.bus.do("Start", w.name)
    wait_for(lambda: w.bus.state(w.name) == "running" and not w.bus.jobs(ended=False), lambda: f"it to run; it is {w.bus.session(w.name)}", 60)
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


def renamed_by_somebody_else(w):
    """Swarm finds a container by its name, so it leaves this one behind when the session goes."""
    w.session()
    container = w.container(w.name)["Id"]
    w.proxy.fault("refuse")
    w.docker("kill", container)
    wait_for(lambda: w.bus.state(w.name) == "exited", lambda: f"its end to be noticed; it is {w.bus.session(w.name)}", 30)
    w.docker("rename", container, "another-name")
    w.forget_files(w.name)
    job = w.bus.verb("Destroy", w.name)
    w.proxy.clear()
    w.bus.wait_job(job)
    assert container not in w.docker("ps", "--all", "--quiet", "--no-trunc"), "its container is still there"


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


def much_happens(w, container):
    """More than an Engine remembers, elsewhere: it has forgotten what happened to the container."""
    w.docker("run", "-d", "--name", "busy", w.image, "sleep", "600")
    try:
        w.docker("kill", "-s", "CONT", *["busy"] * 300)
    finally:
        w.docker("rm", "-f", "busy")
    told = w.docker("events", "--since", "1h", "--until", "0s", "--filter", f"container={container}")
    assert not told, told


def hibernated_while_much_happens(w):
    w.session()
    container = w.container(w.name)["Id"]
    fault, job = w.held()
    much_happens(w, container)
    fault.release()
    end = w.bus.wait_job(job)
    assert end["State"] == "done", end
    w.proxy.clear()
    w.check()
    w.bus.do("Restore", w.name)
    w.runs()


def nothing_runs_after_the_freeze(w):
    """Its main process takes a while to die, for its memory; until then the kernel lets the others live. What is thawed for its
    end must not write any more: that would be in no generation."""
    w.serial_name += 1
    name = f"s{w.serial_name}"
    busy = ('i=0; x=$(dd if=/dev/zero bs=1M count=200 2>/dev/null | tr "\\0" x)\n'
            'while :; do i=$((i+1)); echo $i >>/home/user/journal; done & while :; do sleep 1; done')
    w.bus.create_running(name, w.image, memory_bytes=("t", 2 << 30), command=("as", ["/bin/sh", "-c", busy]))
    for _ in range(3):
        path = f"{w.root(name)}/home/user/journal"
        size = os.path.getsize(path) if os.path.exists(path) else 0
        wait_for(lambda path=path, size=size: os.path.exists(path) and os.path.getsize(path) > size, "it to write", 60)
        with open(path, "rb") as journal:
            w.bus.do("Hibernate", name)
            wait_for(lambda: w.engine.container_of(w.id_of(name)) is None, "its container to be gone", 20)
            written = journal.read()
        s = w.bus.session(name)
        row = next(g for g in stores.load(w.state_dir).generations(s["Id"]) if g.generation == s["Generation"])
        kept = w.registry.read_file(*row.image.split("/", 1)[1].split("@"), "/home/user/journal")
        assert kept == written, f"it has written {len(written)} bytes, and {len(kept)} are saved"
        w.bus.do("Restore", name)
    w.bus.do("Destroy", name)


def copied_into_by_somebody_else(w, verb, busy=False):
    """docker cp writes into a frozen container, and into an ended one: what it wrote is in the next generation."""
    w.session()
    container = w.container(w.name)["Id"]
    fault, job = w.held(verb)
    with tempfile.NamedTemporaryFile() as f:
        f.write(b"copied")
        f.flush()
        w.docker("cp", f.name, f"{container}:/home/user/copied")
    if busy:
        much_happens(w, container)
    fault.release()
    end = w.bus.wait_job(job)
    assert end["State"] == "failed", end
    w.proxy.clear()
    crash_cases.settle(w)
    w.expect.files[w.id_of(w.name)]["/home/user/copied"] = b"copied"
    # One that was frozen has not been killed for it.
    if verb == "Hibernate":
        assert w.container(w.name)["Id"] == container
    else:
        w.bus.do("Start", w.name)
    w.runs()
    w.works()


CASES = (
    ("session: killed for its memory", killed_for_its_memory),
    ("session: its container is removed", container_removed),
    ("session: its container is half removed", lambda w: container_half_removed(w, "Stop")),
    ("session: its container is half removed, and it is destroyed", lambda w: container_half_removed(w, "Destroy")),
    ("session: its clone outlives it", clone_outlives_its_source),
    ("session: its container is restarted by somebody else", restarted_by_somebody_else),
    ("session: its service is removed", service_removed),
    ("session: its service is removed while it starts", service_removed_while_starting),
    ("session: its service is removed at rest", service_removed_at_rest),
    ("session: its service is updated by somebody else", service_updated_by_somebody_else),
    ("session: its service is rolled back at rest", service_rolled_back_at_rest),
    ("session: its node is drained", node_drained),
    ("session: its node is drained during a hibernation", lambda w: node_drained(w, "Hibernate")),
    ("session: nothing of it runs after the freeze", nothing_runs_after_the_freeze),
    ("session: a copy of it is somebody else's", copy_of_somebody_else),
    ("session: renamed by somebody else, and destroyed", renamed_by_somebody_else),
    ("session: paused by somebody else", paused_by_somebody_else),
    ("session: thawed by somebody else", thawed_by_somebody_else),
    ("session: copied into by somebody else", lambda w: copied_into_by_somebody_else(w, "Hibernate")),
    ("session: copied into by somebody else when it has ended", lambda w: copied_into_by_somebody_else(w, "Stop")),
    ("session: copied into on a busy node", lambda w: copied_into_by_somebody_else(w, "Hibernate", busy=True)),
    ("session: copied into on a busy node when it has ended", lambda w: copied_into_by_somebody_else(w, "Stop", busy=True)),
    ("session: hibernated on a busy node", hibernated_while_much_happens),
)
