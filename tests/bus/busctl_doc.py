# SPDX-License-Identifier: LGPL-2.1-or-later
"""The calls of docs/busctl.md, as argument vectors, and their check against the interfaces in dbus/."""

import pathlib
import re
import shlex
import xml.etree.ElementTree as ET

BUS = "org.swarm.Orchestrator"
PATH = "/org/swarm/Orchestrator"
ALIAS = ["busctl", "call", BUS, PATH, BUS + ".Manager"]
# What systemd documents; not one of the project's own interfaces.
LOG_CONTROL = "org.freedesktop.LogControl1"


def blocks(root):
    """Yields (swarmctl lines, busctl lines) for each block of the page."""
    shown, calls = [], []
    for line in pathlib.Path(root, "docs/busctl.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("    ") and not line.startswith("    alias "):
            words = shlex.split(line)
            calls.append(ALIAS + words[1:] if words[0] == "orchestrator" else words)
        elif line.strip() and calls:
            yield shown, calls
            shown, calls = [], []
        if line.startswith("`swarmctl"):
            shown = [shlex.split(s) for s in re.findall(r"`(swarmctl[^`]*)`", line)]
    if calls:
        yield shown, calls


def interfaces(root):
    found = {}
    for file in pathlib.Path(root, "dbus").glob("*.xml"):
        for interface in ET.parse(file).getroot().iter("interface"):
            methods = {m.get("name"): "".join(a.get("type") for a in m.iter("arg") if a.get("direction") == "in")
                       for m in interface.iter("method")}
            properties = {p.get("name") for p in interface.iter("property")}
            found[interface.get("name")] = (methods, properties)
    return found


def element_length(signature):
    """Length of the first complete type."""
    if signature[0] == "a":
        return 1 + element_length(signature[1:])
    if signature[0] in "({":
        depth = 0
        for i, c in enumerate(signature):
            depth += (c in "({") - (c in ")}")
            if depth == 0:
                return i + 1
    return 1


def consume(signature, words):
    """Takes the words that a signature needs, as busctl does; raises if there are too few or they do not fit."""
    while signature:
        n = element_length(signature)
        one, signature = signature[:n], signature[n:]
        if one[0] == "a":
            inner = one[2:-1] if one[1] == "{" else one[1:]
            for _ in range(int(words.pop(0))):
                consume(inner, words)
        elif one == "v":
            consume(words.pop(0), words)
        elif one == "b":
            assert words.pop(0) in ("true", "false")
        elif one == "d":
            float(words.pop(0))
        elif one in "ynqiuxth":
            int(words.pop(0))
        else:
            words.pop(0)


GDBUS = ["gdbus", "call", "--system", "--dest", BUS, "--object-path"]


def check_gdbus(argv, known):
    """What passes descriptors. gdbus itself compares the types with those that the service tells."""
    if argv[:6] != GDBUS or not argv[6].startswith(PATH) or argv[7] != "--method":
        return "is no call of gdbus to the service"
    interface, _, member = argv[8].rpartition(".")
    if member not in known.get(interface, ({}, ()))[0]:
        return f"has the method {argv[8]}, which is not in dbus/"
    signature, n = known[interface][0][member], 0
    while signature:
        signature, n = signature[element_length(signature):], n + 1
    return None if len(argv) == 9 + n else f"has {len(argv) - 9} arguments, dbus/ has {n}"


def check_call(argv, known):
    """A complaint, or None."""
    if argv[0] == "gdbus":
        return check_gdbus(argv, known)
    if argv[0] != "busctl" or argv[2] != BUS:
        return "is no call of busctl to the service"
    if argv[1] == "monitor":
        return None
    path, interface = argv[3], argv[4]
    if not path.startswith(PATH) and path != "/org/freedesktop/LogControl1":
        return f"has the path {path}"
    if interface == LOG_CONTROL:
        return None
    if interface not in known:
        return f"has the interface {interface}, which is not in dbus/"
    methods, properties = known[interface]
    if argv[1] in ("get-property", "set-property"):
        return None if argv[5] in properties else f"has the property {argv[5]}, which is not in dbus/"
    if argv[1] == "introspect":
        return None
    member, words = argv[5], argv[6:]
    if member not in methods:
        return f"has the method {member}, which is not in dbus/"
    signature = words.pop(0) if words else ""
    if signature != methods[member]:
        return f"has the signature '{signature}', dbus/ has '{methods[member]}'"
    try:
        consume(signature, words)
    except (AssertionError, IndexError, ValueError) as e:
        return f"has arguments that do not fit '{signature}': {e!r}"
    return f"has arguments left over: {words}" if words else None


def missing_methods(root, known):
    """Methods of the manager that the page does not show."""
    calls = [c for _, shown in blocks(root) for c in shown if c[1] == "call"]
    shown = {c[5] for c in calls if c[0] == "busctl" and c[4] == BUS + ".Manager"}
    shown |= {c[8].removeprefix(BUS + ".Manager.") for c in calls if c[0] == "gdbus"}
    return set(known[BUS + ".Manager"][0]) - shown
