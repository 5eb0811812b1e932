# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions and jobs over the bus: what may be said, what is answered, what is announced."""

import re
import select

from harness import *

TEMPLATES = '''templates:
  development:
    image: example/dev
    cpus: 0.5
    memory: 512
    env: [MODE=development]
    labels: [team=red]
    routes: {web: 3000}
    idle_timeout: 1h
    cpu_reservation_percent: 0
    healthcheck: {test: "true", interval: 2min, retries: 5}
    description: For trying things
  broken-size: {image: example/x, size: no-such-size}
'''


class Arguments(BusTest):
    templates = TEMPLATES

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.path = cls.alice.run('held')

    def test_unknown_option_is_named_with_the_known(self):
        self.refused(INVALID, 'HibernateSession: unknown option `fast`. Known are: lossy', self.alice.verb, 'Hibernate', 'held', fast=V('b', True))
        self.refused(INVALID, 'unknown option `x`; it takes none', self.alice.verb, 'Start', 'held', x=V('b', True))
        self.refused(INVALID, 'unknown option `color`. Known are: owner, cpus.*idle_timeout_usec.*from', self.alice.create, 'n', color=V('s', 'red'))
        self.refused(INVALID, 'unknown option `group`', self.alice.rows, group=V('s', 'g'))
        self.refused(INVALID, 'unknown option `lossy`', self.alice.on, self.path, SESSION, 'Restore', 'a{sv}t', {'lossy': V('b', True)}, 0)
        for member, signature, args in (('DescribeSession', 'sa{sv}t', ('held',)), ('TouchSession', 'sa{sv}t', ('held',)),
                                        ('KillSession', 'ssia{sv}t', ('held', 'main', 1)), ('ListSnapshots', 'sa{sv}t', ('held',)),
                                        ('DeleteSnapshot', 'sta{sv}t', ('held', 1)), ('ListNodes', 'a{sv}t', ()), ('ListTemplates', 'a{sv}t', ()),
                                        ('ListProviders', 'a{sv}t', ()), ('ListJobs', 'a{sv}t', ())):
            with self.subTest(member=member):
                self.refused(INVALID, 'unknown option `nonsense`', self.alice.manager, member, signature, *args, {'nonsense': V('s', '')}, 0)

    def test_unknown_flag_is_named(self):
        for member, signature, args in (('CreateSession', 'sa{sv}t', ('n', {})), ('ListSessions', 'a{sv}t', ({},)), ('StopSession', 'sa{sv}t', ('held', {})),
                                        ('TouchSession', 'sa{sv}t', ('held', {})), ('KillSession', 'ssia{sv}t', ('held', 'main', 1, {})),
                                        ('ListSnapshots', 'sa{sv}t', ('held', {})), ('ListNodes', 'a{sv}t', ({},)), ('ListJobs', 'a{sv}t', ({},)),
                                        ('CancelJob', 't' 't', (1,))):
            with self.subTest(member=member):
                self.refused(INVALID, r'unknown flag 0x8000000000000001\. There are none; write 0\.', self.alice.manager, member, signature, *args, 1 << 63 | 1)

    def test_wrong_type_and_duplicates(self):
        self.refused(INVALID, 'option `cpus` has the type "s"; it must be "d"', self.alice.create, 'n', cpus=V('s', '2'))
        self.refused(INVALID, 'option `generation` has the type "u"; it must be "t"', self.alice.verb, 'Restore', 'held', generation=V('u', 1))
        twice = [('lossy', V('b', True)), ('lossy', V('b', False))]
        self.refused(INVALID, '`lossy` is given twice', self.alice.manager, 'StopSession', 'sa{sv}t', 'held', twice, 0)
        self.refused(INVALID, 'key "a" twice', self.alice.create, 'n', labels=V('a{ss}', [('a', '1'), ('a', '2')]))
        self.refused(INVALID, 'holds no "="', self.alice.create, 'n', labels=V('a{ss}', {'a=b': '1'}))
        self.refused(INVALID, 'not a finite number', self.alice.create, 'n', cpus=V('d', float('nan')))

    def test_wrong_signature(self):
        with self.assertRaises(DBusError) as e:
            self.alice.manager('StopSession', 's', 'held')
        self.assertEqual(e.exception.name, INVALID)

    def test_sizes(self):
        self.refused(INVALID, 'image name "foo bar" is not valid', self.alice.create, 'n', image=V('s', 'foo bar'))
        self.refused(INVALID, 'string of 70000 bytes; the limit is 65536', self.alice.create, 'n', image=V('s', 'x' * 70000))
        self.refused(INVALID, 'more than 4096 entries', self.alice.create, 'n', command=V('as', ['x'] * 4097))
        self.refused(INVALID, 'more than 512 KiB', self.alice.create, 'n', command=V('as', ['x' * 60000] * 10))

    def test_values(self):
        c = self.alice.create
        for name in ('Upper', '1digit', 'end-', 'x' * 41, 'ünder', 'a/b', '../x'):
            self.refused(INVALID, 'name', c, name)
        self.refused('SessionExists', 'held', c, 'held')
        self.refused(INVALID, 'cpus.*0.1', c, 'n', cpus=V('d', 0.0))
        self.refused(INVALID, 'cpus', c, 'n', cpus=V('d', 16.5))
        self.refused(INVALID, 'memory_bytes', c, 'n', memory_bytes=V('t', 0))
        self.refused(INVALID, 'memory_bytes', c, 'n', memory_bytes=V('t', 1))
        # Rounded it would be the limit itself.
        self.refused(INVALID, 'is 67108863 bytes', c, 'n', memory_bytes=V('t', (64 << 20) - 1))
        self.refused(INVALID, 'memory_reservation_bytes', c, 'n', memory_bytes=V('t', 64 << 20), memory_reservation_bytes=V('t', 65 << 20))
        self.refused(INVALID, 'memory_reservation_bytes.*is 0', c, 'n', memory_reservation_bytes=V('t', 0))
        for usec in (0, 1, 59999999):
            self.refused(INVALID, f'idle_timeout_usec.*is {usec}', c, 'n', idle_timeout_usec=V('t', usec))
        self.refused(INVALID, 'owner.*nobody', self.root.create, 'n', owner=V('u', 2**32 - 1))
        self.refused(INVALID, '=', c, 'n', env=V('as', ['NOEQUALS']))
        self.refused(INVALID, 'label', c, 'n', labels=V('a{ss}', {'com.docker.x': '1'}))
        self.refused(INVALID, 'label', c, 'n', labels=V('a{ss}', {'org.swarm.x': '1'}))
        self.refused('NoSuchTemplate', 'nope', c, 'n', template=V('s', 'nope'))
        self.refused('NoSuchProvider', 'nope', c, 'n', provider=V('s', 'nope'))
        self.refused('NoSuchNode', 'ListNodes', c, 'n', node=V('s', 'nope'))
        # Cut within a character, the sentence would be no string of D-Bus.
        self.refused('NoSuchNode', 'ListNodes', c, 'n', node=V('s', 'n' * 63 + '\u00e4' * 40))
        self.refused('NoSuchSession', 'nope', self.alice.manager, 'CreateSession', 'sa{sv}t', 'n', {'from': V('s', 'nope')}, 0)
        self.refused('NoSuchGeneration', 'held', self.alice.manager, 'CreateSession', 'sa{sv}t', 'n', {'from': V('s', 'held:7')}, 0)
        for source in ('held:', 'held:x', 'held:1:1', 'held: 1', 'held:' + '9' * 30):
            self.refused(INVALID, f'"{source}" is not understood', self.alice.manager, 'CreateSession', 'sa{sv}t', 'n', {'from': V('s', source)}, 0)
        self.refused(INVALID, 'template', self.alice.manager, 'CreateSession', 'sa{sv}t', 'n', {}, 0)

    def test_unknown_names(self):
        self.refused('NoSuchSession', 'nope', self.alice.manager, 'GetSession', 's', 'nope')
        for name in ('', 'x' * 5000, 'Upper', 'de*', 'ü' * 64):
            self.refused(INVALID, f'^"{re.escape(name[:32])}.*" is neither the name nor the id', self.alice.manager, 'GetSession', 's', name)
        self.refused('NoSuchSession', 'nope', self.alice.verb, 'Stop', 'nope')
        self.refused('NoSuchJob', '99', self.alice.manager, 'GetJob', 't', 99)
        self.refused('NoSuchJob', '99', self.alice.manager, 'CancelJob', 'tt', 99, 0)
        self.refused('NoSuchTemplate', 'nope', self.alice.manager, 'GetTemplate', 's', 'nope')
        self.refused('NoSuchGeneration', '7', self.alice.verb, 'Restore', self.hibernated(), generation=V('t', 7))

    def hibernated(self):
        self.alice.run('sleeping')
        self.alice.wait_job(self.alice.verb('Hibernate', 'sleeping'))
        return 'sleeping'

    def test_wrong_state(self):
        self.refused('WrongState', 'held.*running', self.alice.verb, 'Start', 'held')
        self.refused('WrongState', 'held.*running', self.alice.verb, 'Restore', 'held')

    def test_kill(self):
        self.assertIsNone(self.alice.manager('KillSession', 'ssia{sv}t', 'held', 'main', 10, {}, 0))
        self.assertIsNone(self.alice.on(self.path, SESSION, 'Kill', 'sia{sv}t', 'main', 10, {}, 0))
        self.refused(INVALID, '"all" cannot be signalled', self.alice.manager, 'KillSession', 'ssia{sv}t', 'held', 'all', 10, {}, 0)
        for signo in (0, -1, 65):
            self.refused(INVALID, f'{signo} is not a signal', self.alice.manager, 'KillSession', 'ssia{sv}t', 'held', 'main', signo, {}, 0)
        self.rig.fake(fail='signal', code='ProviderFailed', message='The engine said no to the signal.', times=1)
        self.refused('ProviderFailed', 'said no', self.alice.manager, 'KillSession', 'ssia{sv}t', 'held', 'main', 10, {}, 0)

    def test_generation_zero(self):
        self.refused(INVALID, 'base image', self.alice.manager, 'DeleteSnapshot', 'sta{sv}t', 'held', 0, {}, 0)
        self.refused(INVALID, 'base image', self.alice.verb, 'Restore', 'held', generation=V('t', 0))
        self.refused(INVALID, 'from="held:0"', self.alice.manager, 'CreateSession', 'sa{sv}t', 'n', {'from': V('s', 'held:0')}, 0)

    def test_touch(self):
        before = self.alice.get(self.path, SESSION, 'LastActivityUSec')
        self.assertIsNone(self.alice.manager('TouchSession', 'sa{sv}t', 'held', {'extend_usec': V('t', 60000000)}, 0))
        self.assertGreater(self.alice.get(self.path, SESSION, 'LastActivityUSec'), before)

    def test_list_filters(self):
        rows = self.alice.rows
        self.refused(INVALID, '"asleep" is not a state.*hibernated', rows, state=V('s', 'asleep'))
        self.refused(INVALID, 'no field "Secrets"', rows, fields=V('as', ['Secrets']))
        self.refused(INVALID, 'no field "Jobs"', rows, fields=V('as', ['Jobs']))
        self.refused(INVALID, 'field "Id" is given twice', rows, fields=V('as', ['Id', 'Id']))
        self.refused(INVALID, 'Only ended sessions.*"EndedUSec".*--ended', rows, fields=V('as', ['EndedUSec']))
        for limit in (0, 1001):
            self.refused(INVALID, f'`limit` is {limit}; it must be 1 to 1000', rows, limit=V('u', limit))
            self.refused(INVALID, f'`limit` is {limit}', self.alice.manager, 'ListJobs', 'a{sv}t', {'limit': V('u', limit)}, 0)
        self.refused(INVALID, 'not the `next`', rows, ended=V('b', True), after=V('s', 'dev'))
        self.refused(INVALID, 'not the `next`', self.alice.manager, 'ListJobs', 'a{sv}t', {'after': V('s', 'x')}, 0)
        self.refused(INVALID, '"lost" is not a state of a job', self.alice.manager, 'ListJobs', 'a{sv}t', {'state': V('s', 'lost')}, 0)
        self.refused(INVALID, '"fly" is not a type of a job. Known are: create, start, ', self.alice.manager, 'ListJobs', 'a{sv}t', {'type': V('s', 'fly')}, 0)

    def test_templates(self):
        listed = self.alice.manager('ListTemplates', 'a{sv}t', {}, 0)
        self.assertEqual([t['Name'] for t in listed], ['development'])
        self.assertEqual((listed[0]['CPUs'], listed[0]['MemoryBytes'], listed[0]['Image']), (0.5, 512 << 20, 'example/dev'))
        self.assertNotIn('Environment', listed[0])
        one = self.alice.manager('GetTemplate', 's', 'development')
        self.assertEqual((one['Environment'], one['Labels'], one['IdleTimeoutUSec']), (['MODE=development'], {'team': 'red'}, 3600000000))
        self.assertEqual((one['HealthCheckIntervalUSec'], one['HealthCheckRetries']), (120000000, 5))
        self.assertEqual((one['CPUReservationPercent'], one['MemoryReservationPercent']), (0, -1))
        path, job = self.alice.manager('CreateSession', 'sa{sv}t', 'from-template', {'template': V('s', 'development')}, 0)
        self.alice.wait_job(job)
        self.assertEqual(self.alice.get(path, SESSION, 'Template'), 'development')
        self.assertEqual(self.alice.on(path, SESSION, 'Describe', 'a{sv}t', {}, 0)['Environment'], ['MODE=development'])

    def test_nodes_and_providers(self):
        nodes = self.alice.manager('ListNodes', 'a{sv}t', {}, 0)
        self.assertEqual(sorted(n['Id'] for n in nodes), ['fake-1', 'fake-2'])
        self.assertEqual(nodes[0], self.alice.get_all(f'{PATH}/node/fake_2d1', NAME + '.Node'))
        self.assertEqual(self.alice.manager('ListNodes', 'a{sv}t', {'state': V('s', 'down')}, 0), [])
        self.refused('NoSuchProvider', 'no provider "fly". Known are: fake', self.alice.manager, 'ListNodes', 'a{sv}t', {'provider': V('s', 'fly')}, 0)
        self.refused(INVALID, '"up" is not a state of a node', self.alice.manager, 'ListNodes', 'a{sv}t', {'state': V('s', 'up')}, 0)
        self.assertEqual(self.alice.manager('ListProviders', 'a{sv}t', {}, 0), [self.alice.get_all(f'{PATH}/provider/fake', NAME + '.Provider')])


class Life(BusTest):
    def test_whole_life_by_the_manager_and_by_the_object(self):
        for name, call in (('by-name', lambda verb, path: self.alice.verb(verb, 'by-name')),
                           ('by-path', lambda verb, path: self.alice.on(path, SESSION, verb, 'a{sv}t', {}, 0))):
            with self.subTest(name=name):
                path = self.alice.run(name)
                self.assertEqual(self.alice.manager('GetSession', 's', name), path)
                for verb, state in (('Snapshot', 'running'), ('Hibernate', 'hibernated'), ('Restore', 'running'), ('Stop', 'stopped'),
                                    ('Start', 'running'), ('Restart', 'running')):
                    job = self.alice.wait_job(call(verb, path))
                    self.assertEqual((job['Type'], job['OwnerUID'], job['Object']), (verb.lower(), ALICE, path))
                    self.assertEqual(self.alice.get(path, SESSION, 'State'), state)
                snapshots = self.alice.on(path, SESSION, 'ListSnapshots', 'a{sv}t', {}, 0)
                self.assertEqual(snapshots, self.alice.manager('ListSnapshots', 'sa{sv}t', name, {}, 0))
                self.assertEqual([s['Generation'] for s in snapshots], list(range(len(snapshots), 0, -1)))
                self.assertEqual(self.alice.get(path, SESSION, 'Snapshot'), snapshots[0]['Image'])
                self.alice.wait_job(self.alice.on(path, SESSION, 'DeleteSnapshot', 'ta{sv}t', 1, {}, 0))
                self.assertNotIn(1, [s['Generation'] for s in self.alice.manager('ListSnapshots', 'sa{sv}t', name, {}, 0)])
                self.alice.wait_job(call('Destroy', path))
                self.refused('NoSuchSession', name, self.alice.verb, 'Start', name)

    def test_options_reach_the_core(self):
        self.alice.run('options')
        self.rig.fake(op='write', session=self.id('options'), value=41)
        self.alice.wait_job(self.alice.verb('Snapshot', 'options'))
        self.rig.fake(op='write', session=self.id('options'), value=42)
        self.alice.wait_job(self.alice.verb('Stop', 'options', discard=V('b', True)))
        self.assertEqual(self.alice.get(self.alice.manager('GetSession', 's', 'options'), SESSION, 'Generation'), 1)
        self.alice.wait_job(self.alice.verb('Restore', 'options', generation=V('t', 1)))
        self.assertEqual(self.rig.fake(op='read', session=self.id('options'))['value'], 41)

    def test_older_generation_only_when_asked_for(self):
        self.alice.run('older')
        for value in (41, 42):
            self.rig.fake(op='write', session=self.id('older'), value=value)
            self.alice.wait_job(self.alice.verb('Snapshot', 'older'))
        self.alice.wait_job(self.alice.verb('Hibernate', 'older'))
        job = self.alice.verb('Restore', 'older', generation=V('t', 1))
        self.alice.wait_job(job)
        self.assertEqual(self.alice.get(job, JOB, 'SessionName'), 'older')
        self.alice.wait_job(self.alice.verb('Stop', 'older', discard=V('b', True)))
        self.assertEqual(self.alice.get(self.alice.manager('GetSession', 's', 'older'), SESSION, 'Generation'), 3)
        self.alice.wait_job(self.alice.verb('Restore', 'older'))
        self.assertEqual(self.rig.fake(op='read', session=self.id('older'))['value'], 42)

    def id(self, name):
        return self.alice.get(self.alice.manager('GetSession', 's', name), SESSION, 'Id')

    def test_describe_has_what_properties_have_not(self):
        path, job = self.alice.create('secretive', env=V('as', ['TOKEN=hush']), labels=V('a{ss}', {'team': 'blue'}), command=V('as', ['sleep', '1']),
                                      idle_timeout_usec=V('t', 2**64 - 1))
        self.alice.wait_job(job)
        d = self.alice.manager('DescribeSession', 'sa{sv}t', 'secretive', {}, 0)
        self.assertEqual((d['Environment'], d['Labels'], d['Command'], d['IdleTimeoutUSec']), (['TOKEN=hush'], {'team': 'blue'}, ['sleep', '1'], 2**64 - 1))
        properties = self.alice.get_all(path, SESSION)
        self.assertEqual(properties, {k: v for k, v in d.items() if k in properties})
        self.assertNotIn('hush', str(properties))
        self.assertNotIn('hush', self.rig.log.read_text())

    def test_clone(self):
        self.alice.run('source')
        self.rig.fake(op='write', session=self.id('source'), value=7)
        self.alice.wait_job(self.alice.verb('Snapshot', 'source'))
        _, job = self.alice.manager('CreateSession', 'sa{sv}t', 'copy', {'from': V('s', 'source')}, 0)
        self.alice.wait_job(job)
        self.assertEqual(self.rig.fake(op='read', session=self.id('copy'))['value'], 7)
        self.alice.wait_job(self.alice.verb('Snapshot', 'source'))
        self.refused('Busy', 'Generation 1 of session "source" is what session "copy" was cloned from. Destroy that session first',
                     self.alice.manager, 'DeleteSnapshot', 'sta{sv}t', 'source', 1, {}, 0)

    def test_job_that_fails_says_why(self):
        path, job = self.alice.create('unstartable', image=V('s', 'example/unpullable'))
        found = self.alice.wait_job(job, 'failed')
        self.assertTrue(found['ErrorName'].startswith(NAME + '.Error.'), found)
        self.assertRegex(found['ErrorMessage'], '^Session "unstartable" could not be started.*No such image')
        self.assertEqual(self.alice.get(path, SESSION, 'State'), 'failed')

    def test_cancel(self):
        self.alice.run('slow')
        self.rig.fake(latency_usec={'capture': 3000000})
        try:
            running, queued = self.alice.verb('Hibernate', 'slow'), self.alice.verb('Restore', 'slow')
            number = self.alice.get(queued, JOB, 'Id')
            self.assertIsNone(self.alice.manager('CancelJob', 'tt', number, 0))
            ended = self.alice.wait_job(queued, 'canceled')
            self.assertEqual(ended['ErrorName'], error_name('Canceled'))
            self.assertIn('canceled', ended['ErrorMessage'])
            self.assertIn(f'uid {ALICE} asked to cancel a job of session slow. [{self.id("slow")}]', self.rig.log.read_text())
            self.refused('NotCancelable', f'{number} has ended', self.alice.on, queued, JOB, 'Cancel', 't', 0)
            wait(lambda: self.alice.state('slow') == 'hibernating', 'the freeze')
            self.assertTrue(self.alice.get(running, JOB, 'Cancelable'))
            self.assertEqual(self.alice.get(self.alice.manager('GetSession', 's', 'slow'), SESSION, 'CurrentJob'), running)
            self.assertIsNone(self.alice.on(running, JOB, 'Cancel', 't', 0))
            self.alice.wait_job(running, 'canceled')
            self.assertEqual(self.alice.state('slow'), 'running')
            self.assertFalse(self.rig.fake(op='read', session=self.id('slow'))['frozen'])
        finally:
            self.rig.fake(latency_usec={'capture': 0})

    def test_jobs_are_listed(self):
        self.alice.run('worked')
        self.alice.wait_job(self.alice.verb('Snapshot', 'worked'))
        rows, more = self.alice.manager('ListJobs', 'a{sv}t', {'session': V('s', 'worked')}, 0)
        self.assertEqual(([r['Type'] for r in rows], more), (['snapshot', 'create'], ''))
        self.assertEqual({**rows[0]}, {**self.alice.get_all(rows[0]['Path'], JOB), 'Path': rows[0]['Path']})
        page, more = self.alice.manager('ListJobs', 'a{sv}t', {'session': V('s', 'worked'), 'limit': V('u', 1)}, 0)
        self.assertEqual((len(page), more), (1, str(page[0]['Id'])))
        page, more = self.alice.manager('ListJobs', 'a{sv}t', {'session': V('s', 'worked'), 'limit': V('u', 1), 'after': V('s', more)}, 0)
        self.assertEqual(([r['Type'] for r in page], more), (['create'], ''))
        for filter_, n in (({'type': V('s', 'create')}, 1), ({'state': V('s', 'failed')}, 0), ({'ended': V('b', True)}, 2), ({'ended': V('b', False)}, 0),
                           ({'owner': V('u', ALICE)}, 2), ({'owner': V('u', BOB)}, 0)):
            found, _ = self.alice.manager('ListJobs', 'a{sv}t', {'session': V('s', 'worked'), **filter_}, 0)
            self.assertEqual(len(found), n, filter_)

    def test_status(self):
        before = self.alice.manager('GetStatus')
        self.alice.run('counted', cpus=V('d', 1.5), memory_bytes=V('t', 1 << 30))
        after = self.alice.manager('GetStatus')
        self.assertEqual(after['Sessions'], before['Sessions'] + 1)
        self.assertEqual(after['SessionsByState']['running'], before['SessionsByState'].get('running', 0) + 1)
        self.assertAlmostEqual(after['CPUsUsed'], before['CPUsUsed'] + 1.5)
        self.assertEqual(after['Providers'], [{'Name': 'fake', 'Health': 'healthy', 'Detail': ''}])
        self.assertEqual(sum(after['SessionsByState'].values()), after['Sessions'])


class Answers(BusTest):
    """As a monitor sees them: the bus drops a second answer before it comes to who asked."""

    def test_each_question_has_one(self):
        self.alice.run('asked')
        monitor = self.rig.client()
        monitor.call('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus.Monitoring', 'BecomeMonitor', 'asu', [], 0)
        questions = []
        for member, signature, args in (('GetSession', 's', ('asked',)), ('ListSessions', 'a{sv}t', ({}, 0)), ('ListJobs', 'a{sv}t', ({}, 0)),
                                        ('ListSessions', 'a{sv}t', ({'ended': V('b', True)}, 0)), ('DescribeSession', 'sa{sv}t', ('asked', {}, 0)),
                                        ('ListSnapshots', 'sa{sv}t', ('asked', {}, 0)), ('ListNodes', 'a{sv}t', ({}, 0)), ('GetStatus', '', ()),
                                        ('ListProviders', 'a{sv}t', ({}, 0)), ('ListTemplates', 'a{sv}t', ({}, 0)), ('GetTemplate', 's', ('none',)),
                                        ('TouchSession', 'sa{sv}t', ('asked', {}, 0)), ('KillSession', 'ssia{sv}t', ('asked', 'main', 1, {}, 0)),
                                        ('SnapshotSession', 'sa{sv}t', ('asked', {}, 0)), ('CancelJob', 'tt', (999, 0)), ('Reload', '', ())):
            questions.append((member, self.alice.send_call(NAME, PATH, MANAGER, member, signature, args)))
        questions.append(('GetManagedObjects', self.alice.send_call(NAME, PATH, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')))
        for _, serial in questions:
            try:
                self.alice.reply(serial)
            except DBusError:
                pass
        seen = []
        while select.select([monitor.sock], [], [], 0.5)[0]:
            monitor.buffer += monitor.sock.recv(1 << 20)
            while (m := monitor.parse()) is not None:
                if m.destination == self.alice.name and m.reply_serial:
                    seen.append(m.reply_serial)
        self.assertEqual({member: seen.count(serial) for member, serial in questions}, {member: 1 for member, _ in questions})


class Lists(BusTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.names = [f'many-{i:02}' for i in range(25)]
        jobs = [cls.alice.create(n, labels=V('a{ss}', {'n': n, 'all': 'x'}))[1] for n in reversed(cls.names)]
        for j in jobs:
            cls.alice.wait_job(j)
        cls.bob.run('other')

    def pages(self, **filter_):
        rows, after, pages = [], '', 0
        while True:
            page, after = self.alice.rows(**filter_, after=V('s', after))
            rows += page
            pages += 1
            if not after:
                return rows, pages

    def test_pages_hold_everything_once_in_order(self):
        rows, pages = self.pages(owner=V('u', ALICE), limit=V('u', 7))
        self.assertEqual([r['Name'] for r in rows], self.names)
        self.assertEqual(pages, 4)
        self.assertEqual(self.pages(owner=V('u', ALICE), limit=V('u', 25))[1], 1)

    def test_default_columns(self):
        rows, _ = self.alice.rows()
        self.assertEqual(list(rows[0]), ['Id', 'Name', 'State', 'Owner', 'Template', 'Provider', 'Node', 'CreatedUSec'])
        self.assertEqual(len(rows), 26)

    def test_fields(self):
        path = self.alice.manager('GetSession', 's', 'many-03')
        properties = self.alice.get_all(path, SESSION)
        rows, _ = self.alice.rows(fields=V('as', [*properties, 'Path']), owner=V('u', ALICE))
        self.assertEqual(rows[3], {**properties, 'Path': path})

    def test_filters(self):
        for filter_, n in (({'state': V('s', 'running')}, 26), ({'state': V('s', 'lost')}, 0), ({'owner': V('u', BOB)}, 1),
                           ({'organization': V('s', 'default')}, 26), ({'organization': V('s', 'x')}, 0), ({'provider': V('s', 'fake')}, 26),
                           ({'label': V('s', 'n=many-07')}, 1),
                           ({'label': V('s', 'n')}, 25), ({'label': V('s', 'nn')}, 0), ({'owner': V('u', BOB), 'label': V('s', 'n')}, 0)):
            with self.subTest(filter_=filter_):
                self.assertEqual(len(self.alice.rows(**filter_)[0]), n)
        for error, what, key in (('NoSuchTemplate', 'template "x".* No template is configured', 'template'), ('NoSuchProvider', 'provider "x". Known are: fake', 'provider'),
                                 ('NoSuchNode', 'node "x".* Known are: [a-z]+-., [a-z]+-.', 'node')):
            self.refused(error, what, self.alice.rows, **{key: V('s', 'x')})
            self.refused(error, what, self.alice.rows, **{key: V('s', 'x')}, ended=V('b', True))
        nodes = {n['Name']: n['Id'] for n in self.alice.manager('ListNodes', 'a{sv}t', {}, 0)}
        for name, id_ in nodes.items():
            self.assertEqual(self.alice.rows(node=V('s', name)), self.alice.rows(node=V('s', id_)))
        self.assertEqual(sum(len(self.alice.rows(node=V('s', n))[0]) for n in nodes), 26)


class RemovedTemplates(BusTest):
    templates = 'templates:\n  old: {image: example/old}\n'

    def test_sessions_stay_listed(self):
        old, template = {'template': V('s', 'old')}, self.rig.dir / 'config/templates.d/test.yaml'
        for name in ('lives', 'ends'):
            self.alice.wait_job(self.alice.manager('CreateSession', 'sa{sv}t', name, old, 0)[1])
        self.alice.wait_job(self.alice.verb('Destroy', 'ends'))
        template.write_text(''.join(f'{"" if i else "templates:"}\n  t{i:02}: {{image: example/new}}' for i in range(12)))
        self.root.manager('Reload')
        self.refused('NoSuchTemplate', 'Known are: t00, .*, t09, …', self.alice.rows, template=V('s', 'odl'))
        self.assertEqual(self.alice.rows(template=V('s', 't01'))[0], [])
        for ended, name in ((False, 'lives'), (True, 'ends')):
            self.assertEqual([r['Name'] for r in self.alice.rows(**old, ended=V('b', ended))[0]], [name])
        self.alice.wait_job(self.alice.verb('Destroy', 'lives'))
        self.rig.restart()
        again = self.rig.client(ALICE)
        self.assertEqual(again.rows(**old)[0], [])
        self.assertEqual([r['Name'] for r in again.rows(**old, ended=V('b', True))[0]], ['lives', 'ends'])
        jobs = lambda s: again.manager('ListJobs', 'a{sv}t', {'session': V('s', s)}, 0)[0]
        self.refused('NoSuchSession', 'no session "lives".*by its id', jobs, 'lives')
        self.assertEqual([j['Type'] for j in jobs(again.rows(**old, ended=V('b', True))[0][0]['Id'])], ['destroy', 'create'])


class MoreLists(BusTest):
    def test_a_page_ends_at_a_mebibyte(self):
        big = V('as', [f'X{i}=' + 'y' * 30000 for i in range(4)])
        for i in range(12):
            self.bob.run(f'big-{i:02}', env=big)
        rows, more = self.bob.rows(fields=V('as', ['Name', 'Environment']), owner=V('u', BOB))
        self.assertTrue(more and 6 <= len(rows) <= 10, (len(rows), more))
        rest, end = self.bob.rows(fields=V('as', ['Name', 'Environment']), owner=V('u', BOB), after=V('s', more))
        self.assertEqual((len(rows) + len(rest), end), (12, ''))

    def test_ended(self):
        for i in range(5):
            self.bob.run(f'short-{i}', labels=V('a{ss}', {'k': str(i)}))
            self.bob.wait_job(self.bob.verb('Destroy', f'short-{i}'))
        rows, more = self.bob.rows(ended=V('b', True), fields=V('as', ['Name', 'State', 'EndedUSec', 'EndReason', 'EndedBy', 'Owner']))
        self.assertEqual(([r['Name'] for r in rows], more), ([f'short-{i}' for i in (4, 3, 2, 1, 0)], ''))
        self.assertTrue(all(r['EndedUSec'] > 0 and r['EndedBy'] == BOB and r['Owner'] == BOB for r in rows), rows)
        first, more = self.bob.rows(ended=V('b', True), limit=V('u', 2))
        second, _ = self.bob.rows(ended=V('b', True), limit=V('u', 3), after=V('s', more))
        self.assertEqual([r['Name'] for r in first + second], [f'short-{i}' for i in (4, 3, 2, 1, 0)])
        labelled, _ = self.bob.rows(ended=V('b', True), label=V('s', 'k=3'), fields=V('as', ['Name', 'Labels']))
        self.assertEqual(labelled, [{'Name': 'short-3', 'Labels': {'k': '3'}}])


class Announcements(BusTest):
    def setUp(self):
        self.bus = self.rig.client(BOB)
        self.bus.match(f"type='signal',sender='{NAME}'")

    def test_a_life_is_announced(self):
        path, job = self.alice.create('seen')
        self.alice.wait_job(job)
        self.alice.wait_job(self.alice.verb('Destroy', 'seen'))
        signals = self.bus.drain(0.5)
        seen = [(m.member, m.body[0]) for m in signals if m.interface != PROPERTIES]
        for expected in (('SessionNew', path), ('InterfacesAdded', path), ('JobNew', job), ('InterfacesAdded', job), ('JobRemoved', job),
                         ('SessionRemoved', path), ('InterfacesRemoved', path)):
            self.assertEqual(seen.count(expected), 1, expected)
        self.assertLess(seen.index(('SessionNew', path)), seen.index(('SessionRemoved', path)))
        added = next(m for m in signals if m.member == 'InterfacesAdded' and m.body[0] == path)
        self.assertEqual(added.body[1][SESSION]['Name'], 'seen')
        removed = next(m for m in signals if m.member == 'InterfacesRemoved' and m.body[0] == path)
        self.assertEqual(removed.body[1], [SESSION])
        self.assertTrue(all(m.path == PATH for m in signals if m.interface == MANAGER))
        results = [m.body[1] for m in signals if m.member == 'JobRemoved']
        self.assertEqual(results, ['done', 'done'])

    def test_changes_are_collected(self):
        path = self.alice.run('changing')
        self.bus.drain()
        self.alice.wait_job(self.alice.verb('Hibernate', 'changing'))
        changes = [m for m in self.bus.drain(0.5) if m.member == 'PropertiesChanged' and m.path == path]
        last = {}
        for m in changes:
            self.assertEqual((m.body[0], m.body[2]), (SESSION, []))
            last.update(m.body[1])
        now = self.alice.get_all(path, SESSION)
        self.assertEqual({k: now[k] for k in last}, last)
        self.assertEqual({'State', 'StateDetail', 'Generation', 'Snapshot', 'CurrentJob', 'StoppedUSec', 'StopReason', 'StartedUSec'} - set(last), set())
        self.assertNotIn('LastActivityUSec', last)
        self.assertLess(len(changes), 12)

    def test_nobody_is_told_of_private_things(self):
        self.alice.create('quiet', env=V('as', ['TOKEN=hush']))
        self.alice.wait_state('quiet', 'running')
        self.assertNotIn('hush', str([m.body for m in self.bus.drain(0.5)]))

    def test_nodes_and_providers(self):
        self.rig.fake(op='lose-node', node='fake-2')
        m = self.bus.wait_signal(lambda m: m.member == 'PropertiesChanged' and m.path == f'{PATH}/node/fake_2d2')
        self.assertEqual(m.body[1]['State'], 'down')
        self.rig.fake(op='return-node', node='fake-2', rebooted=False)
        self.rig.fake(op='health', health='degraded', detail='It limps.')
        m = self.bus.wait_signal(lambda m: m.member == 'PropertiesChanged' and m.path == f'{PATH}/provider/fake')
        self.assertEqual(m.body[1], {'Health': 'degraded', 'Detail': 'It limps.'})
        self.rig.fake(op='health', health='healthy', detail='')

    def test_progress(self):
        self.alice.run('progressing')
        self.rig.fake(latency_usec={'capture': 300000})
        job = self.alice.verb('Hibernate', 'progressing')
        self.alice.wait_job(job)
        self.rig.fake(latency_usec={'capture': 0})
        last = {}
        for m in self.bus.drain(0.5):
            if m.member == 'PropertiesChanged' and m.path == job:
                last.update(m.body[1])
        self.assertEqual((last.get('State'), last.get('Cancelable')), ('done', False))
        self.assertNotIn('BytesDone', last)


if __name__ == '__main__':
    main()
