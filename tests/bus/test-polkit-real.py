# SPDX-License-Identifier: LGPL-2.1-or-later
"""The project's own actions in a real polkitd, and the daemon as the user that it is installed with: nobody, without a
capability. Skipped where polkitd is not installed."""

from harness import *

POLKITD = next((p for p in ('/usr/lib/polkit-1/polkitd', '/usr/libexec/polkitd') if os.path.exists(p)), None)
SERVICE = 990000

RULES = '''polkit.addRule(function (action, subject) {
        if (action.id == "org.swarm.Orchestrator.create" && subject.user == "daemon")
                return polkit.Result.YES;
        if (action.id == "org.swarm.Orchestrator.manage-own" && action.lookup("session") == "precious" && action.lookup("verb") == "destroy" &&
            action.lookup("organization") == "default" && action.lookup("provider") == "fake" && action.lookup("owner") == "%d")
                return polkit.Result.NO;
        return polkit.Result.NOT_HANDLED;
});
''' % ALICE


class RealRig(Rig):
    """Everything in a mount namespace of its own, with the service's user and the project's actions in it."""

    def __init__(self):
        super().__init__(polkit=False)
        self.broker.terminate()
        self.broker.wait()
        pathlib.Path(self.path).unlink(missing_ok=True)
        shutil.copytree('/usr/share/polkit-1', self.dir / 'polkit')
        shutil.copy(SOURCE / 'polkit/org.swarm.Orchestrator.policy', self.dir / 'polkit/actions')
        (self.dir / 'rules.d').mkdir()
        (self.dir / 'rules.d/10-test.rules').write_text(RULES)
        for path, line in (('passwd', f'swarm-orchestrator:x:{SERVICE}:{SERVICE}::/nonexistent:/bin/false'), ('group', f'swarm-orchestrator:x:{SERVICE}:')):
            (self.dir / path).write_text(pathlib.Path('/etc', path).read_text().rstrip('\n') + '\n' + line + '\n')
        for p in self.dir.rglob('*'):
            p.chmod(0o755 if p.is_dir() else 0o644)
        for d in ('state', 'run', '.'):
            os.chown(self.dir / d, SERVICE, SERVICE)
        # As the user from the start: polkit sees what it would see of the installed service.
        self.program = self.dir / 'daemon'
        self.program.write_text(f'#!/bin/sh\nexec setpriv --reuid={SERVICE} --regid={SERVICE} --clear-groups --inh-caps=-all {DAEMON} "$@"\n')
        self.program.chmod(0o755)
        self.services = [self.inside('dbus-daemon', '--nofork', '--nopidfile', '--nosyslog', f'--config-file={self.dir}/bus.conf')]
        self.broker = self.services[0]
        self.wait_bus()
        self.services.append(self.inside(POLKITD))
        with Bus(self.path) as bus:
            wait(lambda: bus.driver('NameHasOwner', 's', POLKIT), 'polkitd')

    def inside(self, *command):
        script = '''set -e
mount --bind "$0/passwd" /etc/passwd
mount --bind "$0/group" /etc/group
mount --bind "$0/polkit" /usr/share/polkit-1
mkdir -p /etc/polkit-1/rules.d
mount --bind "$0/rules.d" /etc/polkit-1/rules.d
exec "$@"'''
        return subprocess.Popen(['unshare', '--mount', 'sh', '-c', script, self.dir, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                env={'PATH': os.environ['PATH'], 'DBUS_SYSTEM_BUS_ADDRESS': 'unix:path=' + self.path})

    def close(self, failed=False):
        self.services[1].terminate()
        self.services[1].wait()
        super().close(failed)


@unittest.skipUnless(POLKITD and os.getuid() == 0, 'needs polkitd and root')
class RealPolkit(BusTest):
    @classmethod
    def make_rig(cls):
        return RealRig()

    def test_defaults_and_rules(self):
        self.assertEqual(int(pathlib.Path(f'/proc/{self.rig.daemon.pid}/status').read_text().split('Uid:')[1].split()[0]), SERVICE)
        # create: only by the rule; nobody here is in a local, active session
        self.alice.run('precious')
        self.refused(ASK, 'create session his.*action org.swarm.Orchestrator.create', self.bob.create, 'his')
        self.refused(ASK, 'create session his.*no authentication agent', self.bob.create, 'his', flags=INTERACTIVE)
        self.root.run('roots')
        # one's own, and another's
        self.alice.wait_job(self.alice.verb('Snapshot', 'precious'))
        self.alice.manager('DescribeSession', 'sa{sv}t', 'precious', {}, 0)
        self.refused(ASK, 'action org.swarm.Orchestrator.manage\\)', self.bob.verb, 'Snapshot', 'precious')
        self.refused(ASK, 'describe', self.bob.manager, 'DescribeSession', 'sa{sv}t', 'precious', {}, 0)
        self.refused(ASK, 'org.swarm.Orchestrator.manage\\)', self.alice.create, 'for-bob', owner=V('u', BOB))
        self.refused(ASK, 'admin-nodes', self.alice.manager, 'Reload')
        self.assertEqual(len(self.bob.rows()[0]), 2)
        # details reach the rules
        self.refused(DENIED, 'destroy session precious', self.alice.verb, 'Destroy', 'precious')
        self.alice.wait_job(self.alice.verb('Stop', 'precious'))
        self.root.wait_job(self.root.verb('Destroy', 'precious'))


if __name__ == '__main__':
    main()
