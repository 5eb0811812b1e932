#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""swarmctl against the daemon with the provider in memory: verbs, what they say, exit statuses."""

import contextlib
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import threading
import unittest

import busctl_doc
from harness import ALICE, BOB, Bus, CONFIG, NAME, Rig, SOURCE, V, main, wait
from swarmctl import DENIED, FAILED, NOT_FOUND, SWARMCTL, UNAVAILABLE, USAGE, WRONG_STATE, SwarmctlTest


class Verbs(SwarmctlTest):
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
        for arguments in (['--image=base'], ['', '--image=base']):
            out, err = self.ctl('create', '--no-block', *arguments)
            self.assertRegex(out, r'^[a-z][-a-z0-9]*\n$')
            self.assertRegex(err, fr'^Job [0-9]+ on {out.strip()} is under way\.\n$')
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
        self.said('stop', 'gen', 'nope', '--discard', expect=NOT_FOUND, pattern='^There is no session "nope"')
        self.said('stop', 'gen', 'gen', '--discard', expect=USAGE, pattern='stop gen and gen.*their last generations.*--yes')
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
        self.said('stop', 'X y', 'nope', expect=USAGE, pattern='(?m)^"X y" is neither .*$')
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
        self.said('start', 'here', expect=WRONG_STATE, pattern='running.* nothing to do')
        self.said('create', 'x', '--image=base', '--idle-timeout=5', expect=USAGE, pattern=r'idle_timeout_usec.* \(5s\);')
        self.said('list', '--fields=Frob', expect=USAGE, pattern='Frob')
        self.said('list', '--all', '--template=nope', expect=NOT_FOUND, pattern='no template "nope".* Known are: development')
        self.said('list', '--provider=nope', expect=NOT_FOUND, pattern='Known are: fake')
        self.said('list', '--node=nope', expect=NOT_FOUND, pattern='Known are: fake-1, fake-2')
        self.said('nodes', '--provider=nope', expect=NOT_FOUND, pattern='Known are: fake')
        self.said('jobs', '--session=nope', expect=NOT_FOUND, pattern='no session "nope"')
        self.said('jobs', '1', '--state=done', expect=USAGE, pattern="'--state' means nothing to 'jobs JOB'.*'swarmctl jobs --help'")
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
                (['--frob'], "'--frob'.*'swarmctl VERB --help'"), (['stop', '--frob'], "'--frob'.*'swarmctl stop --help'"),
                (['jobs', 'x'], "'x'"), (['watch', '--until=running'], 'name the sessions'),
                (['-H', '', 'list'], '--host'), (['list', '--limit=0'], "^--limit: '0'"), (['kill', 'x', '-s', 'NOPE'], '^--signal:'), (['list', '--label=a', '--label=b'], 'one --label')):
            self.said(*args, expect=USAGE, pattern=pattern)

    def test_what_the_bus_does_not_carry(self):
        """Said before the first of several is begun."""
        self.session('plain')
        bad = os.fsdecode(b'gr\xfcn')
        for args, pattern in (
                (['stop', 'plain', bad], 'not valid UTF-8'), (['create', bad, '--image=base'], 'not valid UTF-8'),
                (['create', '--image=base', '--', bad], 'not valid UTF-8'), (['list', f'--state={bad}'], '^--state: '),
                (['create', '--image=base', f'--env=A={bad}'], '^--env: '), (['create', '--image=base', '--env=A'], "^--env: 'A' is set here"),
                (['create', '--image=base', '--env-file=-'], '^-:2: this is not valid UTF-8'), (['show', 'plain\ufdd0'], 'not valid UTF-8'),
                (['create', '--image=base', '--env='], '^--env: .* write NAME=VALUE or NAME')):
            self.said(*args, expect=USAGE, pattern=pattern, env={'A': bad}, stdin=f'B=1\nA={bad}\n')
        self.assertEqual(self.state('plain'), 'running')

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
        self.assertEqual(self.json('templates', 'development')['CPUReservationPercent'], None)
        self.assertRegex(self.ctl('templates', 'small')[0], r'(?s)% of memory reserved: 0\n.* Health check: CMD, true\n +Interval: 30s\n +Retries: 7\n')
        self.session('looked-at')
        self.assertRegex(self.ctl('status')[0], r'Sessions: 1 of at most \d+: 1 running\n +Jobs: 0 under way\n.*\n +CPUs: sessions may use 2, ready nodes have')
        shown, _ = self.ctl('describe', 'looked-at')
        self.assertRegex(shown, r'(?s) Node: fake-[12]\n.* Limits: 2 CPUs \(0 reserved\), 4.0G of memory .* Created: .* Last activity: .* Idle timeout: 2h\n')
        self.assertNotIn('USec', shown + self.ctl('jobs', '1')[0])
        self.assertNotRegex(self.ctl('nodes')[0], r' ID ')
        self.assertRegex(self.ctl('nodes', '--full')[0], r' ID ')
        self.assertEqual(self.ctl('log-level', 'notice'), ('', ''))
        self.assertEqual(self.ctl('log-level')[0], 'notice\n')
        self.assertEqual(self.json('log-level'), 'notice')
        self.ctl('log-level', 'debug')

    def test_reload_tells_what_is_wrong(self):
        self.assertEqual(self.ctl('reload'), ('', ''))
        self.rig.configure(CONFIG + '[Frob]\nA=1\n')
        self.addCleanup(self.rig.configure, CONFIG)
        self.said('reload', expect=FAILED, pattern='orchestrator.conf:')


class Authorization(SwarmctlTest):
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


class Hundreds(SwarmctlTest):
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


class Completion(SwarmctlTest):
    """What bash offers for a line that ends at the cursor; as readline does it, "=" is a word of its own."""
    SCRIPT = SOURCE / 'tools/swarmctl/completion/swarmctl.bash'

    def words_of(self, *shell):
        env = {**self.env, 'PATH': f'{os.path.dirname(SWARMCTL)}:{self.env["PATH"]}'}
        done = subprocess.run(shell, env=env, capture_output=True, text=True, timeout=60, check=True)
        self.assertEqual(done.stderr, '')
        return done.stdout.split()

    def offers(self, line):
        words = re.findall(r'=|[^ =]+', line) + ([''] if line[-1] in ' =' else [])
        if words[-2:] == ['=', '']:
            words.pop()
        script = f"""compopt() {{ :; }}; . {shlex.quote(str(self.SCRIPT))}
            COMP_WORDS=({' '.join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}
            _swarmctl; printf '%s\\n' "${{COMPREPLY[@]}}" """
        return self.words_of('bash', '-c', script)

    def test_lines(self):
        self.session('saved')
        self.ctl('snapshot', 'saved')
        self.ctl('snapshot', 'saved')
        for line, expected in (
                ('swarmctl hib', ['hibernate']), ('swarmctl -q stop s', ['saved']), ('swarmctl create --template=', ['development', 'small']),
                ('swarmctl create -t d', ['development']), ('swarmctl list --state=runn', ['running']),
                ('swarmctl list --state=running --no-l', ['--no-legend']), ('swarmctl restore saved --gen', ['--generation=']),
                ('swarmctl restore saved --generation=', ['2', '1']), ('swarmctl delete-snapshot ', ['saved']),
                ('swarmctl delete-snapshot saved ', ['2', '1']), ('swarmctl watch saved --timeout=', []),
                ('swarmctl show saved --fields=', []), ('swarmctl --json=sh', ['short']),
                ('swarmctl exec ', ['saved']), ('swarmctl exec -e A=1 -u x s', ['saved']), ('swarmctl exec saved ', []), ('swarmctl exec saved ls -t ', []),
                ('swarmctl shell --us', ['--user=']), ('swarmctl logs -t s', ['saved']), ('swarmctl logs saved ', []),
                ('swarmctl logs saved --until=n', ['now']), ('swarmctl logs saved --since=', ['today', 'yesterday']),
                ('swarmctl kill saved -s SIGUSR', ['SIGUSR1', 'SIGUSR2'])):
            self.assertEqual(self.offers(line), expected, line)

    def zsh_offers(self, line):
        """What stands before the cursor as zsh has it: words, and the beginning of the last one."""
        words = line.split(' ')
        script = f"""compset() {{ PREFIX=${{PREFIX#*=}} }}; compadd() {{ shift; offered=(${{(M)@:#$PREFIX*}}) }}
            words=({' '.join(map(shlex.quote, words))}) CURRENT={len(words)} PREFIX={shlex.quote(words[-1])} offered=()
            . {shlex.quote(str(SOURCE / 'tools/swarmctl/completion/_swarmctl'))}; print -l -- $offered"""
        return self.words_of('zsh', '-f', '-c', script + '; true')

    @unittest.skipUnless(shutil.which('zsh'), 'needs zsh')
    def test_lines_of_zsh(self):
        self.session('saved')
        self.ctl('snapshot', 'saved')
        self.ctl('snapshot', 'saved')
        for line, expected in (
                ('swarmctl hib', ['hibernate']), ('swarmctl -q stop s', ['saved']), ('swarmctl create --template=', ['development', 'small']),
                ('swarmctl create -t d', ['development']), ('swarmctl list --state=runn', ['running']),
                ('swarmctl list --state running --no-l', ['--no-legend']), ('swarmctl restore saved --gen', ['--generation']),
                ('swarmctl restore saved --generation=', ['2', '1']), ('swarmctl restore saved --generation ', ['2', '1']),
                ('swarmctl restore -q saved --generation ', ['2', '1']), ('swarmctl delete-snapshot ', ['saved']),
                ('swarmctl delete-snapshot saved ', ['2', '1']), ('swarmctl --json=sh', ['short']), ('swarmctl --json show ', ['saved']),
                ('swarmctl exec ', ['saved']), ('swarmctl exec -e A=1 -u x s', ['saved']), ('swarmctl exec saved ', []), ('swarmctl exec saved ls -t ', []),
                ('swarmctl shell --us', ['--user']), ('swarmctl logs -t s', ['saved']), ('swarmctl logs saved ', []),
                ('swarmctl logs saved --until=n', ['now']), ('swarmctl logs saved --since ', ['today', 'yesterday']),
                ('swarmctl kill -s TERM s', ['saved']), ('swarmctl kill saved -s SIGUSR', ['SIGUSR1', 'SIGUSR2'])):
            self.assertEqual(self.zsh_offers(line), expected, line)


class LeftOut(SwarmctlTest):
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
        self.assertRegex(self.ctl('snapshots', 'odd', '--full')[0], r'(?m)TAG$\n.*-g1-[0-9a-z]{12}$')
        # To others, who may not see the generations, nothing is said.
        self.rig.polkit.decide = lambda q: 'no' if q['action'] == 'manage' else 'yes'
        self.assertEqual(self.ctl('wait', job, uid=BOB), ('', ''))


class OtherMachine(SwarmctlTest):
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


class NoService(SwarmctlTest):
    def test_away(self):
        self.rig.stop()
        self.addCleanup(self.rig.start)
        for args in (['list'], ['stop', 'x', 'y'], ['create', '--image=base'], ['watch'], ['status']):
            err = self.said(*args, expect=UNAVAILABLE, pattern='not running here')
            self.assertEqual(err.count('\n'), 1)
        self.said('list', expect=UNAVAILABLE, pattern='cannot be reached', env={'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=/nonexistent'})

    def test_not_to_be_started(self):
        """What the bus says where systemd refuses to start the unit, or is given up."""
        self.rig.stop()
        self.addCleanup(self.rig.start)
        said = {'org.freedesktop.DBus.Error.FileExists': "is masked.*'systemctl unmask swarm-orchestratord'",
                'org.freedesktop.systemd1.UnitMasked': "is masked.*'systemctl unmask swarm-orchestratord'",
                'org.freedesktop.DBus.Error.TimedOut': "did not come up.*'journalctl -u swarm-orchestratord'"}
        with Bus(self.rig.path) as bus:
            bus.driver('RequestName', 'su', NAME, 4)
            for error, pattern in said.items():
                answer = threading.Thread(target=lambda e=error: bus.answer_error(bus.wait_call(20), e, 'an error of the bus'))
                answer.start()
                self.said('list', expect=UNAVAILABLE, pattern=pattern)
                answer.join()

    def test_output_that_cannot_be_written(self):
        self.session('unwritten')
        for arguments in (['list'], ['status', 'unwritten'], ['--help'], ['watch', 'unwritten', '--timeout=20'],
                          ['create', 'unread', '--image=base'], ['snapshot', 'unwritten', '--json']):
            with open('/dev/full', 'w') as full:
                done = subprocess.run([SWARMCTL, *arguments], env=self.env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (FAILED, 'The output cannot be written: No space left on device.\n'), arguments)
        self.ctl('destroy', '-y', 'unread')


class BusctlPage(SwarmctlTest):
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
