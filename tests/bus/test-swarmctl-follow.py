#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How swarmctl follows jobs and sessions: to their end, until the time is over, through the end of the service and of the bus."""

import json
import os
import re
import signal
import subprocess
import time

from harness import JOB, main, wait
from swarmctl import DETACHED, FAILED, NOT_FOUND, OK, SWARMCTL, TIMEOUT, USAGE, WRONG_STATE, SwarmctlTest


class Following(SwarmctlTest):
    def test_no_block(self):
        self.session('later')
        self.slow(capture=10000000)
        out, err = self.ctl('hibernate', 'later', '--no-block')
        self.assertEqual(out, '')
        job = re.match(r'Job (\d+) on later is under way.\n$', err).group(1)
        self.assertEqual(self.state('later'), 'hibernating')
        self.assertEqual([j['Session'] for j in self.json('jobs')], [self.json('show', 'later')['Id']])
        self.rig.fake(latency_usec={'capture': 0})      # what is left of its steps
        self.ctl('wait', job)
        self.assertEqual(self.state('later'), 'hibernated')
        self.assertEqual(self.ctl('restore', 'later', '--no-block', '-q'), ('', ''))

    def test_waiting(self):
        self.session('patient')
        self.slow(capture=30000000)
        _, err = self.ctl('hibernate', 'patient', '--no-block')
        job = re.search(r'\d+', err).group()
        self.said('wait', job, '--timeout=500ms', expect=TIMEOUT, pattern=f"^The time is over: job {job} on patient goes on. 'swarmctl cancel {job}' cancels it, 'swarmctl wait {job}' follows it again.\n$")
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
        self.slow(capture=10000000)
        terminal = self.spawn('hibernate', 'wiped')
        terminal.expect('hibernate wiped')
        self.rig.fake(latency_usec={'capture': 0})      # what is left of its steps
        status, out, seen = terminal.end()
        self.assertEqual((status, out), (OK, ''))
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


class Bus(SwarmctlTest):
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
            self.rig.wait_bus()
            self.rig.start()
            _, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, FAILED, err)
        self.assertEqual(self.job_of('cut')['State'], 'interrupted')


class Watching(SwarmctlTest):
    def watch(self, *args):
        return subprocess.Popen([SWARMCTL, 'watch', *args], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, process, expect):
        out, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, expect, out + err)
        return out, err

    def test_all(self):
        self.session('there')
        process = self.watch()
        self.addCleanup(process.kill)
        self.assertIn(' there running', process.stdout.readline())
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
        self.assertRegex(self.finish(self.watch('never', '--until=hibernated', '--timeout=700ms'), TIMEOUT)[1], 'time is over')
        process = self.watch('never', '--until=hibernated')
        self.assertIn(' never running', process.stdout.readline())
        self.ctl('destroy', '-y', 'never')
        self.assertRegex(self.finish(process, WRONG_STATE)[1], 'gone')
        self.assertRegex(self.finish(self.watch('never', '--until=hibernated'), NOT_FOUND)[1], 'never')

    def test_timeout_without_a_goal(self):
        """Nothing was waited for, so nothing has failed."""
        self.session('idle')
        out, err = self.finish(self.watch('idle', '--timeout=2s'), OK)
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
        self.assertIn(' leaving running', process.stdout.readline())
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


if __name__ == '__main__':
    main()
