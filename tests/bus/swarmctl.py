# SPDX-License-Identifier: LGPL-2.1-or-later
"""swarmctl beside the daemon with the provider in memory, with a terminal or without."""

import codecs
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from harness import BUILD, BusTest

SWARMCTL = os.environ.get('SWARMCTL', str(BUILD / 'tools/swarmctl/swarmctl'))
TEMPLATES = '''templates:
  development: {image: base, memory: 512, env: [MODE=development], description: for people}
  small: {image: base, memory_reservation_percent: 0, healthcheck: {test: [CMD, "true"], retries: 7}}
'''
OK, FAILED, USAGE, NOT_FOUND, DENIED, WRONG_STATE, LIMIT, UNAVAILABLE, TIMEOUT, DETACHED = 0, 1, 2, 3, 4, 5, 6, 7, 124, 130


class Terminal:
    """A program whose standard error (and whatever else is asked for) is a terminal of its own."""

    def __init__(self, argv, env, streams=('stdin', 'stderr'), uid=None, columns=100, controlling=False):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 40, columns, 0, 0))
        given = {s: slave if s in streams else subprocess.PIPE if s == 'stdout' else subprocess.DEVNULL for s in ('stdin', 'stdout', 'stderr')}
        if uid is not None:
            os.fchown(slave, uid, -1)
        if controlling:         # Ctrl-C works, and /dev/tty is this one
            argv = ['setsid', '--ctty', '--wait', *argv]
        self.process = subprocess.Popen(argv, env=env, start_new_session=True, user=uid, **given)
        os.close(slave)
        self.seen, self.decoder = '', codecs.getincrementaldecoder('utf-8')()      # a read may end within a character

    def read(self, timeout):
        if not select.select([self.master], [], [], timeout)[0]:
            return False
        with contextlib.suppress(OSError):      # EIO: all have closed it
            data = os.read(self.master, 65536)
            self.seen += self.decoder.decode(data)
            return bool(data)
        return False

    def expect(self, pattern, timeout=15):
        end = time.monotonic() + timeout
        while not re.search(pattern, self.seen):
            left = end - time.monotonic()
            assert left > 0 and (self.read(left) or re.search(pattern, self.seen)), f'{pattern} is not in: {self.seen!r}'

    def send(self, text):
        os.write(self.master, text.encode())

    def end(self, timeout=20):
        end = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.05)
        late = self.process.poll() is None
        if late:
            self.process.kill()
            self.process.wait()
        while self.read(0):
            pass
        out = self.process.stdout.read().decode() if self.process.stdout else ''
        if self.process.stdout:
            self.process.stdout.close()
        os.close(self.master)
        if late:
            raise AssertionError(f'did not end: {self.seen!r}')
        return self.process.returncode, out, self.seen


class SwarmctlTest(BusTest):
    templates = TEMPLATES

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.env = {'PATH': os.environ['PATH'], 'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=' + cls.rig.path, 'TERM': 'xterm',
                   'ASAN_OPTIONS': 'detect_leaks=1', 'HOME': '/nonexistent', 'LC_ALL': 'C.UTF-8'}

    def ctl(self, *args, expect=OK, uid=None, env=None, stdin=None):
        done = subprocess.run([SWARMCTL, *args], env={**self.env, **(env or {})}, capture_output=True, text=True, user=uid,
                              errors='surrogateescape', timeout=60, input=stdin, stdin=None if stdin else subprocess.DEVNULL)
        self.assertEqual(done.returncode, expect, f'{args}: {done.stdout}{done.stderr}')
        self.assertNotIn('\033', done.stdout + done.stderr)
        return done.stdout, done.stderr

    def json(self, *args, **options):
        return json.loads(self.ctl(*args, '--json=short', **options)[0])

    def said(self, *args, expect, pattern, **options):
        """It fails, says why in one sentence, and nothing on standard output."""
        out, err = self.ctl(*args, expect=expect, **options)
        self.assertRegex(err, pattern)
        self.assertEqual(out, '')
        return err

    def spawn(self, *args, **options):
        return Terminal([SWARMCTL, *args], self.env, **options)

    def state(self, session):
        return self.json('show', session)['State']

    def slow(self, **latencies):
        self.rig.fake(latency_usec=latencies)
        self.addCleanup(self.rig.fake, latency_usec={k: 0 for k in latencies})

    def session(self, name, *args):
        self.ctl('create', name, '--image=base', *args)
        self.addCleanup(subprocess.run, [SWARMCTL, 'destroy', '-y', name], env=self.env, capture_output=True, check=False)
        return name

    def job_of(self, session):
        return self.json('jobs', f'--session={session}', '--all')[0]
