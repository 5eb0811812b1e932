# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The orchestrator itself, where it is built.

daemon_find() {
        local candidate
        for candidate in "${RIG_BUILD:-$RIG_SOURCE/build}/src/swarm-orchestratord" \
                "${SWARM_PREFIX:+$SWARM_PREFIX/lib/swarm-orchestrator/swarm-orchestratord}" \
                "${SWARM_PREFIX:+$SWARM_PREFIX/libexec/swarm-orchestratord}" \
                "${SWARM_PREFIX:+$SWARM_PREFIX/sbin/swarm-orchestratord}"; do
                if [[ -x $candidate ]]; then
                        printf '%s\n' "$candidate"
                        return
                fi
        done
        return 1
}

# What the rig knows and a user would write: its Engine, address and registry. Tests add drop-ins and templates of their
# own beside these files before the daemon starts, or after and Reload().
daemon_configuration() {
        cat <<END
# written by the test rig

[Swarm]
Engine=$1
AdvertiseAddress=$RIG_ADDRESS

[Registry]
URL=http://$RIG_REGISTRY
END
}

daemon_templates() {
        cat <<END
# written by the test rig
templates:
  base:
    description: A static busybox that sleeps
    image: $RIG_REGISTRY/base:latest
    memory: 256
    stop_grace: 5s
  with-volume:
    description: The same with a VOLUME, whose files are lost
    image: $RIG_REGISTRY/with-volume:latest
    memory: 256
    volumes: ephemeral
END
}

daemon_configure() {
        local kind
        mkdir -p "$RIG_DIR"/etc/{templates.d,orchestrator.conf.d} "$RIG_DIR/state" "$RIG_DIR/runtime" "$RIG_DIR/credentials"
        chmod 700 "$RIG_DIR/credentials"
        [[ -e $RIG_DIR/etc/orchestrator.conf ]] || daemon_configuration "$RIG_DIR/docker.sock" >"$RIG_DIR/etc/orchestrator.conf"
        [[ -e $RIG_DIR/etc/templates.d/rig.yaml ]] || daemon_templates >"$RIG_DIR/etc/templates.d/rig.yaml"
        [[ -n $RIG_REGISTRY_USER ]] || return 0
        for kind in push pull; do
                [[ -e $RIG_DIR/credentials/swarm-registry-$kind ]] ||
                        printf '%s:%s\n' "$RIG_REGISTRY_USER" "$RIG_REGISTRY_PASSWORD" >"$RIG_DIR/credentials/swarm-registry-$kind"
        done
}

daemon_start() {
        local program folder
        alive daemon && return
        # What is installed in the host needs no build folder.
        program=$(daemon_find) || [[ -n $RIG_INSTALL ]] ||
                die "swarm-orchestratord is not built; name the build folder with --build or the prefix with SWARM_PREFIX"
        if host_is_systemd; then
                daemon_start_unit "$program"
                return
        fi
        folder=${program%/*}
        daemon_configure
        # The caller's environment goes along: crash points, sanitizers and log levels are set there.
        spawn daemon nsenter --net="$RIG_DIR/ns/manager.net" -- env -u NOTIFY_SOCKET -u WATCHDOG_USEC \
                DBUS_SYSTEM_BUS_ADDRESS="unix:path=$RIG_DIR/bus.sock" \
                SWARM_LAYER_PATH="${SWARM_LAYER_PATH:-$folder/swarm-layer}" SWARM_STREAM_PATH="${SWARM_STREAM_PATH:-$folder/swarm-stream}" \
                STATE_DIRECTORY="$RIG_DIR/state" RUNTIME_DIRECTORY="$RIG_DIR/runtime" \
                CREDENTIALS_DIRECTORY="$RIG_DIR/credentials" "$program" --config-dir="$RIG_DIR/etc"
        wait_ready 20 daemon bus_call org.swarm.Orchestrator /org/swarm/Orchestrator org.freedesktop.DBus.Peer Ping
}

# In a systemd host: the project's own unit where it is installed, else one for the moment.
daemon_start_unit() {
        host_shell manager mkdir -p /etc/swarm-orchestrator/orchestrator.conf.d /etc/swarm-orchestrator/templates.d
        daemon_configuration /run/docker.sock |
                host_shell manager sh -c 'cat >/etc/swarm-orchestrator/orchestrator.conf.d/10-rig.conf'
        daemon_templates | host_shell manager sh -c 'cat >/etc/swarm-orchestrator/templates.d/rig.yaml'
        if host_shell manager systemctl cat swarm-orchestratord.service >/dev/null 2>&1; then
                host_shell manager systemctl start swarm-orchestratord.service
        else
                host_shell manager systemd-run --quiet --unit=swarm-orchestratord --service-type=notify \
                        --property=StateDirectory=swarm-orchestrator --property=RuntimeDirectory=swarm-orchestrator \
                        --setenv=SWARM_LAYER_PATH="${1%/*}/swarm-layer" --setenv=SWARM_STREAM_PATH="${1%/*}/swarm-stream" "$1"
        fi
}

daemon_stop() {
        if host_is_systemd; then
                host_shell manager systemctl stop swarm-orchestratord.service
                return
        fi
        stop daemon 40
}

daemon_kill() {
        if host_is_systemd; then
                host_shell manager systemctl kill --kill-whom=main --signal=KILL swarm-orchestratord.service
                return
        fi
        stop daemon 10 KILL
}
