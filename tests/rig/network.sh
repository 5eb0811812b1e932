# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Namespaces. Every host of a rig has a network, a mount and a UTS namespace, held by bind mounts in DIR/ns, so that
# its processes may end and start again and still be the same host. The bridge between them has a
# namespace as well: the machine's own gets no address and no route, and no packet leaves for any other network.

network_prepare() {
        mkdir -p "$RIG_DIR/ns"
        # A mount namespace can only be held on a private mount.
        mount --bind "$RIG_DIR/ns" "$RIG_DIR/ns"
        mount --make-private "$RIG_DIR/ns"
        touch "$RIG_DIR/ns/switch.net"
        unshare --net="$RIG_DIR/ns/switch.net" true
        in_net switch sh -ec '
                ip link set lo up
                ip link add br0 type bridge
                ip link set br0 up'
}

# namespaces_hold FILE: a network, a mount and a UTS namespace, held at FILE.net, FILE.mnt and FILE.uts. Linux 6.18 numbers
# namespaces for each processor apart, and lets a mount namespace be held only by one with a lower number (EINVAL). On
# the processor where our own was made, ours is the lower one.
namespaces_hold() {
        local options=(--net="$1.net" --mount="$1.mnt" --uts="$1.uts") cpu
        unshare "${options[@]}" true 2>/dev/null && return
        for ((cpu = 0; cpu < $(nproc --all); cpu++)); do
                namespaces_release "$1"
                taskset --cpu-list "$cpu" unshare "${options[@]}" true 2>/dev/null && return
        done
        namespaces_release "$1"
        unshare "${options[@]}" true
}

namespaces_release() {
        umount "$1.net" "$1.mnt" "$1.uts" 2>/dev/null || true
}

# host_create NAME ADDRESS
host_create() {
        local name=$1 address=$2
        local ns=$RIG_DIR/ns/$name
        touch "$ns.net" "$ns.mnt" "$ns.uts"
        namespaces_hold "$ns"
        in_net switch sh -ec "
                ip link add '$name' type veth peer name eth0 netns '$ns.net'
                ip link set '$name' master br0 up"
        in_net "$name" sh -ec "
                ip link set lo up
                ip address add $address/24 dev eth0
                ip link set eth0 up"
        # An empty /run keeps the host's Docker from adopting the machine's containerd, and its sockets and locks apart;
        # an empty /etc/docker keeps the machine's daemon.json out and the key that dockerd writes in. containerd makes
        # folders in /opt, so those of a host have a layer of their own over the machine's.
        mkdir -p "$RIG_DIR/hosts/$name/etc-docker" "$RIG_STORE/opt-$name"/{upper,work}
        if [[ $RIG_FORM == systemd ]]; then
                nsenter --mount="$ns.mnt" sh -ec "mount -t tmpfs -o mode=755 rig-run /run; mkdir -p /run/lock"
                return
        fi
        nsenter --mount="$ns.mnt" --uts="$ns.uts" sh -ec "
                hostname '$name'
                mount -t tmpfs -o mode=755 rig-run /run
                mkdir -p /run/lock
                [ ! -d /etc/docker ] || mount --bind '$RIG_DIR/hosts/$name/etc-docker' /etc/docker
                [ -d /opt/containerd ] || mount -t overlay rig-opt /opt \
                        -o lowerdir=/opt,upperdir='$RIG_STORE/opt-$name/upper',workdir='$RIG_STORE/opt-$name/work'"
}

in_net() {
        local name=$1
        shift
        nsenter --net="$RIG_DIR/ns/$name.net" -- "$@"
}

# host_command NAME: sets HOST_COMMAND, the prefix that runs a command as a process of that host.
host_command() {
        local ns=$RIG_DIR/ns/$1
        # shellcheck disable=SC2034
        HOST_COMMAND=(nsenter --net="$ns.net" --uts="$ns.uts" --mount="$ns.mnt" --)
}

# http_answers HOST ADDRESS PORT: bash's own TCP is enough to see that a server answers, whatever it says.
http_answers() {
        # shellcheck disable=SC2016
        in_net "$1" timeout 2 bash -c '
                exec 3<>"/dev/tcp/$0/$1" || exit 1
                printf "GET /v2/ HTTP/1.0\r\n\r\n" >&3
                read -r line <&3 && [[ $line == HTTP/* ]]' "$2" "$3" 2>/dev/null
}

# Without ESP and AES-GCM in the kernel, Docker makes an encrypted overlay without an error, and nothing gets through.
network_can_encrypt() {
        in_net switch ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100 reqid 1 mode transport \
                aead 'rfc4106(gcm(aes))' 0x0011223344556677889900112233445566778899 64 2>/dev/null || return 1
        in_net switch ip xfrm state flush
}
