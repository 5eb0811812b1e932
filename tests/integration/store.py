# SPDX-License-Identifier: LGPL-2.1-or-later
"""The orchestrator's store, read-only."""

import os
import shutil
import sqlite3
import tempfile

from waiting import wait_for


class Row(dict):
    __getattr__ = dict.__getitem__


class Store:
    def __init__(self, sessions, ended, snapshots, jobs):
        self.sessions = sessions        # living, by id
        self.ended = ended              # archived, by id
        self.snapshots = snapshots      # all
        self.jobs = jobs                # all

    def generations(self, session):
        return [s for s in self.snapshots if s.session == session]


def find(state_dir):
    for name in sorted(os.listdir(state_dir)) if os.path.isdir(state_dir) else []:
        path = os.path.join(state_dir, name)
        if os.path.isfile(path):
            with open(path, "rb") as f:
                if f.read(16) == b"SQLite format 3\0":
                    return path
    return None


def _read(path):
    db = sqlite3.connect(path)
    try:
        db.row_factory = lambda cursor, values: Row(zip((c[0] for c in cursor.description), values))
        assert db.execute("PRAGMA integrity_check").fetchone()["integrity_check"] == "ok", f"{path} is damaged"
        sessions = db.execute("SELECT * FROM sessions").fetchall()
        return Store({s.id: s for s in sessions if not s.ended_usec}, {s.id: s for s in sessions if s.ended_usec},
                     db.execute("SELECT * FROM snapshots").fetchall(), db.execute("SELECT * FROM jobs").fetchall())
    finally:
        db.close()


def _stamp(path):
    stamps = []
    for suffix in ("", "-wal"):
        try:
            st = os.stat(path + suffix)
            stamps.append((st.st_size, st.st_mtime_ns, st.st_ino))
        except FileNotFoundError:
            stamps.append(None)
    return stamps


def load(state_dir):
    """Of a daemon that runs or not. One that is not there yet is empty. The service locks its store for itself alone, so
    this reads a copy of file and log, taken while neither changed."""
    path = find(state_dir)
    if not path:
        return Store({}, {}, [], [])
    with tempfile.TemporaryDirectory() as tmp:
        copy = os.path.join(tmp, "copy")

        def taken():
            before = _stamp(path)
            for suffix, stamp in zip(("", "-wal"), before):
                if stamp:
                    shutil.copyfile(path + suffix, copy + suffix)
                elif os.path.exists(copy + suffix):
                    os.unlink(copy + suffix)
            return _stamp(path) == before
        wait_for(taken, f"{path} to be quiet for a copy", 10, 0.005)
        return _read(copy)
