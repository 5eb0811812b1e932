#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# provider-swarm.sh PROGRAM SWARM-LAYER [PART...]: takes sessions through the Swarm provider, in rigs of its own. 77: they cannot
# be made here.

set -euo pipefail

program=$(readlink -f -- "$1") layer=$(readlink -f -- "$2")
shift 2
(($#)) || set -- conflict life hibernate crash node initialize
here=$(dirname -- "$(readlink -f -- "$0")")
rig=$here/../rig/rig

if (($(id -u) != 0)); then
        echo "a rig needs root"
        exit 77
fi

dir='' dir_without=''
finish() {
        [[ -z $dir ]] || "$rig" down --dir "$dir"
        [[ -z $dir_without ]] || "$rig" down --dir "$dir_without"
}
trap finish EXIT

drive() {
        local where=$1 part=$2 image
        # shellcheck disable=SC2016     # the rig's variable, not ours
        image=$("$rig" run --dir "$where" -- sh -c 'docker image inspect --format "{{index .RepoDigests 0}}" "$SWARM_BASE_IMAGE"')
        printf '== %s\n' "$part"
        "$rig" run --dir "$where" -- env SWARM_LAYER="$layer" "$program" "$part" "$where/docker.sock" "$image"
        # Each part ends without sessions, so nothing may be left, as for an orchestrator with an empty store.
        "$here/checker.py" --dir "$where" --seconds 30
}

for part; do
        if [[ $part == initialize ]]; then
                dir_without=$("$rig" up --no-swarm --polkit none)
                drive "$dir_without" "$part"
        else
                [[ -n $dir ]] || dir=$("$rig" up --hosts 1 --polkit none)
                drive "$dir" "$part"
        fi
done
