#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# systemd.sh BUILD: the installed service on a whole host with systemd, journald, the bus and polkit, all real. 77: it
# cannot be made here. Prints TAP.
# shellcheck disable=SC2016 # what is in single quotes is for the shell in the host

set -euo pipefail

build=$(readlink -f -- "$1")
here=$(dirname -- "$(readlink -f -- "$0")")
rig=$here/../rig/rig
n=0 failures=0

if (($(id -u) != 0)); then
        echo "a rig needs root"
        exit 77
fi

scratch=$(mktemp -d /var/tmp/swarm-systemd.XXXXXX)
trap '[[ -z ${dir:-} ]] || "$rig" down --dir "$dir" >&2; rm -rf -- "$scratch"' EXIT
meson install -C "$build" --no-rebuild --quiet --destdir "$scratch/stage" >&2
dir=$("$rig" up --systemd --install "$scratch/stage")

# In the host. What it prints is this function's output.
host() {
        "$rig" shell --dir "$dir" -- bash -c "$1"
}

# journald may not have taken yet what was said.
JOURNALCTL='journalctl() { command journalctl --sync; command journalctl "$@"; }'

# ok NAME COMMAND-IN-THE-HOST: a test is what the command says, and the one checker after it.
ok() {
        n=$((n + 1))
        if host "set -euo pipefail; $JOURNALCTL; $2" >"$scratch/output" 2>&1 &&
                host "$here/checker.py --host 10.99.0.1:5000 --seconds 20" >"$scratch/output" 2>&1; then
                echo "ok $n - $1"
        else
                failures=$((failures + 1))
                echo "not ok $n - $1"
                sed 's/^/# /' "$scratch/output"
        fi
}

# until_true SECONDS CONDITION, to be used in the host.
host 'cat >/usr/local/bin/until-true <<"END"
#!/bin/bash
# until-true SECONDS CONDITION: the deadline only bounds a failure.
for ((i = 0; i < $1 * 20; i++)); do
        if eval "$2"; then exit 0; fi
        sleep 0.05
done
echo "never came true: $2"
exit 1
END
chmod +x /usr/local/bin/until-true
mkdir -p /etc/swarm-orchestrator/orchestrator.conf.d
printf "[Registry]\nURL=http://10.99.0.1:5000\n" >/etc/swarm-orchestrator/orchestrator.conf.d/50-rig.conf
journalctl --update-catalog
systemctl daemon-reload' >&2

PID='systemctl show -p MainPID --value swarm-orchestratord'
CONTAINER='docker ps -q --no-trunc --filter label=swarm.session'

ok "before it is enabled, a call says what is to be done" '
        if swarmctl list 2>/tmp/shown; then exit 1; else test $? = 7; fi
        grep "systemctl enable --now swarm-orchestratord" /tmp/shown
        systemctl enable swarm-orchestratord'

ok "the first call starts the service" '
        test "$(systemctl is-active swarm-orchestratord)" = inactive
        swarmctl create one --image=10.99.0.1:5000/base:latest --memory=256M
        test "$(systemctl is-active swarm-orchestratord)" = active'

ok "it runs as its own user, and keeps its capabilities out of force" '
        status=$(cat /proc/$('"$PID"')/status)
        grep -E "^Uid:\s+$(id -u swarm-orchestrator)\s" <<<"$status"
        grep -E "^CapEff:\s+0+$" <<<"$status"
        grep -E "^CapPrm:\s+0000000010200026$" <<<"$status"'

ok "hibernate and restore keep the files" '
        docker exec $('"$CONTAINER"') sh -c "echo kept >/home/file"
        docker exec -d $('"$CONTAINER"') sleep 1000
        swarmctl hibernate one
        if journalctl -u swarm-orchestratord | grep "cannot be ended"; then exit 1; fi
        until-true 30 "test -z \"\$('"$CONTAINER"')\""
        swarmctl restore one
        test "$(docker exec $('"$CONTAINER"') cat /home/file)" = kept'

ok "the journal has the fields" '
        id=$(busctl --json=short call org.swarm.Orchestrator /org/swarm/Orchestrator org.swarm.Orchestrator.Manager DescribeSession "sa{sv}t" one 0 0 |
                jq -r ".data[0].Id.data")
        for field in SWARM_OWNER_UID=0 SWARM_ACTOR_UID=0 SWARM_PROVIDER=swarm SWARM_JOB=1 MESSAGE_ID=; do
                journalctl -o export SWARM_SESSION=$id | grep -a "^$field"
        done
        journalctl -o export SWARM_SESSION=$id | grep -a "^SWARM_NODE=."
        journalctl SWARM_SESSION=$id | grep "Session one runs on node manager "'

ok "the catalog explains" 'journalctl -x -u swarm-orchestratord | grep "Subject: Session one was restored"'

ok "the sandbox carries commands and shells, and ends what nobody reaches any more" '
        test "$(echo in | swarmctl exec one cat)" = in
        if swarmctl exec one sh -c "exit 7" </dev/null; then exit 1; else test $? = 7; fi
        if echo "tty; exit 5" | swarmctl shell one >/tmp/shown; then exit 1; else test $? = 5; fi
        grep /dev/pts /tmp/shown
        swarmctl logs one >/dev/null
        sleep 98765 | swarmctl shell one sleep 4321 >/tmp/shown & client=$!
        until-true 30 "pgrep -fx \"sleep 4321\""
        kill -KILL $client
        until-true 30 "! pgrep -fx \"sleep 4321\""
        pkill -fx "sleep 98765"
        until-true 30 "test -z \"\$(ls /run/swarm-orchestrator/commands)\""'

ok "reload is taken" '
        printf "[Limits]\nSessionsPerUserMax=7\nNoSuchKey=1\n" >/etc/swarm-orchestrator/orchestrator.conf.d/60-limits.conf
        systemctl reload swarm-orchestratord
        until-true 20 "journalctl -u swarm-orchestratord | grep -q NoSuchKey"
        test "$(systemctl is-active swarm-orchestratord)" = active'

ok "an ordinary user may look, and is refused what is not his" '
        setpriv --reuid 2001 --regid 2001 --clear-groups swarmctl list | grep one
        if setpriv --reuid 2001 --regid 2001 --clear-groups swarmctl --no-ask-password destroy --yes one; then exit 1; fi
        test "$(swarmctl list --no-legend | wc -l)" = 1
        denied=$(journalctl -o export MESSAGE_ID=4d3c5dfd5bcd424bafe95737cd16f15a)
        for field in SWARM_SESSION_NAME=one SWARM_OWNER_UID=0 SWARM_ACTOR_UID=2001 SWARM_PROVIDER=swarm; do
                grep -a "^$field$" <<<"$denied"
        done'

ok "by ssh the users of another machine are who they are there" '
        swarmctl -H alice@manager list | grep one
        if swarmctl -H alice@manager destroy --yes one; then exit 1; else test $? = 4; fi
        swarmctl -H root@manager touch one
        if swarmctl -H nobody-here@manager list; then exit 1; else test $? = 7; fi'

ok "the password of an administrator at the terminal opens what is not his, and a wrong one does not" '
        echo root:sesame | chpasswd
        at='"$here"'/at-terminal.py
        if $at 2001 wrong swarmctl stop one >/tmp/shown; then exit 1; else test $? = 4; fi
        grep "Authentication is required to manage a session of another user" /tmp/shown
        grep "You may not stop session one" /tmp/shown
        swarmctl list --no-legend | grep running
        $at 2001 sesame swarmctl stop one
        swarmctl list --no-legend | grep stopped
        journalctl -u polkit | grep "Operator of .* successfully authenticated as unix-user:root .* for action org.swarm.Orchestrator.manage"
        swarmctl start one'

# Enough that a hibernation takes a while, and cannot be compressed away.
ok "stopping the service during a hibernation leaves nothing frozen" '
        c=$('"$CONTAINER"')
        docker exec $c sh -c "for i in \$(seq 40); do dd if=/dev/urandom of=/home/big\$i bs=1M count=8 2>/dev/null; done"
        swarmctl hibernate --no-block one
        until-true 30 "test \"\$(docker inspect -f {{.State.Paused}} $c)\" = true"
        systemctl stop swarm-orchestratord
        test "$(systemctl show -p Result --value swarm-orchestratord)" = success
        test "$(docker inspect -f "{{.State.Paused}} {{.State.Running}}" $c)" = "false true"
        swarmctl list --no-legend | grep running
        test "$(docker exec $c sh -c "ls /home/big* | wc -l")" = 40'

ok "a service that hangs is killed by the watchdog and comes back" '
        p=$('"$PID"')
        kill -STOP $p
        until-true 90 "q=\$('"$PID"'); test \$q != 0 && test \$q != $p && test \$(systemctl is-active swarm-orchestratord) = active"
        until-true 30 "swarmctl list --no-legend | grep running"
        journalctl -u swarm-orchestratord | grep "Watchdog timeout"'

ok "a stop of Docker hibernates the running sessions, however slowly they end, and its start restores them" '
        systemctl enable --now swarm-orchestrator-sessions
        swarmctl create slow --image=10.99.0.1:5000/base:latest -- /bin/sh -c "trap \"sleep 3; exit 0\" TERM; while :; do sleep 0.1; done"
        docker exec $(docker ps -q --filter name=slow) sh -c "echo precious >/home/file"
        systemctl stop docker.socket docker
        test "$(swarmctl list --no-legend --state=hibernated | wc -l)" = 2
        systemctl start docker
        until-true 90 "test \"\$(swarmctl list --no-legend --state=running | wc -l)\" = 2"
        test "$(docker exec $(docker ps -q --filter name=slow) cat /home/file)" = precious
        swarmctl destroy --yes slow
        systemctl disable --now swarm-orchestrator-sessions
        test "$(swarmctl list --no-legend --state=hibernated | wc -l)" = 1
        swarmctl restore one'

# The registry comes back just before: by itself the service tries again only seconds later. What takes its time to end has Swarm
# remove the containers of the node.
ok "a stop of Docker waits for the files of what has ended" '
        systemctl enable --now swarm-orchestrator-sessions
        docker service create -d --name bystander --restart-condition none 10.99.0.1:5000/base:latest \
                /bin/sh -c "trap \"sleep 3; exit 0\" TERM; while :; do sleep 0.1; done"
        until-true 30 "test -n \"\$(docker ps -q --filter name=bystander)\""
        swarmctl create over --image=10.99.0.1:5000/base:latest
        docker exec $(docker ps -q --filter name=over) sh -c "echo precious >/home/file"
        registry="OUTPUT -p tcp --dport 5000 -j REJECT --reject-with tcp-reset"
        iptables -I $registry
        if swarmctl stop over; then exit 1; fi
        swarmctl list --no-legend | grep "^over .* exited "
        iptables -D $registry
        systemctl stop docker.socket docker
        systemctl start docker
        until-true 90 "test \"\$(swarmctl list --no-legend --state=running | wc -l)\" = 1"
        swarmctl start over
        test "$(docker exec $(docker ps -q --filter name=over) cat /home/file)" = precious
        docker service rm bystander
        swarmctl destroy --yes over
        systemctl disable --now swarm-orchestrator-sessions
        swarmctl restore one'

# By its own unit the service could not be started, neither by a call nor after a crash, before Docker has stopped.
ok "a stop of Docker starts the service that does not run, or crashes meanwhile" '
        systemctl enable --now swarm-orchestrator-sessions
        docker exec $('"$CONTAINER"') sh -c "echo precious >/home/stopped"
        systemctl stop swarm-orchestratord
        systemctl stop docker.socket docker
        test "$(systemctl show -p Result --value swarm-orchestrator-sessions)" = success
        test "$(swarmctl list --no-legend --state=hibernated | wc -l)" = 1
        systemctl start docker
        until-true 90 "test \"\$(swarmctl list --no-legend --state=running | wc -l)\" = 1"
        docker exec $('"$CONTAINER"') sh -c "cat /home/stopped; echo precious >/home/crashed"
        systemctl stop --no-block docker.socket docker
        until-true 30 "swarmctl list --no-legend | grep hibernating"
        kill -KILL $('"$PID"')
        until-true 300 "test \$(systemctl is-active docker) = inactive"
        test "$(systemctl show -p Result --value swarm-orchestrator-sessions)" = success
        test "$(swarmctl list --no-legend --state=hibernated | wc -l)" = 1
        systemctl start docker
        until-true 90 "test \"\$(swarmctl list --no-legend --state=running | wc -l)\" = 1"
        docker exec $('"$CONTAINER"') cat /home/stopped /home/crashed
        systemctl disable --now swarm-orchestrator-sessions
        swarmctl restore one'

# In a shutdown a start of the service is refused, also while it runs. The journals of both boots are kept.
host 'systemctl enable --now swarm-orchestrator-sessions
        docker exec $('"$CONTAINER"') sh -c "echo precious >/home/shutdown"' >&2
SWARM_RIG_DIR=$dir "$rig" host reboot manager >&2
ok "a shutdown of the host hibernates the running sessions, and its boot restores them" '
        until-true 90 "swarmctl list --no-legend | grep running"
        docker exec $('"$CONTAINER"') grep precious /home/shutdown
        journalctl -b -1 -o cat -u swarm-orchestratord | grep "Session one: hibernated, was hibernating" | tail -1
        journalctl -b -1 -o cat -u swarm-orchestrator-sessions | tail -2 | grep "^Stopped "
        test "$(journalctl -b -1 -o cat -u swarm-orchestrator-sessions | grep -c "Failed with result")" = 0
        systemctl disable --now swarm-orchestrator-sessions
        swarmctl restore one'

ok "what it was made for still works" '
        swarmctl hibernate one
        swarmctl restore one
        test "$(docker exec $('"$CONTAINER"') sh -c "ls /home/big* | wc -l")" = 40
        swarmctl destroy --yes one
        until-true 30 "test -z \"\$(docker ps -aq)\""
        test -z "$(docker service ls -q)"'

ok "no message has an unknown identifier, and none names an internal error" '
        if journalctl -u swarm-orchestratord -p err | grep -v -e "-- No entries" -e Watchdog -e watchdog -e "Journal begins"; then exit 1; fi'

echo "1..$n"
exit $((failures > 0))
