#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each id of message-ids.h has an entry of the catalog and the other way round; entries are whole, and journald takes them."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

root = sys.argv[1]
errors = []


def read(path):
    with open(os.path.join(root, path), encoding='utf-8') as f:
        return f.read()


ids = dict((value, name) for name, value in
           re.findall(r'^#define\s+(MESSAGE_\w+)\s+"([0-9a-f]{32})"$', read('src/basic/message-ids.h'), re.M))
n_defines = len(re.findall(r'^#define\s+MESSAGE_', read('src/basic/message-ids.h'), re.M))
if n_defines != len(ids):
    errors.append(f'message-ids.h: {n_defines} names, but {len(ids)} ids that are well-formed and differ')

catalog = read('systemd/swarm-orchestrator.catalog')
entries = {}
for chunk in re.split(r'^-- ', catalog, flags=re.M)[1:]:
    head, _, body = chunk.partition('\n\n')
    message_id, _, fields = head.partition('\n')
    if message_id in entries:
        errors.append(f'{message_id}: twice in the catalog')
    entries[message_id] = (fields, body.strip())

for message_id in ids.keys() - entries.keys():
    errors.append(f'{ids[message_id]} ({message_id}) has no entry in the catalog')
for message_id in entries.keys() - ids.keys():
    errors.append(f'{message_id} of the catalog is in no define')

# What a record can hold: log.h's fields, and those that a file names in code as "KEY=%s".
known = set(re.findall(r'"(SWARM_\w+)', read('src/basic/log.c')))
for folder, _, names in os.walk(os.path.join(root, 'src')):
    for name in names:
        if name.endswith('.c'):
            known.update(re.findall(r'"([A-Z][A-Z_]+)=%', read(os.path.relpath(os.path.join(folder, name), root))))
for message_id, (fields, body) in entries.items():
    name = ids.get(message_id, message_id)
    keys = dict(line.split(': ', 1) for line in fields.splitlines())
    if set(keys) != {'Subject', 'Defined-By', 'Documentation'}:
        errors.append(f'{name}: has the fields {sorted(keys)}')
    if body.count('.') < 2:
        errors.append(f'{name}: cause and remedy are missing')
    for field in re.findall(r'@(\w+)@', fields + body):
        if field not in known:
            errors.append(f'{name}: no record has the field {field}')

if shutil.which('journalctl'):
    with tempfile.TemporaryDirectory() as host:
        os.makedirs(host + '/usr/lib/systemd/catalog')
        os.makedirs(host + '/var/lib/systemd/catalog')
        shutil.copy(os.path.join(root, 'systemd/swarm-orchestrator.catalog'), host + '/usr/lib/systemd/catalog/')
        r = subprocess.run(['journalctl', '--root=' + host, '--update-catalog'], capture_output=True, text=True, check=False)
        if r.returncode != 0 or r.stderr:
            errors.append(f'journalctl --update-catalog: {r.stderr}')
        r = subprocess.run(['journalctl', '--root=' + host, '--list-catalog'], capture_output=True, text=True, check=False)
        if len(r.stdout.splitlines()) != len(entries):
            errors.append(f'journalctl lists {len(r.stdout.splitlines())} of {len(entries)} entries: {r.stderr}')

for e in errors:
    print(e, file=sys.stderr)
print(f'{len(ids)} ids, {len(entries)} entries')
sys.exit(bool(errors))
