#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""swarm-stream with an Engine that does what the test says: what it asks, what it says, and how it ends."""

import os
import pty
import select
import signal
import socket
import struct
import sys
import termios
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *

ENGINE, CALLER = {"end": "engine"}, {"end": "caller"}


class Requests(StreamTest):
    def test_upgrade(self):
        child, c, master = self.terminal()
        first, fields, body = self.request
        self.assertEqual(first, "POST /v1.41/exec/x/start HTTP/1.1")
        self.assertEqual(body, b'{"Tty":true}')
        self.assertEqual((fields["connection"], fields["upgrade"], fields["content-type"]), ("Upgrade", "tcp", "application/json"))
        self.assertIn("host", fields)
        c.close()
        self.assertEqual(child.over(), [ENGINE])

    def test_output(self):
        child, c, out = self.output()
        first, fields, body = self.request
        self.assertEqual((first, body), ("GET /v1.41/containers/x/logs HTTP/1.1", b""))
        self.assertNotIn("upgrade", fields)
        c.sendall(chunk(b""))
        self.assertEqual(child.over(), [ENGINE])

    def test_not_understood(self):
        for raw in (b"\n", b"{}\n", b"[]\n", b'{"socket":"/x"}\n', b"x" * 600000 + b"\n",
                    b'{"socket":"/x","method":"GET","path":"/a b","kind":"output"}\n',
                    b'{"socket":"/x","method":"GET","path":"/a","kind":"other"}\n'):
            child = Child(None, "output", [], raw=raw)
            self.addCleanup(child.close)
            self.assertIsNone(child.line())
            self.assertNotEqual(child.process.wait(DEADLINE), 0)

    def test_no_engine(self):
        for path, why in ((os.path.join(self.folder.name, "none"), "No such file"), (self.file("file"), "Connection refused")):
            r, w = self.pipe()
            child = Child(path, "output", [w])
            self.addCleanup(child.close)
            [said] = child.over()
            self.assertEqual(said["status"], 0)
            self.assertIn(path, said["message"])
            self.assertIn(why, said["message"])

    def test_missing_descriptors(self):
        child = self.child("command", [self.pipe()[0]])
        [said] = child.over()
        self.assertEqual(said["status"], 0)
        self.assertIn("descriptor", said["message"])

    def test_no_terminal(self):
        child = self.child("terminal", [self.pipe()[0]])
        [said] = child.over()
        self.assertEqual(said["status"], 0)
        self.assertIn("terminal cannot be taken", said["message"])


class Answers(StreamTest):
    def refused(self, answer, kind="output", close=True):
        fds = [self.open("/dev/null", os.O_RDWR)] * 3
        child = self.child(kind, fds[:3 if kind == "command" else 1])
        c, *_ = self.engine.accept()
        c.sendall(answer)
        if close:
            c.close()
        [said] = child.over()
        return said["status"], said["message"]

    def answer(self, status, body, fields=b""):
        return b"HTTP/1.1 %d Whatever\r\n%sContent-Length: %d\r\n\r\n%s" % (status, fields, len(body), body)

    def test_refused(self):
        for status in (400, 404, 409, 500, 302, 201):
            for kind in ("output", "command"):
                # It is over with the body, not with the connection.
                got = self.refused(self.answer(status, b'{"message":"No such container: x"}\n'), kind, close=False)
                self.assertEqual(got, (status, "No such container: x"))

    def test_refused_in_chunks(self):
        head = b"HTTP/1.1 500 Internal\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(self.refused(head + chunk(b'{"mess', b";a=b") + chunk(b'age":"broken"}') + b"0\r\nTrailer: x\r\n\r\n", close=False), (500, "broken"))

    def test_refused_until_close(self):
        self.assertEqual(self.refused(b"HTTP/1.0 503 Busy\r\n\r\n try later \n"), (503, "try later"))

    def test_refused_without_a_reason(self):
        self.assertEqual(self.refused(self.answer(500, b"")), (500, "it answered with status 500 and gave no reason"))
        self.assertEqual(self.refused(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", close=False)[0], 204)

    def test_refused_with_odd_bytes(self):
        status, message = self.refused(self.answer(500, b'{"message":"\xff\xfe na\xc3\xafve"}'))
        self.assertEqual(message, "?? na\u00efve")
        self.assertEqual(self.refused(self.answer(500, b"a\0b\x1b[2Jc\xed\xa0\x80"))[1], "a?b [2Jc???")
        self.assertEqual(self.refused(self.answer(500, b'{"message":"\\u001b[31mred"}'))[1], "[31mred")
        self.assertEqual(self.refused(self.answer(500, b'{"message":7}'))[1], '{"message":7}')

    def test_refused_at_length(self):
        self.assertEqual(self.refused(self.answer(500, b'{"message":"' + b"\xc3\xa4" * 4000 + b'"}'))[1], "\u00e4" * 2048)
        # More is not looked at, nor waited for.
        status, message = self.refused(b"HTTP/1.1 500 x\r\nContent-Length: 99999999\r\n\r\n" + b"y" * 70000, close=False)
        self.assertEqual(message, "y" * 4096)

    def test_interim(self):
        child, c, out = self.output(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + CHUNKED)
        c.sendall(chunk(frame(1, b"x")) + chunk(b""))
        self.assertEqual(child.over(), [ENGINE])
        self.assertEqual(read_all(out), b"x")
        self.assertEqual(self.refused(b"HTTP/1.1 100 Continue\r\n\r\n" * 50, close=False)[0], 0)

    def test_no_answer(self):
        for answer in (b"", b"HTTP/1.1 200 OK\r\n", b"HTT", b"HTTP/1.1 100 Continue\r\n\r\n"):
            self.assertEqual(self.refused(answer), (0, "the Engine closed the connection before it had answered"))

    def test_no_http(self):
        for answer in (b"SSH-2.0-OpenSSH\r\n", b"\x15\x03\x01\0\2\2", b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 99 x\r\n\r\n", b"HTTP/1.1 2000 x\r\n\r\n",
                       b"HTTP/1.1 200 OK\r\nno field\r\n\r\n", b"HTTP/1.1 200 OK\r\n: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
                       b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
                       b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
                       b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
                       b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n"):
            self.assertEqual(self.refused(answer, close=False), (0, "what the Engine answered is no HTTP"), answer)

    def test_endless_head(self):
        self.assertEqual(self.refused(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 11000, close=False), (0, "what the Engine answered is no HTTP"))

    def test_wrong_protocol(self):
        self.assertEqual(self.refused(UPGRADED, close=False)[0], 0)

    def test_silence(self):
        """It waits; who started it has a deadline. With its reader it ends."""
        child = self.child("output", [self.pipe()[1]])
        c, *_ = self.engine.accept()
        child.process.stdout.close()
        self.assertEqual(c.recv(1), b"")
        self.assertNotEqual(child.process.wait(DEADLINE), 0)
        child.process.stdout = open(os.devnull, "rb")


class Terminals(StreamTest):
    def test_both_ways(self):
        child, c, master = self.terminal()
        os.write(master, b"echo\r\x03\x04\x11\x13\xff")
        # Raw: nothing is echoed, translated, or a signal.
        self.assertEqual(self.received(c, 10), b"echo\r\x03\x04\x11\x13\xff")
        c.sendall(b"line\n\xfe")
        self.assertEqual(read_all(master, 6), b"line\n\xfe")
        c.sendall(b"bye")
        c.close()
        self.assertEqual(child.over(), [ENGINE])
        self.assertEqual(read_all(master), b"bye")

    def test_bytes_behind_the_head(self):
        for answer in (UPGRADED, HIJACKED):
            child, c, master = self.terminal(answer=answer + b"\x08\0prompt")
            self.assertEqual(read_all(master, 8), b"\x08\0prompt")
            c.shutdown(socket.SHUT_WR)
            self.assertEqual(child.over(), [ENGINE])

    def test_sizes(self):
        child, c, master = self.terminal()
        set_size(master, 24, 80)
        self.assertEqual(child.line(), {"rows": 24, "columns": 80})
        set_size(master, 24, 80)
        set_size(master, 65535, 1)
        self.assertEqual(child.line(), {"rows": 65535, "columns": 1})
        # Many become few, twenty a second, and the last is told.
        start, i = time.monotonic(), 0
        while time.monotonic() < start + 0.5:
            i += 1
            set_size(master, 1 + i % 1000, 1000)
        set_size(master, 1, 1)
        said = [child.line()]
        while said[-1] != {"rows": 1, "columns": 1}:
            said.append(child.line())
        self.assertLess(len(said), 20 * (time.monotonic() - start) + 2)
        c.close()
        self.assertEqual(child.over(), [ENGINE])

    def test_size_at_once(self):
        child, c, master = self.terminal(50, 132)
        self.assertEqual(child.line(), {"rows": 50, "columns": 132})
        c.close()
        self.assertEqual(child.over(), [ENGINE])

    def test_closed_by_the_caller(self):
        child, c, master = self.terminal()
        c.sendall(b"never read")
        self.drop(master)
        self.assertEqual(child.over(), [CALLER])
        self.assertEqual(self.received(c), b"")

    def test_closed_while_nobody_reads(self):
        """Both buffers are full, and nothing goes on."""
        child, c, master = self.terminal()
        os.set_blocking(master, False)
        c.settimeout(1)
        for send in (c.send, lambda data: os.write(master, data)):
            try:
                while True:
                    send(b"x" * 4096)
            except (BlockingIOError, TimeoutError):
                pass
        self.drop(master)
        self.assertEqual(child.over(), [CALLER])

    def test_modes_of_the_caller(self):
        """The caller sets some by the master end: then what is typed may be a signal or an end of file, which ends nothing."""
        child, c, master = self.terminal()
        modes = termios.tcgetattr(master)
        modes[3] |= termios.ISIG | termios.ICANON
        termios.tcsetattr(master, termios.TCSANOW, modes)
        os.write(master, b"\x03\x1c\x1a\x04a\n")
        self.assertEqual(self.received(c, 2), b"a\n")
        c.close()
        self.assertEqual(child.over(), [ENGINE])

    def test_framed(self):
        child, c, master = self.terminal(framed=True)
        c.sendall(frame(1, b"one") + frame(2, b"two"))
        c.close()
        self.assertEqual(child.over(), [ENGINE])
        self.assertEqual(read_all(master), b"onetwo")

    def test_end_of_the_reader(self):
        child, c, master = self.terminal()
        child.process.stdout.close()
        self.assertEqual(c.recv(1), b"")
        self.assertNotEqual(child.process.wait(DEADLINE), 0)
        child.process.stdout = open(os.devnull, "rb")
        self.assertEqual(read_all(master), b"")


class Commands(StreamTest):
    def fill(self, fd, data):
        """Writes that again and again, until nobody takes any more; how much was taken."""
        written = 0
        os.set_blocking(fd, False)
        while select.select([], [fd], [], 0.5)[1]:
            try:
                written += os.write(fd, data[written % len(data):])
            except BlockingIOError:
                pass
        return written

    def test_streams(self):
        child, c, stdin, stdout, stderr = self.command()
        c.sendall(frame(1, b"out") + frame(2, b"") + frame(2, b"err") + frame(1, b"") + frame(1, b"put") + frame(0, b"!"))
        os.write(stdin, b"typed")
        self.assertEqual(self.received(c, 5), b"typed")
        self.drop(stdin)
        # A half close: what it answers to that still comes.
        self.assertEqual(self.received(c), b"")
        c.sendall(frame(1, b" later"))
        c.close()
        self.assertEqual(child.over(), [ENGINE])
        self.assertEqual(read_all(stdout), b"output! later")
        self.assertEqual(read_all(stderr), b"err")

    def test_unframed(self):
        child, c, stdin, stdout, stderr = self.command(framed=False, answer=HIJACKED)
        c.sendall(frame(2, b"as it is"))
        c.close()
        self.assertEqual(child.over(), [ENGINE])
        self.assertEqual(read_all(stdout), frame(2, b"as it is"))
        self.assertEqual(read_all(stderr), b"")

    def test_reader_gone(self):
        """Of either, while nothing is written."""
        for which in (1, 2):
            child, c, *ours = self.command()
            self.drop(ours[which])
            self.assertEqual(child.over(), [CALLER])

    def test_reader_gone_while_the_other_is_full(self):
        child, c, stdin, stdout, stderr = self.command()
        c.sendall(frame(1, bytes(100000)))
        self.drop(stderr)
        self.assertEqual(child.over(), [CALLER])

    def test_sockets(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        with theirs:
            child, c, *_, stderr = self.command(stdin=theirs.fileno(), stdout=theirs.fileno())
        ours.settimeout(DEADLINE)
        ours.sendall(b"question")
        ours.shutdown(socket.SHUT_WR)
        self.assertEqual(self.received(c), b"question")
        c.sendall(frame(1, b"answer"))
        self.assertEqual(self.received(ours, 6), b"answer")
        ours.close()
        self.assertEqual(child.over(), [CALLER])

    def test_terminals(self):
        """One for all three: its modes stay, and so do the flags of the open file."""
        master, slave = self.own(*pty.openpty())
        modes = termios.tcgetattr(slave)
        child, c, *_ = self.command(slave, slave, slave)
        os.write(master, b"line\n")
        self.assertEqual(self.received(c, 5), b"line\n")
        c.sendall(frame(1, b"a\n") + frame(2, b"b\n"))
        self.assertEqual(read_all(master, 12), b"line\r\na\r\nb\r\n")
        self.assertEqual(termios.tcgetattr(slave), modes)
        self.assertTrue(os.get_blocking(slave))
        self.drop(slave, master)
        self.assertEqual(child.over(), [CALLER])

    def test_files(self):
        data = pattern(1 << 20)
        source, target = self.file("in", data), self.file("out")
        child, c, *_ = self.command(self.open(source, os.O_RDONLY), self.open(target, os.O_WRONLY), self.open("/dev/null", os.O_WRONLY))
        self.assertEqual(self.received(c), data)
        c.sendall(frame(1, data) + frame(2, data))
        c.close()
        self.assertEqual(child.over(), [ENGINE])
        with open(target, "rb") as f:
            self.assertEqual(f.read(), data)

    def test_flags_stay(self):
        (ir, iw), (r, w) = self.pipe(), self.pipe()
        child, c, *_, stderr = self.command(ir, w)
        c.sendall(frame(1, b"x"))
        self.assertEqual(os.read(r, 1), b"x")
        self.assertTrue(os.get_blocking(w) and os.get_blocking(ir))
        c.close()
        self.assertEqual(child.over(), [ENGINE])

    def test_no_stdin(self):
        for stdin in (self.open("/", os.O_PATH), self.open("/", os.O_RDONLY), self.pipe()[1], self.open("/dev/null", os.O_RDONLY),
                      self.open(self.file("x", b"x"), os.O_WRONLY), self.open("/dev/null", os.O_PATH)):
            child, c, _, stdout, stderr = self.command(stdin=stdin)
            self.assertEqual(self.received(c), b"")
            c.sendall(frame(1, b"done"))
            c.close()
            self.assertEqual(child.over(), [ENGINE])
            self.assertEqual(read_all(stdout), b"done")

    def test_stdout_that_takes_nothing(self):
        child, c, *_ = self.command(stdout=self.open("/dev/null", os.O_RDONLY))
        c.sendall(frame(1, b"x"))
        self.assertEqual(child.over(), [CALLER])
        child, c, *_ = self.command(stdout=self.open("/dev/null", os.O_PATH))
        self.assertEqual(child.over(), [CALLER])
        child, c, *_ = self.command(stdout=self.open("/dev/full", os.O_WRONLY))
        c.sendall(frame(1, b"x"))
        [said] = child.over()
        self.assertEqual((said["end"], said["message"]), ("error", "its output cannot be written: No space left on device"))

    def test_engine_that_reads_no_more(self):
        """A command that ends before its input does: the rest of that has nowhere to go."""
        child, c, stdin, stdout, stderr = self.command()
        self.fill(stdin, b"y\n" * 2048)
        c.sendall(frame(1, b"enough"))
        c.close()
        self.assertEqual(child.over(), [ENGINE])
        self.assertEqual(read_all(stdout), b"enough")

    def test_blocked_output_holds_up_no_input(self):
        child, c, stdin, stdout, stderr = self.command()
        self.fill(c.fileno(), frame(1, bytes(4096)))
        os.write(stdin, b"still here")
        self.assertEqual(self.received(c, 10), b"still here")
        self.drop(stdout)
        self.assertEqual(child.over(), [CALLER])

    def test_terminal_with_little_room(self):
        """It is ready for some bytes, and then a write of more would wait for somebody who reads."""
        master, slave = self.own(*pty.openpty())
        os.write(slave, bytes(1000))
        child, c, stdin, _, stderr = self.command(stdout=slave)
        self.drop(slave)
        self.fill(c.fileno(), frame(1, bytes(777)))
        os.write(stdin, b"still here")
        self.assertEqual(self.received(c, 10), b"still here")
        self.drop(master)
        self.assertEqual(child.over(), [CALLER])

    def test_end_while_nothing_moves(self):
        """All buffers of both directions are full when the Engine closes: what it had sent still comes."""
        child, c, stdin, stdout, stderr = self.command()
        data, sent = bytes([1, 0, 0, 0, 0, 0, 16, 0]) + b"y" * 4096, 0
        # What comes from the one side makes the child try the other again.
        for _ in range(3):
            self.fill(stdin, bytes(4096))
            at = sent % len(data)
            sent += self.fill(c.fileno(), data[at:] + data[:at])
        c.close()
        data = read_all(stdout)
        self.assertEqual(data, b"y" * len(data))
        self.assertEqual(len(data), sum(max(0, min(sent - at - 8, 4096)) for at in range(0, sent, 4104)))
        self.assertEqual([m["end"] for m in child.over()], ["engine" if sent % 4104 == 0 else "error"])

    def test_pipe_that_others_fill(self):
        """Another process writes to the same pipe: a write that was ready then waits, and the input goes on meanwhile."""
        r, w = self.pipe()
        child, c, stdin, _, stderr = self.command(stdout=w)
        other = os.fork()
        if other == 0:
            try:
                while True:
                    os.write(w, b"o" * 512)
            finally:
                os._exit(0)
        c.sendall(frame(1, b"c" * 50000))
        mine = 0
        while mine < 50000:
            os.write(stdin, b"x")
            self.assertEqual(self.received(c, 1), b"x")
            mine += os.read(r, 100).count(b"c")
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
        c.close()
        self.assertEqual(child.over(), [ENGINE])


class Outputs(StreamTest):
    def test_interleaved(self):
        child, c, out = self.output()
        c.sendall(chunk(frame(1, b"a") + frame(2, b"b")[:5]) + chunk(frame(2, b"b")[5:] + frame(1, b"c")) + chunk(b""))
        self.assertEqual(child.over(), [ENGINE])
        self.assertEqual(read_all(out), b"abc")

    def test_until_close(self):
        child, c, out = self.output(HIJACKED, framed=False)
        c.sendall(b"of a terminal")
        c.close()
        self.assertEqual(child.over(), [ENGINE])
        self.assertEqual(read_all(out), b"of a terminal")

    def test_length(self):
        child, c, out = self.output(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + frame(1, b"ab") + b"behind it")
        self.assertEqual(child.over(), [ENGINE])
        self.assertEqual(read_all(out), b"ab")

    def test_nothing(self):
        child, c, out = self.output(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(child.over(), [ENGINE])
        self.assertEqual(read_all(out), b"")

    def test_connection_stays_open(self):
        """An Engine takes a half close for a client that is gone."""
        child, c, out = self.output()
        c.sendall(chunk(frame(1, b"x")))
        self.assertEqual(read_all(out, 1), b"x")
        self.assertEqual(select.select([c], [], [], 0.3)[0], [])
        c.sendall(chunk(b""))
        self.assertEqual(child.over(), [ENGINE])

    def test_reader_gone(self):
        child, c, out = self.output()
        self.drop(out)
        self.assertEqual(child.over(), [CALLER])
        self.assertEqual(self.received(c), b"")

    def test_reader_gone_within(self):
        child, c, out = self.output()
        c.sendall(chunk(frame(1, bytes(150000))))
        os.read(out, 10)
        self.drop(out)
        self.assertEqual(child.over(), [CALLER])

    def test_file(self):
        target = self.file("log")
        child, c, _ = self.output(fd=self.open(target, os.O_WRONLY))
        c.sendall(chunk(frame(1, b"x" * 70000)) + chunk(b""))
        self.assertEqual(child.over(), [ENGINE])
        self.assertEqual(os.path.getsize(target), 70000)

    def broken(self, *sent, expected=b"ok"):
        child, c, out = self.output()
        c.sendall(chunk(frame(1, b"ok")) + b"".join(sent))
        c.close()
        [said] = child.over()
        self.assertEqual(said["end"], "error")
        self.assertEqual(read_all(out), expected)
        return said["message"]

    def test_garbage(self):
        wrong = "what the Engine sent is not in the format of its streams"
        for sent in (b"x\r\n", b"\r\n", b"-1\r\n", b"10000000000000000\r\n", b"0" * 5000, b"1;" + b"x" * 5000, b"0\r\n" + b"a: b\r\n" * 20000,
                     b"0\r\n\n", b"5\n", chunk(b"\4\0\0\0\0\0\0\1x"), chunk(b"\1\0\1\0\0\0\0\1x"), chunk(b"text that has no frames")):
            self.assertEqual(self.broken(sent), wrong, sent)
        self.assertEqual(self.broken(b"9\r\n" + frame(1, b"!") + b"xx", expected=b"ok!"), wrong)

    def test_cut_off(self):
        cut = "the Engine's stream is cut off"
        self.assertEqual(self.broken(), cut)
        self.assertEqual(self.broken(b"5\r\nab"), cut)
        self.assertEqual(self.broken(chunk(frame(1, b"abc")[:-1]) + chunk(b""), expected=b"okab"), cut)

    def test_reason_of_the_engine(self):
        """It says in a frame of its own why a log cannot be read on."""
        self.assertEqual(self.broken(chunk(frame(1, b"more") + frame(3, b"error from daemon in stream: bad \xff log")) + chunk(b""), expected=b"okmore"),
                         "error from daemon in stream: bad ? log")
        self.assertEqual(self.broken(chunk(frame(3, b"x" * 9000)), chunk(b"")), "x" * 4096)


class Cuts(StreamTest):
    def test_every_byte(self):
        """A connection that ends behind any byte: what came whole is written, and only between frames that is an end."""
        parts = [(1, b"first"), (2, b"second"), (1, b""), (2, b"x")]
        data = b"".join(frame(*p) for p in parts)
        whole = [sum(8 + len(p) for _, p in parts[:i]) for i in range(len(parts) + 1)]
        for n in range(len(data) + 1):
            child, c, stdin, stdout, stderr = self.command()
            c.sendall(data[:n])
            c.close()
            [said] = child.over()
            self.assertEqual(said["end"], "engine" if n in whole else "error", n)
            expected = {1: b"", 2: b""}
            at = 0
            for stream, payload in parts:
                expected[stream] += payload[:max(0, n - at - 8)]
                at += 8 + len(payload)
            self.assertEqual((read_all(stdout), read_all(stderr)), (expected[1], expected[2]), n)
            self.drop(stdin, stdout, stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
