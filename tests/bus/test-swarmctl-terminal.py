#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""swarmctl at a terminal: questions, colours, a pager, passwords."""

import contextlib
import importlib
import os
import re
import unittest

from harness import ALICE, main
from swarmctl import DENIED, FAILED, NOT_FOUND, OK, TEMPLATES, USAGE, WRONG_STATE, SwarmctlTest


class Terminals(SwarmctlTest):
    templates = TEMPLATES + '  wide: {image: base, description: words of which there are more than a narrow terminal can hold}\n'

    @contextlib.contextmanager
    def environment_of(self, name, value):
        before = self.env.get(name)
        self.env[name] = value
        try:
            yield
        finally:
            self.env.pop(name) if before is None else self.env.update({name: before})

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
        for name in ('second', 'third'):
            self.session(name)
        terminal = self.spawn('destroy', 'asked', 'second', 'third')
        terminal.expect(r'About to destroy asked, second and third: their .* gone for good. Go on\? \[y/N\]')
        terminal.send('n\n')
        status, _, seen = terminal.end()
        self.assertEqual(status, FAILED)
        self.assertRegex(seen, r'(?m)^Nothing was done\.\r?$')
        self.assertEqual(seen.count('[y/N]'), 1)
        self.said('destroy', 'asked', 'nope', expect=NOT_FOUND, pattern='nope')
        self.assertEqual([self.state(s) for s in ('asked', 'second')], ['running', 'running'])
        terminal = self.spawn('destroy', 'asked', 'third')
        terminal.expect(r'\[y/N\]')
        terminal.send('YES\n')
        self.assertEqual(terminal.end()[0], OK)
        for name in ('asked', 'third'):
            self.said('status', name, expect=NOT_FOUND, pattern=name)

    def test_nothing_is_asked_that_will_be_refused(self):
        self.session('sure')
        for _ in range(2):
            self.ctl('snapshot', 'sure')
        for arguments, expected, pattern in (
                (['restore', 'sure', '--generation=1'], WRONG_STATE, 'is running'),
                (['restore', 'nope', '--generation=1'], NOT_FOUND, 'no session "nope"'),
                (['delete-snapshot', 'sure', '7'], NOT_FOUND, 'no generation 7'),
                (['delete-snapshot', 'nope', '7'], NOT_FOUND, 'no session "nope"')):
            status, _, seen = self.spawn(*arguments).end()
            self.assertEqual(status, expected, seen)
            self.assertRegex(seen, pattern)
            self.assertNotIn('[y/N]', seen)
            self.assertEqual(seen.count('\n'), 1)
        self.session('other')
        for name in ('sure', 'other'):
            self.ctl('snapshot', name)
            self.ctl('hibernate', name)
        terminal = self.spawn('restore', 'sure', 'other', '--generation=1')
        terminal.expect(r'About to restore sure and other: generation 1 is older than the newest of each, .* Go on\? \[y/N\]')
        terminal.send('n\n')
        status, _, seen = terminal.end()
        self.assertEqual((status, seen.count('[y/N]')), (FAILED, 1))
        terminal = self.spawn('delete-snapshot', 'sure', '1')
        terminal.expect(r'\[y/N\]')
        terminal.send('n\n')
        self.assertEqual(terminal.end()[0], FAILED)

    def test_end_of_input_is_no(self):
        self.session('eof')
        terminal = self.spawn('destroy', 'eof')
        terminal.expect(r'\[y/N\]')
        terminal.send('\x04')
        status, _, seen = terminal.end()
        self.assertEqual(status, FAILED)
        self.assertRegex(seen, r'\[y/N\] \r\nNothing was done')

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
        for name, value in (('NO_COLOR', '1'), ('SYSTEMD_COLORS', 'no'), ('TERM', 'dumb')):
            with self.environment_of(name, value):
                self.assertNotIn('\033[', self.spawn('list', '--no-pager', streams=streams).end()[2])
        with self.environment_of('SYSTEMD_COLORS', 'yes'):
            self.assertIn('\033[32mrunning', self.spawn('list', streams=()).end()[1])

    def test_what_is_cut_is_marked(self):
        def wide(**environment):
            with contextlib.ExitStack() as stack:
                for name, value in environment.items():
                    stack.enter_context(self.environment_of(name, value))
                return self.spawn('templates', '--no-pager', *more, streams=('stdin', 'stdout', 'stderr'), columns=75).end()[2]
        more = []
        self.assertRegex(wide(), r'wide .* words\b.*…\r\n')
        self.assertRegex(wide(LC_ALL='C'), r'wide .* words\b.*\.\.\.\r\n')
        more = ['--full']
        self.assertRegex(wide(), r'can hold\r\n')

    def test_columns(self):
        """As for systemd's tools, $COLUMNS counts for a terminal and for a pipe."""
        def longest(text):
            return max(len(line) for line in re.sub('\033\\[[0-9;]*m', '', text).splitlines())
        self.assertLessEqual(longest(self.ctl('templates', env={'COLUMNS': '75'})[0]), 75)
        self.assertGreater(longest(self.ctl('templates', env={'COLUMNS': 'no number'})[0]), 75)
        with self.environment_of('COLUMNS', '75'):
            terminal = self.spawn('templates', '--no-pager', streams=('stdin', 'stdout', 'stderr'), columns=200)
            self.assertLessEqual(longest(terminal.end()[2]), 75)

    def test_pager(self):
        pager = self.rig.dir / 'pager'
        pager.write_text('#!/bin/sh\necho paged "$#"\nexec cat\n')
        pager.chmod(0o755)
        self.env['PAGER'] = str(pager)
        self.addCleanup(self.env.pop, 'PAGER')
        streams = ('stdin', 'stdout', 'stderr')
        self.assertRegex(self.spawn('nodes', streams=streams).end()[2], r'(?s)^paged.*fake-1.*2 nodes listed')
        self.assertNotIn('paged', self.spawn('nodes', '--no-pager', streams=streams).end()[2])
        self.assertNotIn('paged', self.ctl('nodes')[0])
        self.env['PAGER'] = f'{pager} -F  -R'
        self.assertRegex(self.spawn('nodes', streams=streams).end()[2], r'(?s)^paged 2.*fake-1')
        pager.write_text('#!/bin/sh\necho "$LESS,$LESSCHARSET,$LESSSECURE"\nexec cat\n')
        self.assertRegex(self.spawn('nodes', streams=streams).end()[2], r'^FRSXMK,utf-8,1\r\n')
        with self.environment_of('SYSTEMD_LESS', 'FRX'), self.environment_of('SYSTEMD_LESSCHARSET', 'latin1'):
            self.assertRegex(self.spawn('nodes', streams=streams).end()[2], r'^FRX,latin1,1\r\n')
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
class PasswordPrompt(SwarmctlTest):
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


if __name__ == '__main__':
    main()
