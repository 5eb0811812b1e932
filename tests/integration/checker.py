#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one checker: whether what the store says, what the cluster has, what the registry holds and what the node's
kernel shows are one consistent whole. Every suite that makes sessions runs it after every test, those without a daemon
as for an empty store; by hand:

    checker.py --dir RIG
    checker.py --host 10.99.0.1:5000        on a whole host of a rig, with its registry

Each function returns sentences about what is wrong; none means that

- each session exists exactly once, by id, by name, as a service, as a container;
- its files are there: the generation that it rests on or was started from is in the registry, every blob read back and
  hashed, and, where the caller says what a file of a session holds, it does, in the container or in the image;
- there is no orphan: no service, container, tag or manifest that no session has, no note of a freeze that is over;
- nobody is left frozen;
- no state is without an exit: every session is in a state that lasts, every job has ended, or, with `settled=False`,
  is one that the daemon works on."""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import store as stores  # noqa: E402  pylint: disable=wrong-import-position
from bus import Bus, BusError  # noqa: E402  pylint: disable=wrong-import-position
from engine import SESSION_LABEL, Engine  # noqa: E402  pylint: disable=wrong-import-position
from registry import Registry, RegistryError  # noqa: E402  pylint: disable=wrong-import-position
from waiting import Timeout, wait_for  # noqa: E402  pylint: disable=wrong-import-position

REST = ("stopped", "hibernated")
LASTING = REST + ("running", "failed", "lost")
UNENDED = ("queued", "running")
GENERATION_LABEL = "swarm.generation"


@dataclass
class Expect:
    """What a test knows that the cluster does not. Sessions are named by id."""
    files: dict = field(default_factory=dict)           # id → {path: bytes}; with the provider in memory id → number
    frozen: set = field(default_factory=set)            # ids that somebody else has paused
    updated: set = field(default_factory=set)           # ids whose service somebody else has changed, or whose last task was left
    states: tuple = ()                                  # states beside the lasting ones that are right now
    kept_tags: set = field(default_factory=set)         # of sessions that are gone and left them on purpose
    storeless: bool = False         # generations were saved without a store: each has to be whole
    settled: bool = True


def _who(s):
    return f"session {s.name} ({s.id}, {s.state})"


def check_store(st, expect):
    """The store by itself."""
    wrong = []
    names = {}
    for s in st.sessions.values():
        names.setdefault(s.name, []).append(s.id)
        rows = st.generations(s.id)
        kept = {r.generation for r in rows if r.phase == "kept"}
        if expect.settled and s.state not in LASTING + tuple(expect.states):
            wrong.append(f"{_who(s)}: this state does not last")
        if s.generation and s.generation not in kept:
            wrong.append(f"{_who(s)}: its generation {s.generation} is not kept")
        if s.generation >= s.next_generation or any(r.generation >= s.next_generation for r in rows):
            wrong.append(f"{_who(s)}: a generation is not below next_generation {s.next_generation}")
        for r in rows:
            if r.phase == "proven" and expect.settled:
                wrong.append(f"{_who(s)}: generation {r.generation} is proven, and nothing finishes what it was for")
            if r.phase == "intent" and expect.settled:
                wrong.append(f"{_who(s)}: what is left of generation {r.generation} was not collected")
            # What a crash cut off and the registry holds whole is kept without one, by the session or by its clone: nothing is
            # laid to rest by it.
            if r.phase != "intent" and not (r.image and (r.witness or r.phase in ("kept", "inherited"))):
                wrong.append(f"{_who(s)}: generation {r.generation} is {r.phase} without image or witness")
    wrong += [f"the name {n} belongs to the sessions {', '.join(ids)}" for n, ids in names.items() if len(ids) > 1]
    wrong += [f"the tag {r.tag} is in two rows" for r in st.snapshots
              if sum((x.repository, x.tag) == (r.repository, r.tag) for x in st.snapshots) > 1]
    wrong += [f"the image {r.image} is in two rows" for r in st.snapshots
              if r.image and sum(x.image == r.image for x in st.snapshots) > 1]
    wrong += [f"generation {r.generation} is of session {r.session}, which does not live" for r in st.snapshots if r.session not in st.sessions]
    for j in st.jobs:
        if j.state in UNENDED and expect.settled:
            wrong.append(f"job {j.id} ({j.type} of {j.session}) is {j.state} ({j.stage})")
        if j.state not in UNENDED and not j.ended_usec:
            wrong.append(f"job {j.id} is {j.state} without a time")
        if j.state in ("failed", "interrupted") and not (j.error_name and j.error_message):
            wrong.append(f"job {j.id} is {j.state} without a reason")
    return wrong


def check_bus(st, bus, expect):
    """The daemon says what its store says."""
    wrong = []
    rows = {r["Id"]: r for r in bus.sessions("Id", "Name", "State", "Generation", "CurrentJob")}
    for s in st.sessions.values():
        r = rows.pop(s.id, None)
        if r is None:
            wrong.append(f"{_who(s)} is in the store and not on the bus")
        elif expect.settled and (r["State"], r["Generation"], r["Name"]) != (s.state, s.generation, s.name):
            wrong.append(f"{_who(s)}, generation {s.generation}: the bus says {r}")
        if r and expect.settled and r["CurrentJob"] != "/":
            wrong.append(f"{_who(s)}: {r['CurrentJob']} is still at work")
    wrong += [f"session {r['Name']} is on the bus and not in the store" for r in rows.values()]
    if not expect.settled:
        live = {r["Id"] for r in bus.jobs(ended=False)}
        wrong += [f"job {j.id} is {j.state} in the store, and nothing works on it" for j in st.jobs
                  if j.state in UNENDED and j.id not in live]
    return wrong


# ---- the provider in memory


def check_fake(st, path, expect):
    """The cluster of the provider in memory, from its state file."""
    with open(path, encoding="utf-8") as f:
        cluster = json.load(f)
    wrong = []
    if cluster["losses"]:
        wrong.append(f"the files of {cluster['losses']} containers were lost")
    there = {s["id"]: s for s in cluster["sessions"]}
    images = {i["image"]: i["content"] for i in cluster["images"]}
    named = {r.image for r in st.snapshots if r.image}
    for s in st.sessions.values():
        if s.provider == "fake":
            wrong += _check_fake_session(s, there.pop(s.id, None), st, images, expect)
    wrong += [f"the provider has a record of {i}, which is no session" for i in there]
    wrong += [f"generation {r.generation} of {r.session} is {r.phase}, and its image is not there" for r in st.snapshots
              if r.phase != "intent" and r.image not in images]
    wrong += [f"no row names the image {i}" for i in images if "/sessions/" in i and i not in named]
    return wrong


def _check_fake_session(s, there, st, images, expect):
    if not there:
        return [] if s.state == "failed" else [f"{_who(s)} does not exist at the provider"]
    wrong = []
    if there["frozen"] != (s.id in expect.frozen):
        wrong.append(f"{_who(s)} is {'frozen' if there['frozen'] else 'not frozen any more'}")
    if s.state == "running" and (there["task"] != "running" or not there.get("container")):
        wrong.append(f"{_who(s)}: its task is {there['task']}")
    if s.state in REST and (there.get("container") or there["wanted"]):
        wrong.append(f"{_who(s)}: its container is still there")
    if s.id in expect.files:
        kept = [r for r in st.generations(s.id) if r.generation == s.generation]
        content = there["content"] if there.get("container") else images.get(kept[0].image) if kept else 0
        if content != expect.files[s.id]:
            wrong.append(f"{_who(s)}: its files are {content}, not {expect.files[s.id]}")
    return wrong


# ---- Docker Swarm


def check_services(st, manager, expect):
    wrong = []
    found = {}
    for service in manager.services():
        found.setdefault(service["Spec"]["Labels"][SESSION_LABEL], []).append(service)
    for s in st.sessions.values():
        if s.provider != "swarm":
            continue
        mine = found.pop(s.id, [])
        if len(mine) != 1:
            if mine or s.state not in ("failed", "lost"):
                wrong.append(f"{_who(s)} has {len(mine)} services")
            continue
        wrong += _check_service(s, mine[0]["Spec"], st, expect)
        if mine[0].get("UpdateStatus") and s.id not in expect.updated:
            # It can make a second task beside the one that it makes.
            wrong.append(f"{_who(s)}: its service was given a task by Swarm's updater ({mine[0]['UpdateStatus']['State']})")
    wrong += [f"service {x['Spec']['Name']} is of {i}, which is no session" for i, services in found.items() for x in services]
    return wrong


def _check_service(s, spec, st, expect):
    wrong = []
    replicas = spec["Mode"]["Replicated"]["Replicas"]
    wants = {"running": 1, "stopped": 0, "hibernated": 0}.get(s.state)
    if wants is not None and replicas != wants and s.state not in expect.states:
        wrong.append(f"{_who(s)}: its service asks for {replicas} tasks")
    if s.state in REST and s.generation:
        image = next((r.image for r in st.generations(s.id) if r.generation == s.generation), None)
        if spec["TaskTemplate"]["ContainerSpec"]["Image"] != image:
            wrong.append(f"{_who(s)}: its service names {spec['TaskTemplate']['ContainerSpec']['Image']}, not {image}")
        if spec["Labels"].get(GENERATION_LABEL) != str(s.generation):
            wrong.append(f"{_who(s)}: its service says generation {spec['Labels'].get(GENERATION_LABEL)}, not {s.generation}")
    return wrong


def _describe(c):
    state = c["State"]
    text = f"{c['Id'][:12]} {state['Status']}, made {c['Created']}"
    return text if state["Running"] else f"{text}, ran {state['StartedAt']} to {state['FinishedAt']}, exit code {state['ExitCode']} {state['Error']}".rstrip()


def check_containers(st, containers, expect):
    """`containers`: of all nodes, inspected, in every state."""
    wrong = []
    found = {}
    for c in containers:
        found.setdefault(c["Config"]["Labels"][SESSION_LABEL], []).append(c)
    for s in st.sessions.values():
        mine = found.pop(s.id, [])
        if s.provider != "swarm" or s.state in ("lost",) + tuple(expect.states):
            continue
        states = [_describe(c) for c in mine]
        wants = {"running": 1, "stopped": 0, "hibernated": 0}.get(s.state, 0)
        if len(mine) != wants:
            wrong.append(f"{_who(s)} has {len(mine)} containers, {', '.join(states) or 'none'}")
        elif mine and not mine[0]["State"]["Running"]:
            wrong.append(f"{_who(s)}: its container is {states[0]}")
        elif mine and mine[0]["State"]["Paused"] != (s.id in expect.frozen):
            wrong.append(f"{_who(s)}: its container is {states[0]}")
    wrong += [f"container {c['Id'][:12]} ({c['State']['Status']}) is of {i}, which is no session" for i, cs in found.items() for c in cs]
    return wrong


def frozen_cgroups(cgroup, root="/sys/fs/cgroup"):
    """Paths of frozen cgroups below every cgroup named `cgroup`, of either version."""
    found = []
    for base in [root] + [os.path.join(root, d) for d in os.listdir(root)]:
        for folder, _, files in os.walk(os.path.join(base, cgroup.strip("/"))):
            for name, frozen in (("freezer.state", ("FROZEN", "FREEZING")), ("cgroup.freeze", ("1",))):
                if name in files:
                    try:
                        with open(os.path.join(folder, name), encoding="ascii") as f:
                            if f.read().strip() in frozen:
                                found.append(folder)
                    except OSError:
                        pass
    return found


def check_cgroups(cgroup, containers, expect):
    allowed = {c["Id"] for c in containers if c["Config"]["Labels"][SESSION_LABEL] in expect.frozen}
    return [f"{path} is frozen" for path in frozen_cgroups(cgroup) if not any(i in path for i in allowed)]


def _split_image(image):
    """host/repo@digest → repo, digest."""
    name, digest = image.split("@")
    return name.split("/", 1)[1], digest


def _check_all_whole(registry, repository):
    wrong = []
    for digest in registry.revisions(repository) or ():
        try:
            registry.verify(repository, digest)
        except (RegistryError, OSError, ValueError, KeyError) as e:
            wrong.append(f"the manifest {repository}@{digest} cannot be read back: {e}")
    return wrong


def check_registry(st, registry, prefix, expect):
    wrong = []
    digests, tags = {}, {}
    for r in st.snapshots:
        tags.setdefault(r.repository, set()).add(r.tag)
        if r.image:
            digests.setdefault(r.repository, set()).add(_split_image(r.image)[1])
        if r.phase == "intent":
            continue
        try:
            repository, digest = _split_image(r.image)
            if repository != r.repository:
                wrong.append(f"generation {r.generation} of {r.session} is in {repository}, its row says {r.repository}")
            registry.verify(repository, digest)
        except (RegistryError, OSError, ValueError, KeyError) as e:
            wrong.append(f"generation {r.generation} of session {r.session} ({r.phase}) cannot be read back: {e}")
    for repository in registry.repositories():
        if repository.split("/")[0] != prefix.split("/")[0]:
            continue
        if expect.storeless:
            wrong += _check_all_whole(registry, repository)
            continue
        there = set(registry.tags(repository)) - expect.kept_tags
        wrong += [f"no row names the tag {repository}:{t}" for t in there - tags.get(repository, set())]
        if expect.kept_tags:
            continue
        wrong += [f"no row names the manifest {repository}@{d}"
                  for d in set(registry.revisions(repository) or ()) - digests.get(repository, set())]
    return wrong


def check_files(st, containers, registry, expect, read):
    """`read(container, path)` → bytes of a file in a running container, None if it is not there."""
    wrong = []
    for session, files in expect.files.items():
        s = st.sessions.get(session)
        if not s:
            wrong.append(f"session {session} is not there, and its files are expected")
            continue
        mine = [c for c in containers if c["Config"]["Labels"][SESSION_LABEL] == session and c["State"]["Running"]]
        row = next((r for r in st.generations(session) if r.generation == s.generation), None)
        for path, content in files.items():
            try:
                actual = read(mine[0], path) if mine else registry.read_file(*_split_image(row.image), path) if row else None
            except (RegistryError, OSError) as e:
                actual = str(e).encode()
            if actual != content:
                where = "in its container" if mine else f"in generation {s.generation}"
                wrong.append(f"{_who(s)}: {path} {where} is {'not there' if actual is None else repr(actual[:80])}, not {content[:80]!r}")
    return wrong


def check_agent(runtime_dir, containers):
    """No note says that a container is frozen which is there. What is kept of one that is gone is swept every hour."""
    frozen = os.path.join(runtime_dir, "frozen")
    notes = os.listdir(frozen) if os.path.isdir(frozen) else []
    return [f"the agent notes that it froze {c['Id'][:12]}, which is {c['State']['Status']}" for c in containers
            if any(n.startswith(c["Id"]) for n in notes)]


def check_processes(netns, name="swarm-layer"):
    """None of the children of a daemon, which all have ended, is left in the network namespace."""
    where = os.stat(netns).st_ino
    wrong = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
                if f.read().strip() == name and os.stat(f"/proc/{pid}/ns/net").st_ino == where:
                    wrong.append(f"process {pid} is {name}, and no job is at work")
        except OSError:
            pass
    return wrong


def proc_read(container, path):
    """A file of a container whose processes this host sees."""
    try:
        with open(f"/proc/{container['State']['Pid']}/root/{path.lstrip('/')}", "rb") as f:
            return f.read()
    except FileNotFoundError:
        return None


class FakeChecker:
    def __init__(self, state_dir, fake_state, bus=None):
        self.state_dir, self.fake_state, self.bus = state_dir, fake_state, bus

    def problems(self, expect=None):
        expect = expect or Expect()
        st = stores.load(self.state_dir)
        wrong = check_store(st, expect)
        if os.path.exists(self.fake_state):
            wrong += check_fake(st, self.fake_state, expect)
        if self.bus and self.bus.answers():
            wrong += check_bus(st, self.bus, expect)
        return wrong


class SwarmChecker:
    """`engines`: of all nodes that can be reached, the manager's first."""

    def __init__(self, state_dir, runtime_dir, engines, registry, cgroup, netns, bus=None, prefix="sessions", read=proc_read):
        self.state_dir, self.runtime_dir, self.engines, self.registry = state_dir, runtime_dir, engines, registry
        self.cgroup, self.netns, self.bus, self.prefix, self.read = cgroup, netns, bus, prefix, read

    def problems(self, expect=None):
        expect = expect or Expect()
        st = stores.load(self.state_dir)
        containers = [c for e in self.engines for c in e.containers()]
        wrong = check_store(st, expect)
        wrong += check_services(st, self.engines[0], expect)
        wrong += check_containers(st, containers, expect)
        wrong += check_cgroups(self.cgroup, containers, expect)
        wrong += check_registry(st, self.registry, self.prefix, expect)
        wrong += check_files(st, containers, self.registry, expect, self.read)
        wrong += check_agent(self.runtime_dir, containers)
        if expect.settled:
            wrong += check_processes(self.netns)
        if self.bus and self.bus.answers():
            wrong += check_bus(st, self.bus, expect)
        return wrong


def check(checker, expect=None, seconds=20.0, interval=0.1):
    """Fails with what is wrong unless, within the time, nothing is: a container goes a while after its service said so,
    and what is collected in the background is collected soon."""
    last = ["?"]

    def clean():
        try:
            last[:] = checker.problems(expect)
        except (BusError, OSError) as e:
            last[:] = [f"the check itself could not be done: {e}"]
        return not last
    try:
        wait_for(clean, "the checker to find nothing", seconds, interval)
    except Timeout:
        raise AssertionError("the checker finds:\n" + "\n".join(f"- {w}" for w in last)) from None


def rig_environment(folder):
    rig = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "rig", "rig")
    script = 'eval "$("$1" env --dir "$2")" && env -0'
    out = subprocess.run(["bash", "-c", script, "-", rig, folder], check=True, capture_output=True).stdout
    return dict(item.split("=", 1) for item in out.decode().split("\0") if "=" in item)


def rig_checker(folder, registry_folder=True):
    """Of a lean rig, by its folder."""
    env = rig_environment(folder)
    sockets = [os.path.join(folder, "docker.sock")]
    sockets += [os.path.join(folder, "hosts", h, "docker.sock") for h in env["SWARM_RIG_HOSTS"].split() if h != "manager"]
    return SwarmChecker(
        os.path.join(folder, "state"), os.path.join(folder, "runtime"), [Engine(s) for s in sockets],
        Registry(env["SWARM_REGISTRY"], env["SWARM_RIG_NETNS"], env.get("SWARM_REGISTRY_USER"), env.get("SWARM_REGISTRY_PASSWORD"),
                 os.path.join(folder, "registry") if registry_folder else None),
        env["SWARM_RIG_CGROUP"], env["SWARM_RIG_NETNS"], Bus(env["DBUS_SYSTEM_BUS_ADDRESS"]))


def host_checker(registry):
    """Of the host that this runs on, with the service as it is installed."""
    return SwarmChecker("/var/lib/swarm-orchestrator", "/run/swarm-orchestrator", [Engine("/run/docker.sock")], Registry(registry),
                        "docker", "/proc/self/ns/net", Bus())


def main():
    p = argparse.ArgumentParser(description="Checks a rig, or the provider in memory, as it is now.")
    p.add_argument("--dir", metavar="RIG", help="folder of a rig")
    p.add_argument("--fake", nargs=2, metavar=("STATEDIR", "FILE"), help="state directory, and the file of SWARM_FAKE_STATE")
    p.add_argument("--host", metavar="REGISTRY", help="this host, and its registry")
    p.add_argument("--storeless", action="store_true", help="no store names what is in the registry")
    p.add_argument("--unsettled", action="store_true", help="jobs may be at work")
    p.add_argument("--seconds", type=float, default=0, help="how long it may take until all is well")
    a = p.parse_args()
    if sum(map(bool, (a.dir, a.host, a.fake))) != 1:
        p.error("one of --dir, --host and --fake")
    checker = rig_checker(os.path.realpath(a.dir)) if a.dir else host_checker(a.host) if a.host else FakeChecker(*a.fake)
    try:
        check(checker, Expect(settled=not a.unsettled, storeless=a.storeless), a.seconds)
    except AssertionError as e:
        print(e)
        return 1
    print("all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
