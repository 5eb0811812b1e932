# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A host's Docker daemon.

engine_socket() {
        if [[ $1 == manager ]]; then
                printf '%s\n' "$RIG_DIR/docker.sock"
        else
                printf '%s\n' "$RIG_DIR/hosts/$1/docker.sock"
        fi
}

engine_docker() {
        local name=$1
        shift
        docker -H "unix://$(engine_socket "$name")" "$@"
}

engine_start() {
        local name=$1 host=$RIG_DIR/hosts/$1
        if host_is_systemd; then
                # Also after a stop by hand, which leaves the socket down.
                host_shell "$name" systemctl start docker.socket docker.service
                return
        fi
        alive "engine-$name" && return
        mkdir -p "$host" "$RIG_STORE/$name"
        printf '{}\n' >"$host/daemon.json"
        engine_forget_containerd "$name"
        host_command "$name"
        # A cgroup parent of its own tells this rig's containers from everybody's. cgroupfs needs no systemd.
        spawn "engine-$name" "${HOST_COMMAND[@]}" dockerd \
                --config-file "$host/daemon.json" --data-root "$RIG_STORE/$name" --exec-root "$host/exec" \
                --pidfile "$host/docker.pid" -H "unix://$(engine_socket "$name")" \
                --insecure-registry "$RIG_REGISTRY" --cgroup-parent "/$RIG_CGROUP/$name" \
                --exec-opt native.cgroupdriver=cgroupfs --storage-driver overlay2 --userland-proxy=false
}

engine_wait() {
        local process=engine-$1
        ! host_is_systemd || process=host-$1
        wait_ready 60 "$process" engine_answers "$1"
}

engine_answers() {
        [[ -S $(engine_socket "$1") ]] && engine_docker "$1" version >/dev/null 2>&1
}

engine_stop() {
        if host_is_systemd; then
                host_shell "$1" systemctl stop docker.socket docker.service
                return
        fi
        stop "engine-$1" 60
        rm -f "$RIG_DIR/hosts/$1/docker.pid"
}

# After a crash containerd may stay a zombie until init reaps it, which dockerd takes for a living one and waits for.
engine_forget_containerd() {
        local file=$RIG_DIR/hosts/$1/exec/containerd/containerd.pid
        [[ ! -e $file ]] || process_start "$(<"$file")" >/dev/null || rm -f "$file"
}

engine_containerd_ended() {
        engine_forget_containerd "$1"
        [[ ! -e $RIG_DIR/hosts/$1/exec/containerd/containerd.pid ]]
}

# The daemon's own death, without a chance to tidy up: containers and shims live on.
engine_crash() {
        if host_is_systemd; then
                # Else systemd would start it again at once. The socket goes last: the service would be stopped in order with it.
                # shellcheck disable=SC2016
                host_shell "$1" sh -ec '
                        mkdir -p /run/systemd/system/docker.service.d
                        printf "[Service]\nRestart=no\n" >/run/systemd/system/docker.service.d/crash.conf
                        systemctl daemon-reload
                        systemctl kill --kill-whom=main -s KILL docker.service
                        while systemctl is-active -q docker.service; do sleep 0.1; done
                        systemctl stop docker.socket docker.service
                        rm /run/systemd/system/docker.service.d/crash.conf
                        systemctl daemon-reload'
                return
        fi
        stop "engine-$1" 5 KILL
        # dockerd's child dies with it, a moment later.
        wait_until 5 "containerd to end" engine_containerd_ended "$1"
        rm -f "$RIG_DIR/hosts/$1/docker.pid"
}

swarm_init() {
        engine_docker manager swarm init --advertise-addr "$RIG_ADDRESS" --listen-addr "$RIG_ADDRESS:2377" >/dev/null
        wait_until 20 "the swarm to have a ready manager" swarm_ready 1
}

swarm_join() {
        local name=$1 address=$2
        engine_docker "$name" swarm join --token "$RIG_JOIN_TOKEN" --advertise-addr "$address" \
                --listen-addr "$address:2377" "$RIG_ADDRESS:2377" >/dev/null
}

swarm_ready() {
        (($(engine_docker manager node ls --format '{{.Status}}' 2>/dev/null | grep -c '^Ready$') == $1))
}
