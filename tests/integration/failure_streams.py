# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shells, commands and output of sessions, and what befalls the session, the Engine and the service meanwhile."""

import contextlib
import fcntl
import hashlib
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import crash_cases
from bus import JOB, MANAGER, NAME, ROOT
from engine import EngineError
from failure_engine import mend_network, runs_again
from failure_machine import child_of
from waiting import Timeout, wait_for

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bus"))
from dbusclient import Bus, DBusError, V  # noqa: E402  pylint: disable=wrong-import-position

SHELLS = 30


def call(w, member, *arguments):
    with Bus(w.rig.env["DBUS_SYSTEM_BUS_ADDRESS"].split("=", 1)[1], timeout=60) as bus:
        return bus.call(NAME, ROOT, MANAGER, member, *arguments)


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


class Terminal:
    """A shell in the session, or a command with a terminal."""

    def __init__(self, w, **options):
        self.w = w
        self.master, self.job = call(w, "OpenSessionShell", "sa{sv}t", w.name, options, 0)
        self.seen = b""
        set_size(self.master, 24, 80)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.master is not None:
            os.close(self.master)
            self.master = None

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, pattern, seconds=30):
        """Until it shows that behind what was looked for last."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern.encode(), self.seen)):
            if not select.select([self.master], [], [], max(0, end - time.monotonic()))[0]:
                raise Timeout(f"waited {seconds} s in vain for {pattern!r} behind {self.seen[-500:]!r}")
            with contextlib.suppress(OSError):
                piece = os.read(self.master, 65536)
                if piece:
                    self.seen += piece
                    continue
            raise EOFError(f"the terminal has ended after {self.seen[-500:]!r}")
        self.seen = self.seen[found.end():]
        return found

    def ready(self):
        """It does what is typed, which is not seen as it is said."""
        self.type("echo rea''dy\n")
        self.expect("ready")

    def interrupt(self):
        """A shell may forget what is typed before it reads again."""
        def answers():
            self.type("\x03echo rea''dy\n")
            with contextlib.suppress(Timeout):
                return self.expect("ready", 2)

        wait_for(answers, "the shell to read again", 30)

    def ends(self, state="done", code=-1):
        job = self.w.bus.wait_job(self.job)
        assert (job["State"], job["ExitCode"]) == (state, code), f"{job['State']} with {job['ExitCode']}: {job['ErrorMessage']}"
        return job


def execute(w, command, stdin=None, stdout=None, stderr=None, **options):
    """→ the job."""
    with open(os.devnull, "r+b") as null:
        fds = [null.fileno() if fd is None else fd for fd in (stdin, stdout, stderr)]
        return call(w, "ExecuteInSession", "sashhha{sv}t", w.name, command, *fds, options, 0)


def read_all(fd):
    with os.fdopen(fd, "rb") as f:
        return f.read()


def run(w, *command, code=0, **options):
    """Runs it to its end → stdout, stderr. `code`: one, or several that may be."""
    out, err = os.pipe(), os.pipe()
    job = execute(w, list(command), None, out[1], err[1], **options)
    os.close(out[1])
    os.close(err[1])
    texts = read_all(out[0]).decode(), read_all(err[0]).decode()
    found = w.bus.wait_job(job)
    assert found["State"] == "done" and found["ExitCode"] in (code if isinstance(code, tuple) else (code,)), f"{command}: {found['State']} with {found['ExitCode']}: {found['ErrorMessage']}; {texts}"
    return texts


def processes(w, mark):
    """Those of the container with that in their command line."""
    try:
        top = w.engine.get(f"/containers/{w.container(w.name)['Id']}/top", ps_args="-eo pid,args")
    except EngineError:
        return []
    return [p for p in top["Processes"] if mark in p[1]]


def gone(w, mark):
    wait_for(lambda: not processes(w, mark), lambda: f"{mark} to be gone: {processes(w, mark)}", 30)


def there(w, mark):
    return wait_for(lambda: processes(w, mark), f"{mark} to run", 20)


def add_bash(w):
    root = w.root(w.name)
    bash = shutil.which("bash")
    needed = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", bash], check=True, capture_output=True, text=True).stdout)
    for path in needed:
        os.makedirs(root + os.path.dirname(path), exist_ok=True)
        shutil.copy(path, root + path)
    shutil.copy(bash, root + "/bin/bash")


def a_shell(w):
    """The session's own, with a size that changes, and its exit code."""
    w.session()
    with Terminal(w) as t:
        t.ready()
        t.type("stty size; echo $TERM\n")
        t.expect("24 80")
        t.expect("xterm")
        set_size(t.master, 50, 132)
        wait_for(lambda: t.type("stty size\n") or t.expect(r"\n(\d+ \d+)\r").group(1) == b"50 132", "the new size to arrive", 20)
        # What Docker would take for its own.
        t.type("cat -v\n")
        there(w, "cat -v")
        t.type("\x10\n")
        t.expect(r"\^P")
        t.interrupt()
        t.type("exit 7\n")
        t.ends(code=7)
    add_bash(w)
    with Terminal(w) as t:
        t.type("shopt login_shell; echo v${BASH_VERSION}v; pwd\n")
        t.expect(r"login_shell\s+on")
        t.expect(r"v\d\.\d")
        t.type("exit\n")
        t.ends(code=0)


def commands(w):
    w.session()
    assert run(w, "/bin/sh", "-c", "echo out; echo err >&2; exit 3", code=3) == ("out\n", "err\n")
    assert run(w, "/bin/sh", "-c", "echo $A; pwd; id -u", env=V("as", ["A=b c"]), working_directory=V("s", "/tmp"), user=V("s", "1000"))[0] == "b c\n/tmp\n1000\n"
    run(w, "/bin/sh", "-c", "kill -9 $$", code=137)
    # The Engine's words come as output: 126 is that of 20.10.
    assert "no such file" in "".join(run(w, "/no/such/program", code=(126, 127))).lower()
    # Newer ones refuse a user whom the container does not know before there is a command.
    try:
        assert "unable to find user" in "".join(run(w, "true", code=126, user=V("s", "nobodyknows")))
    except DBusError as e:
        assert "InvalidArgs" in str(e) and "unable to find user" in str(e), e
    assert run(w, "/bin/sh", "-c", "exec >/dev/null 2>&1; sleep 2; exit 5", code=5) == ("", "")


def fifty_megabytes(w):
    """Through a command and back, whole."""
    w.session()
    data = os.urandom(1 << 20) * 50
    stdin, stdout = os.pipe(), os.pipe()
    job = execute(w, ["cat"], stdin[0], stdout[1])
    os.close(stdin[0])
    os.close(stdout[1])

    def feed():
        with os.fdopen(stdin[1], "wb") as f:
            f.write(data)
    feeder = threading.Thread(target=feed)
    feeder.start()
    found = read_all(stdout[0])
    feeder.join()
    assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest(), f"{len(found)} of {len(data)} bytes came back"
    assert w.bus.wait_job(job)["ExitCode"] == 0


def logs(w, **options):
    return call(w, "OpenSessionLogs", "sa{sv}t", w.name, options, 0)


def output(w):
    w.serial_name += 1
    w.name = f"s{w.serial_name}"
    w.bus.create_running(w.name, w.image, command=("as", ["/bin/sh", "-c", "trap exit TERM; i=0; while :; do echo line $i; i=$((i+1)); sleep 0.1; done"]))
    w.write(w.name)
    wait_for(lambda: read_all(logs(w)).count(b"line") >= 5, "some output")
    lines = read_all(logs(w, lines=V("t", 2), timestamps=V("b", True))).decode().splitlines()
    assert len(lines) == 2 and all(re.match(r"\d{4}-\d\d-\d\dT\S+Z line \d+$", line) for line in lines), lines
    now = time.time_ns() // 1000
    with os.fdopen(logs(w, follow=V("b", True), since_usec=V("t", now)), "rb") as f:
        numbers = [int(f.readline().split()[1]) for _ in range(10)]
    assert numbers == list(range(numbers[0], numbers[0] + 10)) and numbers[0] >= 5, numbers
    assert not read_all(logs(w, until_usec=V("t", 1_000_000)))
    fd = logs(w, follow=V("b", True), lines=V("t", 0))
    w.bus.do("Stop", w.name)
    read_all(fd)
    w.forget_files(w.name)
    w.bus.do("Destroy", w.name)


def kill_child(w):
    os.kill(child_of(w.daemon.process.pid, "swarm-stream"), signal.SIGKILL)


def left_by_its_caller(w):
    """Who went away takes the command along, also one that does not want to go."""
    w.session()
    with Terminal(w, command=V("as", ["sleep", "4241"]), user=V("s", "1000")) as t:
        there(w, "sleep 4241")
        t.close()
        t.ends("canceled")
    gone(w, "sleep 4241")
    stubborn = ["/bin/sh", "-c", "trap '' HUP; while :; do sleep 1; done # 4242"]
    job = execute(w, stubborn)
    there(w, "4242")
    w.bus.call(job, JOB, "Cancel", "t", 0)
    assert w.bus.wait_job(job)["State"] == "canceled"
    gone(w, "4242")
    # An Engine may take one that writes, when nobody is there to write to, for one that has ended.
    for goes in (lambda: os.close(out[0]), lambda: kill_child(w)):
        out = os.pipe()
        job = execute(w, ["/bin/sh", "-c", "trap '' HUP PIPE; while :; do echo x; done # 4250"], None, out[1])
        os.close(out[1])
        there(w, "4250")
        os.read(out[0], 1)
        goes()
        ended = w.bus.wait_job(job)
        assert ended["State"] in ("canceled", "failed") and ended["ExitCode"] == -1, ended
        gone(w, "4250")
    os.close(out[0])
    out = os.pipe()
    os.close(out[0])
    job = execute(w, ["/bin/sh", "-c", "trap '' HUP PIPE; while :; do echo x; done # 4251"], None, out[1])
    os.close(out[1])
    w.bus.wait_job(job)
    gone(w, "4251")
    with Terminal(w) as t:
        t.ready()
        t.type("sleep 4243\n")
        there(w, "sleep 4243")
        w.bus.call(t.job, JOB, "Cancel", "t", 0)
        t.ends("canceled")
    gone(w, "sleep 4243")


def refused(w, method, path, body=None):
    """Docker says no, because the container is paused."""
    try:
        w.engine.request(method, path, body)
    except EngineError as e:
        assert " 409 " in str(e) and "paused" in str(e), str(e)
        return
    raise AssertionError(f"{method} {path} was done")


def begun_while_paused(w):
    """What Docker does with commands of a paused container; ours waits for it to go on."""
    w.session()
    container = w.container(w.name)["Id"]
    ours = {"AttachStdout": True, "Tty": True, "Cmd": ["sleep", "4249"]}
    early, late = (w.engine.request("POST", f"/containers/{container}/exec", ours)["Id"] for _ in range(2))
    w.engine.request("POST", f"/exec/{early}/start", {"Detach": True, "Tty": True})
    there(w, "sleep 4249")
    w.docker("pause", container)
    refused(w, "POST", f"/exec/{late}/start", {"Detach": True, "Tty": True})
    refused(w, "POST", f"/containers/{container}/exec", ours)
    refused(w, "POST", f"/exec/{early}/resize?h=30&w=90")
    assert w.engine.get(f"/exec/{early}/json")["Running"]
    found = []
    runner = threading.Thread(target=lambda: found.append(run(w, "echo", "late")))
    runner.start()
    wait_for(lambda: "is paused, unpause" in w.daemon.tail(50), "the service to be refused")
    w.docker("unpause", container)
    runner.join()
    assert found == [("late\n", "")], found
    os.kill(w.engine.get(f"/exec/{early}/json")["Pid"], signal.SIGKILL)
    gone(w, "sleep 4249")


def begun_by_another(w):
    """docker exec, which nobody tells of a freeze: what it begins just then is frozen half begun, and the Engine waits for it."""
    w.session()
    over, said, done = threading.Event(), [], []

    def execute_on():
        while not over.is_set():
            ids = [c["Id"] for c in w.engine.get("/containers/json") if c["Labels"].get("swarm.session")]
            ended = subprocess.run(["docker", "-H", f"unix://{w.rig.folder}/docker.sock", "exec", *ids[:1], "true"],
                                   check=False, capture_output=True)
            said.append(ended.stderr if ended.returncode else b"done")

    others = [threading.Thread(target=execute_on) for _ in range(6)]
    for t in others:
        t.start()
    try:
        for verb in ("Snapshot", "Hibernate") * 5:
            job = w.bus.wait_job(w.bus.verb(verb, w.name), seconds=180)
            done.append(job["State"] == "done")
            assert done[-1] or " again." in job["ErrorMessage"], job
            if done[-1] and verb == "Hibernate":
                w.bus.do("Restore", w.name)
            wait_for(lambda: not w.paused(w.name), "it to go on")
    finally:
        over.set()
        for t in others:
            t.join()
    assert said.count(b"done") > 3, said[:3]
    assert done.count(True) > 7, done
    run(w, "true")
    w.bus.do("Hibernate", w.name)
    w.bus.do("Restore", w.name)
    w.runs()


def _begin_until_stuck(w, container):
    """What it begins as it is frozen holds up the Engine. An Engine to which that never happens has nothing to be helped with."""
    docker = ["docker", "-H", f"unix://{w.rig.folder}/docker.sock"]
    over = threading.Event()

    def execute_on():
        while not over.is_set():
            subprocess.run(docker + ["exec", container, "true"], check=False, capture_output=True)

    others = [threading.Thread(target=execute_on) for _ in range(6)]
    for t in others:
        t.start()
    try:
        for _ in range(100):
            subprocess.run(docker + ["pause", container], check=False, capture_output=True)
            try:
                subprocess.run(docker + ["unpause", container], check=False, capture_output=True, timeout=5)
            except subprocess.TimeoutExpired:
                break
    finally:
        over.set()
    return others


def begun_by_another_and_killed(w):
    """Such an Engine, and the service is gone: what thaws then does not wait for it."""
    w.session()
    container = w.container(w.name)["Id"]
    w.daemon.kill()
    note = os.path.join(w.daemon.environment["RUNTIME_DIRECTORY"], "frozen", container)
    with open(note, "w", encoding="utf-8") as f:
        f.write('{"state":"frozen"}')
    others = _begin_until_stuck(w, container)
    try:
        p = subprocess.run(w.daemon.prefix + [w.daemon.program, "--thaw"], env={"PATH": os.environ["PATH"], **w.daemon.environment}, timeout=60,
                           capture_output=True, text=True, check=False)
        assert p.returncode == 0, p.stderr
        assert not w.engine.get(f"/containers/{container}/json")["State"]["Paused"] and not os.path.exists(note), p.stderr
    finally:
        for t in others:
            t.join(60)
        w.daemon.start()
    w.runs()
    w.works()


COUNT = "i=0; while :; do i=$((i+1)); echo $i >/home/user/new; mv /home/user/new /home/user/count; done"


def counted(w):
    """What the shell has written last, seen from outside."""
    return int(w.read(w.name, "/home/user/count"))


def saved_under_a_shell(w):
    """A snapshot: the shell stands still for a moment, and takes what was typed then."""
    w.session()
    with Terminal(w) as t, Terminal(w) as busy:
        t.ready()
        busy.type(COUNT + "\n")
        wait_for(lambda: os.path.exists(w.root(w.name) + "/home/user/count"), "it to count")
        for i in range(5):
            job = w.bus.verb("Snapshot", w.name)
            while w.bus.job(job)["State"] not in ("done", "failed", "canceled"):
                t.type(f"echo n$(({i}+100))n\n")
                t.expect(f"n{i + 100}n")
            assert w.bus.job(job)["State"] == "done", w.bus.job(job)["ErrorMessage"]
            begun = counted(w)
            wait_for(lambda b=begun: counted(w) > b, "it to go on counting")
        t.type("exit 4\n")
        t.ends(code=4)


def hibernated_under_a_shell(w):
    """It is frozen, and whatever is typed, closed or canceled meanwhile changes nothing: all that was there then is there again."""
    w.session()
    terminals = [Terminal(w) for _ in range(4)]
    counting, closed, canceled, resized = terminals
    counting.ready()
    counting.type(COUNT + "\n")
    wait_for(lambda: os.path.exists(w.root(w.name) + "/home/user/count"), "it to count")
    closed.type("trap 'echo x >/home/user/hup' HUP; while :; do sleep 0.1; done\n")
    canceled.type("sleep 4244\n")
    there(w, "sleep 4244")
    command = execute(w, ["sleep", "4245"])
    fault, job = w.held("Hibernate")
    wait_for(lambda: w.paused(w.name), "it to be frozen")
    frozen = counted(w)
    for _ in range(5):
        with contextlib.suppress(BlockingIOError):
            counting.type("\x03\x03\x1cecho typed >/home/user/typed\n")
        set_size(resized.master, 30, 100 + _)
    closed.close()
    w.bus.call(canceled.job, JOB, "Cancel", "t", 0)
    w.bus.call(command, JOB, "Cancel", "t", 0)
    time.sleep(1)   # for what must not happen
    assert w.paused(w.name) and counted(w) == frozen
    fault.release()
    ended = w.bus.wait_job(job)
    assert ended["State"] == "done", ended["ErrorMessage"]
    for t in (counting, resized):
        job = w.bus.wait_job(t.job)
        assert job["State"] == "failed" and job["ErrorMessage"].endswith("."), job
    for t in terminals:
        t.close()
    w.check()
    assert w.bus.state(w.name) == "hibernated", w.bus.session(w.name)
    w.bus.do("Restore", w.name)
    w.runs()
    assert counted(w) == frozen, f"{counted(w)} instead of {frozen}"
    assert not os.path.exists(w.root(w.name) + "/home/user/typed") and not os.path.exists(w.root(w.name) + "/home/user/hup")
    run(w, "true")


def stopped_under_a_shell(w):
    w.session()
    with Terminal(w) as t:
        t.ready()
        w.bus.do("Stop", w.name)
        job = t.ends("failed")
        assert "ended" in job["ErrorMessage"], job["ErrorMessage"]
    w.bus.do("Start", w.name)
    w.runs()


def ended_unread(w):
    """Nobody reads what they write: the Engine, which has it, would hold up the end of the container."""
    for ends, begins in (("Stop", "Start"), ("Hibernate", "Restore"), ("Restart", None)):
        w.session()
        out = os.pipe()
        with Terminal(w) as t:
            t.type("yes\n")
            job = execute(w, ["yes"], None, out[1])
            for fd in (t.master, out[0]):
                wait_for(lambda fd=fd: select.select([fd], [], [], 1)[0], "some output")
            w.bus.do(ends, w.name)
            if begins:
                w.bus.do(begins, w.name)
            for path in (t.job, job):
                ended = w.bus.wait_job(path)
                assert ended["State"] == "failed" and "ended with the command still running" in ended["ErrorMessage"], ended
        for fd in out:
            os.close(fd)
    w.runs()


def engine_ends_under_a_shell(w, how):
    w.session()
    w.snapshot_all()
    with Terminal(w) as t:
        t.ready()
        w.rig.verb("engine", how)
        job = t.ends("failed")
        assert job["ErrorMessage"].endswith("."), job["ErrorMessage"]
        print(f"# {how}: {job['ErrorMessage']}")
    mend_network(w)
    w.rig.verb("engine", "start")
    crash_cases.settle(w, 120)
    runs_again(w)
    run(w, "true")


def killed_service(w):
    """What it leaves in the container is ended by the next one, also where it does not want to."""
    w.session()
    with Terminal(w) as t:
        t.ready()
        t.type("trap '' HUP; sleep 4246\n")
        job = execute(w, ["/bin/sh", "-c", "trap '' HUP; while :; do sleep 1; done # 4247"])
        there(w, "sleep 4246")
        there(w, "4247")
        w.daemon.process.send_signal(signal.SIGKILL)
        w.daemon.process.wait()
        w.daemon.start()
        for path in (t.job, job):
            assert w.bus.wait_job(path)["State"] == "interrupted"
    gone(w, "4247")
    w.runs()
    run(w, "true")
    with Terminal(w, command=V("as", ["sleep", "4248"])) as t:
        there(w, "sleep 4248")
        w.daemon.process.terminate()
        w.daemon.process.wait()
        assert "Out of memory" not in w.daemon.tail(), w.daemon.tail()
        w.daemon.start()
        assert w.bus.wait_job(t.job)["State"] in ("interrupted", "canceled", "failed")
    gone(w, "sleep 4248")


def many_shells(w):
    w.session()
    with contextlib.ExitStack() as stack:
        shells = [stack.enter_context(Terminal(w)) for _ in range(SHELLS)]
        for i, t in enumerate(shells):
            t.type(f"echo n$(({i}+1000))n\n")
        for i, t in enumerate(shells):
            t.expect(f"n{i + 1000}n")
        w.bus.do("Snapshot", w.name)
        for i, t in enumerate(shells):
            t.type(f"exit {i}\n")
        for i, t in enumerate(shells):
            t.ends(code=i)


CASES = (
    ("stream: a shell", a_shell),
    ("stream: commands", commands),
    ("stream: fifty megabytes", fifty_megabytes),
    ("stream: output", output),
    ("stream: left by its caller", left_by_its_caller),
    ("stream: many shells", many_shells),
    ("stream: begun while it is paused", begun_while_paused),
    ("stream: begun by somebody else", begun_by_another),
    ("stream: begun by somebody else, and the service is killed", begun_by_another_and_killed),
    ("stream: saved under a shell", saved_under_a_shell),
    ("stream: hibernated under a shell", hibernated_under_a_shell),
    ("stream: stopped under a shell", stopped_under_a_shell),
    ("stream: ended with its output unread", ended_unread),
    ("stream: the service is killed under a shell", killed_service),
    ("stream: the Engine stops under a shell", lambda w: engine_ends_under_a_shell(w, "stop")),
    ("stream: the Engine is killed under a shell", lambda w: engine_ends_under_a_shell(w, "crash")),
)
