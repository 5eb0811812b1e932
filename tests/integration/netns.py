# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sockets in another network namespace. A socket stays where it was made, so only its making happens there."""

import contextlib
import ctypes
import http.client
import os
import socket
import threading

_libc = ctypes.CDLL(None, use_errno=True)
_lock = threading.Lock()
CLONE_NEWNET = 0x40000000


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def inside(path):
    """This thread is in the namespace `path` for the body; None: stays where it is."""
    if not path:
        yield
        return
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _lock:
            _setns(there)
            try:
                yield
            finally:
                _setns(here)
    finally:
        os.close(here)
        os.close(there)


def connect(path, host, port, timeout=30):
    with inside(path):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(timeout)
    try:
        s.connect((host, port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        s.close()
        raise
    return s


def listen(path, host, port):
    with inside(path):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, port))
    s.listen(64)
    return s


class Connection(http.client.HTTPConnection):
    """HTTP to a server in the namespace `netns`."""

    def __init__(self, host, port, netns=None, timeout=30):
        super().__init__(host, port, timeout=timeout)
        self.netns = netns

    def connect(self):
        self.sock = connect(self.netns, self.host, self.port, self.timeout)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)
