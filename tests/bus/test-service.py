# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service as a whole: starts, ends, crashes, reloads, its log."""

import contextlib
import json
import sqlite3

from harness import *

LOG, LOG_PATH = 'org.freedesktop.LogControl1', '/org/freedesktop/LogControl1'


class Service(BusTest):
    def setUp(self):
        type(self).rig.close()
        type(self).setUpClass()

    def fresh(self):
        return self.rig.client()

    def test_what_was_answered_survives_a_kill(self):
        path = self.alice.run('dev', labels=V('a{ss}', {'a': 'b'}), env=V('as', ['A=1']))
        session = self.alice.get(path, SESSION, 'Id')
        self.rig.fake(op='write', session=session, value=99)
        before = self.alice.manager('DescribeSession', 'sa{sv}t', 'dev', {}, 0)
        self.rig.restart(signal.SIGKILL)
        c = self.fresh()
        wait(lambda: c.state('dev') == 'running', 'the session to be seen')
        after = c.manager('DescribeSession', 'sa{sv}t', 'dev', {}, 0)
        self.assertEqual({k: v for k, v in before.items()}, after)
        c.wait_job(c.verb('Hibernate', 'dev'))
        self.rig.restart(signal.SIGKILL)
        c = self.fresh()
        self.assertEqual(c.state('dev'), 'hibernated')
        c.wait_job(c.verb('Restore', 'dev'))
        self.assertEqual(self.rig.fake(op='read', session=session)['value'], 99)
        self.assertEqual(self.rig.fake(op='losses')['losses'], 0)

    def test_kill_right_after_the_answer(self):
        for i in range(5):
            c = self.fresh()
            path, job = c.create(f'quick-{i}')
            self.rig.restart(signal.SIGKILL)
            c = self.fresh()
            self.assertEqual(c.manager('GetSession', 's', f'quick-{i}'), path)
            wait(lambda: c.state(f'quick-{i}') in ('running', 'failed'), 'the end of the start', lambda: c.state(f'quick-{i}'))
            self.assertNotIn(c.get(job, JOB, 'State'), ('queued', 'running'))

    def test_job_numbers_go_on(self):
        self.alice.run('dev')
        first = self.alice.wait_job(self.alice.verb('Snapshot', 'dev'))['Id']
        self.rig.restart(signal.SIGKILL)
        c = self.fresh()
        self.assertEqual(c.get(c.manager('GetJob', 't', first), JOB, 'State'), 'done')
        self.assertGreater(c.wait_job(c.verb('Snapshot', 'dev'))['Id'], first)

    def change_row(self, statement, *values):
        with contextlib.closing(sqlite3.connect(self.rig.dir / 'state/orchestrator.sqlite')) as db, db:
            return db.execute(statement, values).fetchall()

    def test_session_that_cannot_be_read(self):
        """Nobody acts on a part of the state: the service says which row it is, leaves it alone, and goes on without it
        when it is gone."""
        path = self.alice.run('dev', env=V('as', ['A=1']))
        session = self.alice.get(path, SESSION, 'Id')
        self.alice.run('other')
        for _ in range(2):
            self.alice.wait_job(self.alice.verb('Snapshot', 'dev'))
        self.rig.stop()
        self.change_row("UPDATE sessions SET state = 'levitating' WHERE id = ?", session)
        self.rig.start(wait_for=False)
        self.assertNotEqual(self.rig.daemon.wait(20), 0)
        log = self.rig.log.read_text()
        self.assertRegex(log, fr'record of session dev cannot be used: its state is none .* table "sessions" with the id \'{session}\'')
        self.assertRegex(log, r'Cannot load the state of .*: the row named above cannot be used\. Nothing was changed\. .* delete that row alone')
        self.assertEqual(self.change_row('SELECT state FROM sessions WHERE id = ?', session), [('levitating',)])
        self.change_row('DELETE FROM sessions WHERE id = ?', session)   # what it says
        self.rig.start()
        c = self.rig.client(ALICE)
        wait(lambda: [r['Name'] for r in c.rows(state=V('s', 'running'))[0]] == ['dev', 'other'], 'the session to be taken up')
        self.assertEqual(c.manager('DescribeSession', 'sa{sv}t', 'dev', {}, 0)['Environment'], ['A=1'])
        rows = c.manager('ListSnapshots', 'sa{sv}t', 'dev', {}, 0)
        self.assertEqual([r['Generation'] for r in rows], [2, 1])
        c.wait_job(c.verb('Snapshot', 'dev'))                           # with a number of its own
        rows = c.manager('ListSnapshots', 'sa{sv}t', 'dev', {}, 0)
        self.assertEqual([r['Generation'] for r in rows], [3, 2, 1])

    def test_row_deleted_amid_a_hibernation(self):
        """Its files were proven by then, and its container has gone since: nobody begins without them."""
        path = self.alice.run('dev')
        session = self.alice.get(path, SESSION, 'Id')
        self.rig.fake(op='write', session=session, value=7)
        self.rig.fake(latency_usec={'rest': 60000000})
        job = self.alice.verb('Hibernate', 'dev')
        wait(lambda: self.alice.get(job, JOB, 'Stage') == 'removing the container', 'the proof')
        self.rig.stop(signal.SIGKILL)
        self.assertEqual(self.change_row('SELECT phase FROM snapshots'), [('proven',)])
        self.change_row('DELETE FROM sessions')
        cluster = json.loads((self.rig.dir / 'cluster.json').read_text())
        cluster['sessions'][0].update(task='gone', frozen=False)
        (self.rig.dir / 'cluster.json').write_text(json.dumps(cluster))
        self.rig.start()
        c = self.rig.client(ALICE)
        wait(lambda: [r['State'] for r in c.rows()[0]] == ['stopped'], 'the session to be taken up')
        c.wait_job(c.verb('Start', 'dev'))
        self.assertEqual(c.get(path, SESSION, 'Generation'), 1)
        self.assertEqual(self.rig.fake(op='read', session=session)['value'], 7)

    def test_generation_that_cannot_be_read(self):
        self.alice.run('dev')
        self.alice.wait_job(self.alice.verb('Snapshot', 'dev'))
        self.rig.stop()
        self.change_row("UPDATE snapshots SET phase = 'levitating'")
        self.rig.start(wait_for=False)
        self.assertNotEqual(self.rig.daemon.wait(20), 0)
        log = self.rig.log.read_text()
        self.assertRegex(log, 'row of the table "snapshots" has a value that this version does not know')
        self.assertIn('and its generation is 1.', log)

    def test_job_that_cannot_be_read(self):
        """It is only history."""
        self.alice.run('dev')
        self.rig.stop()
        self.change_row("UPDATE jobs SET type = 'levitate'")
        self.rig.start()
        c = self.rig.client(ALICE)
        self.assertEqual(c.manager('ListJobs', 'a{sv}t', {}, 0)[0], [])
        self.assertRegex(self.rig.log.read_text(), 'record of job 1 cannot be used')
        self.assertEqual(c.wait_job(c.verb('Snapshot', 'dev'))['Id'], 2)
        self.rig.stop()
        self.change_row("UPDATE jobs SET type = 'create' WHERE type = 'levitate'")      # for the version that can read it
        self.rig.start()
        c = self.rig.client(ALICE)
        self.assertEqual([r['Id'] for r in c.manager('ListJobs', 'a{sv}t', {}, 0)[0]], [2, 1])

    def test_cut_job_is_interrupted(self):
        self.alice.run('dev')
        self.rig.fake(latency_usec={'capture': 60000000})
        job = self.alice.verb('Hibernate', 'dev')
        wait(lambda: self.alice.state('dev') == 'hibernating', 'the freeze')
        self.rig.restart(signal.SIGKILL)
        c = self.fresh()
        c.wait_job(job, 'interrupted')
        wait(lambda: c.state('dev') == 'running', 'the thaw', lambda: c.state('dev'))
        self.assertEqual(c.get(job, JOB, 'ErrorName'), error_name('Interrupted'))

    def test_graceful_stop_thaws(self):
        path = self.alice.run('dev')
        session = self.alice.get(path, SESSION, 'Id')
        self.rig.fake(latency_usec={'capture': 60000000})
        job = self.alice.verb('Hibernate', 'dev')
        wait(lambda: self.alice.state('dev') == 'hibernating', 'the freeze')
        self.rig.stop(signal.SIGTERM)
        self.assertEqual([s['frozen'] for s in json.loads((self.rig.dir / 'cluster.json').read_text())['sessions']], [False])
        self.rig.start()
        c = self.fresh()
        wait(lambda: c.state('dev') == 'running', 'the session to run', lambda: c.state('dev'))
        # Undone before it ended, not found as it was left.
        self.assertEqual((c.get(job, JOB, 'State'), c.get(job, JOB, 'ErrorMessage')), ('interrupted', 'The orchestrator was stopped while the job ran.'))
        self.assertFalse(self.rig.fake(op='read', session=session)['frozen'])

    def test_thaw(self):
        """ExecStopPost=: a process of its own thaws what has a note, in the Engine that is configured."""
        import http.server
        import socketserver
        asked = []

        class Engine(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if self.path.endswith('/_ping') else 404)
                self.send_header('Api-Version', '1.41')
                self.end_headers()

            def do_POST(self):
                asked.append(self.path)
                self.send_response(204)
                self.send_header('Api-Version', '1.41')
                self.end_headers()

            def address_string(self):
                return 'test'

            def log_message(self, *args):
                pass

        (self.rig.dir / 'config/orchestrator.conf').write_text(f'[Swarm]\nEngine={self.rig.dir}/engine.sock\n')
        (self.rig.dir / 'run/frozen').mkdir()
        note = self.rig.dir / 'run/frozen' / ('c' * 64)
        note.write_text('{"state":"frozen"}')
        with socketserver.UnixStreamServer(str(self.rig.dir / 'engine.sock'), Engine) as engine:
            threading.Thread(target=engine.serve_forever, daemon=True).start()
            p = subprocess.run([DAEMON, '--config-dir', str(self.rig.dir / 'config'), '--thaw'], capture_output=True, text=True, timeout=20,
                               env={'PATH': os.environ['PATH'], 'RUNTIME_DIRECTORY': str(self.rig.dir / 'run')})
            engine.shutdown()
        self.assertEqual((p.returncode, asked, note.exists()), (0, [f'/v1.41/containers/{note.name}/unpause'], False), p.stderr)

    def test_second_instance_says_why_it_cannot_run(self):
        state = self.rig.dir / 'other'
        state.mkdir()
        env = {'PATH': os.environ['PATH'], 'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=' + self.rig.path, 'SWARM_CONFIG_DIR': str(self.rig.dir / 'config'),
               'STATE_DIRECTORY': str(state), 'RUNTIME_DIRECTORY': str(state), 'SWARM_FAKE_CONTROL': str(state / 'fake')}
        p = subprocess.run([DAEMON], env=env, capture_output=True, text=True, timeout=20)
        self.assertEqual(p.returncode, 1)
        self.assertIn('Another process owns the bus name', p.stderr)
        env['STATE_DIRECTORY'] = str(self.rig.dir / 'state')
        p = subprocess.run([DAEMON], env=env, capture_output=True, text=True, timeout=20)
        self.assertEqual(p.returncode, 1)
        self.assertIn('Cannot open the state', p.stderr)
        self.alice.manager('GetStatus')

    def test_bus_loss_ends_the_service(self):
        self.rig.broker.terminate()
        self.assertEqual(self.rig.daemon.wait(10), 1)
        self.assertIn('connection to the bus is lost', self.rig.log.read_text())
        self.rig.daemon = None

    def test_no_bus(self):
        env = {'PATH': os.environ['PATH'], 'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=/nonexistent', 'STATE_DIRECTORY': str(self.rig.dir),
               'RUNTIME_DIRECTORY': str(self.rig.dir)}
        p = subprocess.run([DAEMON], env=env, capture_output=True, text=True, timeout=20)
        self.assertEqual((p.returncode, 'Cannot connect to the system bus' in p.stderr), (1, True), p.stderr)

    def test_command_line(self):
        run = lambda *args: subprocess.run([DAEMON, *args], capture_output=True, text=True, timeout=20)
        self.assertIn('--config-dir', run('--help').stdout)
        self.assertRegex(run('--version').stdout, r'^swarm-orchestratord \d')
        self.assertEqual(run('--nonsense').returncode, 1)
        self.assertIn('"word" is not understood', run('word').stderr)

    def test_questions_before_the_first_report(self):
        """Nobody is told that there are no nodes because the Engine has not been heard yet."""
        self.rig.stop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as engine:
            engine.bind(str(self.rig.dir / 'engine'))
            engine.listen()
            self.rig.configure(CONFIG.replace('Providers=fake', 'Providers=swarm') + f'\n[Swarm]\nEngine={self.rig.dir}/engine\n')
            self.rig.start()
            c = self.fresh()
            serial = c.send_call(NAME, PATH, MANAGER, 'ListNodes', 'a{sv}t', ({}, 0))
            provider = c.manager('GetStatus')['Providers'][0]
            self.assertNotIn(serial, c.replies)
            self.assertEqual((provider['Health'], provider['Detail']), ('unavailable', 'It has not answered yet.'))
            self.assertEqual(c.manager('ListProviders', 'a{sv}t', {}, 0)[0]['Detail'], 'It has not answered yet.')
            self.assertNotIn(serial, c.replies)
        engine.close()                          # whoever is connected is cut off
        self.assertEqual(c.reply(serial), [])
        self.assertNotIn('not answered yet', c.manager('GetStatus')['Providers'][0]['Detail'])
        self.rig.stop()
        self.rig.configure(CONFIG)

    def test_reload_by_method_and_by_signal(self):
        self.assertEqual(self.root.manager('Reload'), [])
        (self.rig.dir / 'config/templates.d/new.yaml').write_text('templates:\n  new: {image: example/new}\n')
        self.rig.configure(CONFIG.replace('ChangesPerMinute=10000', 'ChangesPerMinute=2\nNoSuchKey=1'))
        warnings = self.root.manager('Reload')
        self.assertEqual(len(warnings), 1)
        self.assertRegex(warnings[0], r'orchestrator\.conf:\d+: .*NoSuchKey')
        self.assertEqual([t['Name'] for t in self.root.manager('ListTemplates', 'a{sv}t', {}, 0)], ['new'])
        for i in range(2):
            self.alice.create(f'a{i}')
        self.refused('RateLimited', 'more than 2 changes', self.alice.create, 'a3')
        self.rig.configure(CONFIG.replace('Providers=fake', 'Providers=fake swarm'))
        for _ in range(2):
            self.assertRegex(' '.join(self.root.manager('Reload')), '^orchestrator.conf: Providers= has changed, .* restarted.$')
        self.rig.configure(CONFIG)
        self.assertEqual(self.root.manager('Reload'), [])
        (self.rig.dir / 'config/templates.d/new.yaml').write_text('templates:\n  newer: {image: example/new}\n  wrong: {image: 5, x: y}\n')
        self.rig.daemon.send_signal(signal.SIGHUP)
        wait(lambda: 'newer' in [t['Name'] for t in self.root.manager('ListTemplates', 'a{sv}t', {}, 0)], 'the reload')
        self.assertEqual([t['Name'] for t in self.root.manager('ListTemplates', 'a{sv}t', {}, 0)], ['newer'])

    def test_reload_tells_of_what_is_no_text(self):
        folder = self.rig.dir / 'config/templates.d'
        (folder / 'long.yaml').write_text('templates:\n  long: {image: base, size: x' + 'ä' * 30 + '}\n')
        (folder / os.fsdecode(b'latin-\xe4.yaml')).write_text('nothing')
        named, cut = self.root.manager('Reload')
        self.assertRegex(named, r'latin-\?\.yaml:1: The file must hold')
        self.assertRegex(cut, r'long\.yaml:2: Template "long" is not loaded: "size" must be .*, "xä+\?" is not')

    def test_templates_hold_what_can_be_sent(self):
        (self.rig.dir / 'config/templates.d/new.yaml').write_text('templates:\n  new: {image: base, description: "\ufdd0"}\n')
        self.assertRegex(' '.join(self.root.manager('Reload')), r'new\.yaml:2: This string holds what is no character of Unicode')
        self.assertEqual(self.root.manager('ListTemplates', 'a{sv}t', {}, 0), [])

    def test_example_of_the_manual_page(self):
        page = (SOURCE / 'docs/man/orchestrator.templates.5.scd').read_text()
        (self.rig.dir / 'config/templates.d/page.yaml').write_text(page.split('```')[1])
        self.assertEqual(self.root.manager('Reload'), [])
        self.assertEqual([t['Name'] for t in self.root.manager('ListTemplates', 'a{sv}t', {}, 0)], ['development', 'shell'])
        self.assertEqual(self.root.manager('GetTemplate', 's', 'shell')['MemoryBytes'], 512 << 20)

    def test_notifications(self):
        self.rig.stop()
        path = str(self.rig.dir / 'notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(10)
            self.rig.environment = {'NOTIFY_SOCKET': path, 'WATCHDOG_USEC': '400000'}
            self.rig.start()
            self.rig.environment['WATCHDOG_PID'] = str(self.rig.daemon.pid)
            seen = ''
            while 'READY=1' not in seen:
                seen += s.recv(1000).decode() + '\n'
            self.rig.daemon.send_signal(signal.SIGHUP)
            seen = ''
            while 'READY=1' not in seen or 'WATCHDOG=1' not in seen:
                seen += s.recv(1000).decode() + '\n'
            self.assertRegex(seen, r'RELOADING=1\nMONOTONIC_USEC=\d+')
            self.assertRegex(seen, r'STATUS=Ready\.\n')
            (self.rig.dir / 'config/templates.d/wrong.yaml').write_text('templates: {wrong: {image: a, x: y}}\n')
            (self.rig.dir / 'config/templates.d/gone.yaml').symlink_to('/nonexistent')
            self.rig.daemon.send_signal(signal.SIGHUP)
            seen = ''
            while 'READY=1' not in seen:
                seen += s.recv(1000).decode() + '\n'
            self.assertRegex(seen, r'STATUS=Ready\. Mistakes in .* templates: 2; the journal has them\.\n')
            self.rig.daemon.send_signal(signal.SIGTERM)
            while 'STOPPING=1' not in seen:
                seen += s.recv(1000).decode() + '\n'
        self.rig.stop()

    def test_log_control(self):
        c = self.root
        get = lambda name: c.get(LOG_PATH, LOG, name)
        set_ = lambda name, value: c.call(NAME, LOG_PATH, PROPERTIES, 'Set', 'ssv', LOG, name, V('s', value))
        self.assertEqual((get('LogLevel'), get('LogTarget'), get('SyslogIdentifier')), ('debug', 'console', 'swarm-orchestratord'))
        set_('LogLevel', 'warning')
        self.assertEqual(get('LogLevel'), 'warning')
        self.refused(INVALID, '"loud" is not a log level', set_, 'LogLevel', 'loud')
        self.refused(INVALID, '"printer" is not a log target', set_, 'LogTarget', 'printer')
        set_('LogTarget', 'console')
        with self.assertRaises(DBusError):
            set_('SyslogIdentifier', 'x')
        self.assertEqual(get('LogLevel'), 'warning')

    def test_privileges_are_given_up(self):
        status = dict(line.split(':\t', 1) for line in pathlib.Path(f'/proc/{self.rig.daemon.pid}/status').read_text().splitlines() if ':\t' in line)
        kept = 1 << 28 | 1 << 21 | 1 << 5 | 1 << 2 | 1 << 1     # LEASE, SYS_ADMIN, KILL, DAC_READ_SEARCH, DAC_OVERRIDE
        self.assertEqual([int(status[k], 16) for k in ('CapEff', 'CapInh', 'CapAmb')], [0, 0, 0])
        self.assertEqual(int(status['CapPrm'], 16) & ~kept, 0)
        self.assertEqual(status['NoNewPrivs'].strip(), '1')

    def test_nothing_is_done_when_it_cannot_be_saved(self):
        """The disk is full: a limit on the size of files stands in for it."""
        import resource
        self.alice.run('before')
        full = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(self.rig.daemon.pid, resource.RLIMIT_FSIZE, (1, full[1]))
        try:
            self.refused('StoreFailed', 'could not be saved, so nothing was done', self.alice.create, 'lost')
            self.refused('StoreFailed', 'could not be saved', self.alice.verb, 'Snapshot', 'before')
            self.assertEqual(self.root.manager('Reload'), [])
            self.assertFalse(self.alice.manager('GetStatus')['StoreHealthy'])
            self.assertEqual(self.alice.state('before'), 'running')
        finally:
            resource.prlimit(self.rig.daemon.pid, resource.RLIMIT_FSIZE, full)
        wait(lambda: self.alice.manager('GetStatus')['StoreHealthy'], 'the store to recover')
        self.alice.wait_job(self.alice.verb('Snapshot', 'before'))
        wait(lambda: 'lost' not in [r['Name'] for r in self.alice.manager('ListSessions', 'a{sv}t', {}, 0)[0]], 'nothing to be left of the creation')

    def test_what_is_refused_is_not_done_later(self):
        """Neither when there is room again, nor when the job has ended that it would have waited for."""
        import resource
        full = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        self.alice.run('spared')
        session = self.alice.get(self.alice.manager('GetSession', 's', 'spared'), SESSION, 'Id')
        self.alice.wait_job(self.alice.verb('Snapshot', 'spared'))
        for verb in ('Snapshot', 'Stop'):
            self.rig.fake(latency_usec={'terminate': 2000000})
            job = self.alice.verb(verb, 'spared')
            if verb == 'Snapshot':
                self.alice.wait_job(job)
            resource.prlimit(self.rig.daemon.pid, resource.RLIMIT_FSIZE, (1, full[1]))
            try:
                self.refused('StoreFailed', 'nothing was done', self.alice.verb, 'Destroy', 'spared')
                if verb == 'Snapshot':
                    self.refused('StoreFailed', 'was carried out, but could not be saved', self.alice.manager, 'TouchSession', 'sa{sv}t', 'spared', {}, 0)
            finally:
                resource.prlimit(self.rig.daemon.pid, resource.RLIMIT_FSIZE, full)
                self.rig.fake(latency_usec={'terminate': 0})
            wait(lambda: self.alice.manager('GetStatus')['StoreHealthy'], 'the store to recover')
            self.alice.wait_job(job)
            wait(lambda: not self.alice.manager('ListJobs', 'a{sv}t', {'ended': V('b', False)}, 0)[0], 'the jobs to end')
            self.assertEqual(self.alice.get(self.alice.manager('GetSession', 's', 'spared'), SESSION, 'Id'), session)
            self.assertTrue(self.alice.manager('ListSnapshots', 'sa{sv}t', 'spared', {}, 0))


if __name__ == '__main__':
    main()
