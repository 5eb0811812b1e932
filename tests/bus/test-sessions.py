# SPDX-License-Identifier: LGPL-2.1-or-later
"""What swarm-orchestrator-sessions.service runs before Docker stops and when it is there again. Docker stops when that has
ended, so nothing but the sessions themselves may keep it from saving them."""

import re

from harness import BUILD, main
from swarmctl import *


class Sessions(SwarmctlTest):
    def setUp(self):
        super().setUp()
        self.calls = 0
        self.ctl('create', 'one', '--image=base')
        self.ctl('create', 'two', '--image=base')
        self.addCleanup(self.ctl, 'destroy', '-y', 'one', 'two')

    def run_script(self, verb, fail_call=0, expect=0):
        """`fail_call`: this call of swarmctl, from 1 on, finds nobody who answers."""
        rig = self.rig.dir
        (rig / 'calls').write_text('0')
        wrapper = rig / 'swarmctl'
        wrapper.write_text(f'#!/bin/sh\nn=$(($(cat {rig}/calls) + 1))\necho $n >{rig}/calls\n'
                           f'[ $n -ne {fail_call} ] || exit {UNAVAILABLE}\nexec {SWARMCTL} "$@"\n')
        wrapper.chmod(0o755)
        script = rig / 'sessions'
        script.write_text(re.sub(r'[\w/.-]+/swarmctl(?= )', str(wrapper), (BUILD / 'systemd/swarm-orchestrator-sessions').read_text()))
        state = rig / 'sessions-state'
        state.mkdir(exist_ok=True)
        done = subprocess.run(['sh', str(script), verb], env={**self.env, 'STATE_DIRECTORY': str(state)}, capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        self.calls = int((rig / 'calls').read_text())
        return done.stderr

    def states(self):
        return [self.state(s) for s in ('one', 'two')]

    def test_save_and_resume(self):
        self.run_script('save')
        self.assertEqual(self.states(), ['hibernated'] * 2)
        self.run_script('resume')
        self.ctl('watch', 'one', 'two', '--until=running', '--timeout=20')
        self.run_script('resume')
        self.assertEqual(self.calls, 0)

    def test_nobody_answers_for_a_moment(self):
        self.run_script('save')
        calls = self.calls
        self.assertGreater(calls, 4)
        for call in range(1, calls + 1):
            with self.subTest(call=call):
                self.ctl('start', 'one', 'two')
                self.run_script('save', fail_call=call)
                self.assertEqual(self.states(), ['hibernated'] * 2)

    def test_full_disk(self):
        """What runs cannot be noted; it is saved all the same."""
        (self.rig.dir / 'sessions-state').mkdir(exist_ok=True)
        note = self.rig.dir / 'sessions-state/running'
        note.unlink(missing_ok=True)
        note.symlink_to('/dev/full')
        self.addCleanup(note.unlink)
        self.assertRegex(self.run_script('save'), 'cannot be noted, so they are not resumed by themselves: [0-9a-z]{12} [0-9a-z]{12}')
        self.assertEqual(self.states(), ['hibernated'] * 2)


if __name__ == '__main__':
    main()
