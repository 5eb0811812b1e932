#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes org.swarm.Orchestrator(5) from its frame and the introspection files: dbus-man.py FRAME XML... > scdoc

In the files a comment stands before the element that it describes. An element without one is an error, so that the
page, and with it the interface, is complete."""

import re
import sys
import textwrap
import xml.etree.ElementTree as ET

ORDER = ["Manager", "Session", "Job", "Node", "Provider"]


def parse(path):
    parser = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))
    return ET.parse(path, parser).getroot()


def escape(text):
    return re.sub(r"([\\*_<>#])", r"\\\1", text)


def prose(comment):
    """Paragraphs; `this` becomes bold."""
    for paragraph in re.split(r"\n\s*\n", textwrap.dedent(comment).strip()):
        words = " ".join(paragraph.split())
        text = "".join(f"*{escape(part)}*" if i % 2 else escape(part) for i, part in enumerate(words.split("`")))
        yield "\\" + text if text[0] in "-.|[]" else text


def described(parent):
    """Children with the comment before each; the first element child of a node may have none."""
    comment = None
    for child in parent:
        if child.tag is ET.Comment:
            comment = child.text
        else:
            yield child, comment
            comment = None


def need(comment, what):
    if not comment or not comment.strip():
        sys.exit(f"{what} has no comment.")
    return comment


def signature(member):
    parts = {"in": [], "out": [], None: []}
    for arg in member.iter("arg"):
        parts[arg.get("direction")].append(f"{arg.get('type')} {arg.get('name')}")
    if member.tag == "signal":
        return f"{member.get('name')}({', '.join(parts[None])})"
    out = f" → {', '.join(parts['out'])}" if parts["out"] else ""
    return f"{member.get('name')}({', '.join(parts['in'])}){out}"


def emits(prop):
    for annotation in prop.iter("annotation"):
        if annotation.get("name") == "org.freedesktop.DBus.Property.EmitsChangedSignal":
            return {"const": "never changes", "false": "no signal", "invalidates": "signal without value"}[annotation.get("value")]
    return None


def members(interface, tag, heading):
    lines = []
    for member, comment in described(interface):
        if member.tag != tag:
            continue
        name = f"{interface.get('name')}.{member.get('name')}"
        if tag == "property":
            notes = emits(member)
            head = f"*{member.get('name')}* {escape(member.get('type'))}" + (f", {notes}" if notes else "")
        else:
            head = f"*{member.get('name')}*{escape(signature(member)[len(member.get('name')):])}"
        lines.append(head)
        lines += [f"\t{p}\n" for p in prose(need(comment, name))]
    return [f"## {heading}", ""] + lines if lines else []


def page(path):
    for interface, comment in described(parse(path)):
        yield f"# {interface.get('name')}"
        yield ""
        for paragraph in prose(need(comment, interface.get("name"))):
            yield paragraph + "\n"
        for tag, heading in (("method", "Methods"), ("signal", "Signals"), ("property", "Properties")):
            yield from members(interface, tag, heading)


def main(frame, *paths):
    by_name = {re.search(r"\.(\w+)\.xml$", p).group(1): p for p in paths}
    names = sorted(by_name, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))
    text = "\n".join(line for n in names for line in page(by_name[n]))
    with open(frame, encoding="utf-8") as f:
        print(f.read().replace("@INTERFACES@", text), end="")


main(*sys.argv[1:])
