# SPDX-License-Identifier: LGPL-2.1-or-later
"""What swarm-orchestrator-sessions.service runs before Docker stops and when it is there again. Docker stops when that has
ended, so nothing but the sessions themselves may keep it from saving them."""

import os
import re
import signal

from harness import BUILD, main, wait
from swarmctl import *


class Sessions(SwarmctlTest):
    def setUp(self):
        super().setUp()
        self.calls = 0
        self.ctl('create', 'one', '--image=base')
        self.ctl('create', 'two', '--image=base')
        self.addCleanup(self.ctl, 'destroy', '-y', 'one', 'two')

    def run_script(self, verb, fail_call=0, expect=0):
        script = self.start_script(verb, fail_call)
        out, err = script.communicate(timeout=60)
        self.assertEqual(script.returncode, expect, out + err)
        self.calls = int((self.rig.dir / 'calls').read_text())
        return err

    def start_script(self, verb, fail_call=0):
        """`fail_call`: this call of swarmctl, from 1 on, finds nobody who answers."""
        rig = self.rig.dir
        (rig / 'calls').write_text('0')
        wrapper = rig / 'swarmctl'
        wrapper.write_text(f'#!/bin/sh\nn=$(($(cat {rig}/calls) + 1))\necho $n >{rig}/calls\n'
                           f'[ $n -ne {fail_call} ] || exit {UNAVAILABLE}\nexec {SWARMCTL} "$@"\n')
        wrapper.chmod(0o755)
        # What it does with a real systemd is tests/integration/systemd.sh's matter.
        systemctl = rig / 'systemctl'
        systemctl.write_text('#!/bin/sh\n')
        systemctl.chmod(0o755)
        script = rig / 'sessions'
        script.write_text(re.sub(r'[\w/.-]+/swarmctl(?= )', str(wrapper), (BUILD / 'systemd/swarm-orchestrator-sessions').read_text()))
        state = rig / 'sessions-state'
        state.mkdir(exist_ok=True)
        env = {**self.env, 'STATE_DIRECTORY': str(state), 'PATH': f'{rig}:{os.environ["PATH"]}'}
        return subprocess.Popen(['sh', str(script), verb], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                start_new_session=True)

    def await_call(self, n):
        """The script has made so many calls of swarmctl."""
        wait(lambda: int((self.rig.dir / 'calls').read_text() or 0) >= n, f'call {n}')

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

    def test_starts_meanwhile(self):
        """What is just coming up runs before Docker stops, so it is waited for and saved."""
        self.ctl('stop', 'two')
        for op, start in (('create', ('create', 'three', '--image=base')), ('run', ('start', 'two'))):
            with self.subTest(op=op):
                self.slow(**{op: 3000000})
                self.ctl(*start, '--no-block')
                self.assertIn(self.state(start[1]), ('new', 'placing', 'starting', 'resuming'))
                self.run_script('save')
                self.assertEqual(self.state(start[1]), 'hibernated')
        self.ctl('destroy', '-y', 'three')

    def test_still_hibernating_when_docker_is_back(self):
        """The time was up, say, before all were saved."""
        self.slow(capture=20000000)
        save = self.start_script('save')
        wait(lambda: self.states() == ['hibernating'] * 2, 'the hibernations')
        os.killpg(save.pid, signal.SIGKILL)
        save.communicate()
        resume = self.start_script('resume')
        self.await_call(2)
        self.assertIn('hibernating', self.states())
        self.rig.fake(latency_usec={'capture': 0})      # what is left of its steps
        out, err = resume.communicate(timeout=60)
        self.assertEqual(resume.returncode, 0, out + err)
        self.ctl('watch', 'one', 'two', '--until=running', '--timeout=20')

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
