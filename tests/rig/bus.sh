# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A private system bus, and polkit on it.

# Accounts that the rig's services know beside the machine's, which gets none: the orchestrator's and two people.
RIG_USERS=(swarm-orchestrator:2000 alice:2001 bob:2002)

# A copy of the machine's accounts with the rig's added, for the services' own mount namespace. One that the machine
# has by name or by number stays as it is there.
bus_accounts() {
        local entry name uid
        cp /etc/passwd "$RIG_DIR/passwd"
        cp /etc/group "$RIG_DIR/group"
        for entry in "${RIG_USERS[@]}"; do
                name=${entry%:*} uid=${entry#*:}
                grep -qE "^($name:|[^:]*:[^:]*:$uid:)" "$RIG_DIR/passwd" ||
                        printf '%s:x:%s:%s::/nonexistent:/usr/sbin/nologin\n' "$name" "$uid" "$uid" >>"$RIG_DIR/passwd"
                grep -qE "^($name:|[^:]*:[^:]*:$uid:)" "$RIG_DIR/group" ||
                        printf '%s:x:%s:\n' "$name" "$uid" >>"$RIG_DIR/group"
        done
        chmod 644 "$RIG_DIR/passwd" "$RIG_DIR/group"
}

# service_command COMMAND...: sets SERVICE_COMMAND: the command with the rig's accounts, its polkit files and no
# other bus in sight.
service_command() {
        # shellcheck disable=SC2016
        SERVICE_COMMAND=(nsenter --net="$RIG_DIR/ns/manager.net" --uts="$RIG_DIR/ns/manager.uts" --
                unshare --mount sh -ec '
                        dir=$0
                        mount --bind "$dir/passwd" /etc/passwd
                        mount --bind "$dir/group" /etc/group
                        if [ -d "$dir/polkit" ]; then
                                mount --bind "$dir/polkit" /usr/share/polkit-1
                                mount --bind "$dir/polkit-rules.d" /etc/polkit-1/rules.d
                        fi
                        exec "$@"' "$RIG_DIR" "$@")
}

bus_configure() {
        local policy user=
        # The machine's bus runs as this user, so ordinary permissions apply to it here as well.
        ! getent passwd messagebus >/dev/null || user='<user>messagebus</user>'
        {
                cat <<END
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  $user
  <listen>unix:path=$RIG_DIR/bus.sock</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Peer"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus" send_member="UpdateActivationEnvironment"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Debug.Stats"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.systemd1.Activator"/>
  </policy>
  <policy user="root">
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.systemd1.Activator"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Debug.Stats"/>
  </policy>
END
                for policy in /usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf \
                        "$RIG_SOURCE"/dbus/*.conf; do
                        [[ ! -e $policy ]] || printf '  <include>%s</include>\n' "$policy"
                done
                # The limits of the system bus as Debian ships it, which a test must not find wider here.
                cat <<END
  <limit name="max_match_rules_per_connection">2048</limit>
</busconfig>
END
        } >"$RIG_DIR/bus.conf"
}

bus_start() {
        service_command dbus-daemon --config-file="$RIG_DIR/bus.conf" --nofork --nopidfile --nosyslog
        spawn bus "${SERVICE_COMMAND[@]}"
}

bus_wait() {
        wait_ready 10 bus bus_call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus.Peer Ping
}

bus_call() {
        DBUS_SYSTEM_BUS_ADDRESS=unix:path=$RIG_DIR/bus.sock busctl --system --timeout=5 call "$@" >/dev/null 2>&1
}

polkit_configure() {
        mkdir -p "$RIG_DIR/polkit" "$RIG_DIR/polkit-rules.d"
        # actions, and the default rules that say who an administrator is
        cp -r /usr/share/polkit-1/. "$RIG_DIR/polkit/"
        polkit_project_actions
        chmod 755 "$RIG_DIR/polkit" "$RIG_DIR/polkit/rules.d" "$RIG_DIR/polkit-rules.d"
}

polkit_project_actions() {
        local file
        for file in "$RIG_SOURCE"/polkit/*.policy; do
                [[ ! -e $file ]] || cp -- "$file" "$RIG_DIR/polkit/actions/"
        done
}

polkit_start() {
        service_command env DBUS_SYSTEM_BUS_ADDRESS="unix:path=$RIG_DIR/bus.sock" "$RIG_POLKITD"
        spawn polkit "${SERVICE_COMMAND[@]}"
}

polkit_wait() {
        wait_ready 20 polkit bus_call org.freedesktop.PolicyKit1 /org/freedesktop/PolicyKit1/Authority \
                org.freedesktop.DBus.Peer Ping
}

bus_ensure() {
        alive bus || bus_start
        bus_wait
        [[ $RIG_POLKIT == real ]] || return 0
        alive polkit || polkit_start
        polkit_wait
}

# Sets HOST_COMMAND to a prefix whose system bus is the manager's.
bus_prefix() {
        if host_is_systemd; then
                host_shell_command manager
                host_shell manager systemctl start polkit.service
        else
                HOST_COMMAND=(env DBUS_SYSTEM_BUS_ADDRESS="unix:path=$RIG_DIR/bus.sock")
        fi
}

# polkit_rules [FILE]: replaces the tests' rules; returns when polkit has read them, which it announces.
polkit_rules() {
        local source=$1 rules=$RIG_DIR/polkit-rules.d seen=$RIG_DIR/tmp/changed.$BASHPID monitor
        if [[ -z $source && ! -e $rules/10-test.rules ]]; then
                return 0
        fi
        bus_prefix
        "${HOST_COMMAND[@]}" dbus-monitor --system \
                "type='signal',interface='org.freedesktop.PolicyKit1.Authority',member='Changed'" >"$seen" 2>/dev/null &
        monitor=$!
        # Its first line shows that it listens.
        if wait_until 5 "the bus monitor" test -s "$seen"; then
                if [[ -n $source ]]; then
                        # Written aside and renamed, so that polkit never reads half of it.
                        cp -- "$source" "$rules/.new"
                        chmod 644 "$rules/.new"
                        mv -f -- "$rules/.new" "$rules/10-test.rules"
                else
                        rm -f -- "$rules/10-test.rules"
                fi
                wait_until 10 "polkit to read its rules" grep -q 'member=Changed' "$seen" || source=failed
        fi
        kill "$monitor" 2>/dev/null || true
        wait "$monitor" 2>/dev/null || true
        rm -f "$seen"
        [[ $source != failed ]]
}
