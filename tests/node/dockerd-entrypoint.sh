#!/bin/sh
# Stands in for the entrypoint of docker:<version>-dind: the same arguments give the same dockerd. From its description
# in words; none of its text.
set -eu
certificates() ( # below $DOCKER_TLS_CERTDIR, RSA-4096, anew at every start; client/ca.pem comes last
    umask 022; cd "$1"; mkdir -p ca server client
    openssl genrsa -out ca/key.pem 4096; openssl req -new -x509 -key ca/key.pem -subj '/CN=docker:dind CA' -days 825 -out ca/cert.pem
    names="DNS:docker,DNS:localhost,DNS:$(hostname),IP:127.0.0.1${DOCKER_TLS_SAN:+,$DOCKER_TLS_SAN}"
    for name in server client; do
        openssl genrsa -out $name/key.pem 4096
        openssl req -new -key $name/key.pem -subj "/CN=docker:dind $name" -out $name/csr.pem
        printf 'subjectAltName=%s\nextendedKeyUsage=%sAuth\n' "$names" $name >$name/openssl.cnf
        openssl x509 -req -in $name/csr.pem -CA ca/cert.pem -CAkey ca/key.pem -CAcreateserial -days 825 \
            -extfile $name/openssl.cnf -out $name/cert.pem
        cp ca/cert.pem $name/ca.pem
    done
)
if [ $# = 0 ] || [ "${1#-}" != "$1" ]; then
    if [ -n "${DOCKER_TLS_CERTDIR:-}" ]; then
        mkdir -p "$DOCKER_TLS_CERTDIR"; certificates "$DOCKER_TLS_CERTDIR"; server=$DOCKER_TLS_CERTDIR/server
        set -- --host=tcp://0.0.0.0:2376 --tlsverify --tlscacert "$server/ca.pem" --tlscert "$server/cert.pem" --tlskey "$server/key.pem" "$@"
    else
        set -- --host=tcp://0.0.0.0:2375 "$@"
    fi
    set -- dockerd --host=unix:///var/run/docker.sock "$@"
fi
[ "$1" = dockerd ] || exec "$@"
uid=$(id -u)
if [ "$uid" != 0 ]; then # the -rootless image: in a user and a network namespace of its own
    export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$uid}"; mkdir -p "$XDG_RUNTIME_DIR"
    # shellcheck disable=SC2086 # flags, separated by blanks
    exec rootlesskit --net=slirp4netns --mtu=1500 --disable-host-loopback --port-driver=builtin --copy-up=/etc --copy-up=/run \
        ${DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS:-} docker-init -- sh -c 'rm -f /run/docker /run/containerd; exec "$@"' rootless "$@"
fi
find /run -name 'docker*.pid' -delete 2>/dev/null || :
grep -q " /tmp " /proc/mounts || mount -t tmpfs none /tmp
if [ -f /sys/fs/cgroup/cgroup.controllers ] && mkdir -p /sys/fs/cgroup/init; then
    while read -r pid; do echo "$pid" >/sys/fs/cgroup/init/cgroup.procs; done </sys/fs/cgroup/cgroup.procs || :
    sed 's/[^ ][^ ]*/+&/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control || :
fi
mount --make-rshared /
exec docker-init -- "$@"
