# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs named cases one after another and prints TAP."""

import argparse
import os
import sys
import time
import traceback


class Skip(Exception):
    """A case, or all of them, cannot run here; the text says why."""


def arguments(description, **more):
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--build", required=True, help="the build folder")
    p.add_argument("--only", action="append", default=[], metavar="TEXT", help="only cases whose name contains TEXT")
    p.add_argument("--keep", action="store_true", help="leave everything as it is at the end")
    for name, kwargs in more.items():
        p.add_argument("--" + name.replace("_", "-"), **kwargs)
    return p.parse_args()


def _comment(text):
    for line in text.rstrip().splitlines():
        print(f"#   {line}")


class Run:
    """`after` is called after each case, with its name; what it raises fails the case. `explain` returns text that is
    printed with a failure, such as the end of a log."""

    def __init__(self, only=(), after=None, explain=None):
        self.only, self.after, self.explain = only, after, explain
        self.n = self.failed = 0
        self.began = time.monotonic()

    def wants(self, name):
        return not self.only or any(text in name for text in self.only)

    def case(self, name, function, *args):
        """→ whether it passed."""
        if not self.wants(name):
            return True
        self.n += 1
        began = time.monotonic()
        try:
            function(*args)
            if self.after:
                self.after(name)
        except Skip as e:
            print(f"ok {self.n} - {name} # SKIP {e}", flush=True)
            return True
        except Exception as e:  # pylint: disable=broad-except
            self.failed += 1
            print(f"not ok {self.n} - {name} ({time.monotonic() - began:.1f} s)")
            _comment(str(e) if isinstance(e, AssertionError) and str(e) else traceback.format_exc())
            if isinstance(e, AssertionError) and e.__traceback__:
                _comment("at " + ", ".join(f"{os.path.basename(f.filename)}:{f.lineno}" for f in traceback.extract_tb(e.__traceback__)[1:]))
            if self.explain:
                _comment(self.explain())
            sys.stdout.flush()
            return False
        print(f"ok {self.n} - {name} ({time.monotonic() - began:.1f} s)", flush=True)
        return True

    def end(self):
        print(f"1..{self.n}")
        print(f"# {self.n - self.failed} of {self.n} passed in {time.monotonic() - self.began:.1f} s", flush=True)
        return 1 if self.failed else 0


def skip_all(why):
    print(f"1..0 # SKIP {why}")
    return 0
