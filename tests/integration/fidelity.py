#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a session comes back as it was: every file of the running container before a hibernation against every file of the
running container after the restore, three times over, with changes and deletions in between; and against what docker commit
makes of the same container."""

import os
import subprocess
import sys

import tap
import tree
from rig import RigWorld, why_not


class World(RigWorld):
    def docker(self, *words):
        return subprocess.run(["docker", "-H", f"unix://{self.rig.folder}/docker.sock", *words], check=True,
                              capture_output=True, text=True, timeout=120).stdout.strip()


def allowed(found, sockets, before):
    """What no image can hold. Docker sets times before 1970 to 0."""
    rest = {}
    for (path, key), (b, a) in found.items():
        if path in sockets and key == "there":
            continue
        if key == "mtime" and b is not None and b < 0 and a == 0:
            continue
        rest[path, key] = (b, a)
    return rest


def of_commit(w, container):
    """The tree as docker commit and docker run bring it back."""
    image = w.docker("commit", container)
    copy = w.docker("run", "-d", "--network=none", image)
    try:
        pid = w.engine.get(f"/containers/{copy}/json")["State"]["Pid"]
        return tree.walk(f"/proc/{pid}/root")
    finally:
        w.docker("rm", "-f", copy)
        w.docker("rmi", image)


def cycle(w, name, make, compare):
    sockets = make(tree.Maker(w.root(name)))
    before = tree.walk(w.root(name))
    docker = of_commit(w, w.container(name)["Id"]) if compare else None
    w.bus.do("Hibernate", name)
    rows = w.bus.manager("ListSnapshots", "sa{sv}t", name, {}, 0)
    # "path (why)"
    dropped = {os.fsencode(d.rsplit(" (", 1)[0]).lstrip(b"/") for d in rows[0]["Dropped"]}
    expected = sockets | {p for p, e in before.items() if e.get("mtime", 0) < 0}
    assert dropped == expected, f"{dropped} was left out, not {expected}"
    old = w.container_id
    w.bus.do("Restore", name)
    w.container_id = w.container(name)["Id"]
    assert w.container_id != old, "it is the same container"
    after = tree.walk(w.root(name))
    found = allowed(tree.differences(before, after), sockets, before)
    assert not found, f"{len(found)} of {len(before)} differ after the restore:\n{tree.show(found)}"
    if docker:
        lost = allowed(tree.differences(before, docker), sockets, before)
        print(f"#   {len(before)} entries are as they were; docker commit changes {len({p for p, _ in lost})}: "
              f"{', '.join(sorted({k for _, k in lost}))}")
        worse = {k: v for k, v in tree.differences(before, after).items() if k not in tree.differences(before, docker)}
        assert not worse, f"docker commit keeps what we lose:\n{tree.show(worse)}"


def inside(w, name):
    """The container's own view, by its own tools."""
    container = w.container(name)["Id"]
    path = "t/mode-4755"
    text = w.docker("exec", container, "stat", "-c", "%a %u %g %s", "/" + path)
    st = os.lstat(w.root(name) + "/" + path)
    assert text == f"{st.st_mode & 0o7777:o} {st.st_uid} {st.st_gid} {st.st_size}", text
    assert w.docker("exec", container, "sh", "-c", "ls /etc/os-release 2>/dev/null || echo gone") == "gone"


def unchanged(w, name):
    """Nothing changed, nothing is sent."""
    w.bus.do("Hibernate", name)
    rows = w.bus.manager("ListSnapshots", "sa{sv}t", name, {}, 0)
    w.bus.do("Restore", name)
    before = tree.walk(w.root(name))
    w.bus.do("Snapshot", name)
    w.bus.do("Snapshot", name)
    rows = w.bus.manager("ListSnapshots", "sa{sv}t", name, {}, 0)
    assert rows[0]["Bytes"] == 0, f"a second snapshot sent {rows[0]['Bytes']} bytes"
    w.bus.do("Hibernate", name)
    w.bus.do("Restore", name)
    found = tree.differences(before, tree.walk(w.root(name)))
    assert not found, tree.show(found)


def reserved_name(w, name):
    """A name that means something else in a layer is refused by name, unless losing it is asked for."""
    m = tree.Maker(w.root(name))
    m.file("home/user/.wh.mine", b"x")
    job = w.bus.wait_job(w.bus.verb("Hibernate", name))
    assert job["State"] == "failed" and ".wh.mine" in job["ErrorMessage"], job
    assert w.bus.state(name) == "running" and not w.paused(name)
    w.bus.do("Hibernate", name, lossy=True)
    rows = w.bus.manager("ListSnapshots", "sa{sv}t", name, {}, 0)
    assert [d for d in rows[0]["Dropped"] if ".wh.mine" in d], rows[0]["Dropped"]
    w.bus.do("Restore", name)
    assert not os.path.exists(w.root(name) + "/home/user/.wh.mine")


def stop_and_start(w, name):
    """What the last process writes on its way out is saved as well."""
    m = tree.Maker(w.root(name))
    m.file("t/before-stop", b"x", mtime=123_456_789)
    before = tree.walk(w.root(name))
    w.bus.do("Stop", name)
    w.bus.do("Start", name)
    found = tree.differences(before, tree.walk(w.root(name)))
    assert not found, tree.show(found)


def clone(w, name):
    """Another session from a generation has the same files."""
    w.bus.do("Snapshot", name)
    before = tree.walk(w.root(name))
    job = w.bus.wait_job(w.bus.manager("CreateSession", "sa{sv}t", "copy", {"from": name}, 0)[1])
    assert job["State"] == "done", job["ErrorMessage"]
    found = tree.differences(before, tree.walk(w.root("copy")))
    assert not found, tree.show(found)
    w.bus.do("Destroy", "copy")


def older_generation(w, name):
    """Only when asked for by number, and then exactly that one."""
    rows = w.bus.manager("ListSnapshots", "sa{sv}t", name, {}, 0)
    before = tree.walk(w.root(name))
    tree.Maker(w.root(name)).file("t/after", b"x")
    w.bus.do("Hibernate", name)
    w.bus.do("Restore", name, generation=rows[0]["Generation"])
    found = tree.differences(before, tree.walk(w.root(name)))
    assert not found, tree.show(found)


def main():
    if why_not():
        return tap.skip_all(why_not())
    if subprocess.run(["sh", "-c", "command -v setfacl"], capture_output=True, check=False).returncode:
        return tap.skip_all("setfacl (package acl) is not there")
    a = tap.arguments(__doc__)
    world = World(a.build)
    run = tap.Run(a.only, after=world.check, explain=world.tail)
    try:
        world.daemon.start()
        name = "tree"
        world.bus.create_running(name, world.image)
        world.container_id = world.container(name)["Id"]
        for i, make in enumerate(tree.CYCLES):
            if not run.case(f"cycle {i + 1}", cycle, world, name, make, True):
                break
        for title, function in (("the container's own view", inside), ("unchanged", unchanged), ("a reserved name", reserved_name),
                                ("stop and start", stop_and_start), ("a clone", clone), ("an older generation", older_generation)):
            if world.bus.state(name) != "running":
                world.bus.do("Start", name)
            run.case(title, function, world, name)
    finally:
        world.close(a.keep)
    return run.end()


if __name__ == "__main__":
    sys.exit(main())
