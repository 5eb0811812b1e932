# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What a bare Debian 12 lacks. A package is installed only where its program is missing.

# program:package
RIG_PROGRAMS=(
        dockerd:docker.io docker:docker.io docker-registry:docker-registry skopeo:skopeo
        dbus-daemon:dbus busctl:systemd systemd-nspawn:systemd-container sshd:openssh-server
        ip:iproute2 iptables:iptables jq:jq sqlite3:sqlite3 mkfs.ext4:e2fsprogs
)
RIG_POLKITD=/usr/lib/polkit-1/polkitd
RIG_POLICY_RC=/usr/sbin/policy-rc.d

# packages_ensure [PACKAGE...]: those, and what is missing of the rig's own, in one go.
packages_ensure() {
        local entry missing=("$@")
        RIG_HAD_CONTAINERD=$(command -v containerd) || true
        for entry in "${RIG_PROGRAMS[@]}"; do
                command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
        done
        [[ -x $RIG_POLKITD ]] || missing+=(polkitd)
        command -v busybox >/dev/null || missing+=(busybox-static)
        ((${#missing[@]} == 0)) || packages_install "${missing[@]}"
}

packages_install() {
        local list
        list=$(printf '%s\n' "$@" | sort -u)
        if grep -qx docker.io <<<"$list" && packages_foreign_docker; then
                die "docker-ce is installed but dockerd or docker is not in PATH; docker.io would replace it, so it is not installed. Repair docker-ce or put its programs in PATH."
        fi
        say "installing ${list//$'\n'/ }"
        # One installation at a time, also between two rigs: the lock is on the folder, so that no file stays behind.
        (
                exec 9</usr/sbin
                flock 9
                trap packages_policy_restore EXIT
                packages_policy_deny
                export DEBIAN_FRONTEND=noninteractive
                packages_apt "$list"
                packages_disable_services "$list"
        )
}

# What apt and dpkg print is shown only where they fail.
packages_apt() {
        local output
        # shellcheck disable=SC2086
        output=$({
                apt-get install -qq -y --no-install-recommends $1 ||
                        { apt-get update -qq && apt-get install -qq -y --no-install-recommends $1; }
        } 2>&1) || {
                printf '%s\n' "$output" >&2
                die "the packages cannot be installed"
        }
}

packages_foreign_docker() {
        dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'docker-ce*' containerd.io 2>/dev/null | grep -q '^ii'
}

# Debian starts what it installs; 101 from this script forbids it. One that is there already is put back afterwards.
packages_policy_deny() {
        if [[ -e $RIG_POLICY_RC && ! -e $RIG_POLICY_RC.swarm-rig ]]; then
                mv "$RIG_POLICY_RC" "$RIG_POLICY_RC.swarm-rig"
        fi
        printf '#!/bin/sh\n# swarm-rig: while packages are installed\nexit 101\n' >"$RIG_POLICY_RC"
        chmod 755 "$RIG_POLICY_RC"
}

packages_policy_restore() {
        if [[ -e $RIG_POLICY_RC.swarm-rig ]]; then
                mv "$RIG_POLICY_RC.swarm-rig" "$RIG_POLICY_RC"
        elif grep -qs swarm-rig "$RIG_POLICY_RC"; then
                rm -f "$RIG_POLICY_RC"
        fi
}

# Not started now must not mean started at the next boot: the rig wants the programs alone.
packages_disable_services() {
        local unit units=()
        grep -qx docker.io <<<"$1" && units+=(docker.service docker.socket)
        [[ -n $RIG_HAD_CONTAINERD ]] || units+=(containerd.service)
        grep -qx docker-registry <<<"$1" && units+=(docker-registry.service)
        grep -qx openssh-server <<<"$1" && units+=(ssh.service)
        for unit in "${units[@]}"; do
                systemctl disable "$unit" >/dev/null 2>&1 || true
        done
}

# packages_busybox FILE: a static busybox. Where the machine has the dynamic one, the static package would replace
# it, so its file alone is taken.
packages_busybox() {
        local file=$1 found work
        found=$(command -v busybox)
        if ! ldd "$found" >/dev/null 2>&1; then
                cp -- "$found" "$file"
                return
        fi
        work=$(mktemp -d "$RIG_DIR/tmp/busybox.XXXXXX")
        (cd "$work" && apt-get download -qq busybox-static >&2 && dpkg-deb -x busybox-static*.deb .)
        cp -- "$work"/bin/busybox "$file" 2>/dev/null || cp -- "$work"/usr/bin/busybox "$file"
}
