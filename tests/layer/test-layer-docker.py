#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The judge is Docker: layers of real containers are pulled back by an Engine and compared in the new container."""

import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import harness
import session
from harness import Child, compare, describe

RIG = os.path.join(HERE, "..", "rig", "rig")
PROGRAM = os.environ.get("SWARM_LAYER", "swarm-layer")
REGISTRY = "10.99.0.1:5000"
# The Engine's own: mounted over, or made by its init layer below the container's.
ENGINES = {b".dockerenv", b"etc", b"etc/hosts", b"etc/hostname", b"etc/resolv.conf", b"etc/mtab"}


def docker(*arguments):
    return subprocess.run(["docker", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Container:
    def __init__(self, image):
        self.id = docker("run", "-d", "--network", "none", image)
        graph = json.loads(docker("inspect", self.id))[0]["GraphDriver"]["Data"]
        self.upper, self.merged = graph["UpperDir"], graph["MergedDir"]

    def tree(self):
        tree = describe(self.merged)
        return {k: v for k, v in tree.items() if k not in ENGINES and k.split(b"/")[0] not in (b"dev", b"proc", b"sys")}

    def remove(self):
        docker("rm", "-f", self.id)


def save(container, image, generation, **more):
    docker("pause", container.id)
    try:
        child = Child(PROGRAM, {
            "verb": "push", "registry": {"url": f"http://{REGISTRY}"}, "image": image, "repository": "sessions/docker", "tag": f"d-g{generation}",
            "session": "d", "generation": generation, "job": 1, "upperdir": container.upper, "frozen_realtime_usec": int(time.time() * 1e6), **more})
    finally:
        docker("unpause", container.id)
    assert child.result, child.lines
    return child.result["image"]


def restore(image):
    """As on a node that has never seen it."""
    for known in set(docker("images", "-q", "--no-trunc").split()):
        subprocess.run(["docker", "rmi", "-f", known], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    docker("pull", "-q", image)
    return Container(image)


def check(container, image):
    wanted = container.tree()
    again = restore(image)
    compare(wanted, again.tree())
    return again


def inside():
    index = os.path.join(os.environ["SWARM_RIG_DIR"], "layer.index")
    answer = Child(PROGRAM, {"verb": "resolve", "registry": {"url": f"http://{REGISTRY}"}, "image": f"{REGISTRY}/base"})
    base = answer.result["image"]
    first = Container(base)
    session.make_lower_in(first.merged)
    image = save(first, base, 1)
    second = check(first, image)
    first.remove()
    session.change_all_kinds(second.merged)
    time.sleep(0.1)
    parent, image = image, save(second, image, 2, new_index=index)
    check(second, image).remove()
    # changed and deleted in the same container, by the index
    subprocess.run(["rm", "-rf", f"{second.merged}/new/odd", f"{second.merged}/opt/kept", f"{second.merged}/zzz"], check=True)
    os.mkdir(f"{second.merged}/opt/kept")
    session.write(f"{second.merged}/opt/replaced/more")
    image = save(second, image, 3, index=index, new_index=index, fallback_image=parent)
    check(second, image).remove()
    image = save(second, image, 4, index=index, new_index=index, fallback_image=parent, precopy=True)
    check(second, image).remove()
    second.remove()
    print("four generations as Docker unpacks them: equal")


def main():
    harness.need_root()
    if not os.path.exists("/usr/sbin/dockerd"):
        print("needs Docker")
        return harness.SKIP
    directory = subprocess.run([RIG, "up", "--no-swarm", "--polkit", "none"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    try:
        return subprocess.run([RIG, "on", "--dir", directory, "manager", "--", "env", f"SWARM_LAYER={PROGRAM}", f"SWARM_RIG_DIR={directory}",
                               f"DOCKER_HOST=unix://{directory}/docker.sock", sys.executable, "-W", "ignore", __file__, "--inside"], check=False).returncode
    finally:
        subprocess.run([RIG, "down", "--dir", directory], check=False)


if __name__ == "__main__":
    sys.exit(inside() if "--inside" in sys.argv else main())
