# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The end of a rig. It works from what a rig owns for certain: its network namespaces, its cgroup parent, its recorded
# processes, and the mounts below its folder; so it works as well for one that came up by half, and twice.

teardown() {
        local name
        rig_thaw
        for name in "$RIG_DIR"/pids/*; do
                [[ ! -e $name ]] || stop "${name##*/}" 5 KILL
        done
        wait_until 20 "the rig's processes to end" rig_kill_rest
        rig_remove_cgroups
        rig_unmount
        rig_remove_folder
}

# SIGKILL does not reach a process that a v1 freezer holds.
rig_thaw() {
        local file
        # shellcheck disable=SC2046
        while IFS= read -r file; do
                case $file in
                        */freezer.state) echo THAWED >"$file" ;;
                        */cgroup.freeze) echo 0 >"$file" ;;
                esac 2>/dev/null || true
        done < <(find $(rig_cgroups) -name freezer.state -o -name cgroup.freeze 2>/dev/null)
}

# rig_cgroups [/HOST]: of the rig, or of one host.
rig_cgroups() {
        local base found=()
        for base in $(cgroup_hierarchies); do
                [[ ! -d $base/$RIG_CGROUP${1:-} ]] || found+=("$base/$RIG_CGROUP${1:-}")
        done
        # Never empty: find would take the current folder.
        printf '%s\n' "${found[@]:-/nonexistent}"
}

# Everything in the rig's network namespaces (daemons, shims, what `rig run` left) and in its cgroups (containers). True
# when nothing is left. With a name, only what belongs to that host.
rig_kill_rest() {
        local pids
        rig_thaw
        pids=$(rig_processes "$@")
        [[ -n $pids ]] || return 0
        # shellcheck disable=SC2086
        kill -s KILL $pids 2>/dev/null || true
        return 1
}

rig_processes() {
        local file tests=() pid own
        own=" $(ancestors) "
        for file in "$RIG_DIR"/ns/${1:-*}.net; do
                # Only where the namespace is mounted: an empty file's inode is none.
                [[ ! -e $file || $(stat -f -c %T "$file") != nsfs ]] ||
                        tests+=(-o -lname "net:\[$(stat -c %i "$file")\]")
        done
        {
                ((${#tests[@]} == 0)) ||
                        find /proc -mindepth 3 -maxdepth 3 -path '/proc/[0-9]*/ns/net' \( "${tests[@]:1}" \) 2>/dev/null |
                        cut -d / -f 3
                # shellcheck disable=SC2046
                find $(rig_cgroups "${1:+/$1}") -name cgroup.procs -exec cat {} + 2>/dev/null
        } | sort -un | while read -r pid; do
                [[ $own == *" $pid "* ]] || ! process_start "$pid" >/dev/null || printf '%s\n' "$pid"
        done
}

# A `rig down` from within the rig's namespace must not end itself or its caller.
ancestors() {
        local pid=$BASHPID stat
        while ((pid > 1)); do
                printf '%s ' "$pid"
                { stat=$(<"/proc/$pid/stat"); } 2>/dev/null || return 0
                read -r _ pid _ <<<"${stat##*) }"
        done
}

rig_remove_cgroups() {
        # A cgroup stays busy for a moment after its last process.
        wait_until 10 "the rig's cgroups to be removed" rig_remove_cgroups_once
}

rig_remove_cgroups_once() {
        # shellcheck disable=SC2046
        find $(rig_cgroups) -depth -type d -exec rmdir {} + 2>/dev/null || true
        [[ $(rig_cgroups) == /nonexistent ]]
}

rig_mounts() {
        # The paths are octal-escaped; those of a rig hold nothing that needs it (rig_check_dir).
        awk -v dir="$RIG_DIR/" 'index($5 "/", dir) == 1 { print $5 }' /proc/self/mountinfo
}

rig_unmount() {
        wait_until 10 "the rig's mounts to go" rig_unmount_once
}

rig_unmount_once() {
        local path
        # The newest first: a mount is listed after the one it lies on.
        while IFS= read -r path; do
                umount -- "$path" 2>/dev/null || true
        done < <(rig_mounts | tac)
        [[ -z $(rig_mounts) ]]
}

rig_remove_folder() {
        [[ -z $(rig_mounts) ]] || die "$RIG_DIR still has mounts; nothing is deleted"
        # The marker goes last, so that an interrupted removal can be taken up again.
        find "$RIG_DIR" -xdev -mindepth 1 -maxdepth 1 ! -name "$RIG_MARKER" -exec rm -rf --one-file-system {} +
        rm -rf --one-file-system "$RIG_DIR"
}
