#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The unit, the users and the directories, as systemd's own tools see them: test-units.sh SOURCE BUILD LIBEXECDIR
set -eu

source=$1 build=$2 libexec=$3
command -v systemd-analyze >/dev/null || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

fail() {
        printf '%s\n' "$*" >&2
        failed=1
}

# The programs need not be installed here. Threshold in tenths.
for unit in swarm-orchestratord.service swarm-orchestrator-sessions.service; do
        grep -q "^ExecStart=$libexec/" "$build/systemd/$unit" || fail "ExecStart= of $unit is not in $libexec"
        grep -q '@[A-Z]*@' "$build/systemd/$unit" && fail "$unit holds a placeholder"
        sed "s|^\(Exec[A-Za-z]*=\)$libexec/swarm-orchestrator[a-z-]*|\1/bin/true|" "$build/systemd/$unit" >"$work/$unit"
done
for unit in swarm-orchestratord.service swarm-orchestrator-sessions.service; do
        output=$(systemd-analyze verify --man=no "$work/$unit" 2>&1) || fail "verify $unit fails"
        [ -z "$output" ] || fail "verify $unit: $output"
        systemd-analyze security --offline=true --no-pager --threshold=30 "$work/$unit" >"$work/security" 2>&1 ||
                fail "security: $(tail -n 1 "$work/security")"
        tail -n 1 "$work/security"
done

# Users, twice: the second time nothing is left to do.
mkdir -p "$work/root/etc" "$work/root/usr/lib/sysusers.d" "$work/root/usr/lib/tmpfiles.d"
cp "$source/systemd/swarm-orchestrator.sysusers" "$work/root/usr/lib/sysusers.d/swarm-orchestrator.conf"
cp "$source/systemd/swarm-orchestrator.tmpfiles" "$work/root/usr/lib/tmpfiles.d/swarm-orchestrator.conf"
if [ "$(id -u)" = 0 ]; then
        systemd-sysusers --root="$work/root" >/dev/null 2>&1 || fail "sysusers fails"
        grep -q '^swarm-orchestrator:[^:]*:[0-9]*:[0-9]*:Swarm Orchestrator:/var/lib/swarm-orchestrator:/bin/sh$' "$work/root/etc/passwd" ||
                fail "no user: $(cat "$work/root/etc/passwd")"
        grep -q '^docker:.*:swarm-orchestrator$' "$work/root/etc/group" || fail "not in group docker"
        output=$(systemd-sysusers --root="$work/root" 2>&1) || fail "sysusers fails again"
        [ -z "$output" ] || fail "sysusers the second time: $output"
        systemd-tmpfiles --root="$work/root" --create || fail "tmpfiles fails"
        [ "$(stat -c %a "$work/root/etc/swarm-orchestrator/templates.d")" = 750 ] || fail "templates.d has the wrong mode"
        [ "$(stat -c %a "$work/root/var/lib/swarm-orchestrator")" = 700 ] || fail "the state directory has the wrong mode"
        output=$(systemd-tmpfiles --root="$work/root" --create 2>&1) || fail "tmpfiles fails again"
        [ -z "$output" ] || fail "tmpfiles the second time: $output"
fi

exit $failed
