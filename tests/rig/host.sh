# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Hosts as a whole. In the lean form a host is its namespaces and the processes in them. In the systemd form it is a
# machine booted by systemd-nspawn over an overlay of this machine's own root: systemd, journald, D-Bus, polkit, sshd and
# Docker are services in it, as on a user's node.

host_is_systemd() {
        [[ $RIG_FORM == systemd ]]
}

host_check() {
        [[ -n ${1:-} && -e $RIG_DIR/ns/$1.mnt ]] || die "no host ${1:-''}; there are: $RIG_HOSTS"
}

# Keys of the rig alone: one for the people who log in, and one for each host.
host_keys() {
        local name address i
        ssh-keygen -q -t ed25519 -N '' -C rig -f "$RIG_DIR/ssh/id"
        for ((i = 0; i <= $1; i++)); do
                name=$(host_name "$i") address=$(host_address "$i")
                ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$RIG_DIR/ssh/host_$name"
                printf '%s,%s %s\n' "$name" "$address" "$(<"$RIG_DIR/ssh/host_$name.pub")" >>"$RIG_DIR/ssh/known_hosts"
        done
}

# host_boot NAME
host_boot() {
        local name=$1 host=$RIG_DIR/hosts/$1 hierarchy=0 options=()
        alive "host-$name" && return
        [[ $(stat -f -c %T /sys/fs/cgroup) != cgroup2fs ]] || hierarchy=1
        # The source, the build and the credentials are where they are outside, and cannot be written to.
        options+=(--bind-ro="$RIG_SOURCE" --bind-ro="$RIG_DIR/docker-config" --bind-ro="$RIG_DIR/ssh")
        [[ -z $RIG_BUILD || $RIG_BUILD == "$RIG_SOURCE"/* ]] || options+=(--bind-ro="$RIG_BUILD")
        # nspawn's own traces in /run stay in the host's mount namespace, and its cgroups below the rig's.
        # shellcheck disable=SC2016
        spawn "host-$name" nsenter --net="$RIG_DIR/ns/$name.net" --mount="$RIG_DIR/ns/$name.mnt" -- \
                bash -euc '. "$0"; cgroup_enter "$1"; shift; exec "$@"' "$RIG_HERE/cgroup.sh" "$RIG_CGROUP/$name" \
                env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=$hierarchy systemd-nspawn --quiet --register=no --keep-unit \
                --directory="$host/root" --boot --machine="$name" --network-namespace-path=/proc/self/ns/net \
                --bind="$RIG_STORE/$name:/var/lib/docker" --bind="$RIG_STORE/containerd-$name:/var/lib/containerd" \
                --bind="$host/share:/run/rig" --bind="$RIG_DIR/polkit-rules.d:/etc/polkit-1/rules.d" \
                --capability=all --system-call-filter='@keyring bpf' --resolv-conf=off --timezone=off \
                --link-journal=no --console=pipe "${options[@]}"
}

host_booted() {
        wait_ready 60 "host-$1" host_running "$1"
}

host_running() {
        local state
        state=$(host_shell "$1" systemctl is-system-running 2>/dev/null) || true
        [[ $state == running || $state == degraded ]]
}

# The first process in the host, seen from outside.
host_leader() {
        local nspawn child pids
        nspawn=$(pid_of "host-$1") || return 1
        for child in $(<"/proc/$nspawn/task/$nspawn/children"); do
                { pids=$(grep ^NSpid: "/proc/$child/status"); } 2>/dev/null || continue
                [[ $pids != *[[:space:]]1 ]] || printf '%s\n' "$child"
        done
}

# host_shell_command NAME: sets HOST_COMMAND, the prefix that runs a command inside a systemd host.
host_shell_command() {
        local leader
        leader=$(host_leader "$1")
        [[ -n $leader ]] || return 1
        HOST_COMMAND=(nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup --root --wd --)
}

host_shell() {
        local name=$1
        shift
        host_shell_command "$name" || return 1
        "${HOST_COMMAND[@]}" "$@"
}

# The root: an overlay over the machine's, without what the machine runs.
host_root() {
        local name=$1 host=$RIG_DIR/hosts/$1 root=$RIG_DIR/hosts/$1/root
        mkdir -p "$host/root" "$host/share" "$RIG_STORE/root-$name"/{upper,work} "$RIG_STORE/$name" \
                "$RIG_STORE/containerd-$name" "$RIG_DIR/polkit-rules.d"
        chmod 755 "$RIG_DIR/polkit-rules.d" "$host/share"
        ln -s "$host/share/docker.sock" "$(engine_socket "$name")"
        # shellcheck disable=SC2016
        nsenter --mount="$RIG_DIR/ns/$name.mnt" -- env RIG_POLKIT="$RIG_POLKIT" bash -euc '. "$0"; . "$1"; shift; host_root_inside "$@"' \
                "$RIG_HERE/common.sh" "$RIG_HERE/host-root.sh" "$name" "$root" "$RIG_STORE/root-$name" \
                "$RIG_SOURCE" "$RIG_DIR" "$RIG_REGISTRY" "$RIG_INSTALL"
}

# ---- life and death of a host, in both forms

host_stop() {
        local name=$1
        if host_is_systemd; then
                # nspawn passes SIGTERM on as an orderly power-off.
                stop "host-$name" 90
        else
                engine_stop "$name"
        fi
}

host_start() {
        local name=$1
        if host_is_systemd; then
                host_boot "$name"
                host_booted "$name"
        else
                engine_start "$name"
        fi
        # A power cut took what stands beside the manager as well.
        if [[ $name == manager ]]; then
                registry_start
                registry_wait
                host_is_systemd || bus_ensure
        fi
        engine_wait "$name"
}

host_reboot() {
        host_stop "$1"
        host_start "$1"
}

# The power cut: everything on it is gone at once.
host_kill() {
        local name=$1
        ! host_is_systemd || stop "host-$name" 10 KILL
        stop "engine-$name" 10 KILL
        [[ $name != manager ]] || stop registry 10 KILL
        wait_until 20 "the processes of $name to end" rig_kill_rest "$name"
        rm -f "$RIG_DIR/hosts/$name/docker.pid" "$RIG_DIR/hosts/$name/exec/containerd/containerd.pid"
}

host_cut() {
        in_net switch ip link set "$1" down
}

host_join() {
        in_net switch ip link set "$1" up
}
