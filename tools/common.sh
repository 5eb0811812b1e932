# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What demo, check and bench share: the packages they need, and a build of their own.

TOOLS_HERE=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
TOOLS_SOURCE=$(dirname -- "$TOOLS_HERE")
# shellcheck disable=SC2034 # used by whoever sources this
TOOLS_RIG=$TOOLS_SOURCE/tests/rig/rig

# What is looked for, and the package that has it: a program in PATH, a pkg-config module (pc:NAME), or a file.
# What running needs is listed in tests/rig/packages.sh.
# shellcheck disable=SC2034 # used by whoever sources this
TOOLS_BUILD_PACKAGES=(
        gcc=gcc /usr/include/stdio.h=libc6-dev meson=meson ninja=ninja-build pkg-config=pkgconf python3=python3
        pc:libsystemd=libsystemd-dev pc:libcurl=libcurl4-openssl-dev pc:jansson=libjansson-dev
        pc:libarchive=libarchive-dev pc:libcrypto=libssl-dev pc:sqlite3=libsqlite3-dev pc:yaml-0.1=libyaml-dev
        pc:libisal=libisal-dev pc:smartcols=libsmartcols-dev pc:libcap=libcap-dev pc:cmocka=libcmocka-dev
        pc:libzstd=libzstd-dev /usr/include/uthash.h=uthash-dev scdoc=scdoc
)
# shellcheck disable=SC2034 # used by check
TOOLS_CHECK_PACKAGES=(
        clang=clang '/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a=libclang-rt-14-dev'
        shellcheck=shellcheck xmllint=libxml2-utils git=git openssl=openssl ssh=openssh-client
        gdbus=libglib2.0-bin getfattr=attr getfacl=acl setcap=libcap2-bin /etc/ssl/certs/ca-certificates.crt=ca-certificates
)

tools_die() {
        printf '%s: %s\n' "${0##*/}" "$*" >&2
        exit 1
}

tools_need_root() {
        (($(id -u) == 0)) || tools_die "run it as root: it makes namespaces, mounts and containers of its own"
}

tools_has() {
        case $1 in
                pc:*) pkg-config --exists "${1#pc:}" 2>/dev/null ;;
                /*) compgen -G "$1" >/dev/null ;;
                *) command -v "$1" >/dev/null ;;
        esac
}

# tools_packages ENTRY...: installs what is missing of them, and what the rig needs.
tools_packages() (
        # In a subshell: the rig's functions are its own.
        # shellcheck source=tests/rig/common.sh
        . "$TOOLS_SOURCE/tests/rig/common.sh"
        # shellcheck source=tests/rig/packages.sh
        . "$TOOLS_SOURCE/tests/rig/packages.sh"
        missing=()
        for entry in "$@"; do
                tools_has "${entry%=*}" || missing+=("${entry##*=}")
        done
        packages_ensure "${missing[@]}"
)

# tools_build DIR OPTION...: configures a build folder where there is none, and builds it.
tools_build() {
        local dir=$1
        shift
        [[ -e $dir/build.ninja ]] || meson setup --prefix=/usr "$@" "$dir" "$TOOLS_SOURCE"
        ninja -C "$dir"
}

# The time since START (of EPOCHREALTIME), in seconds with one decimal.
tools_seconds_since() {
        local usec=$((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}))
        printf '%d.%d' $((usec / 1000000)) $((usec % 1000000 / 100000))
}
