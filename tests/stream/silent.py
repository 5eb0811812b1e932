# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file system of a caller's own, with one file in it, which stops to answer when it is told so. It is mounted where nobody else sees it."""

import array
import contextlib
import ctypes
import os
import socket
import struct
import threading

CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE = 0x20000, 0x10000000, 0x4000, 0x40000
LOOKUP, GETATTR, SETATTR, OPEN, READ, WRITE, RELEASE, FLUSH, INIT = 1, 3, 4, 14, 15, 16, 18, 25, 26    # <linux/fuse.h>
LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "no file system of one's own can be made here")


def _attributes(node):
    return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755 if node == 1 else 0o100666, 1, os.getuid(), os.getgid(), 0, 4096, 0)


class SilentFile:
    """`fd` is of the file. Requests of which the opcode is in `silent` are never answered; each that came is in `seen`."""

    def __init__(self):
        self.silent, self.seen = set(), []
        self.condition = threading.Condition()
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        ours, theirs = socket.socketpair()
        self.opener = os.fork()
        if self.opener == 0:
            self.open_it(theirs)
        theirs.close()
        control = None
        if ours.recv(1):        # before it is mounted, the device gives nobody anything but an error
            threading.Thread(target=self.serve, daemon=True).start()
            _, control, *_ = ours.recvmsg(1, socket.CMSG_SPACE(4))
        os.waitpid(self.opener, 0)
        ours.close()
        if not control:
            os.close(self.device)
            raise OSError("no file system of one's own can be made here")
        self.fd = array.array("i", control[0][2][:4])[0]

    def open_it(self, to):
        """In a child, with which the mount goes; the file keeps the file system."""
        try:
            _checked(LIBC.unshare(CLONE_NEWNS | (CLONE_NEWUSER if os.geteuid() else 0)))
            _checked(LIBC.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
            options = f"fd={self.device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
            _checked(LIBC.mount(b"silent", b"/mnt", b"fuse", 0, options.encode()))
            to.send(b"m")
            fd = os.open("/mnt/file", os.O_RDWR)
            to.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        finally:
            os._exit(0)

    def serve(self):
        while True:
            try:
                request = os.read(self.device, 1 << 17)
            except OSError:
                return
            _, code, unique, node = struct.unpack_from("<IIQQ", request)
            with self.condition:
                self.seen.append(code)
                self.condition.notify_all()
            if code not in self.silent:
                self.answer(code, unique, node, request[40:])

    def answer(self, code, unique, node, body):
        answers = {
            INIT: struct.pack("<IIIIHHIIHHI28x", 7, 31, 65536, 0, 12, 10, 65536, 1, 16, 0, 0),
            LOOKUP: struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + _attributes(2),
            GETATTR: struct.pack("<QII", 0, 0, 0) + _attributes(node),
            SETATTR: struct.pack("<QII", 0, 0, 0) + _attributes(node),
            OPEN: struct.pack("<QII", 1, 1, 0),
            READ: b"",
            WRITE: body[16:20] + bytes(4),
            FLUSH: b"",
            RELEASE: b"",
        }
        data = answers.get(code, b"")
        try:
            os.write(self.device, struct.pack("<IiQ", 16 + len(data), 0 if code in answers else -38, unique) + data)
        except OSError:         # of one that wants none
            pass

    def wait(self, code):
        with self.condition:
            assert self.condition.wait_for(lambda: code in self.seen, 60), f"{code} was not asked for, {self.seen} were"

    def close(self):
        """Whoever waits for an answer gets an error."""
        os.close(self.device)
        with contextlib.suppress(OSError):
            os.close(self.fd)
