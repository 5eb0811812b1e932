#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bus policy opens exactly the interfaces that dbus/ describes and the standard ones; activation, policy and unit name the same bus name."""

import configparser
import glob
import os
import sys
import xml.etree.ElementTree as ET

root = sys.argv[1]
errors = []

NAME = 'org.swarm.Orchestrator'
PEERS = NAME + '.Agent'
STANDARD = {'org.freedesktop.DBus.' + i for i in ('ObjectManager', 'Properties', 'Introspectable', 'Peer')} | {'org.freedesktop.LogControl1'}

described = set()
for path in glob.glob(os.path.join(root, 'dbus', '*.xml')):
    described |= {i.get('name') for i in ET.parse(path).iter('interface')}

policies = ET.parse(os.path.join(root, 'dbus', NAME + '.conf')).getroot().findall('policy')
opened = {a.get('send_interface') for p in policies if p.get('context') == 'default' for a in p if a.tag == 'allow'}
for interface in (described | STANDARD) - opened - {PEERS}:
    errors.append(f'{interface} is described but not opened to callers')
for interface in opened - described - STANDARD:
    errors.append(f'{interface} is opened to callers but not described')
if PEERS in opened:
    errors.append(f'{PEERS} is opened to everybody')
owners = {p.get('user') for p in policies for a in p if a.get('own')}
if owners != {'root', 'swarm-orchestrator'}:
    errors.append(f'the name may be owned by {sorted(map(str, owners))}')
for p in policies:
    for a in p:
        if NAME not in (a.get('own'), a.get('send_destination')):
            errors.append(f'a rule is not about {NAME}: {a.attrib}')


def ini(path):
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(os.path.join(root, path))
    return parser


activation, unit = ini(f'dbus/{NAME}.service'), ini('systemd/swarm-orchestratord.service.in')
if activation['D-BUS Service']['Name'] != NAME or unit['Service']['BusName'] != NAME:
    errors.append('activation file and unit do not name ' + NAME)
if activation['D-BUS Service']['SystemdService'] != unit['Install']['Alias']:
    errors.append('SystemdService= of the activation file is not the Alias= of the unit')

for e in errors:
    print(e, file=sys.stderr)
sys.exit(bool(errors))
