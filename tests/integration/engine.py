# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a Docker Engine says, by its API, beside the orchestrator."""

import json
import urllib.parse

from netns import UnixConnection

SESSION_LABEL = "swarm.session"


class EngineError(Exception):
    pass


class Engine:
    def __init__(self, socket_path):
        self.socket_path = socket_path

    def request(self, method, path, body=None, ok=(200, 201, 204, 304)):
        c = UnixConnection(self.socket_path)
        try:
            c.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            r = c.getresponse()
            data = r.read()
        finally:
            c.close()
        if r.status not in ok:
            raise EngineError(f"{method} {path}: {r.status} {data.decode(errors='replace').strip()}")
        return json.loads(data) if data.strip() else None

    def get(self, path, **query):
        words = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in query.items()}
        return self.request("GET", path + ("?" + urllib.parse.urlencode(words) if words else ""))

    def answers(self):
        try:
            return bool(self.get("/version"))
        except (OSError, EngineError, ValueError):
            return False

    def services(self):
        """Those of sessions."""
        return [s for s in self.get("/services") if SESSION_LABEL in (s["Spec"].get("Labels") or {})]

    def containers(self):
        """Those of sessions, in every state, inspected."""
        found = []
        for c in self.get("/containers/json", all=1, filters={"label": [SESSION_LABEL]}):
            try:
                found.append(self.get(f"/containers/{c['Id']}/json"))
            except EngineError:
                pass    # gone in between
        return found

    def container_of(self, session):
        """The running one of a session, inspected; None."""
        for c in self.containers():
            if c["Config"]["Labels"][SESSION_LABEL] == session and c["State"]["Running"]:
                return c
        return None
