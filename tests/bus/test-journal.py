# SPDX-License-Identifier: LGPL-2.1-or-later
"""What operators find in the journal: a record with its MESSAGE_ID and fields for each thing that message-ids.h names."""

import re
import resource
import struct

from harness import *

IDS = dict(re.findall(r'^#define MESSAGE_(\w+)\s+"([0-9a-f]{32})"$', (SOURCE / 'src/basic/message-ids.h').read_text(), re.M))


def parse(data):
    """The native protocol: KEY=value, or the key alone, the length of the value as 64 bits, and the value. Source: systemd's
    JOURNAL_NATIVE_PROTOCOL."""
    record = {}
    while data:
        line, _, data = data.partition(b'\n')
        key, equals, value = line.partition(b'=')
        if not equals:
            n, = struct.unpack_from('<Q', data)
            value, data = data[8:8 + n], data[9 + n:]
        record[key.decode()] = value.decode()
    return record


class Journald(threading.Thread):
    """Its socket, where the service looks for it: in a mount namespace."""

    def __init__(self, rig):
        super().__init__(daemon=True)
        self.records = []
        (rig.dir / 'journal').mkdir()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(rig.dir / 'journal/socket'))
        rig.log.touch()
        rig.program = rig.dir / 'program'
        rig.program.write_text(f'''#!/bin/sh
exec unshare --mount sh -ec 'mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal
mount --bind {rig.dir}/journal /run/systemd/journal
exec {DAEMON}'
''')
        rig.program.chmod(0o755)
        self.stream = f'{rig.log.stat().st_dev}:{rig.log.stat().st_ino}'
        self.start()

    def run(self):
        while True:
            self.records.append(parse(self.sock.recv(1 << 20)))


class Journal(BusTest):
    config = CONFIG.replace('[Limits]', '[Limits]\nSessionLayersMax=11')        # ten are left behind the first

    @classmethod
    def make_rig(cls):
        rig = super().make_rig()
        cls.journald = Journald(rig)
        cls.environment = {'JOURNAL_STREAM': cls.journald.stream}
        return rig

    def told(self, name, **fields):
        """There is such a record. Returns it."""
        fields = {k: str(v) for k, v in fields.items()}

        def found():
            return [r for r in self.journald.records if r.get('MESSAGE_ID') == IDS[name] and fields.items() <= r.items()]
        wait(found, f'{name} with {fields}', lambda: [r for r in self.journald.records if r.get('MESSAGE_ID') == IDS[name]])
        return found()[0]

    def done(self, verb, name, **options):
        """The fields of every record about that job."""
        job = self.alice.wait_job(self.alice.verb(verb, name, **options))
        return {'SWARM_SESSION': job['Session'], 'SWARM_SESSION_NAME': name, 'SWARM_JOB': job['Id'], 'SWARM_ACTOR_UID': ALICE,
                'SWARM_OWNER_UID': ALICE, 'SWARM_PROVIDER': 'fake'}

    def session(self, name):
        """The id of one that runs."""
        return self.alice.get(self.alice.run(name, env=V('as', ['TOKEN=hush'])), SESSION, 'Id')

    def test_each_id_is_looked_for(self):
        self.assertEqual(set(re.findall(r"told\('(\w+)'", pathlib.Path(__file__).read_text())), set(IDS))

    def test_a_life(self):
        about = {'SWARM_SESSION': self.session('dev'), 'SWARM_SESSION_NAME': 'dev', 'SWARM_OWNER_UID': ALICE, 'SWARM_PROVIDER': 'fake'}
        self.told('REQUEST_ACCEPTED', SWARM_ACTOR_UID=ALICE, **about)
        self.told('SESSION_PLACED', **about)
        self.told('SESSION_STATE', **about)
        self.assertRegex(self.told('SESSION_CREATED', PRIORITY=5, SWARM_ACTOR_UID=ALICE, **about)['SWARM_NODE'], '.')
        saved = self.told('SESSION_HIBERNATED', **self.done('Hibernate', 'dev'))
        self.assertEqual(saved['SWARM_IMAGE'], self.alice.get(self.alice.manager('GetSession', 's', 'dev'), SESSION, 'Snapshot'))
        self.assertTrue({'SWARM_BYTES', 'SWARM_DURATION_USEC', 'SWARM_FROZEN_USEC'} <= set(saved))
        self.told('SESSION_LAYERS', PRIORITY=4, SWARM_JOB=saved['SWARM_JOB'], SWARM_ACTOR_UID=ALICE, **about)
        self.told('SESSION_RESTORED', **self.done('Restore', 'dev'))
        self.told('SESSION_SNAPSHOT', **self.done('Snapshot', 'dev'))
        self.told('SESSION_STOPPED', **self.done('Stop', 'dev'))
        self.told('SESSION_STARTED', **self.done('Start', 'dev'))
        self.alice.wait_job(self.alice.manager('DeleteSnapshot', 'sta{sv}t', 'dev', 1, {}, 0))
        self.told('SNAPSHOT_DELETED', SWARM_ACTOR_UID=ALICE, **about)
        self.told('SESSION_DESTROYED', **self.done('Destroy', 'dev'))
        self.assertNotIn('hush', str(self.journald.records))

    def test_what_goes_wrong(self):
        session = self.session('unlucky')
        self.rig.fake(fail='capture', code='RegistryFailed', message='The registry is full. Make room.', times=1)
        job = self.alice.wait_job(self.alice.verb('Snapshot', 'unlucky'), 'failed')
        self.told('CAPTURE_ABORTED', PRIORITY=4, SWARM_SESSION=session, SWARM_JOB=job['Id'])
        self.assertIn('The registry is full.', self.told('JOB_FAILED', SWARM_SESSION=session, SWARM_JOB=job['Id'])['MESSAGE'])
        self.rig.fake(op='exit', session=session, code=3)
        self.told('SESSION_EXITED', SWARM_SESSION=session)
        self.alice.wait_state('unlucky', 'stopped')
        self.alice.wait_job(self.alice.verb('Start', 'unlucky'))
        node = self.alice.get(self.alice.manager('GetSession', 's', 'unlucky'), SESSION, 'Node')
        self.rig.fake(op='lose-node', node=node)
        self.told('SESSION_LOST', SWARM_SESSION=session)
        self.rig.fake(op='return-node', node=node)
        self.alice.wait_state('unlucky', 'running')
        self.rig.fake(op='vanish', session=session)
        self.told('RECONCILE_REPAIR', PRIORITY=3, SWARM_SESSION=session)
        self.alice.wait_job(self.alice.verb('Destroy', 'unlucky'))
        self.rig.fake(op='health', health='unavailable', detail='It is away.')
        self.told('PROVIDER_UNAVAILABLE', SWARM_PROVIDER='fake')
        self.rig.fake(op='health', health='healthy')
        self.told('PROVIDER_RECOVERED', SWARM_PROVIDER='fake')

    def test_who_may_not(self):
        session = self.session('hers')
        self.refused('WrongState', 'running', self.alice.verb, 'Restore', 'hers')
        self.told('REQUEST_REFUSED', SWARM_SESSION=session, SWARM_ACTOR_UID=ALICE, SWARM_OWNER_UID=ALICE)
        self.rig.polkit.decide = lambda q: 'no'
        self.refused(DENIED, '.', self.bob.verb, 'Stop', 'hers')
        self.told('ACCESS_DENIED', SWARM_SESSION=session, SWARM_ACTOR_UID=BOB, SWARM_OWNER_UID=ALICE)

    def test_streams(self):
        """Who, where and how it ended; nothing of what was run, or with what."""
        about = {'SWARM_SESSION': self.session('entered'), 'SWARM_SESSION_NAME': 'entered', 'SWARM_ACTOR_UID': BOB, 'SWARM_OWNER_UID': ALICE, 'SWARM_PROVIDER': 'fake'}
        secret = {'env': V('as', ['TOKEN=hushed']), 'user': V('s', 'hush'), 'working_directory': V('s', '/hush')}
        pty, job = self.bob.manager('OpenSessionShell', 'sa{sv}t', 'entered', {'command': V('as', ['false', '--hush']), **secret}, 0)
        number = self.bob.wait_job(job)['Id']
        os.close(pty)
        self.assertRegex(self.told('COMMAND_BEGUN', PRIORITY=6, SWARM_JOB=number, **about)['SWARM_NODE'], '.')
        self.told('COMMAND_ENDED', PRIORITY=6, SWARM_JOB=number, SWARM_EXIT_CODE=1, **about)
        self.told('REQUEST_ACCEPTED', SWARM_JOB=number, **about)
        with open('/dev/null', 'r+') as null:
            job = self.bob.manager('ExecuteInSession', 'sashhha{sv}t', 'entered', ['true', 'hush'], *[null.fileno()] * 3, secret, 0)
        number = self.bob.wait_job(job)['Id']
        self.told('COMMAND_ENDED', SWARM_JOB=number, SWARM_EXIT_CODE=0, **about)
        self.told('REQUEST_ACCEPTED', SWARM_JOB=number, **about)
        os.close(self.bob.manager('OpenSessionLogs', 'sa{sv}t', 'entered', {}, 0))
        self.told('OUTPUT_READ', PRIORITY=6, **about)
        self.told('REQUEST_ACCEPTED', MESSAGE=f'uid {BOB} asked to read the output of session entered.', **about)
        self.rig.polkit.decide = lambda q: 'no'
        self.refused(DENIED, 'open a shell', self.bob.manager, 'OpenSessionShell', 'sa{sv}t', 'entered', {'command': V('as', ['hush'])}, 0)
        self.told('ACCESS_DENIED', **about)
        self.assertNotIn('hush', str(self.journald.records))

    def test_configuration(self):
        self.rig.configure(CONFIG + '\n[Manager]\nNoSuchKey=1\n')
        self.assertEqual(len(self.root.manager('Reload')), 1)
        self.rig.configure(CONFIG)
        self.assertIn('NoSuchKey', self.told('CONFIG_INVALID', PRIORITY=4)['MESSAGE'])
        self.told('CONFIG_RELOADED')

    def test_store(self):
        full = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(self.rig.daemon.pid, resource.RLIMIT_FSIZE, (1, full[1]))
        self.refused('StoreFailed', 'could not be saved', self.alice.create, 'lost')
        resource.prlimit(self.rig.daemon.pid, resource.RLIMIT_FSIZE, full)
        self.told('STORE_FAILED', PRIORITY=3)
        self.told('STORE_FAILED', PRIORITY=5, MESSAGE='The state can be saved again.')

    def test_service(self):
        self.told('SERVICE_STARTED')
        self.rig.restart()
        type(self).root, type(self).alice, type(self).bob = self.rig.client(), self.rig.client(ALICE), self.rig.client(BOB)
        self.told('SERVICE_STOPPED')


if __name__ == '__main__':
    main()
