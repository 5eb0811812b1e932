# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who goes into sessions: by shells, commands and output."""

import contextlib
import errno
import fcntl
import resource
import select
import struct
import termios

from harness import *

STREAMS = CONFIG.replace('[Limits]', '[Limits]\nStreamsPerUserMax=5\nPolkitQueriesMax=1000\nPolkitQueriesPerUserMax=256')
# Member of the session, the manager's, arguments between session and options.
MEMBERS = {'OpenShell': ('OpenSessionShell', ''), 'Execute': ('ExecuteInSession', 'ashhh'), 'OpenLogs': ('OpenSessionLogs', '')}
VERBS = {'OpenShell': 'open-shell', 'Execute': 'execute', 'OpenLogs': 'open-logs'}


def read_until(fd, end, seconds=20):
    """Bytes up to and with `end`, a bytes object or, with None, all until the other side is gone."""
    got = b''
    limit = time.monotonic() + seconds
    while end is None or not got.endswith(end):
        if not select.select([fd], [], [], max(0, limit - time.monotonic()))[0]:
            raise TimeoutError(f'waited in vain for {end!r} after {got!r}')
        try:
            piece = os.read(fd, 1 if end else 65536)
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            piece = b''
        if not piece:
            if end is None:
                return got
            raise EOFError(f'{got!r} and no more')
        got += piece
    return got


class StreamTest(BusTest):
    config = STREAMS

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.path = cls.alice.run('hers')
        cls.id = cls.alice.get(cls.path, SESSION, 'Id')

    def setUp(self):
        self.open_fds = set()

    def tearDown(self):
        for fd in self.open_fds:
            os.close(fd)
        super().tearDown()              # where the jobs have to end

    def jobs(self, **filter_):
        return self.root.manager('ListJobs', 'a{sv}t', {'ended': V('b', False), **filter_}, 0)[0]

    def keep(self, *fds):
        self.open_fds.update(fds)
        return fds[0] if len(fds) == 1 else fds

    def close(self, *fds):
        for fd in fds:
            self.open_fds.remove(fd)
            os.close(fd)

    def pipe(self):
        return self.keep(*os.pipe())

    def null(self):
        return self.keep(os.open('/dev/null', os.O_RDWR))

    def call(self, who, member, *args, session='hers', flags=0, send=False, **options):
        """By the manager's member. A descriptor in the answer is kept."""
        name, signature = MEMBERS[member]
        arguments = ('s' + signature + 'a{sv}t', (session, *args, options, flags))
        serial = who.send_call(NAME, PATH, MANAGER, name, *arguments)
        return serial if send else self.answer(who, serial, member)

    def answer(self, who, serial, member):
        found = who.reply(serial)
        if member != 'Execute':
            self.keep(found if member == 'OpenLogs' else found[0])
        return found

    def shell(self, who=None, **options):
        return self.call(who or self.alice, 'OpenShell', **options)

    def execute(self, *command, who=None, stdin=None, stdout=None, stderr=None, **options):
        null = self.null()
        return self.call(who or self.alice, 'Execute', command, *(null if fd is None else fd for fd in (stdin, stdout, stderr)), **options)

    def logs(self, who=None, **options):
        return self.call(who or self.alice, 'OpenLogs', **options)

    def output(self, *command, **options):
        """What a command writes that reads nothing."""
        there, here = self.pipe()
        job = self.execute(*command, stdout=here, **options)
        self.close(here)
        found = read_until(there, None)
        self.close(there)
        return found.decode(), self.alice.wait_job(job)

    def ends(self, job, state, code=-1):
        found = self.alice.wait_job(job, state)
        self.assertEqual(found['ExitCode'], code)
        return found

    def daemon_fds(self):
        return len(os.listdir(f'/proc/{self.rig.daemon.pid}/fd'))

    @contextlib.contextmanager
    def nothing_stays(self):
        """The daemon has as many descriptors after this as before, and no job more to do."""
        before = self.daemon_fds()
        yield
        wait(lambda: not self.jobs(), 'the jobs to end', self.jobs)
        wait(lambda: self.daemon_fds() <= before, 'the descriptors to be closed', lambda: f'{self.daemon_fds()} instead of {before}')
