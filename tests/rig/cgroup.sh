# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later

# cgroup_hierarchies: the mounted hierarchies, of version 1 or 2. What else lies among them, such as a folder that something
# left in the tmpfs that holds those of version 1, is none.
cgroup_hierarchies() {
        local base type
        for base in /sys/fs/cgroup /sys/fs/cgroup/*/; do
                base=${base%/}
                [[ ! -L $base ]] || continue
                type=$(stat -f -c %T "$base") || continue
                [[ $type == cgroupfs || $type == cgroup2fs ]] || continue
                printf '%s\n' "$base"
                # Below the root of version 2 there are ordinary cgroups, and no hierarchies.
                [[ $base != /sys/fs/cgroup ]] || break
        done
}

# cgroup_enter PATH: moves this shell into a cgroup of its own in every hierarchy, version 1 or 2. Where
# nspawn has made a `payload` beside it, which is the root that the host sees, into one of that name below it.
cgroup_enter() {
        local base path
        for base in $(cgroup_hierarchies); do
                [[ -w $base/cgroup.procs ]] || continue
                path=$base/$1
                [[ ! -d ${path%/*}/payload ]] || path=${path%/*}/payload/${path##*/}
                # A v1 cpuset takes no process before it has cpus, which it gets from its parent by this flag.
                if [[ -e $base/cpuset.cpus && -e $base/cgroup.clone_children ]]; then
                        mkdir -p "$path"
                        cpuset_inherit "$base" "${path#"$base"/}"
                fi
                mkdir -p "$path"
                echo $$ >"$path/cgroup.procs"
        done
}

# cpuset_inherit BASE PATH: from the top down, as an empty parent allows nothing.
cpuset_inherit() {
        local path=$1 part file
        for part in ${2//\// }; do
                for file in cpuset.cpus cpuset.mems; do
                        [[ -n $(<"$path/$part/$file") ]] || cat "$path/$file" >"$path/$part/$file"
                done
                path+=/$part
        done
}
