# SPDX-License-Identifier: LGPL-2.1-or-later
"""swarm-stream as it is started by the service, and an Engine that answers what the test says; only the standard library."""

import fcntl
import json
import os
import pty
import select
import socket
import struct
import subprocess
import tempfile
import termios
import unittest

PROGRAM = os.environ.get("SWARM_STREAM", "build/src/swarm-stream")
DEADLINE = float(os.environ.get("SWARM_STREAM_DEADLINE", "60"))    # seconds for what must come; it bounds a failure alone
FIRST_FD, FDS_MAX = 3, 3

UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
HIJACKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

# The numbers that the child's are to have stay taken here, so that nothing of subprocess's own gets them.
for number in range(FIRST_FD, FIRST_FD + FDS_MAX):
    null = os.open("/dev/null", os.O_RDONLY)
    if null != number:
        os.dup2(null, number)
        os.close(null)


def frame(stream, data):
    return struct.pack(">BxxxI", stream, len(data)) + data


def chunk(data, extension=b""):
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


def ready(fd, events=select.POLLIN):
    p = select.poll()
    p.register(fd, events)
    if not p.poll(DEADLINE * 1000):
        raise AssertionError("nothing came")


def read_all(fd, size=None):
    """To the end, or so much."""
    data = b""
    while size is None or len(data) < size:
        ready(fd)
        try:
            more = os.read(fd, 65536 if size is None else size - len(data))
        except OSError:         # a pty whose other end is closed
            break
        if not more:
            break
        data += more
    return data


def pattern(size, seed=1):
    """Bytes whose order shows."""
    return b"".join(struct.pack(">I", (i * 2654435761 + seed) & 0xffffffff) for i in range(size // 4))


class Engine:
    def __init__(self, folder):
        self.path = os.path.join(folder, "engine.sock")
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.path)
        self.listening.listen()
        self.listening.settimeout(DEADLINE)
        self.connections = []

    def accept(self):
        """A connection, and the request that came by it: its first line, fields, body."""
        c, _ = self.listening.accept()
        c.settimeout(DEADLINE)
        self.connections.append(c)
        data = b""
        while b"\r\n\r\n" not in data:
            data += c.recv(65536)
        head, body = data.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        fields = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
        while len(body) < int(fields.get("content-length", 0)):
            body += c.recv(65536)
        return c, first, fields, body

    def close(self):
        for c in [*self.connections, self.listening]:
            c.close()


class Child:
    def __init__(self, socket_path, kind, fds, framed=False, path="/v1.41/exec/x/start", method="POST", body='{"Tty":true}', raw=None):
        def place():
            for i, fd in enumerate(fds):
                os.dup2(fd, FIRST_FD + i)
        self.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=place,
                                        pass_fds=range(FIRST_FD, FIRST_FD + len(fds)))
        self.buffer = b""
        request = {"socket": socket_path, "method": method, "path": path, "kind": kind, "framed": framed}
        if body is not None:
            request["body"] = body
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n" if raw is None else raw)
            self.process.stdin.flush()
        except BrokenPipeError:         # it refuses what it has read so far
            pass

    def line(self):
        """The next one; None: it has said all."""
        fd = self.process.stdout.fileno()
        while b"\n" not in self.buffer:
            ready(fd)
            more = os.read(fd, 65536)
            if not more:
                assert self.buffer == b""
                return None
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def over(self):
        """What it says until it ends, and that it ends well."""
        lines = []
        while (line := self.line()) is not None:
            lines.append(line)
        status = self.process.wait(DEADLINE)
        assert status == 0, status
        return lines

    def close(self):
        self.process.kill()
        self.process.wait()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.stdout.close()


class StreamTest(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="swarm-stream-test.")
        self.addCleanup(self.folder.cleanup)
        self.engine = Engine(self.folder.name)
        self.addCleanup(self.engine.close)
        self.fds = []
        self.addCleanup(lambda: [os.close(fd) for fd in self.fds])

    def own(self, *fds):
        self.fds += fds
        return fds

    def drop(self, *fds):
        for fd in fds:
            self.fds.remove(fd)
            os.close(fd)

    def pipe(self):
        return self.own(*os.pipe())

    def file(self, name, data=b""):
        path = os.path.join(self.folder.name, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def open(self, path, flags):
        return self.own(os.open(path, flags))[0]

    def child(self, kind, fds, **more):
        c = Child(self.engine.path, kind, fds, **more)
        self.addCleanup(c.close)
        return c

    def terminal(self, rows=0, columns=0, answer=UPGRADED, **more):
        """A child that has begun, the Engine's end of its connection, and the master end."""
        master, slave = self.own(*pty.openpty())
        if rows or columns:
            set_size(master, rows, columns)
        child = self.child("terminal", [slave], **more)
        self.drop(slave)
        c, *self.request = self.engine.accept()
        c.sendall(answer)
        self.assertEqual(child.line(), {"status": int(answer.split()[1])})
        return child, c, master

    def command(self, stdin=None, stdout=None, stderr=None, answer=UPGRADED, **more):
        """A child that has begun, the Engine's end, and ours of the pipes of those that were not given (else None)."""
        ours, theirs = [], []
        for i, given in enumerate((stdin, stdout, stderr)):
            r, w = (None, None) if given is not None else self.pipe()
            theirs.append(given if given is not None else r if i == 0 else w)
            ours.append(w if i == 0 else r)
        child = self.child("command", theirs, **{"framed": True, **more})
        self.drop(*(fd for fd, given in zip(theirs, (stdin, stdout, stderr)) if given is None))
        c, *self.request = self.engine.accept()
        c.sendall(answer)
        self.assertEqual(child.line(), {"status": int(answer.split()[1])})
        return child, c, *ours

    def output(self, answer=CHUNKED, fd=None, **more):
        r, w = (None, fd) if fd is not None else self.pipe()
        child = self.child("output", [w], **{"framed": True, "method": "GET", "path": "/v1.41/containers/x/logs", "body": None, **more})
        if fd is None:
            self.drop(w)
        c, *self.request = self.engine.accept()
        c.sendall(answer)
        self.assertEqual(child.line(), {"status": 200})
        return child, c, r

    def received(self, connection, size=None):
        data = b""
        while size is None or len(data) < size:
            try:
                more = connection.recv(65536 if size is None else size - len(data))
            except ConnectionResetError:        # it ended without having read everything
                break
            if not more:
                break
            data += more
        return data


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
