#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""swarmctl against the daemon with the provider in memory: verbs, exit statuses, following, terminals."""

import contextlib
import fcntl
import importlib
import json
import os
import pathlib
import pty
import re
import select
import signal
import sqlite3
import struct
import subprocess
import termios
import time
import unittest

import busctl_doc
from harness import ALICE, BOB, BUILD, BusTest, CONFIG, JOB, NAME, Rig, SOURCE, V, main, wait

SWARMCTL = os.environ.get('SWARMCTL', str(BUILD / 'tools/swarmctl/swarmctl'))
TEMPLATES = '''templates:
  development: {image: base, memory: 512, env: [MODE=development], description: for people}
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
        self.seen = ''

    def read(self, timeout):
        if not select.select([self.master], [], [], timeout)[0]:
            return False
        with contextlib.suppress(OSError):      # EIO: all have closed it
            data = os.read(self.master, 65536)
            self.seen += data.decode()
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
        while self.read(0):
            pass
        out = self.process.stdout.read().decode() if self.process.stdout else ''
        if self.process.stdout:
            self.process.stdout.close()
        os.close(self.master)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f'did not end: {self.seen!r}')
        return self.process.returncode, out, self.seen


class Base(BusTest):
    templates = TEMPLATES

    @classmethod
    def make_rig(cls):
        return Rig(cls.config, cls.templates, cls.polkit)

    @classmethod
    def setUpClass(cls):
        if os.getuid() != 0:
            raise unittest.SkipTest('callers of several users need root')
        cls.rig = cls.make_rig()
        cls.failed = False
        try:
            cls.rig.start()
            cls.root = cls.rig.client()
        except BaseException:
            cls.rig.close(failed=True)
            raise
        cls.env = {'PATH': os.environ['PATH'], 'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=' + cls.rig.path, 'TERM': 'xterm',
                   'ASAN_OPTIONS': 'detect_leaks=1', 'HOME': '/nonexistent', 'LC_ALL': 'C.UTF-8'}

    def ctl(self, *args, expect=OK, uid=None, env=None, stdin=None):
        done = subprocess.run([SWARMCTL, *args], env={**self.env, **(env or {})}, capture_output=True, text=True, user=uid,
                              timeout=60, input=stdin, stdin=None if stdin else subprocess.DEVNULL)
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


class Verbs(Base):
    def test_a_life(self):
        self.assertEqual(self.ctl('create', 'dev', '--template=development', '--cpus=0.5', '--label=a=b', '--idle-timeout=infinity',
                                  '--', 'sleep', '100'), ('dev\n', ''))
        found = self.json('describe', 'dev')
        self.assertEqual(found['State'], 'running')
        self.assertEqual(found['Command'], ['sleep', '100'])
        self.assertEqual(found['Environment'], ['MODE=development'])
        self.assertEqual(found['Labels'], {'a': 'b'})
        self.assertEqual(found['Limits']['CPUs'], 0.5)
        self.assertIsNone(found['IdleTimeoutUSec'])
        for verb, state in (('hibernate', 'hibernated'), ('restore', 'running'), ('snapshot', 'running'), ('stop', 'stopped'),
                            ('start', 'running'), ('restart', 'running'), ('touch', 'running'), ('kill', None)):
            self.assertEqual(self.ctl(verb, 'dev'), ('', ''), verb)
            if state:
                self.assertEqual(self.state('dev'), state, verb)
        self.assertEqual(self.ctl('destroy', 'dev', '--yes'), ('', ''))
        self.said('status', 'dev', expect=NOT_FOUND, pattern='no session "dev"')
        ended = self.json('list', '--ended')
        self.assertEqual((ended[0]['Name'], ended[0]['EndReason']), ('dev', 'destroyed'))
        self.assertEqual(self.json('list', '--state=gone'), ended)
        self.session('living')
        both = self.json('list', '--all', '--fields=Name,EndReason')
        for row in {'Name': 'living'}, {'Name': 'dev', 'EndReason': 'destroyed'}:
            self.assertIn(row, both)

    def test_made_up_name(self):
        out, _ = self.ctl('create', '--image=base')
        self.assertRegex(out, r'^[a-z][-a-z0-9]*\n$')
        self.ctl('destroy', '-y', out.strip())

    def test_generations(self):
        self.session('gen')
        self.ctl('snapshot', 'gen')
        self.ctl('stop', 'gen')
        self.assertEqual([s['Generation'] for s in self.json('snapshots', 'gen')], [2, 1])
        self.assertIn('GENERATION', self.ctl('snapshots', 'gen')[0])
        err = self.said('restore', 'gen', '--generation=1', expect=USAGE, pattern='older than its newest, 2')
        self.assertIn('--yes', err)
        self.assertEqual(self.state('gen'), 'stopped')
        self.ctl('restore', 'gen', '--generation=1', '-y')
        self.ctl('stop', 'gen')
        self.ctl('restore', 'gen', '--generation=3')        # the newest needs no question
        self.said('delete-snapshot', 'gen', '2', expect=USAGE, pattern='--yes')
        self.ctl('delete-snapshot', 'gen', '2', '--yes')
        self.assertNotIn(2, [s['Generation'] for s in self.json('snapshots', 'gen')])
        self.said('delete-snapshot', 'nope', '1', expect=NOT_FOUND, pattern='"nope"')
        self.said('stop', 'gen', 'nope', '--discard', expect=USAGE, pattern='stop gen.*--yes')
        self.said('destroy', 'nope', 'gen', expect=NOT_FOUND, pattern='^There is no session "nope"')
        self.assertNotIn('gen:', self.ctl('snapshots', 'gen')[0])
        self.assertRegex(self.ctl('snapshots', 'gen', 'gen')[0], r'(?s)^gen:\nGENERATION.*listed\.\n\ngen:\nGENERATION')
        self.said('delete-snapshot', 'gen', 'two', expect=USAGE, pattern="'two' is not a generation")
        self.said('delete-snapshot', 'gen', '77', '-y', expect=NOT_FOUND, pattern='77')
        self.ctl('create', 'clone', '--from=gen:1')
        self.ctl('destroy', '-y', 'clone')

    def test_several_sessions(self):
        for name in ('one', 'two', 'three'):
            self.session(name)
        self.ctl('hibernate', 'one', 'two', 'three')
        # All are tried; the first that failed counts, in the order of the command line.
        self.said('restore', 'one', 'nope', 'two', expect=NOT_FOUND, pattern='"nope"')
        self.assertEqual([self.state(s) for s in ('one', 'two', 'three')], ['running', 'running', 'hibernated'])
        err = self.said('restore', 'one', 'nope', 'three', expect=WRONG_STATE, pattern='"one"')
        self.assertIn('"nope"', err)
        self.assertEqual(self.state('three'), 'running')
        # Which of them it is about is told even where the service's sentence does not.
        self.said('stop', 'X y', 'nope', expect=USAGE, pattern='(?m)^X y: This is neither .*$')
        out, _ = self.ctl('status', 'one', 'two')
        self.assertEqual(out.count('Session: '), 2)

    def test_failed_jobs(self):
        self.rig.fake(fail='capture', code='RegistryFailed', message='The registry is full. Make room.', times=1)
        self.session('unlucky')
        self.said('hibernate', 'unlucky', expect=FAILED, pattern='^The registry is full. Make room.\n$')
        self.assertEqual(self.state('unlucky'), 'running')
        self.rig.fake(fail='capture', code='ProviderUnavailable', message='The Engine is away.', times=1)
        self.said('hibernate', 'unlucky', expect=UNAVAILABLE, pattern='The Engine is away.')
        out, err = self.ctl('create', 'absent', '--image=missing', expect=NOT_FOUND)
        self.assertEqual(out, 'absent\n')
        self.assertRegex(err, 'missing')
        self.ctl('destroy', '-y', 'absent')

    def test_refusals(self):
        self.session('here')
        self.said('create', 'here', '--image=base', expect=WRONG_STATE, pattern='already')
        self.said('create', 'x', expect=USAGE, pattern='template')
        self.said('create', 'Bad_Name', '--image=base', expect=USAGE, pattern='Bad_Name')
        self.said('create', 'x', '--template=nope', expect=NOT_FOUND, pattern='nope')
        self.said('create', 'x', '--image=base', '--node=nope', expect=NOT_FOUND, pattern='no node')
        self.said('create', 'x', '--image=base', '--memory=1K', expect=USAGE, pattern='memory')
        self.said('start', 'here', expect=WRONG_STATE, pattern='running')
        self.said('list', '--fields=Frob', expect=USAGE, pattern='Frob')
        self.said('list', '--all', '--template=nope', expect=NOT_FOUND, pattern='no template "nope".* Known are: development')
        self.said('list', '--provider=nope', expect=NOT_FOUND, pattern='Known are: fake')
        self.said('list', '--node=nope', expect=NOT_FOUND, pattern='Known are: fake-1, fake-2')
        self.said('nodes', '--provider=nope', expect=NOT_FOUND, pattern='Known are: fake')
        self.said('jobs', '--session=nope', expect=NOT_FOUND, pattern='no session "nope"')
        self.said('show', 'here', '--fields=Name,Frob', expect=USAGE, pattern='Frob')
        self.assertEqual(self.json('show', 'here', '--fields=State,Name'), {'State': 'running', 'Name': 'here'})
        self.said('watch', 'here', '--until=frob', expect=USAGE, pattern='frob')
        self.said('wait', '9999', expect=NOT_FOUND, pattern='9999')
        self.said('cancel', '1', expect=WRONG_STATE, pattern='ended already')
        self.said('templates', 'nope', expect=NOT_FOUND, pattern='nope')
        self.said('log-level', 'loud', expect=USAGE, pattern='loud')

    def test_usage(self):
        for args, pattern in (
                (['frob'], "no verb 'frob'"), (['stop'], 'more arguments'), (['nodes', 'x'], 'fewer arguments'),
                (['list', '--discard'], "'--discard' means nothing to 'list'"), (['stop', 'a', '--', 'b'], 'no command'),
                (['--frob'], "'--frob'"), (['jobs', 'x'], "'x'"), (['watch', '--until=running'], 'name the sessions'),
                (['-H', '', 'list'], '--host'), (['list', '--label=a', '--label=b'], 'one --label')):
            self.said(*args, expect=USAGE, pattern=pattern)

    def test_help(self):
        for args in (['--help'], ['help'], ['-h'], ['create', '--help'], ['help', 'create'], ['--version']):
            out, err = self.ctl(*args)
            self.assertIn('swarmctl', out)
            self.assertEqual(err, '')
        for verb in re.findall(r'(?m)^  ([a-z][-a-z]*) ', self.ctl('--help')[0]):
            help_, _ = self.ctl(verb, '--help')
            self.assertLessEqual(max(map(len, help_.splitlines())), 80, verb)
            self.assertEqual([line for line in help_.splitlines() if line != line.rstrip()], [], verb)
            self.assertEqual(self.ctl('help', verb)[0], help_)
        self.assertLessEqual(max(map(len, self.ctl('--help')[0].splitlines())), 80)
        self.said('help', 'frob', expect=USAGE, pattern="no verb 'frob'")

    def test_environment_file(self):
        secret = 'TOKEN=very-secret-indeed'
        self.ctl('create', 'env', '--image=base', '--env-file=-', '-e', 'A=1', stdin=f'# comment\n{secret}\n')
        self.assertEqual(self.json('describe', 'env')['Environment'], [secret, 'A=1'])
        self.ctl('destroy', '-y', 'env')
        self.assertNotIn('very-secret', self.rig.log.read_text())

    def test_lists(self):
        for i in range(3):
            self.session(f'l{i}', f'--label=n=v{i}')
        self.ctl('stop', 'l2')
        out, _ = self.ctl('list')
        self.assertRegex(out, r'(?m)^NAME +ID +STATE')
        self.assertIn('3 sessions listed.', out)
        self.assertEqual(self.ctl()[0].split()[:3], out.split()[:3])
        bare, _ = self.ctl('list', '--no-legend')
        self.assertEqual(len(bare.splitlines()), 3)
        self.assertEqual([s['Name'] for s in self.json('list', '--state=running')], ['l0', 'l1'])
        self.assertEqual([s['Name'] for s in self.json('list', '--label=n=v1')], ['l1'])
        self.assertEqual([s['Name'] for s in self.json('list', '--limit=2')], ['l0', 'l1'])
        self.assertEqual(self.json('list', '--owner=daemon'), [])
        self.assertRegex(out, r'(?m)^l0 .* fake-[12] ')
        self.assertIn('No sessions.', self.ctl('list', '--owner=daemon')[0])
        self.assertEqual(self.json('list', '--fields=Name,Labels', '--state=stopped'), [{'Name': 'l2', 'Labels': {'n': 'v2'}}])
        self.assertIn('\n  ', self.ctl('list', '--json=pretty')[0])
        self.assertEqual(len(self.ctl('list', '--json')[0].splitlines()), 1)
        self.assertRegex(self.ctl('list', '--fields=Name,Generation')[0], r'(?m)^NAME +GENERATION\nl0 +0\n')

    def test_others(self):
        status = self.json('status')
        self.assertEqual(status['NodesReady'], 2)
        self.assertRegex(self.ctl('status')[0], r'Nodes: 2 of 2 ready')
        self.assertEqual([n['Name'] for n in self.json('nodes')], ['fake-1', 'fake-2'])
        self.assertEqual(self.json('nodes', '--state=down'), [])
        self.assertRegex(self.ctl('providers')[0], r'fake +healthy')
        self.assertRegex(self.ctl('templates')[0], r'development +base .* default +512M')
        self.assertEqual(self.json('templates', 'development')['Environment'], ['MODE=development'])
        shown, _ = self.ctl('templates', 'development')
        for line in ('Template: development', 'CPUs: default', 'Memory: 512M', 'Environment: MODE=development', 'Idle timeout: default'):
            self.assertIn(f' {line}\n', shown)
        self.session('looked-at')
        self.assertRegex(self.ctl('status')[0], r'Sessions: 1 of at most \d+: 1 running\n +Jobs: 0 under way\n.*\n +CPUs: sessions may use 2, ready nodes have')
        shown, _ = self.ctl('describe', 'looked-at')
        self.assertRegex(shown, r'(?s) Node: fake-[12]\n.* Limits: 2 CPUs \(0 reserved\), 4.0G of memory .* Created: .* Last activity: .* Idle timeout: 2h\n')
        self.assertNotIn('USec', shown + self.ctl('jobs', '1')[0])
        self.assertNotRegex(self.ctl('nodes')[0], r' ID ')
        self.assertRegex(self.ctl('nodes', '--full')[0], r' ID ')
        self.assertEqual(self.ctl('log-level', 'notice'), ('', ''))
        self.assertEqual(self.ctl('log-level')[0], 'notice\n')
        self.ctl('log-level', 'debug')

    def test_reload_tells_what_is_wrong(self):
        self.assertEqual(self.ctl('reload'), ('', ''))
        self.rig.configure(CONFIG + '[Frob]\nA=1\n')
        self.addCleanup(self.rig.configure, CONFIG)
        self.said('reload', expect=FAILED, pattern='orchestrator.conf:')


class Authorization(Base):
    def test_access(self):
        self.rig.polkit.decide = lambda q: 'no' if q['action'] == 'manage' else 'yes'
        self.ctl('create', 'alices', '--image=base', uid=ALICE)
        self.said('stop', 'alices', expect=DENIED, pattern='.', uid=BOB)
        self.said('describe', 'alices', expect=DENIED, pattern='.', uid=BOB)
        self.assertEqual(self.json('status', 'alices', uid=BOB)['Owner'], ALICE)
        self.ctl('stop', 'alices', uid=ALICE)
        self.ctl('destroy', '-y', 'alices')

    def test_interaction_is_an_option(self):
        self.session('roots')
        self.rig.polkit.decide = lambda q: 'challenge'
        self.said('stop', 'roots', '--no-ask-password', expect=DENIED, pattern='.', uid=BOB)
        self.assertFalse(self.rig.polkit.asked[-1]['interactive'])
        self.said('stop', 'roots', expect=DENIED, pattern='.', uid=BOB)
        self.assertTrue(self.rig.polkit.asked[-1]['interactive'])


class Following(Base):
    def test_no_block(self):
        self.session('later')
        self.slow(capture=400000)
        out, err = self.ctl('hibernate', 'later', '--no-block')
        self.assertEqual(out, '')
        job = re.match(r'Job (\d+) on later is under way.\n$', err).group(1)
        self.assertEqual(self.state('later'), 'hibernating')
        self.assertEqual([j['Session'] for j in self.json('jobs')], [self.json('show', 'later')['Id']])
        self.ctl('wait', job)
        self.assertEqual(self.state('later'), 'hibernated')
        self.assertEqual(self.ctl('restore', 'later', '--no-block', '-q'), ('', ''))

    def test_waiting(self):
        self.session('patient')
        self.slow(capture=30000000)
        _, err = self.ctl('hibernate', 'patient', '--no-block')
        job = re.search(r'\d+', err).group()
        started = time.monotonic()
        self.said('wait', job, '--timeout=500ms', expect=TIMEOUT, pattern=f"^The time is over: job {job} on patient goes on. 'swarmctl cancel {job}' cancels it, 'swarmctl wait {job}' follows it again.\n$")
        self.assertGreater(time.monotonic() - started, 0.4)
        self.assertLess(time.monotonic() - started, 5)
        self.assertEqual(self.json('jobs', job)['State'], 'running')
        # To wait without waiting: neither means anything beside the other.
        self.said('wait', job, '--no-block', expect=USAGE, pattern="'--no-block' means nothing to 'wait'")
        self.assertEqual(self.ctl('cancel', job, '--no-block'), ('', f'Job {job} on patient is being canceled.\n'))
        self.said('wait', job, '--timeout=20s', expect=FAILED, pattern='cancel')
        self.said('stop', 'patient', '--timeout=1s', expect=USAGE, pattern="'--timeout' means nothing to 'stop'")
        done = str(self.json('snapshot', 'patient', '--no-block')[0]['Id'])
        self.ctl('cancel', done)
        created = str(self.json('jobs', '--session=patient', '--type=create', '--all')[0]['Id'])
        self.assertEqual(self.ctl('wait', created, '--timeout=infinity'), ('', ''))

    def test_json_of_jobs(self):
        self.session('data')
        jobs = self.json('hibernate', 'data')
        self.assertEqual([(j['Type'], j['State']) for j in jobs], [('hibernate', 'done')])
        jobs = self.json('restore', 'data', '--no-block')
        self.assertEqual(jobs[0]['Type'], 'restore')
        self.ctl('wait', str(jobs[0]['Id']))
        self.assertEqual(self.json('jobs', str(jobs[0]['Id']))['State'], 'done')

    def test_unknown_numbers(self):
        """Null in every verb's JSON, where the bus has -1."""
        self.session('vague')
        self.slow(capture=30000000)
        job = self.json('hibernate', 'vague', '--no-block')[0]
        wait(lambda: self.json('jobs', str(job['Id']))['State'] == 'running', 'the capture')
        self.assertEqual(self.root.get(self.root.manager('GetJob', 't', job['Id']), JOB, 'BytesTotal'), -1)
        for found in (job, self.json('jobs', str(job['Id'])), self.json('jobs', '--session=vague')[0]):
            self.assertIsNone(found['BytesTotal'])
            self.assertIsNone(found['Progress'])
        self.assertNotRegex(self.ctl('jobs', str(job['Id']))[0], ': -1')
        self.ctl('cancel', str(job['Id']))

    def test_cancel(self):
        self.session('stay')
        self.slow(capture=30000000)
        _, err = self.ctl('hibernate', 'stay', '--no-block')
        job = re.search(r'\d+', err).group()
        wait(lambda: self.json('jobs', job)['State'] == 'running', 'the capture')
        self.assertEqual(self.ctl('cancel', job), ('', ''))
        self.assertEqual(self.json('jobs', job)['State'], 'canceled')
        self.assertEqual(self.state('stay'), 'running')
        self.said('wait', job, expect=FAILED, pattern='cancel')

    def test_progress_and_detaching(self):
        self.session('watched')
        self.slow(capture=30000000)
        terminal = self.spawn('hibernate', 'watched')
        terminal.expect(r'\rhibernate watched: ')
        os.kill(terminal.process.pid, signal.SIGINT)
        status, out, seen = terminal.end()
        self.assertEqual((status, out), (DETACHED, ''))
        job = re.search(r"Detached: job (\d+) on watched goes on. 'swarmctl cancel \1'", seen).group(1)
        self.assertTrue(seen.rstrip().endswith('.'))
        self.assertEqual(self.json('jobs', job)['State'], 'running')
        self.ctl('cancel', job)

    def test_ctrl_c_key(self):
        """The key, not only the signal: the terminal is the program's own."""
        self.session('key')
        self.slow(capture=30000000)
        terminal = self.spawn('hibernate', 'key', controlling=True)
        terminal.expect('hibernate key')
        terminal.send('\x03')
        status, _, seen = terminal.end()
        self.assertEqual(status, DETACHED, seen)
        self.ctl('cancel', re.search(r'job (\d+)', seen).group(1))

    def test_quiet_terminal(self):
        self.session('silent')
        self.slow(capture=300000)
        self.assertEqual(self.spawn('hibernate', 'silent', '--quiet').end(), (OK, '', ''))

    def test_bar_is_wiped(self):
        self.session('wiped')
        self.slow(capture=1200000)
        status, out, seen = self.spawn('hibernate', 'wiped').end()
        self.assertEqual((status, out), (OK, ''))
        self.assertIn('hibernate wiped', seen)
        self.assertTrue(seen.endswith('\r\033[K'))

    def test_service_dies_meanwhile(self):
        self.session('survivor')
        self.slow(capture=30000000)
        with subprocess.Popen([SWARMCTL, 'hibernate', 'survivor'], env=self.env, stderr=subprocess.PIPE, text=True) as process:
            wait(lambda: self.job_of('survivor')['State'] == 'running' and self.state('survivor') == 'hibernating', 'the capture')
            self.rig.restart(signal.SIGKILL)
            _, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, FAILED, err)
        self.assertEqual(self.job_of('survivor')['State'], 'interrupted')
        self.assertRegex(err, r'^[A-Z"].*\.\n$')


class Hundreds(Base):
    """On a bus as it is without configuration: who stops Docker saves every session of the node in one command."""

    @classmethod
    def make_rig(cls):
        return Rig(CONFIG.replace('SessionsPerUserMax=100', 'SessionsPerUserMax=1000'), cls.templates, cls.polkit, replies=128)

    def test_more_than_a_bus_takes_at_once(self):
        names = [f's{i}' for i in range(200)]
        for name in names:
            self.root.create(name)
        wait(lambda: len(self.root.rows(state=V('s', 'running'))[0]) == 200, 'all to run')
        self.ctl('hibernate', *names)
        self.assertEqual(len(self.root.rows(state=V('s', 'hibernated'))[0]), 200)


class LeftOut(Base):
    def test_it_is_told(self):
        """The provider in memory leaves nothing out: the record of the generation is made to say so."""
        self.session('odd')
        self.assertEqual(self.ctl('snapshot', 'odd', '--lossy'), ('', ''))
        job = str(self.json('jobs', '--session=odd', '--type=snapshot', '--all')[0]['Id'])
        self.assertEqual(self.ctl('wait', job), ('', ''))
        self.rig.stop()
        names = ['/run/s (socket)', *(f'/.wh.{i:02} (the name is reserved)' for i in range(12))]
        with contextlib.closing(sqlite3.connect(self.rig.dir / 'state/orchestrator.sqlite')) as db:
            self.assertEqual(db.execute('UPDATE snapshots SET dropped = ? WHERE job = ?', (json.dumps(names), job)).rowcount, 1)
            db.commit()
        self.rig.start()
        wait(lambda: self.json('status')['Providers'][0]['Health'] == 'healthy', 'the provider')
        out, err = self.ctl('wait', job)
        self.assertEqual(out, '')
        lines = err.splitlines()
        self.assertRegex(lines[0], r'^Left out of generation 1 of odd, .* \(12\):$')
        self.assertEqual(lines[1:11], ['  ' + n for n in names[1:11]])
        self.assertEqual(lines[11:], ["  … and 2 more: 'swarmctl snapshots odd --json' has them under Dropped."])
        self.assertEqual(self.ctl('wait', job, '--quiet'), ('', ''))
        self.assertEqual(self.json('snapshots', 'odd')[0]['Dropped'], names)
        self.assertRegex(self.ctl('snapshots', 'odd')[0], r'(?m)LEFT OUT$\n.* 13$')
        self.assertRegex(self.ctl('snapshots', 'odd', '--full')[0], r'(?m)TAG$\n.*-g1$')
        # To others, who may not see the generations, nothing is said.
        self.rig.polkit.decide = lambda q: 'no' if q['action'] == 'manage' else 'yes'
        self.assertEqual(self.ctl('wait', job, uid=BOB), ('', ''))


class Bus(Base):
    def test_bus_restarts_meanwhile(self):
        self.session('cut')
        self.slow(capture=5000000)
        with subprocess.Popen([SWARMCTL, 'snapshot', 'cut'], env=self.env, stderr=subprocess.PIPE, text=True) as process:
            wait(lambda: self.job_of('cut')['State'] == 'running', 'the capture')
            for client in self.rig.clients:
                client.close()
            self.rig.clients = []
            self.rig.broker.kill()
            self.rig.broker.wait()
            self.rig.daemon.wait(20)                    # it needs its bus
            os.unlink(self.rig.path)
            self.rig.broker = subprocess.Popen(['dbus-daemon', '--nofork', '--nopidfile', '--nosyslog', f'--config-file={self.rig.dir}/bus.conf'])
            wait(lambda: os.path.exists(self.rig.path), 'the bus')
            self.rig.start()
            _, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, FAILED, err)
        self.assertEqual(self.job_of('cut')['State'], 'interrupted')


class Terminals(Base):
    def test_questions(self):
        self.session('asked')
        terminal = self.spawn('destroy', 'asked')
        terminal.expect(r'About to destroy asked: .* gone for good. Go on\? \[y/N\]')
        terminal.send('n\n')
        status, _, seen = terminal.end()
        self.assertEqual(status, FAILED)
        self.assertIn('Nothing was done', seen)
        self.assertEqual(self.state('asked'), 'running')
        self.said('stop', 'asked', '--discard', expect=USAGE, pattern='--yes')
        self.assertEqual(self.state('asked'), 'running')
        terminal = self.spawn('destroy', 'asked')
        terminal.expect(r'\[y/N\]')
        terminal.send('y\n')
        self.assertEqual(terminal.end()[0], OK)
        self.said('status', 'asked', expect=NOT_FOUND, pattern='asked')

    def test_end_of_input_is_no(self):
        self.session('eof')
        terminal = self.spawn('destroy', 'eof')
        terminal.expect(r'\[y/N\]')
        terminal.send('\x04')
        self.assertEqual(terminal.end()[0], FAILED)

    def test_colours_and_width(self):
        self.session('painted', '--', 'x' * 3)
        streams = ('stdin', 'stdout', 'stderr')
        _, _, seen = self.spawn('list', '--no-pager', streams=streams).end()
        self.assertRegex(seen, '\033\\[32mrunning')
        for verb in ('nodes', 'snapshots painted', 'templates', 'jobs --all', 'status'):
            table = self.spawn(*verb.split(), '--no-pager', streams=streams, columns=80).end()[2]
            self.assertLessEqual(max(len(re.sub('\033\\[[0-9;]*m', '', line)) for line in table.splitlines()), 80, table)
        narrow = self.spawn('jobs', '--all', '--no-pager', '--no-legend', streams=streams, columns=60).end()[2]
        self.assertLessEqual(max(len(re.sub('\033\\[[0-9;]*m', '', line)) for line in narrow.splitlines()), 60)
        self.env['NO_COLOR'] = '1'
        self.addCleanup(self.env.pop, 'NO_COLOR')
        self.assertNotIn('\033[', self.spawn('list', '--no-pager', streams=streams).end()[2])

    def test_pager(self):
        pager = self.rig.dir / 'pager'
        pager.write_text('#!/bin/sh\necho paged\nexec cat\n')
        pager.chmod(0o755)
        self.env['PAGER'] = str(pager)
        self.addCleanup(self.env.pop, 'PAGER')
        streams = ('stdin', 'stdout', 'stderr')
        self.assertRegex(self.spawn('nodes', streams=streams).end()[2], r'(?s)^paged.*fake-1.*2 nodes listed')
        self.assertNotIn('paged', self.spawn('nodes', '--no-pager', streams=streams).end()[2])
        self.assertNotIn('paged', self.ctl('nodes')[0])
        self.env['PAGER'] = '/nonexistent'
        self.assertIn('fake-1', self.spawn('nodes', streams=streams).end()[2])

    def test_text_of_others_stays_text(self):
        self.session('odd')
        self.rig.fake(fail='capture', code='RegistryFailed', message='The registry said \033[31mred\nline.', times=1)
        self.said('hibernate', 'odd', expect=FAILED, pattern=r'said \?\[31mred line\.\n$')
        self.assertIn('said ?[31mred line.', self.ctl('jobs', '--all')[0])

    def test_password_agent_does_not_hang(self):
        """An agent that cannot register itself, on a bus without polkit's authority for agents."""
        self.session('guarded')
        self.rig.polkit.decide = lambda q: 'no'
        status, _, seen = self.spawn('stop', 'guarded', uid=ALICE).end(30)
        self.assertEqual(status, DENIED, seen)


REAL = importlib.import_module('test-polkit-real')


@unittest.skipUnless(REAL.POLKITD and os.path.exists('/usr/bin/pkttyagent'), 'needs polkitd and pkttyagent')
class PasswordPrompt(Base):
    """A real polkitd asks for a password on the terminal of whoever calls."""

    @classmethod
    def make_rig(cls):
        return REAL.RealRig()

    def test_prompt(self):
        self.session('locked')
        terminal = self.spawn('stop', 'locked', uid=ALICE, streams=('stdin', 'stdout', 'stderr'), controlling=True)
        terminal.expect(r'AUTHENTICATING FOR org\.swarm\.Orchestrator\.manage.*\n.*manage a session of another user')
        terminal.expect('Password')
        terminal.send('\x03')
        self.assertNotEqual(terminal.end()[0], OK)
        self.assertEqual(self.state('locked'), 'running')
        self.said('stop', 'locked', '--no-ask-password', uid=ALICE, expect=DENIED, pattern='have to authenticate')


class Watching(Base):
    def watch(self, *args):
        return subprocess.Popen([SWARMCTL, 'watch', *args], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, process, expect):
        out, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, expect, out + err)
        return out, err

    def test_all(self):
        process = self.watch()
        self.addCleanup(process.kill)
        wait(lambda: self.matches() > 0, 'the subscription')
        self.session('seen')
        self.ctl('hibernate', 'seen')
        self.ctl('destroy', '-y', 'seen')
        states = []
        while states[-1:] != ['gone']:
            date, name, state = process.stdout.readline().split(maxsplit=2)
            self.assertRegex(date, r'^\d{4}-\d\d-\d\dT')
            self.assertEqual(name, 'seen')
            states.append(state.split(':')[0].strip())
        self.assertLess(states.index('running'), states.index('hibernated'))
        process.send_signal(signal.SIGINT)
        self.finish(process, OK)

    def matches(self):
        """Connections beside the daemon's and the test's own."""
        return len([n for n in self.root.driver('ListNames') if n.startswith(':')]) - self.quiet

    def setUp(self):
        self.quiet = len([n for n in self.root.driver('ListNames') if n.startswith(':')])

    def test_until(self):
        self.session('goal')
        self.assertIn(' goal running', self.finish(self.watch('goal', '--until=running'), OK)[0])
        process = self.watch('goal', '--until=hibernated', '--json=short')
        self.slow(capture=300000)
        self.ctl('hibernate', 'goal')
        lines = [json.loads(line) for line in self.finish(process, OK)[0].splitlines()]
        self.assertEqual((lines[-1]['Name'], lines[-1]['State']), ('goal', 'hibernated'))

    def test_until_never(self):
        self.session('never')
        started = time.monotonic()
        self.assertRegex(self.finish(self.watch('never', '--until=hibernated', '--timeout=700ms'), TIMEOUT)[1], 'time is over')
        self.assertLess(time.monotonic() - started, 5)
        process = self.watch('never', '--until=hibernated')
        wait(lambda: self.matches() > 0, 'the subscription')
        self.ctl('destroy', '-y', 'never')
        self.assertRegex(self.finish(process, WRONG_STATE)[1], 'gone')
        self.assertRegex(self.finish(self.watch('never', '--until=hibernated'), NOT_FOUND)[1], 'never')

    def test_timeout_without_a_goal(self):
        """Nothing was waited for, so nothing has failed."""
        self.session('idle')
        out, err = self.finish(self.watch('idle', '--timeout=500ms'), OK)
        self.assertRegex(out, r'^\S+ idle running\n$')
        self.assertEqual(err, '')
        self.assertEqual(self.finish(self.watch('--timeout=500ms'), OK)[1], '')

    def test_interrupted(self):
        self.session('stopped-early')
        for args, status in ((['--until=hibernated'], DETACHED), ([], OK)):
            process = self.watch('stopped-early', *args)
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            self.assertEqual(self.finish(process, status)[1], '')

    def test_until_gone(self):
        self.session('leaving')
        process = self.watch('leaving', '--until=gone')
        wait(lambda: self.matches() > 0, 'the subscription')
        self.ctl('destroy', '-y', 'leaving')
        self.finish(process, OK)

    def test_reader_is_gone(self):
        self.session('pipe')
        process = self.watch('pipe')
        process.stdout.readline()
        process.stdout.close()
        self.ctl('hibernate', 'pipe')
        self.assertNotEqual(process.wait(20), None)
        process.stderr.close()


class OtherMachine(Base):
    """Over a stand-in for ssh that has systemd-stdio-bridge at its other end."""

    def test_host(self):
        ssh = self.rig.dir / 'bin/ssh'
        ssh.parent.mkdir()
        ssh.write_text(f'#!/bin/sh\nfor last; do :; done\n[ "$last" = systemd-stdio-bridge ] || exit 1\n'
                       f'systemd-stdio-bridge -p unix:path={self.rig.path} | cat\n')
        ssh.chmod(0o755)
        far = {'PATH': f'{ssh.parent}:{os.environ["PATH"]}', 'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=/nonexistent'}
        self.assertEqual(self.ctl('-H', 'somebody@far', 'create', 'there', '--image=base', env=far)[0], 'there\n')
        self.ctl('-H', 'far', 'hibernate', 'there', env=far)
        self.assertIn('hibernated', self.ctl('-H', 'far', env=far)[0])
        self.ctl('-H', 'far', 'destroy', '-y', 'there', env=far)
        ssh.write_text('#!/bin/sh\necho no route >&2\nexit 255\n')
        self.said('-H', 'far', 'list', expect=UNAVAILABLE, pattern='(?s)no route.*bus of far cannot be reached', env=far)
        self.said('-H', 'far', 'stop', 'x', expect=UNAVAILABLE, pattern='bus of far cannot be reached', env=far)


class NoService(Base):
    def test_away(self):
        self.rig.stop()
        self.addCleanup(self.rig.start)
        for args in (['list'], ['stop', 'x', 'y'], ['create', '--image=base'], ['watch'], ['status']):
            err = self.said(*args, expect=UNAVAILABLE, pattern='not running here')
            self.assertEqual(err.count('\n'), 1)
        self.said('list', expect=UNAVAILABLE, pattern='cannot be reached', env={'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=/nonexistent'})


class BusctlPage(Base):
    """docs/busctl.md from top to bottom, once by busctl and once by swarmctl."""

    # What may fail when the page is run as it stands: these jobs have ended, or are not there.
    EXPECTED = re.compile(r'job (12|1) ')

    def quiet(self):
        wait(lambda: not self.json('jobs'), 'the jobs to end')

    def run_one(self, argv):
        done = subprocess.run(argv, env={**self.env, 'SYSTEMD_PAGER': ''}, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            self.assertRegex(done.stderr.lower(), self.EXPECTED, f'{argv}: {done.stderr}')
        self.quiet()

    def path_of(self, word):
        stands_for = {'ID': 'dev', 'OTHER': 'copy'}
        head, _, tail = word.rpartition('/session/')
        return self.root.manager('GetSession', 's', stands_for[tail]) if head and tail in stands_for else word

    def states(self):
        return sorted((s['Name'] if s['Name'] in ('dev', 'agent-1', 'copy') else '', s['State'], s['Generation'])
                      for s in self.json('list', '--fields=Name,State,Generation'))

    def clean(self):
        self.ctl('destroy', '-y', *(s['Name'] for s in self.json('list')))

    def test_page(self):
        by = {}
        for tool in ('busctl', 'swarmctl'):
            by[tool] = []
            for shown, calls in busctl_doc.blocks(SOURCE):
                for argv in calls if tool == 'busctl' else [[SWARMCTL, *s[1:]] for s in shown]:
                    if argv[1] in ('monitor', 'watch'):
                        continue
                    self.run_one([self.path_of(a) for a in argv])
                by[tool].append((shown, self.states()))
            self.clean()
        for one, other in zip(by['busctl'], by['swarmctl']):
            self.assertEqual(one, other)


if __name__ == '__main__':
    main()
