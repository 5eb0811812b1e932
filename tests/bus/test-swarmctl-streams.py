#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Inside a session with swarmctl: shells at a terminal and without one, commands, output."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios

from harness import BOB, main, wait
from swarmctl import FAILED, OK, SWARMCTL, USAGE, WRONG_STATE, SwarmctlTest

NO_COMMAND = 255
ESCAPE = '\x1d'


def status_of(pid):
    with open(f'/proc/{pid}/status') as f:
        return f.read()


def catches(pid, signo):
    """Whether it takes the signal from a descriptor: it is blocked."""
    return int(re.search(r'SigBlk:\s*(\w+)', status_of(pid)).group(1), 16) >> (signo - 1) & 1


class Stand:
    """swarmctl on a terminal that stays when it has ended, so that one can look at how it was left."""

    def __init__(self, test, *args, rows=40, columns=100, env=None, **streams):
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns, tell=False)
        self.before = termios.tcgetattr(self.slave)
        self.flags = fcntl.fcntl(self.slave, fcntl.F_GETFL)
        self.seen = ''
        given = {name: self.slave for name in ('stdin', 'stdout', 'stderr')} | streams
        self.process = subprocess.Popen([SWARMCTL, *args], env=env or test.env, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0), **given)
        test.addCleanup(self.close)

    def resize(self, rows, columns, tell=True):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
        if tell:
            self.process.send_signal(signal.SIGWINCH)

    def read(self):
        os.set_blocking(self.master, False)
        with contextlib.suppress(BlockingIOError):
            self.seen += os.read(self.master, 65536).decode(errors='replace')
        os.set_blocking(self.master, True)
        return self.seen

    def expect(self, pattern):
        try:
            wait(lambda: re.search(pattern, self.read()), pattern)
        except TimeoutError:
            raise AssertionError(f'{pattern} is not in: {self.seen!r}') from None

    def type(self, text):
        os.write(self.master, text.encode())

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def is_as_before(self):
        return termios.tcgetattr(self.slave) == self.before and fcntl.fcntl(self.slave, fcntl.F_GETFL) == self.flags

    def end(self):
        def ended():
            self.read()
            return self.process.poll() is not None
        wait(ended, 'the end of swarmctl')
        self.read()
        return self.process.returncode

    def close(self):
        self.process.kill()
        self.process.wait()
        for fd in self.master, self.slave:
            os.close(fd)


class StreamsTest(SwarmctlTest):
    def jobs(self, session, type_):
        return self.json('jobs', f'--session={session}', '--all', f'--type={type_}')

    def job_ends(self, session, type_):
        wait(lambda: all(j['State'] not in ('queued', 'running') for j in self.jobs(session, type_)), f'the end of each {type_}')
        return self.jobs(session, type_)[0]

    def stand(self, *args, **options):
        return Stand(self, *args, **options)

    def shell(self, session, *args, **options):
        s = self.stand('shell', *args, session, **options)
        s.expect(f'Connected to session {session}. Press \\^] three times within a second')
        wait(s.is_raw, 'the terminal to be raw')
        return s


class Shells(StreamsTest):
    def test_a_shell(self):
        self.session('dev')
        s = self.shell('dev')
        self.assertEqual(self.jobs('dev', 'shell')[0]['State'], 'running')
        s.type('hello\n')
        s.expect('hello')
        s.type('size\n')
        s.expect('40x100')
        s.resize(23, 77)

        def told():
            s.type('size\n')
            return '23x77' in s.read()
        wait(told, 'the new size')
        s.type('exit 7\n')
        self.assertEqual(s.end(), 7)
        self.assertRegex(s.seen, r'(?m)^The connection to session dev is closed.\r\n$')
        self.assertTrue(s.is_as_before())
        job = self.jobs('dev', 'shell')[0]
        self.assertEqual((job['State'], job['ExitCode']), ('done', 7))

    def test_keys_go_to_the_session(self):
        """^C, ^Z, ^\\ and ^] alone, too; ^D ends what is there."""
        self.session('keys')
        s = self.shell('keys')
        for key in ('\x03', '\x1a', '\x1c', ESCAPE):
            s.type(key)
            s.expect(re.escape(key))
        s.type('\n\x04')
        self.assertEqual(s.end(), 0)
        self.assertTrue(s.is_as_before())

    def test_escape(self):
        self.session('left')
        s = self.shell('left')
        s.type(ESCAPE * 2 + 'x' + ESCAPE * 2 + '\n')
        s.expect(f'{ESCAPE * 2}x{ESCAPE * 2}')
        self.assertIsNone(s.process.poll())
        s.type(ESCAPE * 3)
        self.assertEqual(s.end(), 0)
        self.assertRegex(s.seen, r'(?m)^The connection to session left is closed.\r\n$')
        self.assertTrue(s.is_as_before())
        self.assertEqual(self.job_ends('left', 'shell')['State'], 'canceled')

    def test_signals_restore_the_terminal(self):
        self.session('hurt')
        for signo in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            s = self.shell('hurt')
            s.process.send_signal(signo)
            self.assertEqual(s.end(), 128 + signo)
            self.assertTrue(s.is_as_before(), signo)
            self.job_ends('hurt', 'shell')

    def test_stopped_and_continued(self):
        """The shell that has the terminal meanwhile leaves it as it likes it."""
        self.session('paused')
        s = self.shell('paused')
        s.process.send_signal(signal.SIGSTOP)
        wait(lambda: 'State:\tT' in status_of(s.process.pid), 'it to stand still')
        termios.tcsetattr(s.slave, termios.TCSANOW, s.before)
        s.process.send_signal(signal.SIGCONT)
        wait(s.is_raw, 'the terminal to be raw again')
        s.type('exit 3\n')
        self.assertEqual(s.end(), 3)
        self.assertTrue(s.is_as_before())

    def test_the_session_goes(self):
        self.session('gone')
        for verb, state in ('hibernate', 'hibernated'), ('stop', 'stopped'):
            s = self.shell('gone')
            self.ctl(verb, 'gone')
            self.assertEqual(s.end(), NO_COMMAND)
            self.assertRegex(s.seen, r'(?m)^(The container of session|Session).*\r$')
            self.assertTrue(s.is_as_before())
            self.assertEqual(self.state('gone'), state)
            self.ctl('start', 'gone')

    def test_the_service_goes(self):
        """It says so when it is back."""
        self.session('alone')
        s = self.shell('alone')
        self.rig.restart()
        self.assertEqual(s.end(), NO_COMMAND)
        self.assertTrue(s.is_as_before())

    def test_what_it_is_asked_for(self):
        """The terminal's name goes along if it is one; what --env= says counts more, as it comes last."""
        self.session('asked')
        s = self.stand('shell', '-u', 'dev:users', '--working-directory=/tmp', '--env=A=1', 'asked', 'show', '-u', 'x')
        self.assertEqual(s.end(), 0)
        shown = [line for line in s.seen.replace('\r', '').split('\n') if re.match('argument|env|user|directory', line)]
        self.assertEqual(shown, ['argument show', 'argument -u', 'argument x', 'env TERM=xterm', 'env A=1', 'user dev:users', 'directory /tmp'])
        for term in 'a b', '', 'x' * 65, None:
            env = {k: v for k, v in self.env.items() if k != 'TERM'} | ({} if term is None else {'TERM': term})
            s = self.stand('shell', '-q', 'asked', '--', 'show', env=env)
            self.assertEqual(s.end(), 0)
            self.assertEqual(s.seen.split(), ['argument', 'show'])

    def test_without_a_terminal(self):
        self.session('piped')
        self.assertEqual(self.ctl('shell', 'piped', stdin='one\ntwo\n'), ('one\ntwo\n', ''))
        self.assertEqual(self.ctl('shell', 'piped', stdin='one\nexit 5\n', expect=5)[0], 'one\nexit 5\n')
        self.assertNotIn('TERM', self.ctl('shell', 'piped', 'show')[0])
        large = ''.join(f'{i:>62}\n' for i in range(8000))
        self.assertEqual(self.ctl('shell', 'piped', stdin=large)[0], large)
        with open('/dev/full', 'w') as full:
            done = subprocess.run([SWARMCTL, 'shell', 'piped', 'show'], env=self.env, stdin=subprocess.DEVNULL, stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (NO_COMMAND, 'The output cannot be written: No space left on device.\n'))

    def test_nobody_reads(self):
        self.session('unread')
        read, write = os.pipe()
        p = subprocess.Popen([SWARMCTL, 'shell', 'unread'], env=self.env, stdin=subprocess.PIPE, stdout=write, stderr=subprocess.PIPE)
        os.close(write)
        p.stdin.write(b'hello\n')
        p.stdin.flush()
        self.assertEqual(os.read(read, 6), b'hello\n')
        os.close(read)                          # noticed without another word of the session
        self.assertEqual((p.communicate(timeout=60)[1], p.returncode), (b'', 128 + signal.SIGPIPE))
        self.job_ends('unread', 'shell')

    def test_refused(self):
        self.session('here')
        self.said('shell', 'nope', expect=NO_COMMAND, pattern='no session "nope"')
        self.said('shell', 'here', 'missing', expect=NO_COMMAND, pattern='no program')
        self.said('shell', '--user=x y', 'here', expect=NO_COMMAND, pattern='user')
        self.rig.polkit.decide = lambda q: 'no' if q['action'] == 'shell' else 'yes'
        self.said('shell', 'here', uid=BOB, expect=NO_COMMAND, pattern='.')
        self.rig.polkit.decide = lambda q: 'yes'
        self.ctl('stop', 'here')
        self.said('shell', 'here', expect=NO_COMMAND, pattern='here.* is stopped')
        self.said('exec', 'here', 'true', expect=NO_COMMAND, pattern='here.* is stopped')


class Commands(StreamsTest):
    def test_commands(self):
        self.session('run')
        self.assertEqual(self.ctl('exec', 'run', 'true'), ('', ''))
        self.assertEqual(self.ctl('exec', 'run', 'false', expect=1), ('', ''))
        self.assertEqual(self.ctl('exec', 'run', 'cat', stdin='a\nb\n'), ('a\nb\n', ''))
        self.assertEqual(self.ctl('exec', 'run', '--', 'cat', stdin='error\nexit 42\n', expect=42), ('error\nexit 42\n', 'error\n'))
        self.assertEqual(self.ctl('exec', '-e', 'A=1', '-u', '5', '-w', '/srv', 'run', 'show', '--lines=3', '-e', 'B=2', '--', '-H')[0].splitlines(),
                         ['argument show', 'argument --lines=3', 'argument -e', 'argument B=2', 'argument --', 'argument -H',
                          'env A=1', 'user 5', 'directory /srv'])
        self.assertEqual(self.ctl('exec', '--', 'run', 'show', '-q')[0], 'argument show\nargument -q\n')
        self.said('exec', 'run', 'missing', expect=NO_COMMAND, pattern='no program "missing"')
        self.said('exec', 'nope', 'true', expect=NO_COMMAND, pattern='no session "nope"')
        [job] = [j for j in self.jobs('run', 'execute') if j['ExitCode'] == 42]
        self.assertEqual(self.ctl('wait', str(job['Id']), expect=42), ('', ''))
        self.said('cancel', str(job['Id']), expect=WRONG_STATE, pattern='ended already')

    def test_descriptors_that_are_closed(self):
        self.session('closed')
        for closed in ('<&-', '>&-', '2>&-', '<&- >&- 2>&-'):
            done = subprocess.run(['sh', '-c', f'"$0" exec closed false {closed}', SWARMCTL], env=self.env, timeout=60, capture_output=True)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (1, b'', b''), closed)

    def test_output_to_a_socket(self):
        """Of the kind that the service takes from nobody: the client writes there itself."""
        self.session('sockets')
        for there, here in (socket.socketpair(), socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)):
            with there, here:
                done = subprocess.run([SWARMCTL, 'exec', 'sockets', 'cat'], env=self.env, input=b'one\nerror\nexit 3\n', stdout=here, stderr=here,
                                      timeout=60)
                self.assertEqual(done.returncode, 3)
                here.close()
                there.settimeout(60)
                found = b''
                while len(found) < len(b'one\nerror\nexit 3\nerror\n'):
                    found += there.recv(4096)
                self.assertEqual(sorted(found.splitlines()), [b'error', b'error', b'exit 3', b'one'])

    def test_interrupted(self):
        self.session('cut')
        for signo in signal.SIGINT, signal.SIGTERM:
            p = subprocess.Popen([SWARMCTL, 'exec', 'cut', 'cat'], env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            p.stdin.write(b'ready\n')
            p.stdin.flush()
            self.assertEqual(p.stdout.read(6), b'ready\n')
            wait(lambda pid=p.pid: catches(pid, signal.SIGINT), 'it to wait')
            p.send_signal(signo)
            self.assertEqual(p.wait(60), 128 + signo)
            self.assertEqual((p.stdout.read(), p.stderr.read()), (b'', b''))
            for f in p.stdin, p.stdout, p.stderr:
                f.close()
            job = self.job_ends('cut', 'execute')
            self.assertEqual((job['State'], job['ExitCode']), ('canceled', None))
            self.said('wait', str(job['Id']), expect=NO_COMMAND, pattern='cancel')

    def test_canceled_elsewhere(self):
        self.session('two')
        with subprocess.Popen([SWARMCTL, 'exec', 'two', 'cat'], env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            p.stdin.write(b'ready\n')
            p.stdin.flush()
            self.assertEqual(p.stdout.readline(), b'ready\n')
            self.assertEqual(self.ctl('cancel', str(self.jobs('two', 'execute')[0]['Id'])), ('', ''))
            self.assertEqual(p.wait(60), NO_COMMAND)
            self.assertRegex(p.stderr.read(), b'cancel')

    def test_nobody_reads(self):
        """As in a pipe to head: it ends, and nothing is said."""
        self.session('piped')
        with subprocess.Popen([SWARMCTL, 'exec', 'piped', 'cat'], env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            p.stdin.write(b'ready\n')
            p.stdin.flush()
            self.assertEqual(p.stdout.readline(), b'ready\n')
            p.stdout.close()
            self.assertEqual((p.stderr.read(), p.wait(60)), (b'', 128 + signal.SIGPIPE))

    def test_typed(self):
        """The terminal stays cooked, its line and its end come to the command, and it is not the command's when that is over."""
        self.session('typed')
        s = self.stand('exec', 'typed', 'cat')
        s.type('hello\n')
        s.expect('hello\r\nhello\r\n')
        self.assertFalse(s.is_raw())
        s.type('\x04')
        self.assertEqual(s.end(), 0)
        self.assertTrue(s.is_as_before())
        s = self.stand('exec', 'typed', 'cat')
        s.type('waits\n')
        s.expect('waits\r\nwaits\r\n')
        wait(lambda: catches(s.process.pid, signal.SIGINT), 'it to wait')
        s.type('\x03')
        self.assertEqual(s.end(), 128 + signal.SIGINT)
        self.assertEqual(self.job_ends('typed', 'execute')['State'], 'canceled')

    def test_killed(self):
        """What was typed at its terminal reaches the command no more."""
        self.session('killed')
        s = self.stand('exec', 'killed', 'cat')
        s.type('first\n')
        s.expect('first\r\nfirst\r\n')
        s.process.kill()
        s.process.wait()
        self.assertEqual(self.job_ends('killed', 'execute')['State'], 'done')

    def test_the_session_goes(self):
        self.session('goes')
        with subprocess.Popen([SWARMCTL, 'exec', 'goes', 'cat'], env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            p.stdin.write(b'ready\n')
            p.stdin.flush()
            self.assertEqual(p.stdout.readline(), b'ready\n')
            self.ctl('hibernate', 'goes')
            self.assertEqual(p.wait(60), NO_COMMAND)
            self.assertEqual(p.stdout.read(), b'')
            self.assertRegex(p.stderr.read(), br'^(The container of s|S)ession [^\n]*\n$')

    def test_usage(self):
        for args, pattern in (
                (['exec', 'x'], "needs a command.*'swarmctl shell x'"), (['exec'], 'more arguments'), (['shell'], 'more arguments'),
                (['logs', 'x', 'y'], 'fewer arguments'), (['logs', 'x', '--', 'y'], 'no command'),
                (['exec', '--json', 'x', 'true'], "'--json' means nothing to 'exec'"), (['shell', '-j', 'x'], "'--json' means nothing"),
                (['logs', 'x', '--json=short'], "'--json' means nothing to 'logs'"), (['exec', '--no-block', 'x', 'true'], "'--no-block' means nothing"),
                (['logs', 'x', '--user=y'], "'--user' means nothing to 'logs'"), (['shell', '--lines=1', 'x'], "'--lines' means nothing to 'shell'"),
                (['-H', 'me@far', 'shell', 'x'], "'ssh -t me@far swarmctl shell x'"), (['exec', '-H', 'far', 'x', 'ls', '-l'], "'ssh far swarmctl exec x ...'"),
                (['logs', 'x', '-H', 'far'], "'ssh far swarmctl logs x'"), (['exec', '-it', 'x', 'sh'], "'-i'"),
                (['logs', 'x', '--since=soon'], "^--since: 'soon' is not a time"), (['logs', 'x', '-n', 'few'], "^--lines: 'few'")):
            self.said(*args, expect=USAGE, pattern=pattern)


class Logs(StreamsTest):
    def lines(self, *args):
        return self.ctl('logs', 'told', *args)[0].splitlines()

    def test_logs(self):
        self.session('told')
        all_ = self.lines()
        self.assertEqual([line.split()[2:] for line in all_], [['line', str(i)] for i in range(1, 11)])
        self.assertEqual(self.lines('-n', '3'), all_[-3:])
        self.assertEqual(self.lines('--lines=all'), all_)
        self.assertEqual(self.lines('-n0'), [])
        for args, expected in (
                (['--since=-1h'], all_), (['--since', '1h ago', '--until', '+1h'], all_), (['--until=yesterday'], []), (['--since=tomorrow'], []),
                (['--since=yesterday', '--until=tomorrow'], all_), (['--until=@1.5'], []), (['--since=2020-01-01 10:00'], all_),
                (['--until=2020-01-01T10:00:00Z'], [])):
            self.assertEqual(self.lines(*args), expected, args)
        for stamped in self.lines('-t'), self.lines('--timestamps', '--since=@0'):
            self.assertEqual([re.sub(r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ', '', line) for line in stamped], all_)
            self.assertNotEqual(stamped, all_)
        self.said('logs', 'nope', expect=3, pattern='no session "nope"')
        self.said('logs', 'told', '--since=-1h', '--until=-2h', expect=USAGE, pattern='--since=')
        with open('/dev/full', 'w') as full:
            done = subprocess.run([SWARMCTL, 'logs', 'told'], env=self.env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (FAILED, 'The output cannot be written: No space left on device.\n'))

    def follow(self, *args):
        p = subprocess.Popen([SWARMCTL, 'logs', 'told', '-f', '-n1', *args], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        self.addCleanup(p.stderr.close)
        self.addCleanup(p.stdout.close)
        self.assertRegex(p.stdout.readline(), 'line 10\n')
        return p

    def test_follow(self):
        self.session('told')
        p = self.follow()
        self.rig.fake(op='write', session=self.json('show', 'told')['Id'], value=77)
        self.assertEqual(p.stdout.readline(), 'write 77\n')
        p.send_signal(signal.SIGINT)
        self.assertEqual((p.wait(60), p.stderr.read()), (OK, ''))
        p = self.follow()
        p.send_signal(signal.SIGTERM)
        self.assertEqual((p.wait(60), p.stderr.read()), (128 + signal.SIGTERM, ''))
        p = self.follow()
        p.stdout.close()                        # noticed before there is another line
        self.assertEqual((p.wait(60), p.stderr.read()), (OK, ''))
        p = self.follow()
        self.ctl('stop', 'told')
        self.assertEqual((p.wait(60), p.stderr.read()), (OK, ''))


if __name__ == '__main__':
    main()
