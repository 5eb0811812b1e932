# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Messages, waiting, and the record of the processes that a rig has started.

say() {
        [[ -n ${RIG_QUIET:-} ]] || printf 'rig: %s\n' "$*" >&2
}

die() {
        printf 'rig: %s\n' "$*" >&2
        exit 1
}

# wait_until SECONDS WHAT COMMAND...: polls the command; on the deadline it names what was waited for.
wait_until() {
        local limit=$1 what=$2 deadline
        shift 2
        deadline=$((${EPOCHREALTIME/[.,]/} + limit * 1000000))
        until "$@"; do
                if ((${EPOCHREALTIME/[.,]/} > deadline)); then
                        printf 'rig: %s: not within %s s\n' "$what" "$limit" >&2
                        return 1
                fi
                sleep 0.05
        done
}

# wait_ready SECONDS NAME COMMAND...: as wait_until, for a process of the rig: gives up at once when it has ended,
# and shows the end of its log.
wait_ready() {
        local limit=$1 name=$2
        shift 2
        if ! wait_until "$limit" "$name to answer" ready_or_dead "$name" "$@" || ! alive "$name"; then
                printf 'rig: %s did not come up; the end of its log:\n' "$name" >&2
                tail -n 15 "$RIG_DIR/log/$name.log" >&2 || true
                return 1
        fi
}

ready_or_dead() {
        local name=$1
        shift
        ! alive "$name" || "$@"
}

# The start time tells a process from a later one with the same pid. A zombie counts as ended: its parent
# may be a shell of ours that has not waited for it yet.
process_start() {
        local stat fields
        { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
        # The second field is the name in parentheses and may hold anything, so count from its end.
        read -ra fields <<<"${stat##*) }"
        [[ ${fields[0]} != [ZX] ]] || return 1
        printf '%s\n' "${fields[19]}"
}

alive() {
        pid_of "$1" >/dev/null
}

pid_of() {
        local pid start
        { read -r pid start <"$RIG_DIR/pids/$1"; } 2>/dev/null || return 1
        [[ $(process_start "$pid") == "$start" ]] || return 1
        printf '%s\n' "$pid"
}

# spawn NAME COMMAND...: starts a long-lived process, its output in log/NAME.log. It must keep nothing of the
# caller's open, or `x=$(rig up)` and test harnesses wait for it for ever.
spawn() {
        local name=$1 pid
        shift
        (
                for fd in /proc/self/fd/*; do
                        fd=${fd##*/}
                        ((fd < 3)) || eval "exec $fd>&-"
                done
                cd /
                trap - EXIT INT TERM
                # As the units have it; where the machine's own limit may not be passed, as near as it goes.
                ulimit -n 1048576 2>/dev/null || ulimit -n "$(ulimit -H -n)"
                exec setsid -- "$@" </dev/null >>"$RIG_DIR/log/$name.log" 2>&1
        ) &
        pid=$!
        printf '%s %s\n' "$pid" "$(process_start "$pid" || echo 0)" >"$RIG_DIR/pids/$name"
        disown "$pid" 2>/dev/null || true
}

# stop NAME SECONDS [SIGNAL]: asks, then kills at the deadline. Ended already is fine.
stop() {
        local name=$1 limit=$2 signal=${3:-TERM} pid
        if pid=$(pid_of "$name"); then
                kill -s "$signal" "$pid" 2>/dev/null || true
                if ! wait_until "$limit" "$name to end" ended "$name"; then
                        kill -s KILL "$pid" 2>/dev/null || true
                        wait_until 5 "$name to be killed" ended "$name"
                fi
        fi
        rm -f "$RIG_DIR/pids/$name"
}

ended() {
        ! alive "$1"
}

# remember NAME VALUE: settings that later calls need, as shell assignments.
remember() {
        printf '%s=%q\n' "$1" "$2" >>"$RIG_DIR/settings"
        printf -v "$1" '%s' "$2"
}
