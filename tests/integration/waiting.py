# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waiting for a condition, with a deadline. A test never sleeps to make something true: it asks until it is."""

import time


class Timeout(AssertionError):
    """What was waited for did not come about."""


def wait_for(condition, what, seconds=20.0, interval=0.03):
    """Calls `condition` until it returns something true, and returns that. `what` ends the sentence "waited for …"; it
    may be a function that says more, asked at the end only."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            text = what() if callable(what) else what
            raise Timeout(f"waited {seconds:g} s in vain for {text}")
        time.sleep(interval)
