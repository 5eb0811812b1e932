#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# agent-live.sh PROGRAM SWARM-LAYER: runs the agent's live test in a rig of its own. 77: it cannot be made here.

set -euo pipefail

program=$(readlink -f -- "$1") layer=$(readlink -f -- "$2")
here=$(dirname -- "$(readlink -f -- "$0")")
rig=$here/../rig/rig

if (($(id -u) != 0)); then
        echo "a rig needs root"
        exit 77
fi
dir=$("$rig" up --polkit none)
trap '"$rig" down --dir "$dir"' EXIT
# After each test nothing of its session may be left but what was saved of it.
"$rig" run --dir "$dir" -- env SWARM_LAYER="$layer" SWARM_RIG="$rig" \
        SWARM_CHECKER="'$here/checker.py' --dir '$dir' --storeless --seconds 30" "$program"
