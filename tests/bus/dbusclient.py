# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small blocking D-Bus client on the standard library alone, as the D-Bus specification describes the protocol.

Unlike busctl it holds many connections of many users at once, sends without waiting, and answers calls, so that one
test process can be callers, bystanders and polkit. Descriptors are plain numbers: those sent are duplicated on the way,
those received are the receiver's to close."""

import os
import select
import socket
import struct
import time

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY, NO_AUTO_START, INTERACTIVE = 1, 2, 4
BASIC = {'y': ('B', 1), 'n': ('h', 2), 'q': ('H', 2), 'i': ('i', 4), 'u': ('I', 4), 'x': ('q', 8), 't': ('Q', 8), 'd': ('d', 8)}
ALIGN = {'y': 1, 'n': 2, 'q': 2, 'i': 4, 'u': 4, 'x': 8, 't': 8, 'd': 8, 'b': 4, 'h': 4, 's': 4, 'o': 4, 'g': 1, 'a': 4, '(': 8, '{': 8, 'v': 1}


class V:
    """A variant to send."""

    def __init__(self, signature, value):
        self.signature, self.value = signature, value


class DBusError(Exception):
    def __init__(self, name, message):
        super().__init__(f'{name}: {message}')
        self.name, self.message = name, message


def split(signature):
    """The complete types of a signature."""
    types, i = [], 0
    while i < len(signature):
        start = i
        while signature[i] == 'a':
            i += 1
        if signature[i] in '({':
            depth = 0
            while True:
                depth += {'(': 1, '{': 1, ')': -1, '}': -1}.get(signature[i], 0)
                i += 1
                if depth == 0:
                    break
        else:
            i += 1
        types.append(signature[start:i])
    return types


class Writer:
    def __init__(self):
        self.data, self.fds = bytearray(), []

    def pad(self, n):
        self.data += b'\0' * (-len(self.data) % n)

    def write(self, t, value):
        c = t[0]
        self.pad(ALIGN[c])
        if c in BASIC:
            self.data += struct.pack('<' + BASIC[c][0], value)
        elif c == 'b':
            self.data += struct.pack('<I', 1 if value else 0)
        elif c == 'h':
            self.data += struct.pack('<I', len(self.fds))
            self.fds.append(value)
        elif c in 'so':
            b = value.encode()
            self.data += struct.pack('<I', len(b)) + b + b'\0'
        elif c == 'g':
            self.data += bytes([len(value)]) + value.encode() + b'\0'
        elif c == 'v':
            self.write('g', value.signature)
            self.write(value.signature, value.value)
        elif c == 'a':
            self.array(t[1:], value)
        else:
            for part, v in zip(split(t[1:-1]), value):
                self.write(part, v)

    def array(self, t, value):
        at = len(self.data)
        self.data += b'\0\0\0\0'
        self.pad(ALIGN[t[0]])
        start = len(self.data)
        for v in value.items() if isinstance(value, dict) else value:
            self.write(t, v)
        self.data[at:at + 4] = struct.pack('<I', len(self.data) - start)


class Reader:
    def __init__(self, data, fds=()):
        self.data, self.fds, self.i = data, fds, 0

    def pad(self, n):
        self.i += -self.i % n

    def unpack(self, fmt, n):
        v, = struct.unpack_from('<' + fmt, self.data, self.i)
        self.i += n
        return v

    def read(self, t):
        c = t[0]
        self.pad(ALIGN[c])
        if c in BASIC:
            return self.unpack(*BASIC[c])
        if c == 'b':
            return bool(self.unpack('I', 4))
        if c == 'h':
            return self.fds[self.unpack('I', 4)]
        if c in 'so':
            return self.string(self.unpack('I', 4))
        if c == 'g':
            return self.string(self.unpack('B', 1))
        if c == 'v':
            return self.read(self.read('g'))
        if c == 'a':
            return self.array(t[1:])
        return tuple(self.read(part) for part in split(t[1:-1]))

    def string(self, n):
        s = self.data[self.i:self.i + n].decode()
        self.i += n + 1
        return s

    def array(self, t):
        n = self.unpack('I', 4)
        self.pad(ALIGN[t[0]])
        end, items = self.i + n, []
        while self.i < end:
            items.append(self.read(t))
        return dict(items) if t[0] == '{' else items


class Message:
    def __init__(self, kind, flags, serial, fields, body):
        self.kind, self.flags, self.serial, self.body = kind, flags, serial, body
        self.path, self.interface, self.member = fields.get(1), fields.get(2), fields.get(3)
        self.error, self.reply_serial, self.destination, self.sender = fields.get(4), fields.get(5), fields.get(6), fields.get(7)
        self.signature = fields.get(8, '')


class Bus:
    """One connection. `uid` is who the bus believes to see; only root can choose. Without `descriptors` it takes none, like
    one that comes from another machine."""

    def __init__(self, path, uid=None, timeout=20, descriptors=True):
        self.path, self.timeout, self.serial, self.descriptors = path, timeout, 0, descriptors
        self.buffer, self.fds, self.signals, self.replies, self.calls = b'', [], [], {}, []
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.connect(uid)
        except OSError:
            self.sock.close()
            raise
        self.name = self.call('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'Hello')

    def connect(self, uid):
        # The kernel tells the bus who connected at that moment.
        if uid is not None:
            os.setegid(uid)
            os.seteuid(uid)
        try:
            self.sock.connect(self.path)
        finally:
            if uid is not None:
                os.seteuid(0)
                os.setegid(0)
        who = str(os.getuid() if uid is None else uid).encode().hex()
        self.ask(b'\0AUTH EXTERNAL ' + who.encode(), b'OK')
        if self.descriptors:
            self.ask(b'NEGOTIATE_UNIX_FD', b'AGREE_UNIX_FD')
        self.sock.sendall(b'BEGIN\r\n')

    def ask(self, question, answer):
        self.sock.sendall(question + b'\r\n')
        line = b''
        while not line.endswith(b'\r\n'):
            line += self.sock.recv(1)
        if not line.startswith(answer):
            raise ConnectionError(line)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, kind, fields, signature='', args=(), flags=0):
        body = Writer()
        for t, v in zip(split(signature), args):
            body.write(t, v)
        if signature:
            fields = fields + [(8, V('g', signature))]
        if body.fds:
            fields = fields + [(9, V('u', len(body.fds)))]
        self.serial += 1
        w = Writer()
        w.data += struct.pack('<cBBBII', b'l', kind, flags, 1, len(body.data), self.serial)
        w.write('a(yv)', fields)
        w.pad(8)
        data = bytes(w.data) + bytes(body.data)
        self.sock.sendall(data[socket.send_fds(self.sock, [data], body.fds):])
        return self.serial

    def send_call(self, destination, path, interface, member, signature='', args=(), flags=0):
        """Sends without waiting; returns the serial for reply()."""
        fields = [(1, V('o', path)), (3, V('s', member)), (6, V('s', destination))]
        if interface:
            fields.append((2, V('s', interface)))
        return self.send(CALL, fields, signature, args, flags)

    def answer(self, call, signature='', args=()):
        self.send(RETURN, [(5, V('u', call.serial)), (6, V('s', call.sender))], signature, args, NO_REPLY)

    def answer_error(self, call, name, text):
        self.send(ERROR, [(4, V('s', name)), (5, V('u', call.serial)), (6, V('s', call.sender))], 's', (text,), NO_REPLY)

    def pump(self, timeout):
        """Takes in what has come, waiting at most so long for the first byte. False when nothing came."""
        if not select.select([self.sock], [], [], timeout)[0]:
            return False
        data, fds, _, _ = socket.recv_fds(self.sock, 1 << 20, 253)
        self.fds += fds
        if not data:
            raise ConnectionError('the bus hung up')
        self.buffer += data
        while (m := self.parse()) is not None:
            if m.kind in (RETURN, ERROR):
                self.replies[m.reply_serial] = m
            elif m.kind == SIGNAL:
                self.signals.append(m)
            else:
                self.calls.append(m)
        return True

    def parse(self):
        if len(self.buffer) < 16:
            return None
        kind, flags, _, size, serial, fields_size = struct.unpack_from('<BBBIII', self.buffer, 1)
        total = 16 + fields_size + (-fields_size % 8) + size
        if len(self.buffer) < total:
            return None
        head = Reader(self.buffer[:total])
        head.i = 12
        fields = dict(head.read('a(yv)'))
        n = fields.get(9, 0)
        fds, self.fds = self.fds[:n], self.fds[n:]
        body = Reader(self.buffer[total - size:total], fds)
        args = [body.read(t) for t in split(fields.get(8, ''))]
        self.buffer = self.buffer[total:]
        return Message(kind, flags, serial, fields, args)

    def reply(self, serial, timeout=None):
        """The answer to a send_call(): nothing, one value or a tuple; raises DBusError."""
        end = time.monotonic() + (timeout or self.timeout)
        while serial not in self.replies:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError('no answer')
            self.pump(left)
        m = self.replies.pop(serial)
        if m.kind == ERROR:
            raise DBusError(m.error, m.body[0] if m.body else '')
        return None if not m.body else m.body[0] if len(m.body) == 1 else tuple(m.body)

    def call(self, destination, path, interface, member, signature='', *args, flags=0, timeout=None):
        return self.reply(self.send_call(destination, path, interface, member, signature, args, flags), timeout)

    def driver(self, member, signature='', *args):
        return self.call('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', member, signature, *args)

    def match(self, rule):
        self.driver('AddMatch', 's', rule)

    def drain(self, quiet=0.2):
        """All signals until none has come for so long."""
        while self.pump(quiet):
            pass
        signals, self.signals = self.signals, []
        return signals

    def wait_signal(self, predicate, timeout=None):
        end = time.monotonic() + (timeout or self.timeout)
        while True:
            for i, m in enumerate(self.signals):
                if predicate(m):
                    return self.signals.pop(i)
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError('the signal did not come')
            self.pump(left)

    def wait_call(self, timeout=None):
        end = time.monotonic() + (timeout or self.timeout)
        while not self.calls:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError('nobody called')
            self.pump(left)
        return self.calls.pop(0)
