# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stands in front of a registry and lets it fail in the ways in which registries fail. It takes the registry's own
address; the registry moves to another port. Docker's own requests pass through unless a fault says otherwise."""

import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse

import netns
from registry import Registry
from waiting import wait_for

HEAD_MAX = 64 * 1024


class Fault:
    """What happens to requests whose "METHOD path" matches `pattern`, the first `times` times after `skip` ones:

    status 500      that answer, nothing forwarded
    refuse          the connection is closed without an answer
    cut             the connection breaks after `after` bytes of the request's body
    cut-answer      … of the answer's body
    corrupt         the answer's body has one byte changed
    lose            the answer passes; the blob that it acknowledged is gone from the registry's disk
    hold            nothing happens until release()"""

    def __init__(self, action, pattern=".", times=None, after=0, skip=0, docker=False):
        self.action, self.pattern, self.times, self.after, self.skip, self.docker = action, re.compile(pattern), times, after, skip, docker
        self.hits = 0
        self.held = threading.Event()
        self.released = threading.Event()

    def matches(self, line, is_docker):
        if (is_docker and not self.docker) or not self.pattern.search(line):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True

    def release(self):
        self.released.set()


class FaultProxy:
    def __init__(self, rig, port=5009):
        """Moves the rig's registry to `port` and takes its place."""
        self.rig = rig
        self.host, own = rig.registry_address.rsplit(":", 1)
        self.own, self.port, self.netns = int(own), port, rig.netns
        self.folder = os.path.join(rig.folder, "registry")
        self.faults = []
        self.lock = threading.Lock()
        self.log = []           # (line, what happened)
        self.listener = None
        self.accepting = None   # the thread that does
        self.registry = None
        rig.verb("registry", "stop")
        self.start_registry()
        self.open()

    # ---- the registry behind

    def start_registry(self):
        config = os.path.join(self.rig.folder, "registry-behind.yml")
        with open(os.path.join(self.rig.folder, "registry.yml"), encoding="utf-8") as f:
            text = f.read().replace(f"addr: {self.host}:{self.own}", f"addr: {self.host}:{self.port}")
        with open(config, "w", encoding="utf-8") as f:
            f.write(text)
        env = {"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"}
        with open(os.path.join(self.rig.folder, "log", "registry-behind"), "ab") as log:
            # pylint: disable=consider-using-with
            self.registry = subprocess.Popen(["nsenter", f"--net={self.netns}", "--", shutil.which("docker-registry"), "serve", config],
                                             env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        behind = Registry(f"{self.host}:{self.port}", self.netns)

        def answers():
            try:
                return behind.get("/v2/", (200, 401))
            except OSError:
                return None
        wait_for(answers, "the registry behind the proxy")

    def stop_registry(self):
        if self.registry and self.registry.poll() is None:
            self.registry.terminate()
            self.registry.wait(20)

    # ---- what a test says

    def fault(self, *args, **kwargs):
        f = Fault(*args, **kwargs)
        with self.lock:
            self.faults.append(f)
        return f

    def clear(self):
        with self.lock:
            for f in self.faults:
                f.release()
            self.faults.clear()
            self.log.clear()

    def open(self):
        self.listener = netns.listen(self.netns, self.host, self.own)
        self.accepting = threading.Thread(target=self._accept, args=(self.listener,), daemon=True)
        self.accepting.start()

    def shut(self):
        """Connections are refused."""
        if self.listener:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.accepting.join()
            self.listener.close()
            self.listener = None

    def close(self):
        self.clear()
        self.shut()
        self.stop_registry()

    # ---- connections

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        upstream = sender = None
        try:
            client.settimeout(120)
            head, rest = _read_head(client)
            if head is None:
                return
            words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            line = f"{words[0]} {words[1]}"
            is_docker = b"\r\nuser-agent: docker/" in head.lower()
            with self.lock:
                fault = next((f for f in self.faults if f.matches(line, is_docker)), None)
                self.log.append((line, fault.action if fault else ""))
            if fault and fault.action == "hold":
                fault.held.set()
                fault.released.wait(120)
                fault = None
            if fault and fault.action.startswith("status "):
                _answer(client, int(fault.action.split()[1]))
                return
            if fault and fault.action == "refuse":
                return
            upstream = netns.connect(self.netns, self.host, self.port, 120)
            upstream.sendall(_connection_close(head) + b"\r\n\r\n")
            sender = threading.Thread(target=_pump_request, args=(client, upstream, rest, fault), daemon=True)
            sender.start()
            self._pump_answer(upstream, client, line, fault)
        except OSError:
            pass
        finally:
            sockets = [s for s in (client, upstream) if s]
            for s in sockets:
                _shut(s)
            # Closed when nobody is about to wait for them. A number that is free again is the next pipe's, and poll(2) of a pipe's
            # writing end keeps it open: who reads from a process that has ended would not be told of that.
            if sender:
                sender.join()
            for s in sockets:
                s.close()

    def _pump_answer(self, upstream, client, line, fault):
        action = fault.action if fault else ""
        head, data = _read_head(upstream)
        while head is not None and head.startswith(b"HTTP/1.1 100"):
            client.sendall(head + b"\r\n\r\n")
            head, data = _read_head(upstream, data)
        if head is None:
            return
        if action == "lose" and head.startswith(b"HTTP/1.1 201"):
            self._lose(line)
        client.sendall(_connection_close(head) + b"\r\n\r\n")
        left = fault.after if action == "cut-answer" else None
        while data or (data := upstream.recv(65536)):
            if action == "corrupt":
                data, action = bytes([data[0] ^ 1]) + data[1:], ""
            if left is not None:
                client.sendall(data[:left])
                left -= len(data)
                if left <= 0:
                    return
            else:
                client.sendall(data)
            data = b""

    def _lose(self, line):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(line.split(" ", 1)[1]).query)
        for digest in query.get("digest", ()):
            self.lose_blob(digest)

    def lose_blob(self, digest):
        algorithm, hexes = digest.split(":")
        os.unlink(os.path.join(self.folder, "docker/registry/v2/blobs", algorithm, hexes[:2], hexes, "data"))


def _shut(s):
    try:
        s.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass        # the other side was first


def _read_head(s, data=b""):
    while b"\r\n\r\n" not in data:
        more = s.recv(65536)
        if not data and more[:1] == b"\x16":
            # Docker tries TLS first. A registry answers that so, and with the containerd image store nothing else will do.
            s.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")
            return None, b""
        if not more or len(data) > HEAD_MAX:
            return None, b""
        data += more
    return data.split(b"\r\n\r\n", 1)


def _connection_close(head):
    lines = [x for x in head.split(b"\r\n") if not x.lower().startswith(b"connection:")]
    return b"\r\n".join(lines + [b"Connection: close"])


def _pump_request(client, upstream, data, fault):
    left = fault.after if fault and fault.action == "cut" else None
    try:
        while True:
            if left is not None and len(data) > left:
                upstream.sendall(data[:left])
                for s in (client, upstream):
                    _shut(s)
                return
            if data:
                upstream.sendall(data)
                left = left - len(data) if left is not None else None
            data = client.recv(65536)
            if not data:
                return
    except OSError:
        pass


def _answer(client, status):
    body = b'{"errors":[{"code":"UNKNOWN","message":"as the test asked"}]}'
    client.sendall(b"HTTP/1.1 %d Failure\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body)
    # A body that is still coming must not turn the answer into a reset before it was read.
    client.shutdown(socket.SHUT_WR)
    try:
        client.settimeout(5)
        while client.recv(65536):
            pass
    except OSError:
        pass
