# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private bus, the daemon with the provider in memory, and a polkit that does what the test says."""

import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from dbusclient import Bus, DBusError, INTERACTIVE, V  # noqa: F401 (for the tests)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'integration'))
import bus as busctl  # noqa: E402
import checker  # noqa: E402

SOURCE = pathlib.Path(os.environ.get('SOURCE_ROOT', pathlib.Path(__file__).parents[2]))
BUILD = pathlib.Path(os.environ.get('BUILD_ROOT', SOURCE / 'build'))
DAEMON = BUILD / 'src' / 'swarm-orchestratord'

NAME = 'org.swarm.Orchestrator'
PATH = '/org/swarm/Orchestrator'
MANAGER, SESSION, JOB = NAME + '.Manager', NAME + '.Session', NAME + '.Job'
PROPERTIES = 'org.freedesktop.DBus.Properties'
INVALID = 'org.freedesktop.DBus.Error.InvalidArgs'
DENIED = 'org.freedesktop.DBus.Error.AccessDenied'
ASK = 'org.freedesktop.DBus.Error.InteractiveAuthorizationRequired'
# The bus refuses users without an account; these every Debian has.
ALICE, BOB = (pwd.getpwnam(name).pw_uid for name in ('daemon', 'bin'))
POLKIT, POLKIT_PATH = 'org.freedesktop.PolicyKit1', '/org/freedesktop/PolicyKit1/Authority'

BUS_CONFIG = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="false"/>
    <allow receive_sender="*" eavesdrop="false"/>
  </policy>
  <limit name="max_replies_per_connection">{replies}</limit>
</busconfig>
'''

CONFIG = '''[Manager]
Providers=fake

[Limits]
SessionsPerUserMax=100
ChangesPerMinute=10000

[Registry]
URL=http://registry.fake:5000
'''


def error_name(name):
    return f'{NAME}.Error.{name}'


class Polkit(threading.Thread):
    """org.freedesktop.PolicyKit1 whose verdicts come from `decide(uid-less details dict) -> 'yes', 'no', 'challenge',
    'hang' or an error name`. `asked` and `cancelled` are what a test looks at. `next_one`: it takes the place of the one
    that is there when that ends."""

    def __init__(self, path, next_one=False):
        super().__init__(daemon=True)
        self.asked, self.cancelled, self.decide, self.ended = [], [], lambda q: 'yes', False
        self.bus = Bus(path)
        assert self.bus.driver('RequestName', 'su', POLKIT, 0 if next_one else 4) == (2 if next_one else 1)
        self.start()

    def run(self):
        try:
            while not self.ended:
                self.handle(self.bus.wait_call(3600))
        except (ConnectionError, OSError, ValueError):
            pass

    def handle(self, call):
        if call.member == 'CancelCheckAuthorization':
            self.cancelled.append(call.body[0])
            return self.bus.answer(call)
        subject, action, details, flags, cancellation = call.body
        query = {'sender': subject[1]['name'], 'action': action.removeprefix(NAME + '.'), 'details': details,
                 'interactive': bool(flags & 1), 'cancellation': cancellation}
        self.asked.append(query)
        verdict = self.decide(query)
        if verdict == 'hang':
            return None
        if '.' in verdict:
            return self.bus.answer_error(call, verdict, 'an error of the test')
        return self.bus.answer(call, '(bba{ss})', ((verdict == 'yes', verdict == 'challenge', {}),))

    def stop(self):
        self.ended = True
        self.bus.sock.shutdown(socket.SHUT_RDWR)
        self.join()
        self.bus.close()


class Rig:
    # Floods are to reach the daemon: its limits are tested, not the bus's (128).
    def __init__(self, config=CONFIG, templates=None, polkit=True, credentials=None, replies=100000):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='swarm-bus-'))
        self.dir.chmod(0o755)
        for d in ('config/templates.d', 'state', 'run', 'credentials'):
            (self.dir / d).mkdir(parents=True)
        self.path = str(self.dir / 'bus')
        self.log = self.dir / 'log'
        self.daemon, self.polkit, self.clients = None, None, []
        self.environment, self.program = {}, DAEMON
        self.configure(config)
        if templates:
            (self.dir / 'config/templates.d/test.yaml').write_text(templates)
        (self.dir / 'bus.conf').write_text(BUS_CONFIG.format(path=self.path, replies=replies))
        self.broker = subprocess.Popen(['dbus-daemon', '--nofork', '--nopidfile', '--nosyslog', f'--config-file={self.dir}/bus.conf'],
                                       stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            self.wait_bus()
            if polkit:
                self.polkit = Polkit(self.path)
        except BaseException:
            self.close()
            raise

    def wait_bus(self):
        def answers():
            try:
                Bus(self.path).close()
                return True
            except OSError:
                return False
        wait(answers, 'the bus')

    def configure(self, text):
        (self.dir / 'config/orchestrator.conf').write_text(text)

    def start(self, wait_for=True):
        env = {'PATH': os.environ['PATH'], 'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=' + self.path,
               'SWARM_CONFIG_DIR': str(self.dir / 'config'), 'STATE_DIRECTORY': str(self.dir / 'state'),
               'RUNTIME_DIRECTORY': str(self.dir / 'run'), 'CREDENTIALS_DIRECTORY': str(self.dir / 'credentials'),
               'SWARM_FAKE_CONTROL': str(self.dir / 'fake'), 'SWARM_FAKE_STATE': str(self.dir / 'cluster.json'),
               'SWARM_LOG_LEVEL': 'debug', 'ASAN_OPTIONS': 'detect_leaks=1', 'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1'}
        env.update(self.environment)
        with open(self.log, 'ab') as log:
            self.daemon = subprocess.Popen([self.program], env=env, stdout=log, stderr=log)
        if wait_for:
            with Bus(self.path) as bus:
                wait(lambda: self.daemon.poll() is not None or bus.driver('NameHasOwner', 's', NAME), 'the daemon')
            assert self.daemon.poll() is None, self.log.read_text()
        return self

    def stop(self, how=signal.SIGTERM, expect=0):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.send_signal(how)
            code = self.daemon.wait(40)
            assert how == signal.SIGKILL or code == expect, f'the daemon ended with {code}\n' + self.log.read_text()[-4000:]
        self.daemon = None

    def restart(self, how=signal.SIGTERM):
        self.stop(how)
        return self.start()

    def close(self, failed=False):
        try:
            for c in self.clients:
                c.close()
            self.stop()
            if self.polkit:
                self.polkit.stop()
        finally:
            self.broker.terminate()
            self.broker.wait()
            if failed:
                sys.stderr.write(''.join(x + '\n' for x in self.log.read_text().splitlines()[-60:] if os.environ.get('V')))
            shutil.rmtree(self.dir)

    def check(self, settled, seconds=20):
        """Store, cluster and bus are one consistent whole."""
        c = checker.FakeChecker(str(self.dir / 'state'), str(self.dir / 'cluster.json'), busctl.Bus('unix:path=' + self.path))
        checker.check(c, checker.Expect(settled=settled), seconds)

    def client(self, uid=None):
        c = Client(self.path, uid)
        self.clients.append(c)
        return c

    def fake(self, **request):
        """Steers the provider, see provider/fake.h."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            mine = str(self.dir / 'fake-client')
            s.bind(mine)
            s.settimeout(10)
            try:
                s.sendto(json.dumps(request).encode(), str(self.dir / 'fake'))
                answer = json.loads(s.recv(1 << 16))
            finally:
                os.unlink(mine)
        assert 'error' not in answer, answer
        return answer


class Client(Bus):
    """Somebody who talks to the orchestrator."""

    def manager(self, member, signature='', *args, flags=0):
        return self.call(NAME, PATH, MANAGER, member, signature, *args, flags=flags)

    def on(self, path, interface, member, signature='', *args, flags=0):
        return self.call(NAME, path, interface, member, signature, *args, flags=flags)

    def create(self, name='', flags=0, **options):
        options.setdefault('image', V('s', 'example/image'))
        return self.manager('CreateSession', 'sa{sv}t', name, options, 0, flags=flags)

    def verb(self, verb, session, **options):
        return self.manager(verb + 'Session', 'sa{sv}t', session, options, 0)

    def get(self, path, interface, name):
        return self.call(NAME, path, PROPERTIES, 'Get', 'ss', interface, name)

    def get_all(self, path, interface):
        return self.call(NAME, path, PROPERTIES, 'GetAll', 's', interface)

    def rows(self, **filter_):
        return self.manager('ListSessions', 'a{sv}t', filter_, 0)

    def state(self, session):
        return self.get(self.manager('GetSession', 's', session), SESSION, 'State')

    def wait_state(self, session, state):
        wait(lambda: self.state(session) == state, f'{session} to be {state}', lambda: f'it is {self.state(session)}')

    def wait_job(self, job, state='done'):
        wait(lambda: self.get(job, JOB, 'State') not in ('queued', 'running'), f'the end of {job}')
        found = self.get_all(job, JOB)
        assert found['State'] == state, found
        return found

    def run(self, session, **options):
        """Creates a session and waits until it runs."""
        path, job = self.create(session, **options)
        self.wait_job(job)
        return path


def wait(condition, what, detail=lambda: '', timeout=20):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f'waited in vain for {what}; {detail()}')
        time.sleep(0.01)


class BusTest(unittest.TestCase):
    """One rig for a class of tests. `settled`: none of them leaves a job at work."""
    config, templates, polkit, environment, settled = CONFIG, None, True, {}, True

    @classmethod
    def make_rig(cls):
        return Rig(cls.config, cls.templates, cls.polkit)

    @classmethod
    def setUpClass(cls):
        if os.getuid() != 0:
            raise unittest.SkipTest('callers of several users need root')
        cls.rig = cls.make_rig()
        cls.rig.environment = dict(cls.environment)
        cls.failed = False
        try:
            cls.rig.start()
            cls.root, cls.alice, cls.bob = cls.rig.client(), cls.rig.client(ALICE), cls.rig.client(BOB)
        except BaseException:
            cls.rig.close(failed=True)
            raise

    @classmethod
    def tearDownClass(cls):
        cls.rig.close(cls.failed)

    def tearDown(self):
        outcome = self._outcome.result
        if any(test is self for test, _ in outcome.errors + outcome.failures):
            type(self).failed = True
        if self.rig.polkit:
            self.rig.polkit.decide = lambda q: 'yes'
            self.rig.polkit.asked.clear()
            self.rig.polkit.cancelled.clear()
        if not type(self).failed and self.rig.daemon and self.rig.daemon.poll() is None:
            self.rig.check(self.settled)

    def refused(self, name, pattern, function, *args, **options):
        """The call fails with this error, and its sentence, which stands alone, matches."""
        with self.assertRaises(DBusError) as caught:
            function(*args, **options)
        self.assertEqual(caught.exception.name, name if '.' in name else error_name(name), caught.exception.message)
        self.assertRegex(caught.exception.message, pattern)
        self.assertRegex(caught.exception.message, r'^.{10,}[.!]$')
        return caught.exception.message


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    unittest.main(verbosity=2)
