# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shells, commands and output: what may be asked for, and by whom."""

from streams import *


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


if __name__ == '__main__':
    main()
