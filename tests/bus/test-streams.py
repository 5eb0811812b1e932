# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shells, commands and output: what may be asked for, what goes over the descriptors, how it ends, and that nothing stays behind."""

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


class Arguments(StreamTest):
    def members(self):
        """Each as (function that calls it with these options, its manager's and its session's name)."""
        for member, (name, signature) in MEMBERS.items():
            null = self.null()
            args = (['true'], null, null, null) if signature else ()
            yield name, lambda options, flags=0, n=name, s=signature, a=args: self.alice.manager(n, f's{s}a{{sv}}t', 'hers', *a, options, flags)
            yield member, lambda options, flags=0, n=member, s=signature, a=args: self.alice.on(self.path, SESSION, n, f'{s}a{{sv}}t', *a, options, flags)

    def test_unknown(self):
        known = {'Execute': 'env, user, working_directory', 'OpenShell': 'command, env, user, working_directory',
                 'OpenLogs': 'follow, timestamps, lines, since_usec, until_usec'}
        for name, function in self.members():
            member = next(m for m in MEMBERS if name in (m, MEMBERS[m][0]))
            with self.subTest(name=name):
                self.refused(INVALID, f'{name}: unknown option `size`. Known are: {known[member]}', function, {'size': V('s', '80x24')})
                self.refused(INVALID, f'{name}: unknown flag 0x2', function, {}, 2)
                self.refused(INVALID, 'is given twice', function, [(k, V('t' if member == 'OpenLogs' else 's', v)) for k, v in
                                                                  ([('lines', 1)] * 2 if member == 'OpenLogs' else [('user', 'a')] * 2)])
        self.refused('NoSuchSession', 'nope', self.shell, session='nope')

    def test_types(self):
        for option, wrong, right in (('command', V('s', 'sh'), 'as'), ('env', V('a{ss}', {'A': 'b'}), 'as'), ('user', V('u', 0), 's'),
                                     ('working_directory', V('as', ['/']), 's')):
            self.refused(INVALID, f'option `{option}` has the type "{wrong.signature}"; it must be "{right}"', self.shell, **{option: wrong})
            if option != 'command':
                self.refused(INVALID, f'option `{option}` has the type', self.execute, 'true', **{option: wrong})
        for option, right in (('follow', 'b'), ('timestamps', 'b'), ('lines', 't'), ('since_usec', 't'), ('until_usec', 't')):
            self.refused(INVALID, f'option `{option}` has the type "i"; it must be "{right}"', self.logs, **{option: V('i', 1)})
        self.refused(INVALID, 'unknown option `command`', self.execute, 'true', command=V('as', ['x']))

    def test_values(self):
        for function in (self.shell, lambda **o: self.execute('true', **o)):
            self.refused(INVALID, 'user', function, user=V('s', 'me:'))
            self.refused(INVALID, 'user', function, user=V('s', 'a b'))
            self.refused(INVALID, 'working directory', function, working_directory=V('s', 'tmp'))
            self.refused(INVALID, 'environment variable has a bad name', function, env=V('as', ['=bad']))
            self.refused('LimitExceeded', 'env has 1025 entries', function, env=V('as', [f'A{i}=' for i in range(1025)]))
            self.refused(INVALID, 'option `env` has more than 4096 entries', function, env=V('as', ['A=b'] * 4097))
        self.refused('LimitExceeded', 'command has 1025 entries', self.shell, command=V('as', ['x'] * 1025))
        self.refused('LimitExceeded', 'command has 1025 entries', self.execute, *['x'] * 1025)
        self.refused(INVALID, 'ExecuteInSession: argument `command` has more than 4096 entries', self.execute, *['x'] * 4097)
        self.refused(INVALID, 'argument `command` holds a string of 70000 bytes', self.execute, 'x' * 70000)
        self.refused(INVALID, 'the arguments hold more than 512 KiB', self.execute, *['x' * 60000] * 10)
        self.refused(INVALID, '`command` is empty. Say which program', self.execute)
        self.refused(INVALID, 'no program', self.execute, '')
        self.refused(INVALID, 'since.*later', self.logs, since_usec=V('t', 2), until_usec=V('t', 1))

    def test_what_is_asked_for_arrives(self):
        options = {'env': V('as', ['A=b', 'C=d=e']), 'user': V('s', 'me:1000'), 'working_directory': V('s', '/srv/é')}
        shown = 'env A=b\nenv C=d=e\nuser me:1000\ndirectory /srv/é\n'
        self.assertEqual(self.output('show', 'a b', '', **options)[0], 'argument show\nargument a b\nargument \n' + shown)
        pty, job = self.shell(command=V('as', ['show', '$x']), **options)
        self.assertEqual(read_until(pty, None).decode(), 'argument show\nargument $x\n' + shown)
        self.ends(job, 'done', 0)
        pty, job = self.shell(command=V('as', []))      # the shell, as without
        os.write(pty, b'exit 0\n')
        self.ends(job, 'done', 0)

    def test_descriptors(self):
        reading, writing = self.pipe()
        nothing = self.keep(os.open('/dev/null', os.O_PATH))
        folder = self.keep(os.open('/', os.O_RDONLY))
        for name, wrong, what in (('stdin', writing, 'read from'), ('stdout', reading, 'written to'), ('stderr', reading, 'written to'),
                                  ('stdin', nothing, 'read from'), ('stdout', nothing, 'written to'), ('stdout', folder, 'written to')):
            self.refused(INVALID, f'ExecuteInSession: `{name}` is a descriptor that cannot be {what}', self.execute, 'true', **{name: wrong})
        # One that says it has one descriptor, and names the third: the bus, or the library, sees to that.
        with self.assertRaises((DBusError, ConnectionError)):
            bad = self.rig.client(ALICE)
            bad.call(NAME, PATH, MANAGER, 'ExecuteInSession', 'sasuuua{sv}t', 'hers', ['true'], 0, 1, 2, {}, 0)
        self.ends(self.execute('true'), 'done', 0)

    def test_sockets_of_others(self):
        """Who listens there would take the service for who writes. These are root's, who made them."""
        here, there = socket.socketpair()
        datagrams, others = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with here, there, datagrams, others:
            for who, fd in ((self.alice, there), (self.alice, datagrams), (self.root, datagrams)):
                for name in ('stdout', 'stderr'):
                    self.refused(INVALID, f'ExecuteInSession: `{name}` is a socket whose other end is not yours', self.execute, 'true', who=who,
                                 **{name: fd.fileno()})
            self.ends(self.execute('true', stdin=there.fileno()), 'done', 0)
            job = self.execute('show', 'this', who=self.root, stdout=there.fileno())
            self.assertEqual(self.root.wait_job(job, 'done')['ExitCode'], 0)
            there.close()
            self.assertEqual(read_until(here.fileno(), None), b'argument show\nargument this\n')

    def test_states(self):
        self.alice.run('rests')
        self.alice.wait_job(self.alice.verb('Stop', 'rests'))
        for function in (self.shell, lambda **o: self.execute('true', **o), self.logs):
            self.refused('WrongState', 'Session "rests" is stopped', function, session='rests')
        self.rig.fake(op='health', health='unavailable', detail='It is away.')
        try:
            for function in (self.shell, lambda: self.execute('true'), self.logs):
                self.refused('ProviderUnavailable', 'It is away', function)
        finally:
            self.rig.fake(op='health', health='healthy')

    def test_refused_by_the_provider(self):
        """Before it begins: an error of the call, and of its job."""
        with self.nothing_stays():
            self.rig.fake(fail='read-logs', code='ProviderFailed', message='The log is not there.', times=1)
            self.refused('ProviderFailed', 'The log is not there.', self.logs)
            for function in (self.shell, lambda: self.execute('true')):
                self.rig.fake(fail='execute', code='ProviderFailed', message='The Engine does not want to.', times=1)
                self.refused('ProviderFailed', 'The Engine does not want to.', function)
                job = self.root.manager('ListJobs', 'a{sv}t', {'limit': V('u', 1)}, 0)[0][0]
                self.assertEqual((job['State'], job['ErrorName'], job['ExitCode']), ('failed', error_name('ProviderFailed'), -1))
            self.refused('ProviderFailed', '.', self.execute, 'missing')

    def test_store(self):
        full = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        with self.nothing_stays():
            resource.prlimit(self.rig.daemon.pid, resource.RLIMIT_FSIZE, (1, full[1]))
            try:
                for function in (self.shell, lambda: self.execute('true')):
                    self.refused('StoreFailed', 'could not be saved', function)
            finally:
                resource.prlimit(self.rig.daemon.pid, resource.RLIMIT_FSIZE, full)
            wait(lambda: self.root.manager('GetStatus')['StoreHealthy'], 'the store')


class Authorization(StreamTest):
    def functions(self):
        return {'open-shell': self.shell, 'execute': lambda *a, **o: self.execute('true', *a, **o), 'open-logs': self.logs}

    def asked(self, function, *args, **options):
        self.rig.polkit.asked.clear()
        function(*args, **options)
        return [(q['action'], q['details']['verb'], q['details']['session'], q['details']['owner']) for q in self.rig.polkit.asked]

    def test_owner_and_others(self):
        for verb, function in self.functions().items():
            for who, action in ((self.alice, ['shell-own']), (self.bob, ['shell']), (self.root, [])):
                with self.subTest(verb=verb, action=action):
                    self.assertEqual(self.asked(function, who=who), [(a, verb, 'hers', str(ALICE)) for a in action])

    def test_object_asks_the_same(self):
        null = self.null()
        for member, (name, signature) in MEMBERS.items():
            args = (['true'], null, null, null) if signature else ()
            by_name = self.asked(self.answered, member, PATH, MANAGER, name, f's{signature}a{{sv}}t', ('hers', *args, {}, 0))
            by_path = self.asked(self.answered, member, self.path, SESSION, member, f'{signature}a{{sv}}t', (*args, {}, 0))
            self.assertEqual(by_name, by_path)
            self.assertEqual(by_name, [('shell', VERBS[member], 'hers', str(ALICE))])

    def answered(self, member, *call):
        self.answer(self.bob, self.bob.send_call(NAME, *call), member)

    def test_denied(self):
        self.rig.polkit.decide = lambda q: 'no'
        before = self.root.manager('ListJobs', 'a{sv}t', {}, 0)
        with self.nothing_stays():
            for phrase, function in (('open a shell in', self.shell), ('run a command in', lambda **o: self.execute('true', **o)), ('read the output of', self.logs)):
                self.refused(DENIED, f'You may not {phrase} session hers: the polkit action org.swarm.Orchestrator.shell denies it', function, who=self.bob)
                self.refused(DENIED, 'org.swarm.Orchestrator.shell-own denies', function)
        self.assertEqual(self.root.manager('ListJobs', 'a{sv}t', {}, 0), before)

    def test_checked_before_anybody_is_asked(self):
        for call in (lambda: self.shell(size=V('s', '')), lambda: self.execute(), lambda: self.logs(session='nope')):
            self.assertEqual(self.asked(lambda: self.assertRaises(DBusError, call)), [])

    def test_polkit_that_hangs(self):
        """Others are served meanwhile. What waits for the verdict has no terminal, and its caller takes all along."""
        self.rig.polkit.decide = lambda q: 'hang' if q['action'] == 'shell' else 'yes'
        with self.nothing_stays():
            waiting = self.rig.client(BOB)
            waiting.driver('NameHasOwner', 's', NAME)
            null = self.null()
            before = self.daemon_fds()
            self.call(waiting, 'OpenShell', send=True)
            self.call(waiting, 'OpenLogs', send=True)
            wait(lambda: len(self.rig.polkit.asked) == 2, 'the questions')
            self.assertEqual(self.daemon_fds(), before)
            self.call(waiting, 'Execute', ['true'], null, null, null, send=True)
            wait(lambda: len(self.rig.polkit.asked) == 3, 'the questions')
            self.ends(self.execute('true'), 'done', 0)
            waiting.close()
        self.assertEqual(len(self.jobs()), 0)

    def test_verdict_that_comes_later(self):
        """The message enters its handler twice and is carried out once, with the descriptors it came with."""
        self.rig.polkit.decide = lambda q: 'yes' if q['interactive'] else 'challenge'
        self.refused(ASK, 'have to authenticate to open a shell in session hers', self.shell, who=self.bob)
        there, here = self.pipe()
        null = self.null()
        args = ('hers', ['show', 'x'], null, here, null, {}, 0)
        job = self.bob.manager('ExecuteInSession', 'sashhha{sv}t', *args, flags=INTERACTIVE)
        self.close(here)
        self.assertEqual(read_until(there, None), b'argument show\nargument x\n')
        self.ends(job, 'done', 0)


class Shells(StreamTest):
    def test_both_ways(self):
        pty, job = self.shell()
        self.assertTrue(os.isatty(pty))
        os.write(pty, b'hello\n')
        self.assertEqual(read_until(pty, b'hello\n'), b'hello\n')
        found = self.alice.get_all(job, JOB)
        self.assertEqual((found['Type'], found['State'], found['Stage'], found['Session'], found['OwnerUID'], found['ExitCode'], found['Cancelable']),
                         ('shell', 'running', '', self.id, ALICE, -1, True))
        self.assertEqual(self.alice.get(self.path, SESSION, 'CurrentJob'), '/')
        os.write(pty, b'exit 7\n')
        self.assertEqual(read_until(pty, None), b'exit 7\n')
        found = self.ends(job, 'done', 7)
        self.assertEqual((found['ErrorName'], found['ErrorMessage']), ('', ''))
        self.assertIn(('shell', 7), [(r['Type'], r['ExitCode']) for r in self.bob.manager('ListJobs', 'a{sv}t', {'type': V('s', 'shell')}, 0)[0]])

    def test_by_the_object(self):
        pty, job = self.alice.on(self.path, SESSION, 'OpenShell', 'a{sv}t', {'command': V('as', ['false'])}, 0)
        self.keep(pty)
        self.ends(job, 'done', 1)

    def test_size(self):
        pty, job = self.shell()
        for rows, columns in ((0, 0), (24, 80), (50, 132)):
            if rows:
                fcntl.ioctl(pty, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
            os.write(pty, b'size\n')
            read_until(pty, b'size\n')
            self.assertEqual(read_until(pty, b'\n'), f'{rows}x{columns}\n'.encode())
        os.write(pty, b'exit 0\n')
        self.ends(job, 'done', 0)

    def test_closed(self):
        """Who closes the terminal hangs up; so does who dies, even with the bus none the wiser."""
        with self.nothing_stays():
            pty, job = self.shell()
            copy = self.keep(os.dup(pty))
            self.close(pty)
            os.write(copy, b'still there\n')
            read_until(copy, b'there\n')
            self.close(copy)
            self.ends(job, 'canceled')

    def test_cancel(self):
        with self.nothing_stays():
            pty, job = self.shell()
            self.alice.on(job, JOB, 'Cancel', 't', 0)
            self.assertEqual(read_until(pty, None), b'')
            self.assertEqual(self.ends(job, 'canceled')['ErrorName'], error_name('Canceled'))
            self.close(pty)
            self.refused('NotCancelable', '.', self.alice.on, job, JOB, 'Cancel', 't', 0)

    def test_signals(self):
        watcher = self.rig.client(BOB)
        watcher.match(f"type='signal',sender='{NAME}'")
        pty, job = self.shell()
        self.assertEqual(watcher.wait_signal(lambda m: m.member == 'JobNew').body, [job])
        os.write(pty, b'exit 3\n')
        changed = watcher.wait_signal(lambda m: m.member == 'PropertiesChanged' and m.path == job and 'ExitCode' in m.body[1])
        self.assertEqual((changed.body[1]['ExitCode'], changed.body[1]['State']), (3, 'done'))
        self.assertEqual(watcher.wait_signal(lambda m: m.member == 'JobRemoved').body, [job, 'done'])
        self.assertFalse([m for m in watcher.drain() if m.path == self.path and 'CurrentJob' in m.body[1]])

    def test_restart(self):
        """What the service had begun ends with it, and the jobs say so afterwards."""
        pty, job = self.shell()
        self.rig.stop()
        self.assertEqual(read_until(pty, None), b'')
        self.close(pty)
        self.rig.start()
        type(self).root, type(self).alice, type(self).bob = self.rig.client(), self.rig.client(ALICE), self.rig.client(BOB)
        self.alice.wait_state('hers', 'running')
        self.ends(job, 'interrupted')
        pty, job = self.shell()
        self.rig.stop(signal.SIGKILL)
        self.close(pty)
        self.rig.start()
        type(self).root, type(self).alice, type(self).bob = self.rig.client(), self.rig.client(ALICE), self.rig.client(BOB)
        self.alice.wait_state('hers', 'running')
        self.ends(job, 'interrupted')


class Commands(StreamTest):
    def test_three_descriptors(self):
        (to_read, stdin), (stdout, to_write), (stderr, to_complain) = self.pipe(), self.pipe(), self.pipe()
        job = self.execute('cat', stdin=to_read, stdout=to_write, stderr=to_complain)
        self.close(to_read, to_write, to_complain)
        everything = bytes(range(256)) * 64
        os.write(stdin, b'error\n')
        self.assertEqual(read_until(stdout, b'\n'), b'error\n')
        self.assertEqual(read_until(stderr, b'\n'), b'error\n')
        os.write(stdin, everything)
        self.close(stdin)
        self.assertEqual(read_until(stdout, None), everything)
        self.assertEqual(read_until(stderr, None), b'')
        self.assertEqual(self.ends(job, 'done', 0)['Type'], 'execute')

    def test_exit_code(self):
        for program, code in (('true', 0), ('false', 1)):
            self.ends(self.execute(program), 'done', code)
        reading, writing = self.pipe()
        job = self.execute('sh', stdin=reading)
        os.write(writing, b'exit 200\n')
        self.ends(job, 'done', 200)

    def test_sockets_and_files(self):
        here, there = socket.socketpair()
        with here, there, tempfile.TemporaryFile() as file:
            job = self.execute('cat', stdin=there.fileno(), stdout=file.fileno())
            here.sendall(b'one\0two\n')
            here.shutdown(socket.SHUT_WR)
            self.ends(job, 'done', 0)
            file.seek(0)
            self.assertEqual(file.read(), b'one\0two\n')

    def test_nobody_reads(self):
        with self.nothing_stays():
            (to_read, stdin), (stdout, to_write) = self.pipe(), self.pipe()
            job = self.execute('cat', stdin=to_read, stdout=to_write)
            self.close(to_read, to_write, stdout)
            self.ends(job, 'canceled')
            self.close(stdin)

    def test_flags_of_others_stay(self):
        """Descriptors that a caller shares with his shell are as he left them."""
        (to_read, stdin), (stdout, to_write) = self.pipe(), self.pipe()
        job = self.execute('cat', stdin=to_read, stdout=to_write)
        for fd in (to_read, to_write):
            self.assertFalse(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK)
        self.alice.manager('CancelJob', 'tt', self.alice.get(job, JOB, 'Id'), 0)
        self.ends(job, 'canceled')

    def test_goes_on_without_its_caller(self):
        """After the reply the descriptors are what counts, not the connection."""
        (to_read, stdin), (stdout, to_write) = self.pipe(), self.pipe()
        passing = self.rig.client(ALICE)
        job = self.execute('cat', who=passing, stdin=to_read, stdout=to_write)
        passing.close()
        self.close(to_read, to_write)
        os.write(stdin, b'still\n')
        self.assertEqual(read_until(stdout, b'\n'), b'still\n')
        self.close(stdin)
        self.ends(job, 'done', 0)


class Output(StreamTest):
    def lines(self, **options):
        return read_until(self.logs(**options), None).decode().splitlines()

    def test_options(self):
        everything = self.lines()
        self.assertEqual([line.split(' ', 2)[2] for line in everything], [f'line {i}' for i in range(1, 11)])
        self.assertTrue(all(line.startswith(self.id + ' ') for line in everything))
        self.assertEqual(self.lines(lines=V('t', 3)), everything[-3:])
        self.assertEqual(self.lines(lines=V('t', 0)), [])
        self.assertEqual(self.lines(lines=V('t', (1 << 64) - 1)), everything)
        self.assertRegex(self.lines(timestamps=V('b', True), lines=V('t', 1))[0], r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ .* line 10$')
        started = self.alice.get(self.path, SESSION, 'StartedUSec')
        hour = 3600 * 10**6
        self.assertEqual(self.lines(since_usec=V('t', started - hour), until_usec=V('t', started + hour)), everything)
        self.assertEqual(self.lines(since_usec=V('t', started + hour)), [])
        self.assertEqual(self.lines(until_usec=V('t', started - hour)), [])
        self.assertEqual(self.lines(follow=V('b', False), timestamps=V('b', False), since_usec=V('t', 0), until_usec=V('t', 0)), everything)
        output = self.keep(self.alice.on(self.path, SESSION, 'OpenLogs', 'a{sv}t', {}, 0))
        self.assertEqual(read_until(output, None).decode().splitlines(), everything)

    def test_no_job(self):
        before = self.jobs(ended=V('b', True))
        output = self.logs(follow=V('b', True))
        read_until(output, b'line 10\n')
        self.assertEqual((self.jobs(), self.jobs(ended=V('b', True))), ([], before))

    def test_follow(self):
        """Until somebody hibernates it; until nobody reads."""
        with self.nothing_stays():
            self.alice.run('told')
            session = self.alice.get(self.alice.manager('GetSession', 's', 'told'), SESSION, 'Id')
            outputs = [self.logs(session='told', follow=V('b', True), lines=V('t', 1)) for _ in range(2)]
            for output in outputs:
                read_until(output, b'line 10\n')
            self.rig.fake(op='write', session=session, value=5)
            self.assertEqual(read_until(outputs[0], b'\n'), b'write 5\n')
            self.close(outputs[1])
            self.alice.wait_job(self.alice.verb('Hibernate', 'told'))
            self.assertEqual(read_until(outputs[0], None), b'')
            self.close(outputs[0])
            self.alice.wait_job(self.alice.verb('Destroy', 'told'))


class BesideTheVerbs(StreamTest):
    def opened(self, name):
        """A session with a shell, a command and a reader of its output."""
        self.alice.run(name)
        pty, shell = self.shell(session=name)
        reading, writing = self.pipe()
        command = self.execute('cat', session=name, stdin=reading)
        output = self.logs(session=name, follow=V('b', True))
        read_until(output, b'line 10\n')
        return pty, output, [shell, command]

    def test_every_way_to_end(self):
        for verb, after in (('Hibernate', 'hibernated'), ('Stop', 'stopped'), ('Destroy', None), ('Restart', 'running')):
            with self.subTest(verb=verb), self.nothing_stays():
                pty, output, jobs = self.opened(verb.lower())
                self.alice.wait_job(self.alice.verb(verb, verb.lower()))
                self.assertEqual(read_until(pty, None), b'')
                read_until(output, None)
                for job in jobs:
                    self.assertRegex(self.ends(job, 'failed')['ErrorMessage'], '[.]$')
                if after:
                    self.alice.wait_state(verb.lower(), after)
                    self.alice.wait_job(self.alice.verb('Destroy', verb.lower()))

    def test_snapshot_goes_on_beside_them(self):
        pty, output, jobs = self.opened('copied')
        self.alice.wait_job(self.alice.verb('Snapshot', 'copied'))
        os.write(pty, b'after\n')
        read_until(pty, b'after\n')
        self.alice.wait_job(self.alice.verb('Destroy', 'copied'))

    def test_frozen(self):
        """It waits, and fails nothing."""
        self.alice.run('frozen')
        session = self.alice.get(self.alice.manager('GetSession', 's', 'frozen'), SESSION, 'Id')
        pty, job = self.shell(session='frozen')
        self.rig.fake(op='freeze', session=session)
        os.write(pty, b'later\n')
        self.rig.fake(op='thaw', session=session)
        self.assertEqual(read_until(pty, b'later\n'), b'later\n')
        self.alice.wait_job(self.alice.verb('Destroy', 'frozen'))


class Leaving(StreamTest):
    """Whoever asked is gone before the reply."""

    def opening(self, client, member):
        null = self.null()
        self.call(client, member, *((['cat'], null, null, null) if member == 'Execute' else ()), send=True,
                  **({'follow': V('b', True)} if member == 'OpenLogs' else {}))

    def test_leaves_nothing(self):
        self.rig.fake(latency_usec={'execute': 3600 * 10**6, 'read-logs': 3600 * 10**6})
        self.addCleanup(self.rig.fake, latency_usec={'execute': 0, 'read-logs': 0})
        last = self.jobs(ended=V('b', True))[0]['Id']
        with self.nothing_stays():
            for i in range(34):
                for member in MEMBERS:
                    before = self.daemon_fds()
                    # Every second one goes at once, at whatever stage the request is; the others when it is under way.
                    client = Client(self.rig.path, BOB if i % 2 else ALICE)
                    self.opening(client, member)
                    if i % 2 and member == 'OpenLogs':
                        wait(lambda n=before: self.daemon_fds() > n, 'the request')
                    elif i % 2:
                        wait(lambda: self.jobs(owner=V('u', BOB)), 'the request')
                    client.pump(0)
                    self.assertFalse(client.replies)
                    client.close()
                    wait(lambda n=before: self.daemon_fds() <= n, 'the descriptors to be closed')
                    wait(lambda: not self.jobs(owner=V('u', BOB)), 'the job to end')
        ended = [j for j in self.jobs(ended=V('b', True)) if j['Id'] > last]
        self.assertEqual(len([j for j in ended if j['OwnerUID'] == BOB]), 34)
        self.assertEqual({(j['State'], j['ErrorName']) for j in ended}, {('canceled', error_name('Canceled'))})

    def test_hundred_rounds(self):
        with self.nothing_stays():
            for _ in range(100):
                pty, job = self.shell(command=V('as', ['true']))
                self.close(pty)
                self.close(self.logs())
                self.execute('true')
                self.alice.wait_job(job)

    def test_no_descriptors(self):
        """A connection that takes none, as from another machine: the bus keeps the answer to itself, and what was opened is closed."""
        with self.nothing_stays():
            far = Client(self.rig.path, ALICE, descriptors=False)
            last = self.jobs(ended=V('b', True), limit=V('u', 1))[0]['Id']
            serial = self.call(far, 'OpenShell', send=True)
            self.call(far, 'OpenLogs', send=True, follow=V('b', True))
            wait(lambda: self.jobs(ended=V('b', True), limit=V('u', 1))[0]['Id'] > last, 'the shell to end')
            self.assertEqual(self.jobs(ended=V('b', True), limit=V('u', 1))[0]['State'], 'canceled')
            self.assertNotIn(serial, far.replies)
            self.assertEqual(far.driver('NameHasOwner', 's', NAME), True)
            far.close()


class Limits(StreamTest):
    def test_of_a_user(self):
        opened = [self.shell() for _ in range(3)] + [(self.logs(follow=V('b', True)), None) for _ in range(2)]
        for function in (self.shell, lambda: self.execute('true'), self.logs):
            self.refused('LimitExceeded', r'StreamsPerUserMax=', function)
        self.ends(self.execute('true', who=self.bob), 'done', 0)
        self.ends(self.execute('true', who=self.root), 'done', 0)
        pty, job = opened[0]
        self.close(pty)
        self.alice.wait_job(job, 'canceled')
        pty, job = self.shell()
        os.write(pty, b'exit 0\n')
        self.ends(job, 'done', 0)

    def test_a_thousand_at_once(self):
        """The limit is met, and what was refused leaves nothing."""
        with self.nothing_stays():
            client = self.rig.client(ALICE)
            null = self.null()
            members = [list(MEMBERS)[i % 3] for i in range(1000)]
            refused, opened, serials = 0, 0, []
            for batch in range(0, 1000, 100):
                serials = [(m, self.call(client, m, *((['cat'], null, null, null) if m == 'Execute' else ()), send=True))
                           for m in members[batch:batch + 100]]
                for member, serial in serials:
                    try:
                        self.answer(client, serial, member)
                        opened += 1
                    except DBusError as e:
                        self.assertEqual(e.name, error_name('LimitExceeded'), e)
                        refused += 1
            self.assertGreater(refused, 0)
            self.assertGreaterEqual(opened, 5)
            self.close(*(self.open_fds - {null}))
            client.close()


if __name__ == '__main__':
    main()
