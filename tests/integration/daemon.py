# SPDX-License-Identifier: LGPL-2.1-or-later
"""The orchestrator as a child of the test: started, ended, killed; on a private bus or on one of a rig."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile

from bus import Bus, BusError
from waiting import wait_for
from world import World

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
"""


def _listens(path):
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(path)
            return True
    except OSError:
        return False


class PrivateBus:
    def __init__(self, folder):
        self.path = os.path.join(folder, "bus.sock")
        config = os.path.join(folder, "bus.conf")
        with open(config, "w", encoding="utf-8") as f:
            f.write(BUS_CONFIG.format(path=self.path))
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile"], stdin=subprocess.DEVNULL)
        self.address = f"unix:path={self.path}"
        wait_for(lambda: _listens(self.path), "the private bus")

    def close(self):
        self.process.terminate()
        self.process.wait(10)


def find_program(build):
    path = os.path.join(build, "src", "swarm-orchestratord")
    assert os.access(path, os.X_OK), f"{path} is not built"
    return path


class Daemon:
    """One orchestrator. `environment` is its own; start() may add to it for one start."""

    def __init__(self, program, bus, environment, log, prefix=()):
        self.program, self.bus, self.environment, self.log, self.prefix = program, bus, environment, log, list(prefix)
        self.process = None

    def start(self, seconds=30, wait=True, **more):
        assert not self.running()
        env = {"PATH": os.environ["PATH"], "SWARM_LOG_LEVEL": "debug", "LOG_LEVEL": "debug", **self.environment, **more}
        with open(self.log, "ab") as log:
            log.write(f"---- start {more}\n".encode())
            # pylint: disable=consider-using-with
            self.process = subprocess.Popen(self.prefix + [self.program], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait_ready(seconds)

    def wait_ready(self, seconds=30):
        def ready():
            assert self.running(), f"the orchestrator ended at its start with {self.process.returncode}:\n{self.tail()}"
            return self.bus.answers() and self.healthy()
        wait_for(ready, lambda: "the orchestrator to appear on the bus:\n" + self.tail(), seconds)

    def healthy(self):
        """Whether its providers are."""
        try:
            return all(p["Health"] == "healthy" for p in self.bus.manager("GetStatus")["Providers"])
        except BusError:
            return False

    def running(self):
        return self.process is not None and self.process.poll() is None

    def wait_killed(self, seconds=30):
        """Until it is dead by SIGKILL."""
        wait_for(lambda: not self.running(), lambda: "the orchestrator to die:\n" + self.tail(), seconds)
        assert self.process.returncode == -signal.SIGKILL, f"the orchestrator ended with {self.process.returncode}:\n{self.tail()}"

    def kill(self):
        if self.running():
            self.process.kill()
            self.process.wait(10)

    def stop(self, seconds=40):
        """SIGTERM; must end cleanly."""
        if not self.running():
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the orchestrator did not end {seconds} s after SIGTERM:\n{self.tail()}") from None
        assert self.process.returncode == 0, f"the orchestrator ended with {self.process.returncode}:\n{self.tail()}"

    def tail(self, lines=40):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return ""


class FakeWorld(World):
    """A private bus, a folder and the orchestrator with the provider in memory."""

    IMAGE = "base"

    def __init__(self, build):
        self.folder = tempfile.mkdtemp(prefix="swarm-fake.")
        self.state_dir = os.path.join(self.folder, "state")
        self.runtime_dir = os.path.join(self.folder, "runtime")
        self.fake_state = os.path.join(self.folder, "fake.json")
        self.control = os.path.join(self.folder, "control")
        self.crash_log = os.path.join(self.folder, "crash.log")
        etc = os.path.join(self.folder, "etc")
        for d in (self.state_dir, self.runtime_dir, etc):
            os.mkdir(d, 0o700)
        with open(os.path.join(etc, "orchestrator.conf"), "w", encoding="utf-8") as f:
            f.write("[Manager]\nProviders=fake\n[Registry]\nURL=http://registry.fake\n"
                    "[Limits]\nSessionsPerUserMax=1000\nChangesPerMinute=100000\n")
        self.private_bus = PrivateBus(self.folder)
        self.bus = Bus(self.private_bus.address)
        self.daemon = Daemon(find_program(build), self.bus, {
            "DBUS_SYSTEM_BUS_ADDRESS": self.private_bus.address,
            "SWARM_CONFIG_DIR": etc,
            "STATE_DIRECTORY": self.state_dir,
            "RUNTIME_DIRECTORY": self.runtime_dir,
            "SWARM_FAKE_STATE": self.fake_state,
            "SWARM_FAKE_CONTROL": self.control,
            "SWARM_CRASH_LOG": self.crash_log,
        }, os.path.join(self.folder, "daemon.log"))

    def command(self, **words):
        """One command to the provider in memory → its answer."""
        mine = os.path.join(self.folder, "mine")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            if os.path.exists(mine):
                os.unlink(mine)
            s.bind(mine)
            s.settimeout(10)
            s.sendto(json.dumps(words).encode(), self.control)
            answer = json.loads(s.recv(65536))
        assert "error" not in answer, f"{words}: {answer['error']}"
        return answer

    def close(self, keep=False):
        self.daemon.kill()
        self.private_bus.close()
        if not keep:
            shutil.rmtree(self.folder)
