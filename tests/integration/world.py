# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions as a test sees them, whatever runs them."""


class World:
    """Wants `bus`, and `expect.files`: what the test has written, by the session's id."""

    def id_of(self, name):
        return self.bus.session(name)["Id"]

    def forget_files(self, name):
        self.expect.files.pop(self.id_of(name), None)

    def names_of_files(self):
        rows = {s["Id"]: s["Name"] for s in self.bus.sessions("Id", "Name")}
        return {rows.get(i) for i in self.expect.files}

    def destroy_all(self):
        for s in self.bus.sessions("Name"):
            self.forget_files(s["Name"])
            self.bus.do("Destroy", s["Name"])
