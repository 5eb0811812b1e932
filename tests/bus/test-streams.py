# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shells, commands and output: what goes over the descriptors, how it ends, and that nothing stays behind."""

from streams import *


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
