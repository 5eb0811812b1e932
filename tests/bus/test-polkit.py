# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what, with a polkit that does what the test says: yes, no, a challenge, nothing at all."""

import re
import xml.etree.ElementTree as ElementTree

from harness import *

POLKIT_CONFIG = CONFIG.replace('[Limits]', '[Limits]\nPolkitTimeoutSec=1min\nPolkitQueriesMax=6\nPolkitQueriesPerUserMax=4')


class Authorization(BusTest):
    config = POLKIT_CONFIG

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.hers = cls.alice.run('hers')
        cls.roots = cls.root.run('roots')

    def asked(self, function, *args, **options):
        self.rig.polkit.asked.clear()
        function(*args, **options)
        return [(q['action'], q['details']) for q in self.rig.polkit.asked]

    def details(self, verb, session='hers', owner=None, **more):
        return {'session': session, 'organization': 'default', 'provider': 'fake', 'owner': str(ALICE if owner is None else owner), 'verb': verb, **more}

    def test_owner_and_others_are_asked_for_differently(self):
        touch = lambda who: who.manager('TouchSession', 'sa{sv}t', 'hers', {}, 0)
        self.assertEqual(self.asked(touch, self.alice), [('manage-own', self.details('touch'))])
        self.assertEqual(self.asked(touch, self.bob), [('manage', self.details('touch'))])
        self.assertEqual(self.asked(touch, self.root), [])

    def test_manager_and_object_ask_the_same(self):
        calls = (('Snapshot', '', ''), ('Touch', '', ''), ('Describe', '', ''), ('Kill', 'si', ('main', 10)))
        for verb, signature, args in calls:
            args = list(args)
            by_name = self.asked(self.bob.manager, verb + 'Session', 's' + signature + 'a{sv}t', 'hers', *args, {}, 0)
            by_path = self.asked(self.bob.on, self.hers, SESSION, verb, signature + 'a{sv}t', *args, {}, 0)
            self.assertEqual(by_name, by_path)
            self.assertEqual(len(by_name), 1)
            self.assertEqual(by_name[0][1]['verb'], verb.lower())
        self.assertEqual(self.asked(self.bob.manager, 'ListSnapshots', 'sa{sv}t', 'hers', {}, 0),
                         self.asked(self.bob.on, self.hers, SESSION, 'ListSnapshots', 'a{sv}t', {}, 0))

    def test_reading(self):
        describe = lambda who: who.manager('DescribeSession', 'sa{sv}t', 'hers', {}, 0)
        self.assertEqual(self.asked(describe, self.alice), [('view', self.details('describe'))])
        self.assertEqual(self.asked(describe, self.bob), [('manage', self.details('describe'))])
        private = {'fields': V('as', ['Name', 'Environment'])}
        self.assertEqual(self.asked(self.alice.rows, **private), [('manage', {'verb': 'list'})])
        self.assertEqual(self.asked(self.alice.rows, **private, owner=V('u', BOB)), [('manage', {'verb': 'list'})])
        self.assertEqual(self.asked(self.alice.rows, **private, owner=V('u', ALICE)), [('view', {'verb': 'list', 'owner': str(ALICE)})])
        self.assertEqual(self.asked(self.alice.rows, label=V('s', 'x')), [('manage', {'verb': 'list'})])
        self.assertEqual(self.asked(self.alice.rows), [])
        self.assertEqual(self.asked(self.bob.get_all, self.hers, SESSION), [])

    def test_creating(self):
        self.assertEqual(self.asked(self.alice.create, 'for-me'), [('create', {'session': 'for-me', 'organization': 'default', 'owner': str(ALICE), 'verb': 'create'})])
        asked = self.asked(self.alice.create, 'for-him', owner=V('u', BOB))
        self.assertEqual(asked, [('manage', {'session': 'for-him', 'organization': 'default', 'owner': str(BOB), 'verb': 'create'})])
        self.assertEqual(self.bob.get(self.bob.manager('GetSession', 's', 'for-him'), SESSION, 'Owner'), BOB)
        self.alice.wait_job(self.alice.verb('Snapshot', 'hers'))
        for who, action in ((self.alice, 'create'), (self.bob, 'manage')):
            name = f'clone-by-{action}'
            asked = self.asked(who.manager, 'CreateSession', 'sa{sv}t', name, {'from': V('s', 'hers:1')}, 0)
            self.assertEqual([a for a, _ in asked], [action])
        # The reference of a generation is no way around `from`, whatever the registry is called.
        self.rig.polkit.decide = lambda q: 'yes' if q['action'] == 'create' else 'no'
        generation = self.bob.get(self.hers, SESSION, 'Snapshot')
        for image in (generation, 'sessions/default:hers-g1', 'alias.example:5000/sessions/default:hers-g1'):
            self.refused(DENIED, 'create session thief', self.bob.manager, 'CreateSession', 'sa{sv}t', 'thief', {'image': V('s', image)}, 0)
        self.refused(DENIED, 'create session guest', self.bob.create, 'guest', organization=V('s', 'theirs'))

    def test_jobs(self):
        for who, action in ((self.alice, 'manage-own'), (self.bob, 'manage')):
            asked = self.asked(lambda: self.assertRaises(DBusError, who.manager, 'CancelJob', 'tt', 1, 0))
            self.assertEqual([a for a, _ in asked], [action])

    def test_administration(self):
        self.assertEqual(self.asked(self.alice.manager, 'Reload'), [('admin-nodes', {'verb': 'reload'})])
        set_level = lambda who, level: who.call(NAME, '/org/freedesktop/LogControl1', PROPERTIES, 'Set', 'ssv', 'org.freedesktop.LogControl1',
                                                'LogLevel', V('s', level))
        self.assertEqual(self.asked(set_level, self.alice, 'debug'), [('admin-nodes', {'verb': 'log-control'})])
        self.rig.polkit.decide = lambda q: 'no'
        self.refused(DENIED, 'admin-nodes', set_level, self.alice, 'err')
        self.assertEqual(self.alice.get('/org/freedesktop/LogControl1', 'org.freedesktop.LogControl1', 'LogLevel'), 'debug')

    def test_denied_changes_nothing(self):
        self.rig.polkit.decide = lambda q: 'no'
        wait(lambda: not self.root.manager('ListJobs', 'a{sv}t', {'ended': V('b', False)}, 0)[0], 'the jobs of other tests')
        before = self.root.manager('ListJobs', 'a{sv}t', {}, 0)
        for verb in ('Start', 'Stop', 'Restart', 'Hibernate', 'Restore', 'Snapshot', 'Destroy'):
            self.refused(DENIED, f'You may not {verb.lower()} session hers: the polkit action org.swarm.Orchestrator.manage denies it', self.bob.verb, verb, 'hers')
            self.refused(DENIED, f'You may not {verb.lower()} session hers: the polkit action org.swarm.Orchestrator.manage-own', self.alice.verb, verb, 'hers')
        self.refused(DENIED, 'create session x', self.alice.create, 'x')
        self.refused(DENIED, 'delete a generation of session hers', self.bob.manager, 'DeleteSnapshot', 'sta{sv}t', 'hers', 1, {}, 0)
        self.refused(DENIED, 'send a signal to session hers', self.bob.manager, 'KillSession', 'ssia{sv}t', 'hers', 'main', 9, {}, 0)
        self.refused(DENIED, 'describe session hers', self.bob.manager, 'DescribeSession', 'sa{sv}t', 'hers', {}, 0)
        self.refused(DENIED, 'reload the configuration', self.alice.manager, 'Reload')
        self.assertEqual(self.root.manager('ListJobs', 'a{sv}t', {}, 0), before)
        self.assertEqual(self.root.state('hers'), 'running')
        self.assertIn(f'Denied uid {BOB} to destroy session hers', self.rig.log.read_text())

    def test_challenge(self):
        self.rig.polkit.decide = lambda q: 'yes' if q['interactive'] else 'challenge'
        self.refused(ASK, 'have to authenticate to snapshot session hers.*manage', self.bob.verb, 'Snapshot', 'hers')
        job = self.bob.manager('SnapshotSession', 'sa{sv}t', 'hers', {}, 0, flags=INTERACTIVE)
        self.bob.wait_job(job)
        self.assertEqual([q['interactive'] for q in self.rig.polkit.asked], [False, True])

    def test_arguments_are_checked_before_anybody_is_asked(self):
        for call in (lambda: self.bob.verb('Stop', 'nope'), lambda: self.bob.verb('Stop', 'hers', x=V('b', True)),
                     lambda: self.bob.create('Bad Name'), lambda: self.bob.manager('GetTemplate', 's', 'nope'),
                     lambda: self.bob.rows(fields=V('as', ['Environment']), limit=V('u', 0))):
            self.assertEqual(self.asked(lambda: self.assertRaises(DBusError, call)), [])

    def test_polkit_that_fails(self):
        self.rig.polkit.decide = lambda q: 'org.freedesktop.PolicyKit1.Error.Failed'
        self.refused(DENIED, 'could not be asked.*all but uid 0 .an error of the test', self.alice.verb, 'Snapshot', 'hers')
        self.root.wait_job(self.root.verb('Snapshot', 'hers'))

    def test_polkit_that_ends_in_a_question(self):
        """Its restart is nobody's fault: the one that follows is asked. Where none follows, that is what is told."""
        self.rig.polkit.decide = lambda q: 'hang'
        following = Polkit(self.rig.path, next_one=True)
        serial = self.alice.send_call(NAME, PATH, MANAGER, 'SnapshotSession', 'sa{sv}t', ('hers', {}, 0))
        wait(lambda: self.rig.polkit.asked, 'the question')
        asked = self.rig.polkit.asked
        self.rig.polkit.stop()
        self.rig.polkit = following
        self.alice.wait_job(self.alice.reply(serial))
        self.assertEqual([{**q, 'sender': None} for q in following.asked], [{**q, 'sender': None} for q in asked])
        following.decide = lambda q: 'hang'
        following.asked.clear()
        serial = self.alice.send_call(NAME, PATH, MANAGER, 'SnapshotSession', 'sa{sv}t', ('hers', {}, 0))
        wait(lambda: following.asked, 'the question')
        following.stop()
        self.refused(DENIED, 'could not be asked', self.alice.reply, serial)
        self.rig.polkit = Polkit(self.rig.path)

    def test_polkit_that_hangs_hangs_nobody_else(self):
        self.rig.polkit.decide = lambda q: 'hang' if q['details'].get('owner') == str(ALICE) else 'yes'
        waiting = self.rig.client(ALICE)
        serial = waiting.send_call(NAME, PATH, MANAGER, 'SnapshotSession', 'sa{sv}t', ('hers', {}, 0))
        wait(lambda: self.rig.polkit.asked, 'the question')
        self.assertEqual(self.alice.state('hers'), 'running')
        self.bob.create('meanwhile')
        self.root.manager('GetStatus')
        while waiting.pump(0):
            pass
        self.assertNotIn(serial, waiting.replies)
        waiting.close()
        self.bob.verb('Destroy', 'meanwhile')

    def test_polkit_that_does_not_decide_in_time(self):
        self.addCleanup(self.root.manager, 'Reload')
        self.addCleanup(self.rig.configure, POLKIT_CONFIG)
        self.rig.configure(POLKIT_CONFIG.replace('PolkitTimeoutSec=1min', 'PolkitTimeoutSec=1s'))
        self.root.manager('Reload')
        self.rig.polkit.decide = lambda q: 'hang'
        self.refused(DENIED, 'did not decide in time', self.alice.verb, 'Snapshot', 'hers')
        wait(lambda: self.rig.polkit.cancelled, 'the withdrawal')
        self.assertEqual(self.rig.polkit.cancelled, [self.rig.polkit.asked[0]['cancellation']])

    def touched(self):
        try:
            self.alice.manager('TouchSession', 'sa{sv}t', 'hers', {}, 0)
        except DBusError as e:
            self.assertEqual(e.name, error_name('LimitExceeded'))
            return False
        return True

    def test_caller_that_goes_takes_its_questions_along(self):
        self.rig.polkit.decide = lambda q: 'hang'
        passing = self.rig.client(ALICE)
        for _ in range(4):
            passing.send_call(NAME, PATH, MANAGER, 'DestroySession', 'sa{sv}t', ('hers', {}, 0))
        wait(lambda: len(self.rig.polkit.asked) == 4, 'the questions')
        self.rig.polkit.decide = lambda q: 'yes'
        self.assertFalse(self.touched())
        passing.close()
        wait(self.touched, 'room for another question')
        # polkit sees for itself that they have gone: a cancellation would only tell that the daemon waited until the timeout.
        self.assertEqual(self.rig.polkit.cancelled, [])
        self.assertEqual(self.alice.state('hers'), 'running')

    def test_limits_in_flight(self):
        self.rig.polkit.decide = lambda q: 'hang'
        others = [self.rig.client(uid) for uid in (ALICE, ALICE, BOB, BOB)]
        waiting = [c.send_call(NAME, PATH, MANAGER, 'TouchSession', 'sa{sv}t', ('hers', {}, 0)) for c in others[:2] for _ in range(2)]
        wait(lambda: len(self.rig.polkit.asked) == 4, 'the questions')
        self.refused('LimitExceeded', f'4 requests of uid {ALICE} wait for polkit', self.alice.verb, 'Start', 'roots')
        for _ in range(2):
            others[2].send_call(NAME, PATH, MANAGER, 'TouchSession', 'sa{sv}t', ('hers', {}, 0))
        wait(lambda: len(self.rig.polkit.asked) == 6, 'the questions')
        self.refused('LimitExceeded', '6 requests wait for polkit', self.bob.verb, 'Start', 'roots')
        self.root.manager('TouchSession', 'sa{sv}t', 'hers', {}, 0)
        for c in others:
            c.close()
        self.rig.polkit.decide = lambda q: 'yes'
        wait(self.touched, 'room for another question')
        self.assertEqual(len(waiting), 4)

    def test_object_that_goes_while_polkit_thinks(self):
        self.alice.run('fleeting')
        self.rig.polkit.asked.clear()
        gate = threading.Event()
        self.rig.polkit.decide = lambda q: (gate.wait(20), 'yes')[1]
        serial = self.bob.send_call(NAME, PATH, MANAGER, 'HibernateSession', 'sa{sv}t', ('fleeting', {}, 0))
        wait(lambda: self.rig.polkit.asked, 'the question')
        self.root.wait_job(self.root.verb('Destroy', 'fleeting'))
        gate.set()
        self.refused('NoSuchSession', 'fleeting', self.bob.reply, serial)

    def test_verdict_is_for_what_was_asked(self):
        """The session goes, and another owner's takes its name while polkit thinks: it is asked again."""
        self.alice.run('reborn')
        self.rig.polkit.asked.clear()
        gate = threading.Event()
        self.rig.polkit.decide = lambda q: (gate.wait(20), 'yes')[1] if q['action'] == 'manage-own' else 'no'
        serial = self.alice.send_call(NAME, PATH, MANAGER, 'DestroySession', 'sa{sv}t', ('reborn', {}, 0))
        wait(lambda: self.rig.polkit.asked, 'the question')
        self.root.wait_job(self.root.verb('Destroy', 'reborn'))
        self.root.run('reborn')
        gate.set()
        self.refused(DENIED, 'action org.swarm.Orchestrator.manage denies', self.alice.reply, serial)
        self.assertEqual([q['action'] for q in self.rig.polkit.asked], ['manage-own', 'manage'])
        self.assertEqual(self.root.state('reborn'), 'running')

    def test_verdict_is_for_one_message(self):
        self.alice.manager('TouchSession', 'sa{sv}t', 'hers', {}, 0)
        self.rig.polkit.decide = lambda q: 'no'
        self.refused(DENIED, 'touch', self.alice.manager, 'TouchSession', 'sa{sv}t', 'hers', {}, 0)

    def test_many_at_once_get_their_own_answers(self):
        self.rig.polkit.decide = lambda q: 'yes' if q['details']['session'] == 'hers' else 'no'
        for _ in range(2):
            serials = [(s, c.send_call(NAME, PATH, MANAGER, 'TouchSession', 'sa{sv}t', (s, {}, 0)), c)
                       for c in (self.rig.client(ALICE), self.rig.client(BOB)) for s in ('hers', 'roots')]
            for session, serial, client in serials:
                if session == 'hers':
                    self.assertIsNone(client.reply(serial))
                else:
                    self.refused(DENIED, 'roots', client.reply, serial)

    def test_flood_before_the_uid_is_known(self):
        newcomer = self.rig.client(BOB)
        serials = [newcomer.send_call(NAME, PATH, MANAGER, 'StopSession', 'sa{sv}t', ('nope', {}, 0)) for _ in range(300)]
        errors = set()
        for s in serials:
            with self.assertRaises(DBusError) as e:
                newcomer.reply(s)
            errors.add(e.exception.name)
        self.assertLessEqual(errors, {error_name('NoSuchSession'), error_name('LimitExceeded')})


class Policy(unittest.TestCase):
    def test_header_policy_and_documentation_agree(self):
        tree = ElementTree.parse(SOURCE / 'polkit' / f'{NAME}.policy').getroot()
        policy = {}
        for action in tree.findall('action'):
            defaults = action.find('defaults')
            policy[action.get('id')] = tuple(defaults.findtext(f'allow_{who}') for who in ('any', 'inactive', 'active'))
            owner = {a.get('key'): a.text for a in action.findall('annotate')}.get('org.freedesktop.policykit.owner')
            self.assertEqual(owner, 'unix-user:swarm-orchestrator', action.get('id'))
        header = (SOURCE / 'include/swarm-orchestrator.h').read_text()
        self.assertEqual(set(policy), {f'{NAME}.{a}' for a in re.findall(r'#define SWARM_ACTION_\w+ +SWARM_BUS_NAME "\.([a-z-]+)"', header)})
        table = (SOURCE / 'docs/authorization.md').read_text()
        rows = re.findall(r'^\| `([a-z-]+)` \|[^|]*\| (\w+) \| (\w+) \| (\w+) \|$', table, re.M)
        self.assertEqual(policy, {f'{NAME}.{row[0]}': row[1:] for row in rows})


class WithoutPolkit(BusTest):
    polkit = False

    def test_denied_to_all_but_root(self):
        self.refused(DENIED, 'could not be asked', self.alice.create, 'x')
        self.refused(DENIED, 'could not be asked', self.alice.manager, 'Reload')
        self.root.run('x')
        self.assertEqual(self.alice.state('x'), 'running')
        self.assertEqual(len(self.alice.rows()[0]), 1)


class AlwaysAsked(BusTest):
    config = CONFIG + '\n[Bus]\nAlwaysAskPolkit=yes\n'

    def test_root_is_asked_too(self):
        self.root.run('x')
        self.assertEqual([q['action'] for q in self.rig.polkit.asked], ['create'])
        self.rig.polkit.decide = lambda q: 'no'
        self.refused(DENIED, 'manage-own', self.root.verb, 'Stop', 'x')


class AlwaysAskedWithoutPolkit(BusTest):
    config = CONFIG + '\n[Bus]\nAlwaysAskPolkit=yes\n'
    polkit = False

    def test_denied_to_root_too(self):
        self.refused(DENIED, 'could not be asked', self.root.create, 'x')


if __name__ == '__main__':
    main()
