# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The root of a systemd host; runs in the host's mount namespace.

# host_root_inside NAME ROOT STORE SOURCE DIR REGISTRY INSTALL
host_root_inside() {
        local name=$1 root=$2 store=$3 source=$4 dir=$5 registry=$6 install=$7
        mount -t overlay "rig-$name" -o "lowerdir=/,upperdir=$store/upper,workdir=$store/work" "$root"
        host_root_strip "$root"
        host_root_identity "$root" "$name" "$dir"
        host_root_accounts "$root" "$dir"
        host_root_docker "$root" "$registry"
        host_root_sshd "$root" "$dir" "$name"
        host_root_project "$root" "$source" "$install"
}

# What is enabled on the machine has no business on the host; what the distribution starts anyhow stays.
host_root_strip() {
        local root=$1 unit
        rm -rf "$root"/etc/systemd/system/* "$root"/etc/rc?.d/* "$root"/etc/docker "$root"/etc/default/docker \
                "$root"/var/log/journal "$root"/etc/cron.d/* "$root"/usr/sbin/policy-rc.d \
                "$root"/etc/swarm-orchestrator "$root"/var/lib/swarm-orchestrator*
        : >"$root/etc/fstab"
        # In a container with version 1 cgroups, systemd does not learn that the last process of a login has gone, and
        # a shutdown would wait two minutes for it.
        mkdir -p "$root/etc/systemd/system/user@.service.d"
        printf '[Service]\nTimeoutStopSec=1s\n' >"$root/etc/systemd/system/user@.service.d/rig.conf"
        mkdir -p "$root"/etc/systemd/system/{multi-user,sockets}.target.wants "$root/etc/docker" \
                "$root/var/lib/docker" "$root/var/lib/containerd" "$root/var/log/journal"
        [[ $RIG_POLKIT != none ]] || ln -s /dev/null "$root/etc/systemd/system/polkit.service"
        for unit in console-getty getty@tty1 systemd-firstboot systemd-timesyncd systemd-networkd-wait-online; do
                ln -s /dev/null "$root/etc/systemd/system/$unit.service"
        done
}

host_root_identity() {
        local root=$1 name=$2 dir=$3
        rm -f "$root/etc/machine-id" "$root/etc/hostname" "$root/etc/hosts"
        tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
        printf '%s\n' "$name" >"$root/etc/hostname"
        {
                printf '127.0.0.1 localhost\n'
                # known_hosts has every host of the rig: NAME,ADDRESS key
                awk '{ split($1, host, ","); print host[2], host[1] }' "$dir/ssh/known_hosts"
        } >"$root/etc/hosts"
}

# The rig's accounts are real here. The orchestrator's comes with its own installation.
host_root_accounts() {
        local root=$1 dir=$2 name uid
        while IFS=: read -r name _ uid _; do
                mkdir -p "$root/home/$name"
                chown "$uid:$uid" "$root/home/$name"
                grep -q "^$name:" "$root/etc/passwd" ||
                        printf '%s:x:%s:%s::/home/%s:/bin/bash\n' "$name" "$uid" "$uid" "$name" >>"$root/etc/passwd"
                grep -q "^$name:" "$root/etc/group" || printf '%s:x:%s:\n' "$name" "$uid" >>"$root/etc/group"
                # No password, but not locked either: sshd refuses keys for a locked account.
                grep -q "^$name:" "$root/etc/shadow" || printf '%s:*:19000:0:99999:7:::\n' "$name" >>"$root/etc/shadow"
        done < <(grep -E '^(alice|bob):' "$dir/passwd")
}

host_root_docker() {
        local root=$1 registry=$2
        mkdir -p "$root/etc/systemd/system/docker.service.d" "$root/etc/rig"
        # nspawn mounts these read-only, and Docker and containerd need them.
        cat >"$root/etc/rig/writable" <<'END'
#!/bin/sh
for path in /proc/sys /sys /sys/fs/cgroup /sys/fs/cgroup/*; do
        if mountpoint -q "$path"; then
                mount -o remount,rw,bind "$path"
        fi
done
END
        chmod 755 "$root/etc/rig/writable"
        cat >"$root/etc/systemd/system/rig-writable.service" <<'END'
[Unit]
Description=Writable cgroups and kernel settings for containers
Before=containerd.service docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/etc/rig/writable
END
        cat >"$root/etc/systemd/system/docker.service.d/rig.conf" <<END
[Unit]
Requires=rig-writable.service
After=rig-writable.service

[Service]
ExecStart=
ExecStart=$(command -v dockerd) -H fd:// -H unix:///run/rig/docker.sock --containerd=/run/containerd/containerd.sock --insecure-registry $registry --exec-opt native.cgroupdriver=cgroupfs
END
        # A test stops and crashes it as often as it likes.
        printf '\n[Unit]\nStartLimitIntervalSec=0\n' >>"$root/etc/systemd/system/docker.service.d/rig.conf"
        ln -s /lib/systemd/system/docker.service "$root/etc/systemd/system/multi-user.target.wants/"
        ln -s /lib/systemd/system/containerd.service "$root/etc/systemd/system/multi-user.target.wants/"
        ln -s /lib/systemd/system/docker.socket "$root/etc/systemd/system/sockets.target.wants/"
}

host_root_sshd() {
        local root=$1 dir=$2 name=$3 home
        install -m 600 "$dir/ssh/host_$name" "$root/etc/rig/host_key"
        install -m 644 "$dir/ssh/known_hosts" "$root/etc/ssh/ssh_known_hosts"
        cat >"$root/etc/ssh/sshd_config" <<'END'
HostKey /etc/rig/host_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
Subsystem sftp /usr/lib/openssh/sftp-server
END
        # `busctl -H alice@w1` then works for root and for themselves; nobody else has the key.
        for home in root home/alice home/bob; do
                rm -rf "${root:?}/$home/.ssh"
                mkdir -p "$root/$home/.ssh"
                cp "$dir/ssh/id.pub" "$root/$home/.ssh/authorized_keys"
                install -m 600 "$dir/ssh/id" "$root/$home/.ssh/id_ed25519"
                chmod 700 "$root/$home/.ssh"
                chown -R --reference="$root/$home" "$root/$home/.ssh"
        done
        ln -s /lib/systemd/system/ssh.service "$root/etc/systemd/system/multi-user.target.wants/"
        ln -s /lib/systemd/system/ssh.service "$root/etc/systemd/system/sshd.service"
}

# A staged installation (meson install --destdir) makes the host one that has the project installed. Without, it
# has the bus policy and the actions, enough for a daemon from the build folder.
host_root_project() {
        local root=$1 source=$2 install=$3 file
        if [[ -n $install ]]; then
                # Where Debian's directories are links (/lib), what is staged goes where they lead.
                tar -C "$install" -c . | tar -C "$root" -x --keep-directory-symlink --no-overwrite-dir --no-same-owner
                systemd-sysusers --root="$root" >&2
                return
        fi
        for file in "$source"/dbus/*.conf; do
                [[ ! -e $file ]] || install -m 644 -- "$file" "$root/etc/dbus-1/system.d/"
        done
        for file in "$source"/polkit/*.policy; do
                [[ ! -e $file ]] || install -m 644 -- "$file" "$root/usr/share/polkit-1/actions/"
        done
}
