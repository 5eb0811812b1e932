# SPDX-License-Identifier: LGPL-2.1-or-later
"""A rig (tests/rig) with the orchestrator on it, for tests."""

import os
import re
import signal
import subprocess
import tempfile

from bus import Bus
from checker import Expect, SwarmChecker, check, proc_read, rig_environment
from daemon import Daemon, find_program
from engine import Engine
from registry import Registry
from waiting import wait_for
from world import World

RIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "rig", "rig")


def why_not():
    """Why no rig can be made here; None if it can."""
    return None if os.geteuid() == 0 else "a rig needs root"


class Rig:
    def __init__(self, *options):
        p = subprocess.run([RIG, "up", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        assert p.returncode == 0, f"rig up: {p.stderr}"
        self.folder = p.stdout.strip().splitlines()[-1]
        self.env = rig_environment(self.folder)
        self.netns = self.env.get("SWARM_RIG_NETNS")
        self.registry_address = self.env["SWARM_REGISTRY"]
        self.image = self.env["SWARM_BASE_IMAGE"]
        self.engine = Engine(os.path.join(self.folder, "docker.sock"))

    def verb(self, *words, check_status=True, timeout=120):
        """`rig WORDS` → its output."""
        p = subprocess.run([RIG, words[0], "--dir", self.folder, *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, stdin=subprocess.DEVNULL, timeout=timeout)
        assert not check_status or p.returncode == 0, f"rig {' '.join(words)}: {p.returncode}: {p.stderr}{p.stdout}"
        return p.stdout

    def prefix(self, *words):
        """Words to put before a command."""
        return [RIG, words[0], "--dir", self.folder, *words[1:], "--"]

    def down(self):
        subprocess.run([RIG, "down", "--dir", self.folder], check=True, stdin=subprocess.DEVNULL)


CONFIG = """[Manager]
Providers=swarm
[Swarm]
Engine={folder}/docker.sock
[Registry]
URL=http://{registry}
[Limits]
SessionsPerUserMax=1000
ChangesPerMinute=100000
[Session]
Memory=64M
{more}"""


class RigWorld(World):
    """A lean rig, the orchestrator as a child of the test in its network, and what the test has written into sessions."""

    def __init__(self, build, *options, state_dir=None):
        self.rig = Rig("--polkit", "none", *options)
        self.build = build
        self.image = self.rig.image
        self.engine = self.rig.engine
        folder = self.rig.folder
        self.state_dir = state_dir or os.path.join(folder, "state")
        self.runtime_dir = os.path.join(folder, "runtime")
        self.config_dir = os.path.join(folder, "etc")
        for d in (self.state_dir, self.runtime_dir, self.config_dir):
            os.makedirs(d, 0o700, exist_ok=True)
        self.configure()
        self.crash_log = os.path.join(folder, "crash.log")
        self.bus = Bus(self.rig.env["DBUS_SYSTEM_BUS_ADDRESS"])
        self.daemon = Daemon(find_program(build), self.bus, {
            "DBUS_SYSTEM_BUS_ADDRESS": self.rig.env["DBUS_SYSTEM_BUS_ADDRESS"],
            "SWARM_CONFIG_DIR": self.config_dir,
            "STATE_DIRECTORY": self.state_dir,
            "RUNTIME_DIRECTORY": self.runtime_dir,
            "SWARM_LAYER_PATH": os.path.join(build, "src", "swarm-layer"),
            "SWARM_STREAM_PATH": os.path.join(build, "src", "swarm-stream"),
            "SWARM_CRASH_LOG": self.crash_log,
        }, os.path.join(folder, "log", "orchestrator"), ["nsenter", f"--net={self.rig.netns}", "--"])
        self.registry = Registry(self.rig.registry_address, self.rig.netns, folder=os.path.join(folder, "registry"))
        self.expect = Expect()
        self.checker = SwarmChecker(self.state_dir, self.runtime_dir, [self.engine], self.registry, self.rig.env["SWARM_RIG_CGROUP"],
                                    self.rig.netns, self.bus)
        self.serial = 0

    def configure(self, more=""):
        with open(os.path.join(self.config_dir, "orchestrator.conf"), "w", encoding="utf-8") as f:
            f.write(CONFIG.format(folder=self.rig.folder, registry=self.rig.registry_address, more=more))

    # ---- a session from outside

    def container(self, name):
        """Its running container, inspected."""
        return wait_for(lambda: self.engine.container_of(self.id_of(name)), f"a container of {name}", 15)

    def root(self, name):
        """Its root directory, as this host's processes see it."""
        return f"/proc/{self.container(name)['State']['Pid']}/root"

    def write(self, name, path="/home/user/written", content=None):
        self.serial += 1
        content = content if content is not None else f"{name} {self.serial}\n".encode()
        session = self.id_of(name)
        with open(self.root(name) + path, "wb") as f:
            f.write(content)
        self.expect.files.setdefault(session, {})[path] = content

    def read(self, name, path="/home/user/written"):
        return proc_read(self.container(name), path)

    def end_process(self, name):
        os.kill(self.container(name)["State"]["Pid"], signal.SIGTERM)

    def paused(self, name):
        return self.container(name)["State"]["Paused"]

    # ---- all of it

    def check(self, _name=None, seconds=40):
        # Where Swarm takes long to remove the last task of a session, the service starts it beside that in the end, and says so.
        told = re.findall(r"Session (\S+): Swarm still has a task of its last run", self.daemon.tail(10**6))
        if told:
            self.expect.updated |= {s["Id"] for s in self.bus.sessions("Id", "Name") if s["Name"] in told}
        check(self.checker, self.expect, seconds)

    def tail(self):
        return self.daemon.tail(60)

    def close(self, keep=False):
        self.daemon.kill()
        if keep:
            print(f"# kept: {self.rig.folder}")
        else:
            self.rig.down()


class SmallDisk:
    """A file system of its own that can be filled."""

    def __init__(self, size="24m"):
        self.folder = tempfile.mkdtemp(prefix="swarm-disk.", dir="/var/tmp")
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "swarm-test", self.folder], check=True)

    def fill(self):
        with open(os.path.join(self.folder, "filler"), "ab", buffering=0) as f:
            for block in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        f.write(b"x" * block)
                except OSError:
                    pass

    def empty(self):
        path = os.path.join(self.folder, "filler")
        if os.path.exists(path):
            os.unlink(path)

    def close(self):
        subprocess.run(["umount", "-l", self.folder], check=True)
        os.rmdir(self.folder)


