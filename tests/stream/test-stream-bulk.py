#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""swarm-stream and much at once: every byte arrives, in order, at whatever pace it is read, and none of it is kept."""

import hashlib
import os
import random
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *

SIZE = 100 << 20
BLOCK = pattern(1 << 20)


def whole():
    """What is sent: each block is another, so that one that is lost or moved shows."""
    for i in range(SIZE // len(BLOCK)):
        yield struct.pack(">I", i) + BLOCK[4:]


EXPECTED = hashlib.sha256(b"".join(whole())).hexdigest()


class Bulk(StreamTest):
    def begun(self, started):
        started[1].setblocking(True)
        return started

    def start(self, work, *args):
        """Beside; its failure is the test's."""
        failed = []

        def run():
            try:
                work(*args)
            except BaseException as e:
                failed.append(e)
        t = threading.Thread(target=run, daemon=True)
        t.start()

        def join():
            t.join(DEADLINE)
            self.assertFalse(t.is_alive())
            self.assertEqual(failed, [])
        return join

    def write(self, fd, blocks):
        """In pieces of odd sizes."""
        rng = random.Random(7)
        for block in blocks:
            view = memoryview(block)
            while view:
                n = os.write(fd, view[:rng.randrange(1, 1 << 18)])
                view = view[n:]

    def feed(self, stdin):
        """Until the command wants no more."""
        try:
            self.write(stdin, whole())
        except BrokenPipeError:
            pass
        self.drop(stdin)

    def digest(self, fd, pause=0):
        """Reads slowly: with rests in which all that lies between gets full."""
        rng, h, size = random.Random(8), hashlib.sha256(), 0
        while True:
            ready(fd)
            try:
                data = os.read(fd, rng.randrange(1, 1 << 17))
            except OSError:
                break
            if not data:
                break
            h.update(data)
            size += len(data)
            if pause and rng.random() < pause:
                threading.Event().wait(0.02)
        return size, h.hexdigest()

    def frames(self, stream=1):
        """Of all sizes, some longer than any buffer."""
        rng = random.Random(9)
        for block in whole():
            at = 0
            while at < len(block):
                n = rng.choice((rng.randrange(0, 100), rng.randrange(100, 9000), 1 << 19))
                yield frame(stream, block[at:at + n])
                at += n

    def peak(self, child):
        """KiB of memory of its own."""
        with open(f"/proc/{child.process.pid}/status", encoding="utf-8") as f:
            return int(next(line for line in f if line.startswith("RssAnon:")).split()[1])

    def test_to_a_command(self):
        child, c, stdin, stdout, stderr = self.begun(self.command())
        join = self.start(lambda: (self.write(stdin, whole()), self.drop(stdin)))
        self.assertEqual(self.digest(c.fileno(), pause=0.01), (SIZE, EXPECTED))
        join()
        c.close()
        self.assertEqual(child.over(), [{"end": "engine"}])

    def test_from_a_command(self):
        child, c, stdin, stdout, stderr = self.begun(self.command())
        join = self.start(lambda: (self.write(c.fileno(), self.frames(2)), c.close()))
        self.assertEqual(self.digest(stderr, pause=0.01), (SIZE, EXPECTED))
        join()
        self.assertEqual(child.over(), [{"end": "engine"}])
        self.assertEqual(read_all(stdout), b"")

    def test_both_ways_at_once(self):
        child, c, stdin, stdout, stderr = self.begun(self.command())
        joins = [self.start(self.feed, stdin),
                 self.start(lambda: (self.write(c.fileno(), self.frames()), c.shutdown(socket.SHUT_WR))),
                 self.start(lambda: self.assertEqual(self.digest(stdout), (SIZE, EXPECTED)))]
        got = self.digest(c.fileno())
        for join in joins:
            join()
        # The Engine's end of stream ends it, whatever it was still given.
        self.assertLessEqual(got[0], SIZE)
        self.assertEqual(child.over(), [{"end": "engine"}])

    def test_terminal(self):
        """The last of it is read when the child is long gone."""
        child, c, master = self.begun(self.terminal())
        join = self.start(lambda: (self.write(c.fileno(), whole()), c.close()))
        self.assertEqual(self.digest(master, pause=0.002), (SIZE, EXPECTED))
        join()
        self.assertEqual(child.over(), [{"end": "engine"}])

    def test_to_a_terminal(self):
        child, c, master = self.begun(self.terminal())
        join = self.start(self.write, master, whole())
        h, size = hashlib.sha256(), 0
        while size < SIZE:
            data = c.recv(1 << 16)
            h.update(data)
            size += len(data)
        self.assertEqual(h.hexdigest(), EXPECTED)
        join()
        self.drop(master)
        self.assertEqual(child.over(), [{"end": "caller"}])

    def test_output(self):
        child, c, out = self.begun(self.output())

        def chunks():
            yield from (chunk(f) for f in self.frames())
            yield chunk(b"")
        join = self.start(self.write, c.fileno(), chunks())
        self.assertEqual(self.digest(out, pause=0.01), (SIZE, EXPECTED))
        join()
        self.assertEqual(child.over(), [{"end": "engine"}])

    def test_one_frame_and_one_chunk(self):
        child, c, out = self.begun(self.output())
        join = self.start(self.write, c.fileno(), [b"%x\r\n\1\0\0\0" % (SIZE + 8) + struct.pack(">I", SIZE), *whole(), b"\r\n0\r\n\r\n"])
        self.assertEqual(self.digest(out), (SIZE, EXPECTED))
        join()
        self.assertEqual(child.over(), [{"end": "engine"}])

    def test_largest_frame(self):
        """4 GiB are announced; what of them comes is passed on at once."""
        child, c, stdin, stdout, stderr = self.begun(self.command())
        c.sendall(b"\1\0\0\0\xff\xff\xff\xff" + b"begin")
        self.assertEqual(read_all(stdout, 5), b"begin")
        c.close()
        self.assertEqual(child.over(), [{"end": "error", "message": "the Engine's stream is cut off"}])

    @unittest.skipIf(os.environ.get("SWARM_SANITIZED") == "1", "a sanitizer takes memory of its own")
    def test_memory(self):
        """Of all that lies in it nothing is kept: both buffers are full."""
        child, c, stdin, stdout, stderr = self.begun(self.command())
        joins = [self.start(self.feed, stdin),
                 self.start(lambda: (self.write(c.fileno(), self.frames()), c.shutdown(socket.SHUT_WR)))]
        ready(stdout)
        ready(c.fileno())
        self.assertLess(self.peak(child), 2048)
        out = self.start(lambda: self.assertEqual(self.digest(stdout), (SIZE, EXPECTED)))
        peak = self.peak(child)
        self.digest(c.fileno())
        for join in [*joins, out]:
            join()
        self.assertLess(peak, 2048)
        self.assertEqual(child.over(), [{"end": "engine"}])


if __name__ == "__main__":
    unittest.main(verbosity=2)
