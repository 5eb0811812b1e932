# SPDX-License-Identifier: LGPL-2.1-or-later
"""One test for each row of docs/limits.md that a caller can meet on the bus."""

import contextlib
import resource
import sqlite3

from harness import *

LIMITS = '''[Manager]
Providers=fake

[Limits]
SessionsMax=8
SessionsPerUserMax=3
EndedSessionsMax=2
JobsMax=4
RunningJobsMax=10
RunningJobsPerUserMax=5
StreamsPerUserMax=2
QueuedOperationsMax=2
ChangesPerMinute=30
GenerationsMax=2

[Session]
Cpus=0.5
Memory=128M
MemoryReservationPercent=50

[Registry]
URL=http://registry.fake:5000
'''


class Limits(BusTest):
    settled = False
    config = LIMITS

    def setUp(self):
        # A bus of its own for each test: limits are about totals.
        type(self).rig.close()
        type(self).setUpClass()

    def slow(self, op='capture', usec=60000000):
        self.rig.fake(latency_usec={op: usec})

    def test_sessions_per_user(self):
        for i in range(3):
            self.alice.create(f'a{i}')
        self.refused('LimitExceeded', f'Uid {ALICE} has 3 sessions', self.alice.create, 'a3')
        self.bob.create('b')
        self.refused('LimitExceeded', f'Uid {ALICE} has 3 sessions', self.bob.create, 'b2', owner=V('u', ALICE))
        for i in range(4):
            self.root.create(f'r{i}')

    def test_sessions(self):
        for i in range(8):
            self.root.create(f'r{i}')
        self.refused('LimitExceeded', r'There are 8 sessions already \(SessionsMax=\)', self.root.create, 'r8')
        self.root.wait_job(self.root.verb('Destroy', 'r0'))
        self.root.create('r8')

    def test_ended_sessions(self):
        for i in range(4):
            self.root.run(f'r{i}')
            self.root.wait_job(self.root.verb('Destroy', f'r{i}'))
        self.rig.restart()
        ended, _ = self.rig.client().rows(ended=V('b', True))
        self.assertEqual([r['Name'] for r in ended], ['r3', 'r2'])

    def test_jobs(self):
        for i in range(4):
            self.root.run(f'r{i}')
        self.root.wait_job(self.root.verb('Snapshot', 'r0'))
        self.root.wait_job(self.root.verb('Snapshot', 'r0'))
        self.rig.restart()
        rows, _ = self.rig.client().manager('ListJobs', 'a{sv}t', {}, 0)
        self.assertEqual([r['Id'] for r in rows], [6, 5, 4, 3])

    def add_jobs(self, count, message):
        """To the state, with the service stopped: copies of the first."""
        columns = 'type, session, owner_uid, state, bytes_done, bytes_total, created_usec, started_usec, ended_usec, frozen_usec'
        with contextlib.closing(sqlite3.connect(self.rig.dir / 'state/orchestrator.sqlite')) as db, db:
            db.execute('WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) '
                       f"INSERT INTO jobs ({columns}, error_name, error_message) SELECT {columns}, 'Internal', ? "
                       'FROM n, (SELECT * FROM jobs WHERE id = 1)', [count, message])

    def test_one_message(self):
        """Who sends more than 32 MiB at once is cut off by the bus."""
        def objects():
            return self.rig.client().call(NAME, PATH, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects', timeout=60)
        self.rig.configure(LIMITS.replace('JobsMax=4', 'JobsMax=100000'))
        self.rig.restart()
        self.rig.client().run('r')
        self.rig.stop()
        self.add_jobs(1000, 'x' * 100000)       # an earlier version did not bound its sentences
        self.rig.start()
        self.assertGreater(len(objects()), 1000)
        rows, _ = self.rig.client().manager('ListJobs', 'a{sv}t', {}, 0)
        self.assertEqual(rows[0]['ErrorMessage'], 'x' * 4093 + '...')
        self.assertLess(len(rows), 300)
        self.rig.stop()
        self.add_jobs(30000, None)
        self.rig.start()
        self.refused('LimitExceeded', '1 sessions and 31001 jobs are more than one message can hold', objects)
        rows, _ = self.rig.client().manager('ListJobs', 'a{sv}t', {}, 0)
        self.assertEqual(len(rows), 1000)

    def test_names_of_what_was_left_out(self):
        """Beyond 32 MiB the bus would cut the service off."""
        path = self.root.run('r')
        self.root.wait_job(self.root.verb('Snapshot', 'r'))
        self.rig.stop()
        names = json.dumps([f'/{i:0>4000} (socket)' for i in range(100)])
        with contextlib.closing(sqlite3.connect(self.rig.dir / 'state/orchestrator.sqlite')) as db, db:
            db.execute('UPDATE snapshots SET dropped = ?', [names])
            columns = [c[1] for c in db.execute('PRAGMA table_info(snapshots)') if c[1] != 'generation']
            db.executemany(f'INSERT INTO snapshots (generation, {", ".join(columns)}) SELECT ?, {", ".join(columns)} FROM snapshots WHERE generation = 1',
                           [[n] for n in range(2, 101)])
        self.rig.start()
        rows = self.rig.client().on(path, SESSION, 'ListSnapshots', 'a{sv}t', {}, 0)
        self.assertEqual([r['Generation'] for r in rows], list(range(100, 0, -1)))
        self.assertEqual([len(r['Dropped']) for r in rows], [100] * 20 + [0] * 80)
        self.rig.stop()

    def test_answers_that_nobody_takes(self):
        """They would all be kept until the bus takes them."""
        self.root.run('r')
        self.rig.stop()
        with contextlib.closing(sqlite3.connect(self.rig.dir / 'state/orchestrator.sqlite')) as db, db:
            columns = ', '.join(c[1] for c in db.execute('PRAGMA table_info(sessions)') if c[1] not in ('id', 'name'))
            db.executemany(f"INSERT INTO sessions (id, name, {columns}) SELECT ?, ?, {columns} FROM sessions WHERE name = 'r'",
                           [[f'1{i:0>11}', f'x{i}'] for i in range(1500)])
            db.execute("UPDATE sessions SET state = 'stopped', wanted = 0, image = ? WHERE name <> 'r'", ['registry.fake/' + 'x' * 900])
        self.rig.start()
        flood, other = self.rig.client(ALICE), self.rig.client(BOB)
        for client in (flood, other):
            client.rows(limit=V('u', 1))                # whose they are is known
        os.kill(self.rig.daemon.pid, signal.SIGSTOP)

        def ask(client):
            return client.send_call(NAME, PATH, MANAGER, 'ListSessions', 'a{sv}t', ({'fields': V('as', ['Image'])}, 0))
        serials = [ask(flood) for _ in range(100)]
        flood.driver('NameHasOwner', 's', NAME)         # the bus has passed them on
        few = [ask(other) for _ in range(10)]
        few.append(other.send_call(NAME, PATH, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects', '', ()))
        other.driver('NameHasOwner', 's', NAME)
        os.kill(self.rig.broker.pid, signal.SIGSTOP)
        os.kill(self.rig.daemon.pid, signal.SIGCONT)
        self.wait_idle()
        os.kill(self.rig.broker.pid, signal.SIGCONT)
        refused = 0
        for s in serials:
            try:
                flood.reply(s)
            except DBusError as e:
                self.assertRegex(e.message, f'More than 32 MiB of answers, many of them for uid {ALICE}, wait until the bus takes them')
                refused += 1
        self.assertGreater(refused, 50)
        self.assertLess(refused, 75)
        for s in few:                                   # another's flood takes nothing from them
            other.reply(s)
        self.assertEqual(len(other.rows()), 2)
        self.rig.stop()

    def wait_idle(self):
        """It sleeps, and neither waits for a processor nor for the disk."""
        def state():
            fields = pathlib.Path(f'/proc/{self.rig.daemon.pid}/stat').read_text().split()
            return fields[2], *fields[13:15]
        before = None
        while (now := state()) != before or now[0] != 'S':
            before = now
            time.sleep(0.3)

    def test_running_jobs_per_user(self):
        for i in range(2):
            self.alice.run(f'a{i}')
        self.slow()
        for i in range(2):
            for _ in range(3 - i):
                self.alice.verb('Snapshot', f'a{i}')
        self.refused('LimitExceeded', r'You have 5 jobs under way already \(RunningJobsPerUserMax=\)', self.alice.verb, 'Snapshot', 'a1')
        self.root.verb('Snapshot', 'a1')

    def test_running_jobs(self):
        for i in range(2):
            self.alice.run(f'a{i}')
            self.bob.run(f'b{i}')
        self.slow()
        for who, name in ((self.alice, 'a'), (self.bob, 'b')):
            for i, n in enumerate((3, 2)):
                for _ in range(n):
                    who.verb('Snapshot', f'{name}{i}')
        self.rig.configure(LIMITS.replace('RunningJobsPerUserMax=5', 'RunningJobsPerUserMax=6'))
        self.root.manager('Reload')
        self.refused('LimitExceeded', '10 jobs are under way', self.alice.verb, 'Snapshot', 'a1')
        self.refused('LimitExceeded', '10 jobs are under way', self.alice.create, 'a2')
        self.root.verb('Snapshot', 'a1')

    def follow(self, who, name):
        """The end of a pipe into which its output goes until that is closed."""
        return who.manager('OpenSessionLogs', 'sa{sv}t', name, {'follow': V('b', True)}, 0)

    def test_streams_per_user(self):
        self.alice.run('a')
        null = os.open('/dev/null', os.O_RDWR)
        self.addCleanup(os.close, null)
        pty, _ = self.alice.manager('OpenSessionShell', 'sa{sv}t', 'a', {}, 0)
        output = self.follow(self.alice, 'a')
        self.addCleanup(os.close, output)
        for more in (lambda: self.alice.manager('OpenSessionShell', 'sa{sv}t', 'a', {}, 0), lambda: self.follow(self.alice, 'a'),
                     lambda: self.alice.manager('ExecuteInSession', 'sashhha{sv}t', 'a', ['true'], null, null, null, {}, 0)):
            self.refused('LimitExceeded', r'You have 2 shells, commands and readers of output open already \(StreamsPerUserMax=\)', more)
        os.close(self.follow(self.root, 'a'))
        os.close(pty)
        wait(lambda: not self.root.manager('ListJobs', 'a{sv}t', {'ended': V('b', False)}, 0)[0], 'the shell to end')
        pty, _ = self.alice.manager('OpenSessionShell', 'sa{sv}t', 'a', {}, 0)
        os.close(pty)

    def test_streams(self):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        resource.prlimit(self.rig.daemon.pid, resource.RLIMIT_NOFILE, (most, most))
        self.root.run('r')
        outputs = [self.follow(self.root, 'r') for _ in range(512)]
        self.refused('LimitExceeded', '512 shells, commands and readers of output are open already', self.follow, self.root, 'r')
        for fd in outputs:
            os.close(fd)

        def again():
            with contextlib.suppress(DBusError):
                os.close(self.follow(self.root, 'r'))
                return True
        wait(again, 'room for another one')

    def test_queued_operations(self):
        self.root.run('r')
        self.slow()
        for _ in range(3):
            self.root.verb('Snapshot', 'r')
        self.refused('LimitExceeded', r'has 2 operations waiting already \(QueuedOperationsMax=\)', self.root.verb, 'Snapshot', 'r')

    def test_changes_per_minute(self):
        self.rig.configure(LIMITS.replace('ChangesPerMinute=30', 'ChangesPerMinute=4'))     # one more in 15 s
        self.root.manager('Reload')
        self.alice.run('a')
        for _ in range(3):
            self.alice.manager('TouchSession', 'sa{sv}t', 'a', {}, 0)
        self.refused('RateLimited', f'uid {ALICE} has made more than 4 changes within a minute', self.alice.manager, 'TouchSession', 'sa{sv}t', 'a', {}, 0)
        for call in (lambda: self.alice.verb('Stop', 'a'), lambda: self.alice.create('x'), lambda: self.alice.manager('Reload'),
                     lambda: self.alice.manager('CancelJob', 'tt', 1, 0), lambda: self.alice.manager('KillSession', 'ssia{sv}t', 'a', 'main', 1, {}, 0),
                     lambda: self.rig.client(ALICE).verb('Stop', 'a')):
            self.refused('RateLimited', 'next one is possible in [0-9]+ seconds', call)
        self.assertEqual(self.alice.state('a'), 'running')
        self.alice.manager('DescribeSession', 'sa{sv}t', 'a', {}, 0)
        self.bob.create('b')
        for _ in range(60):
            self.root.manager('TouchSession', 'sa{sv}t', 'a', {}, 0)
        self.rig.configure(LIMITS)                                                          # in 2 s
        self.root.manager('Reload')
        time.sleep(2.1)
        self.alice.manager('TouchSession', 'sa{sv}t', 'a', {}, 0)

    def test_generations(self):
        path = self.root.run('r')
        for i in range(4):
            self.rig.fake(op='write', session=self.root.get(path, SESSION, 'Id'), value=i + 1)
            self.root.wait_job(self.root.verb('Snapshot', 'r'))
        wait(lambda: len(self.root.manager('ListSnapshots', 'sa{sv}t', 'r', {}, 0)) == 2, 'the oldest to go')
        self.assertEqual([s['Generation'] for s in self.root.manager('ListSnapshots', 'sa{sv}t', 'r', {}, 0)], [4, 3])

    def test_defaults_of_sessions(self):
        limits = self.root.get(self.root.run('r'), SESSION, 'Limits')
        self.assertEqual((limits['CPUs'], limits['MemoryBytes']), (0.5, 128 << 20))
        self.assertAlmostEqual(limits['MemoryReservedBytes'], 64 << 20, delta=1 << 20)

    def test_texts(self):
        self.refused('LimitExceeded', 'at most 32768 are allowed', self.root.create, 'r', env=V('as', ['A=' + 'x' * (33 << 10)]))
        self.refused(INVALID, 'at most 256 are allowed', self.root.create, 'r', env=V('as', ['A' * 257 + '=1']))
        self.refused('LimitExceeded', 'at most 4096 are allowed', self.root.create, 'r', labels=V('a{ss}', {'k': 'x' * 5000}))
        self.refused(INVALID, '1 to 128 letters', self.root.create, 'r', labels=V('a{ss}', {'k' * 129: 'x'}))
        self.refused(INVALID, '512 bytes', self.root.create, 'r', image=V('s', 'x' * 513))
        self.root.run('r')
        for user in ('u' * 65, 'u:' + 'g' * 65):
            self.refused(INVALID, 'each has 1 to 64 letters', self.root.manager, 'OpenSessionShell', 'sa{sv}t', 'r', {'user': V('s', user)}, 0)
        self.refused(INVALID, 'fewer than 4096 bytes', self.root.manager, 'OpenSessionShell', 'sa{sv}t', 'r',
                     {'working_directory': V('s', '/' + 'd' * 4095)}, 0)

    def test_words(self):
        text = V('as', ['x' * 30000] * 5)
        self.refused('LimitExceeded', 'command has 5 entries with 150005 bytes', self.root.create, 'r', command=text)
        self.refused('LimitExceeded', 'command has 1025 entries', self.root.create, 'r', command=V('as', ['x'] * 1025))
        self.refused('LimitExceeded', 'env has 1025 entries', self.root.create, 'r', env=V('as', [f'A{i}=' for i in range(1025)]))
        self.refused('LimitExceeded', 'labels has 1025 entries', self.root.create, 'r', labels=V('a{ss}', {f'a{i}': '' for i in range(1025)}))


class MergedWords(BusTest):
    templates = ''.join(('templates:\n', '  wordy:\n', '    image: example/base\n', '    env:\n',
                         *(f'      V{i}: {"x" * 30000}\n' for i in range(4))))

    def test_of_template_and_request(self):
        wordy = {'template': V('s', 'wordy')}
        self.alice.wait_job(self.alice.manager('CreateSession', 'sa{sv}t', 'fits', wordy, 0)[1])
        self.refused('LimitExceeded', 'env, with that of the template or source, has 5 entries with 150', self.alice.manager,
                     'CreateSession', 'sa{sv}t', 'n', {**wordy, 'env': V('as', ['A=' + 'x' * 30000])}, 0)


class ReservedMemory(BusTest):
    """Two nodes of 1 TiB; sessions that reserve 32 GiB each."""
    BIG = {'memory_bytes': V('t', 32 << 30), 'memory_reservation_bytes': V('t', 32 << 30)}

    def test_nine_tenths(self):
        fit = 2048 * 9 // 10 // 32
        for i in range(fit):
            self.alice.run(f'big-{i}', **self.BIG)
        self.refused('NoCapacity', r'reserves 32\.0G of memory; of the 2\.0T .* 1\.8T are reserved already, and 90 % is the limit', self.alice.create, 'more', **self.BIG)
        # What rests reserves nothing, and what is small still fits.
        self.alice.run('small', memory_reservation_bytes=V('t', 64 << 20))
        self.alice.wait_job(self.alice.verb('Hibernate', 'big-0'))
        self.alice.run('more', **self.BIG)


if __name__ == '__main__':
    main()
