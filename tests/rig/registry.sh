# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The registry on the manager, and the two images that every rig has.

registry_configure() {
        mkdir -p "$RIG_STORE/registry"
        [[ -e $RIG_DIR/registry ]] || ln -s "$RIG_STORE/registry" "$RIG_DIR/registry"
        cat >"$RIG_DIR/registry.yml" <<END
version: 0.1
log:
  level: warn
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: $RIG_STORE/registry
  delete:
    enabled: true
http:
  addr: $RIG_REGISTRY
  headers:
    X-Content-Type-Options: [nosniff]
END
        [[ -n $RIG_REGISTRY_USER ]] || return 0
        registry_password "$RIG_REGISTRY_USER" "$RIG_REGISTRY_PASSWORD" >"$RIG_DIR/htpasswd"
        cat >>"$RIG_DIR/registry.yml" <<END
auth:
  htpasswd:
    realm: swarm-rig
    path: $RIG_DIR/htpasswd
END
}

# crypt(3) knows the registry's bcrypt, and perl is on every Debian; htpasswd is not.
registry_password() {
        perl -e '
                my @set = ("a".."z", "A".."Z", 0..9);
                my $salt = join "", map { $set[rand @set] } 1..21;
                print "$ARGV[0]:", crypt($ARGV[1], "\$2y\$05\$${salt}u"), "\n"' "$1" "$2"
}

registry_start() {
        alive registry && return
        host_command manager
        # The packaged unit sets nothing else; the variables of the caller would change its configuration.
        spawn registry "${HOST_COMMAND[@]}" env -i PATH="$PATH" OTEL_TRACES_EXPORTER=none \
                docker-registry serve "$RIG_DIR/registry.yml"
}

registry_wait() {
        wait_ready 20 registry http_answers manager "${RIG_REGISTRY%:*}" "${RIG_REGISTRY#*:}"
}

registry_stop() {
        stop registry 20
}

# A tree with the usual folders around one static busybox.
images_tree() {
        local root=$1
        mkdir -p "$root"/{bin,dev,etc,home/user,proc,root,run,sys,usr/bin,usr/lib,usr/local/bin,usr/share,var/cache,var/lib,var/log,var/tmp,tmp}
        chmod 1777 "$root/tmp" "$root/var/tmp"
        chmod 700 "$root/root"
        chown 1000:1000 "$root/home/user"
        ln -s bin "$root/sbin"
        packages_busybox "$root/bin/busybox"
        "$root/bin/busybox" --list | (cd "$root/bin" && perl -ne 'chomp; symlink "busybox", $_')
        ln -s ../../bin/busybox "$root/usr/bin/env"
        printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n' >"$root/etc/passwd"
        printf 'root:x:0:\nuser:x:1000:\n' >"$root/etc/group"
        printf 'ID=rig\nNAME="Swarm rig base"\n' >"$root/etc/os-release"
}

# The main process sleeps in wait, so it costs no cpu, and ends at once on SIGTERM; as pid 1 without a trap it
# would not.
RIG_IMAGE_COMMAND='["/bin/sh","-c","trap \"exit 0\" TERM INT; while :; do sleep 2147483647 & wait $!; done"]'

images_create() {
        local tree=$RIG_DIR/tmp/base
        images_tree "$tree"
        tar -C "$tree" --numeric-owner -cf "$RIG_DIR/tmp/base.tar" .
        rm -rf "$tree"
        images_import base
        images_import with-volume --change 'VOLUME /data'
        rm -f "$RIG_DIR/tmp/base.tar"
}

images_import() {
        local ref=$RIG_REGISTRY/$1:latest
        shift
        engine_docker manager import --change "CMD $RIG_IMAGE_COMMAND" --change 'ENV PATH=/bin:/usr/bin:/usr/local/bin' \
                "$@" "$RIG_DIR/tmp/base.tar" "$ref" >/dev/null
        engine_docker manager push -q "$ref" >/dev/null
}

# Docker's and skopeo's view of the registry is the rig's own; the caller's ~/.docker has no part in it.
registry_login() {
        export DOCKER_CONFIG=$RIG_DIR/docker-config
        mkdir -p "$DOCKER_CONFIG"
        if [[ -n $RIG_REGISTRY_USER ]]; then
                printf '{"auths": {"%s": {"auth": "%s"}}}\n' "$RIG_REGISTRY" \
                        "$(printf '%s:%s' "$RIG_REGISTRY_USER" "$RIG_REGISTRY_PASSWORD" | base64 -w 0)"
        else
                printf '{}\n'
        fi >"$DOCKER_CONFIG/config.json"
        chmod 644 "$DOCKER_CONFIG/config.json"
}
