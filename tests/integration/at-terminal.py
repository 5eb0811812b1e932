#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""at-terminal.py UID ANSWER COMMAND...: runs a command as that user at a terminal of its own, as a person would, and
answers every question for a password. Prints what the terminal showed; the exit status is the command's."""

import os
import pty
import sys
import termios
import time

uid, answer, command = sys.argv[1], sys.argv[2], sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp('setpriv', ['setpriv', '--reuid', uid, '--regid', uid, '--clear-groups', *command])
shown = b''
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:     # EIO: the last program has closed it
        break
    shown += piece
    if shown.endswith(b'Password: '):
        # Who asks discards what was typed before the echo was off.
        while termios.tcgetattr(terminal)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(terminal, answer.encode() + b'\n')
        shown += b'\n'
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(shown)
sys.exit(status)
