# SPDX-License-Identifier: LGPL-2.1-or-later
"""The orchestrator's bus interface by busctl, so that every test is also a proof that busctl can do it."""

import json
import subprocess

from waiting import wait_for

NAME = "org.swarm.Orchestrator"
ROOT = "/org/swarm/Orchestrator"
MANAGER = NAME + ".Manager"
SESSION = NAME + ".Session"
JOB = NAME + ".Job"

ENDED = ("done", "failed", "canceled", "interrupted")


class BusError(Exception):
    """What busctl printed: the sentence of the error, without its name."""


def unpack(value):
    """Variants of busctl's JSON become their values."""
    if isinstance(value, dict):
        if set(value) == {"type", "data"}:
            return unpack(value["data"])
        return {k: unpack(v) for k, v in value.items()}
    if isinstance(value, list):
        return [unpack(v) for v in value]
    return value


def _words(signature, value):
    if signature.startswith("a{"):
        words = [str(len(value))]
        for k, v in value.items():
            words += [str(k)] + (_variant(v) if signature == "a{sv}" else [str(v)])
        return words
    if signature.startswith("a"):
        return [str(len(value))] + [str(v) for v in value]
    if signature == "b":
        return ["true" if value else "false"]
    return [str(value)]


def _variant(value):
    """An option: (signature, value), or a str, bool or float by itself, or an int as t."""
    if isinstance(value, tuple):
        return [value[0]] + _words(*value)
    for kind, signature in ((bool, "b"), (str, "s"), (int, "t"), (float, "d")):
        if isinstance(value, kind):
            return [signature] + _words(signature, value)
    raise TypeError(f"no D-Bus type for {value!r}")


class Bus:
    """`prefix` goes before busctl, for a bus that only a process elsewhere reaches or another user."""

    def __init__(self, address=None, prefix=(), timeout=25):
        self.address = address
        self.prefix = list(prefix)
        self.timeout = timeout

    def busctl(self, *words, check=True):
        command = self.prefix + ["busctl", f"--address={self.address}" if self.address else "--system",
                                 "--json=short", f"--timeout={self.timeout}"] + [str(w) for w in words]
        p = subprocess.run(command, capture_output=True, text=True, timeout=self.timeout + 30, stdin=subprocess.DEVNULL)
        if p.returncode != 0:
            if check:
                raise BusError(p.stderr.strip().removeprefix("Call failed: "))
            return None
        return json.loads(p.stdout) if p.stdout.strip() else None

    def call(self, path, interface, method, signature="", *arguments):
        words = []
        if signature:
            words.append(signature)
            for s, a in zip(_split(signature), arguments, strict=True):
                words += _words(s, a)
        reply = self.busctl("call", "--", NAME, path, interface, method, *words)
        data = unpack(reply["data"]) if reply else []
        return data[0] if len(data) == 1 else data

    def manager(self, method, signature="", *arguments):
        return self.call(ROOT, MANAGER, method, signature, *arguments)

    def properties(self, path, interface):
        return self.call(path, "org.freedesktop.DBus.Properties", "GetAll", "s", interface)

    def answers(self):
        """Whether the service has its name; does not activate it."""
        reply = self.busctl("call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                            "NameHasOwner", "s", NAME, check=False)
        return bool(reply and unpack(reply["data"])[0])

    # ---- sessions

    def create(self, name, image, **options):
        """→ path of the session, path of the job."""
        return self.manager("CreateSession", "sa{sv}t", name, {"image": image, **options}, 0)

    def verb(self, verb, session, **options):
        """A verb by its name on the manager: "Hibernate" … → path of the job."""
        return self.manager(f"{verb}Session", "sa{sv}t", session, options, 0)

    def sessions(self, *fields, **filters):
        options = dict(filters)
        if fields:
            options["fields"] = ("as", list(fields))
        rows, after = [], ""
        while True:
            page, after = self.manager("ListSessions", "a{sv}t", {**options, **({"after": after} if after else {})}, 0)
            rows += page
            if not after:
                return rows

    def session(self, name):
        """Its properties; None if there is none."""
        try:
            return self.properties(self.manager("GetSession", "s", name), SESSION)
        except BusError:
            return None

    def state(self, name):
        s = self.session(name)
        return s["State"] if s else None

    # ---- jobs

    def job(self, path):
        return self.properties(path, JOB)

    def jobs(self, **filters):
        return self.manager("ListJobs", "a{sv}t", filters, 0)[0]

    def wait_job(self, path, seconds=60.0):
        """→ the properties of the job when it has ended."""
        last = {}

        def ended():
            last.update(self.job(path))
            return last if last["State"] in ENDED else None
        return wait_for(ended, lambda: f"job {path} to end; it is {last.get('State')}, {last.get('Stage')!r}", seconds)

    def do(self, verb, session, seconds=60.0, **options):
        """A verb to its end, which must be a success."""
        job = self.wait_job(self.verb(verb, session, **options), seconds)
        assert job["State"] == "done", f"{verb} of {session}: {job['State']}: {job['ErrorMessage']}"
        return job

    def create_running(self, name, image, seconds=60.0, **options):
        path, job = self.create(name, image, **options)
        end = self.wait_job(job, seconds)
        assert end["State"] == "done", f"create of {name}: {end['State']}: {end['ErrorMessage']}"
        return path


def _split(signature):
    """Complete types of a signature."""
    types, i = [], 0
    while i < len(signature):
        k = i
        while signature[k] == "a":
            k += 1
        if signature[k] in "({":
            depth = 0
            while True:
                depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(signature[k], 0)
                if depth == 0:
                    break
                k += 1
        types.append(signature[i:k + 1])
        i = k + 1
    return types
