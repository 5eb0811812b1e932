# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the daemon says of itself and what dbus/ says of it are the same, in both directions."""

import re
import xml.etree.ElementTree as ElementTree

from harness import *

EMITS = 'org.freedesktop.DBus.Property.EmitsChangedSignal'


def annotations(element):
    # "true" is the default; sd-bus leaves it out
    found = {(a.get('name'), a.get('value')) for a in element.findall('annotation')}
    return sorted(found - {(EMITS, 'true')})


def members(interface):
    """Everything about an interface that a client could depend on."""
    found = {}
    for element in interface:
        if not isinstance(element.tag, str) or element.tag == 'annotation':
            continue
        args = [(a.get('name'), a.get('type'), a.get('direction') or ('out' if element.tag == 'signal' else 'in'))
                for a in element.findall('arg')]
        if element.tag == 'signal':
            args = [(n, t, 'out') for n, t, _ in args]
        key = (element.tag, element.get('name'))
        assert key not in found, key
        found[key] = (args, element.get('type'), element.get('access'), annotations(element))
    return found


def live(bus, path):
    root = ElementTree.fromstring(bus.call(NAME, path, 'org.freedesktop.DBus.Introspectable', 'Introspect'))
    return {i.get('name'): members(i) for i in root.findall('interface')}, [n.get('name') for n in root.findall('node')]


class Introspection(BusTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.session = cls.alice.run('dev')
        cls.objects = {'Manager': PATH, 'Session': cls.session, 'Job': cls.alice.manager('GetJob', 't', 1),
                       'Node': f'{PATH}/node/fake_2d1', 'Provider': f'{PATH}/provider/fake'}

    def described(self, name):
        builder = ElementTree.TreeBuilder(insert_comments=True)
        tree = ElementTree.parse(SOURCE / 'dbus' / f'{NAME}.{name}.xml', ElementTree.XMLParser(target=builder))
        return tree.getroot().find('interface')

    def test_every_file_is_an_interface(self):
        files = {p.name for p in (SOURCE / 'dbus').glob('*.xml')}
        self.assertEqual(files, {f'{NAME}.{name}.xml' for name in self.objects})

    def test_interfaces_are_as_described(self):
        for name, path in self.objects.items():
            with self.subTest(interface=name):
                found, _ = live(self.alice, path)
                self.assertEqual(found[f'{NAME}.{name}'], members(self.described(name)))
                ours = {i for i in found if i.startswith(NAME)}
                self.assertEqual(ours, {f'{NAME}.{name}'})

    def test_every_member_has_a_comment(self):
        for name in self.objects:
            comment = None
            for element in self.described(name):
                if not isinstance(element.tag, str):
                    comment = element.text
                elif element.tag != 'annotation':
                    self.assertTrue(comment and comment.strip(), f'{name}.{element.get("name")} is not described')
                    comment = None

    def test_children_are_enumerated(self):
        self.assertEqual(sorted(live(self.alice, PATH)[1]), ['job', 'node', 'provider', 'session'])
        for kind, children in (('session', [self.session.rpartition('/')[2]]), ('job', ['_31']), ('node', ['fake_2d1', 'fake_2d2']), ('provider', ['fake'])):
            self.assertEqual(sorted(live(self.alice, f'{PATH}/{kind}')[1]), children)

    def test_get_managed_objects(self):
        objects = self.alice.call(NAME, PATH, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')
        self.assertEqual(objects[self.session][SESSION], self.alice.get_all(self.session, SESSION))
        for path in self.objects.values():
            self.assertTrue(path in objects or path == PATH)
        for interfaces in objects.values():
            for interface, properties in interfaces.items():
                if interface == SESSION:
                    self.assertFalse({'Environment', 'Labels', 'Command'} & set(properties))

    def test_every_property_can_be_read_alone(self):
        for name, path in self.objects.items():
            for key, value in self.alice.get_all(path, f'{NAME}.{name}').items():
                self.assertEqual(self.alice.get(path, f'{NAME}.{name}', key), value)

    def test_all_names_of_errors_are_in_the_header(self):
        header = (SOURCE / 'include' / 'swarm-orchestrator.h').read_text()
        table = (SOURCE / 'src' / 'basic' / 'refusal.h').read_text()
        codes = dict(re.findall(r'X\((\w+), "(\w+)"\)', table))
        for code in ('INVALID_ARGUMENT', 'ACCESS_DENIED'):
            codes.pop(code)
        named = dict(re.findall(r'#define SWARM_ERROR_(\w+) +SWARM_ERROR_PREFIX "(\w+)"', header))
        self.assertEqual(codes, named)

    def test_unknown_objects(self):
        for path in (f'{PATH}/session/dev', f'{PATH}/session/_3nothing', f'{PATH}/job/_39', f'{PATH}/job/x', f'{PATH}/node/x', f'{PATH}/provider/x'):
            with self.assertRaises(DBusError) as e:
                self.alice.get(path, SESSION, 'Id')
            self.assertEqual(e.exception.name, 'org.freedesktop.DBus.Error.UnknownObject')


if __name__ == '__main__':
    main()
