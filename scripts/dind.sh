#!/bin/sh
#! Starts the Docker daemon of this Pod, for dinp. The reasons are in dinp's scripts/dind.sh.
#
# Who runs it: the container dinp-dind of a Pod in sidecar mode, by `sh -c`; in the Pod of a shared
# daemon start.sh runs it. "$@" is dockerd's command line: the word dockerd, then its flags.
#
# What it does is `main`, at the end; each step is a function with a name. The places:
#
#   /dinp                     the directory that the daemon and its clients share
#   /dinp/docker.sock         dockerd makes it
#   /dinp/bin                 copies of the image's docker command, for clients without one, and
#                             of its plugins, for clients that are to have them
#   /dinp/certs               transport tls: what a client needs; a volume in memory
#   /dinp/server              transport tls: dockerd's own key and certificate
#   /dinp-config              the user's ConfigMap, read only: daemon.json, *.crt
#   /etc/docker/daemon.json   read where the ConfigMap has none
#   /var/lib/docker           dockerd's data, and a lock; a directory each where data outlive Pods
#   /var/lib/dinp             the copy of daemon.json that dockerd reads; the admin's authorities
#   /usr/local/sbin/runc      a script that gives containers the daemon's OOM score
#   /var/run/docker.pid       removed before dockerd starts: a crash leaves it behind
#   /dev/termination-log      why it ends, for the container's status
#   /sys/fs/cgroup            cgroup v2 only: of this container, so that limits hold
#
# The variables, which nobody but dinp can set:
#
#   DINP_DAEMON_CONFIG        where the ConfigMap is, instead of /dinp-config
#   DINP_DAEMON_CONFIG_KEYS   the keys that daemon.json may set; unset: any
#   DINP_DATA_OUTLIVES_POD    set where the data directory is on a volume that other Pods use later
#   DINP_CERTIFICATE_AUTHORITIES  whom the daemon trusts beside the system's: PEM
#   DINP_CLI_PLUGINS          names of the docker command's plugins to copy
#   DINP_SOCKET_LINKS         where else to put a link to the socket: a path on each line
#
# It opens no connection but that to dockerd's socket, downloads nothing, and takes nothing that a
# user has written for a command: an argument goes to dockerd as it is, or not at all.
#
# How it is written: the image has BusyBox ash, so it is POSIX sh. The kubelet expands the command
# of a container, so there are no two dollars in a row, and no bare word in dollar-parentheses.
# dinp takes off the comments and the indentation when it reads this file (see __init__.py), and
# leaves out a block between `#: if` and `#: end` in Pods that do not need it.
set -eu

stop=''   # whether the container is to end
daemon='' # dockerd's process
ready=''  # whether it has answered once
keys=''   # what daemon.json sets: names, with a space between them
mtu=''    # of the networks; empty: not known yet
root=''   # dockerd's directory; empty: as its arguments say

# The kubelet sends TERM; dockerd then stops its containers, and `keep_running` waits for it.
end() {
    stop=1
    [ -n "$ready" ] || note "dockerd had not answered when its container was told to end"
    [ -z "$daemon" ] || kill "$daemon" || :
}
trap end TERM INT

die() {
    echo "dinp: $*" >&2
    note "$*"
    exit 1
}

# For the container's status, as the log goes with the Pod. Where there is no note and the
# container fails, the kubelet takes the end of the log: so dockerd's own last words have none.
note() {
    { echo "dinp: $*" >/dev/termination-log; } 2>/dev/null || :
}

# Sets config, where the user's ConfigMap is; data, dockerd's directory; and own, dinp's.
find_directories() {
    config=${DINP_DAEMON_CONFIG:-/dinp-config}
    data=/var/lib/docker
    own=/var/lib/dinp
    if [ "$(id -u)" != 0 ]; then # the rootless image
        data=/home/rootless/.local/share/docker
        own=/home/rootless/.dinp
    fi
}

# Two daemons on one data directory destroy it. The kernel holds the lock, so it is gone however
# this shell ends: and all its children have it, as dockerd and containerd's shims may write for a
# moment longer than the shell lives. Those of a container that has just ended get three seconds.
lock_data_directory() {
    exec 9>"$data/.dinp.lock"
    for _ in 1 2 3; do
        ! flock -n 9 || return 0
        sleep 1
    done
    die "another daemon uses $data: give each Pod a volume of its own (dinp.io/storage)"
}

# Sets root, dockerd's directory for this version and image store, where the data outlive the Pod:
# an older dockerd cannot read what a newer one has written, and Docker does not take an image
# store's images over into another. Data that were there before dinp had such directories stay in
# use, as they are: dockerd has made containers/ in them. $@ are dockerd's arguments.
find_data_root() {
    [ -n "${DINP_DATA_OUTLIVES_POD:-}" ] || return 0
    ! sets data-root || return 0
    volume=$data
    [ "$own" = /var/lib/dinp ] || volume=$data/data # rootless: the volume itself is not its own
    if [ -d "$volume/containers" ]; then
        echo "dinp: data of before are in $volume, and stay in use for any version of Docker" >&2
        return 0
    fi
    version=$(dockerd --version | sed -n 's/^Docker version \([0-9][0-9A-Za-z.+~-]*\).*/\1/p')
    store=default
    if sets features || sets storage-driver; then
        store=daemon.json
    fi
    for arg; do
        case $arg in
        --storage-driver=* | --feature=containerd-snapshotter*) store=$store-${arg##*=} ;;
        esac
    done
    store=$(printf %s "$store" | tr -c 'a-z0-9.-' _)
    root=$volume/${version:-unknown}-$store
    mkdir -p "$root"
}

# --- daemon.json -------------------------------------------------------------------------------

# Sets json, the file that dockerd is to read, and origin, the one that people know.
find_daemon_json() {
    json=$config/daemon.json
    [ -f "$json" ] || json=/etc/docker/daemon.json
    origin=$json
    # The admin may have listed the keys that daemon.json may set. Then dockerd reads a copy: who
    # can write to the file could add a key after the check. There is a copy also where there is no
    # file, as dockerd looks for /etc/docker/daemon.json by itself at each start.
    if [ -n "${DINP_DAEMON_CONFIG_KEYS+is set}" ]; then
        mkdir -p "$own"
        if [ -f "$json" ]; then
            cat "$json"
        else
            echo '{}'
        fi >"$own/daemon.json"
        json=$own/daemon.json
    fi
}

# The keys at the top of the JSON object on stdin, one a line. The image has no JSON parser, so:
# sed makes an underscore of each escape, and no quote is left inside of a string. awk's records
# end at quotes, so each record of an even number is the inside of a string. It is a key if a colon
# follows while one bracket is open. What no key of dockerd's has becomes an underscore: an odd
# spelling is no key on a list, so it is refused. tests/docker/test_dind_sh.py tries any JSON.
top_level_keys() {
    sed 's/\\./_/g' | LC_ALL=C awk '
        BEGIN { RS = "\"" }
        NR % 2 == 0 { key = $0; gsub(/[^a-z0-9-]|^$/, "_", key); next }
        { if (/^[ \t\r\n]*:/ && depth == 1) print key }
        { depth += gsub(/[[{]/, "") - gsub(/[]}]/, "") }'
}

# Whether daemon.json sets what the flag $1 sets. The key of a flag that can be given twice is a
# plural: labels for label, insecure-registries for insecure-registry.
sets() {
    case " $keys " in
    *" $1 "* | *" $1s "* | *" ${1%y}ies "*) return 0 ;;
    esac
    return 1
}

# At each start, as a ConfigMap may change any time.
check_keys() {
    for key in $keys; do
        case " ${DINP_DAEMON_CONFIG_KEYS-$key} " in # without a list each key is on it
        *" $key "*) ;;
        *)
            allowed=${DINP_DAEMON_CONFIG_KEYS:-no key}
            rule="sidecar.daemonConfigKeys of dinp's config file does not allow ($allowed)"
            die "$origin sets \"$key\", which $rule: take it out"
            ;;
        esac
    done
    if sets host; then
        die "$origin sets \"hosts\", but where the daemon listens is for dinp to say: take it out"
    fi
}

# Certificate authorities of registries: dockerd, a Go program, reads each file in these folders.
# The variable replaces the system's folder, so that is named too.
trust_certificates() {
    if [ -n "${DINP_CERTIFICATE_AUTHORITIES:-}" ]; then
        mkdir -p "$own/trust"
        printf '%s\n' "$DINP_CERTIFICATE_AUTHORITIES" >"$own/trust/dinp.crt"
        export SSL_CERT_DIR="${SSL_CERT_DIR:-/etc/ssl/certs}:$own/trust"
    fi
    [ -d "$config" ] || return 0
    export SSL_CERT_DIR="${SSL_CERT_DIR:-/etc/ssl/certs}:$config"
}

#: if tls
# --- transport tls -----------------------------------------------------------------------------

# Makes a key and a certificate for it. $1 is its name; the rest are options of who signs it.
issue() {
    name=$1
    shift
    openssl req -new -config cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -subj "/CN=dinp $name" -keyout "$name.key" -out "$name.csr"
    openssl x509 -req -in "$name.csr" -extfile cnf -extensions "$name" "$@" \
        -days 3650 -out "$name.pem"
}

# Made anew at each start, for this Pod alone. By elliptic curves, as the three RSA keys of the
# image's own entrypoint take four seconds. The CA's key is removed, so nobody can add a client.
# Files are made out of sight, and ca.pem comes last: a client that sees it finds the others, too.
# Python 3.13 insists on the key identifiers and on the CA's keyUsage.
make_certificates() (
    umask 077
    rm -rf /dinp/certs/.new
    mkdir -p /dinp/certs/.new /dinp/server
    cd /dinp/certs/.new
    cat >cnf <<'EOF'
[req]
distinguished_name=req
[ca]
subjectKeyIdentifier=hash
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
[server]
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
extendedKeyUsage=serverAuth
subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1
[client]
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
extendedKeyUsage=clientAuth
EOF
    issue ca -signkey ca.key
    issue server -CA ca.pem -CAkey ca.key -CAcreateserial
    issue client -CA ca.pem -CAkey ca.key -CAcreateserial
    # Clients run as any user. The volume is this Pod's alone, and they mount it read only.
    chmod 0444 client.key client.pem ca.pem
    mv server.key /dinp/server/key.pem
    mv server.pem /dinp/server/cert.pem
    mv client.key ../key.pem
    mv client.pem ../cert.pem
    mv ca.pem ../ca.pem
    rm -rf /dinp/certs/.new
)
#: end

# --- networks ----------------------------------------------------------------------------------

# The interface of the default route, by IPv4, else by IPv6, where lo has one as well.
default_interface() {
    awk '
        $2 $8 == "0000000000000000" { print $1; exit }
        $2 == "00" && $10 != "lo" { print $10; exit }' /proc/net/route /proc/net/ipv6_route
}

# Node.js 17 to 19 take [::1] alone for localhost. RootlessKit forwards from 127.0.0.1 alone.
has_ipv6_loopback() {
    [ "$own" = /var/lib/dinp ] &&
        grep -q '^00000000000000000000000000000001 ' /proc/net/if_inet6 2>/dev/null
}

# Docker takes 1500 where nobody says another one. In an overlay network the Pod's interface has
# less, and packets of builds would be lost without a word.
find_mtu() {
    if [ -n "$mtu" ] || sets mtu; then
        return 0
    fi
    device=$(default_interface 2>/dev/null) || :
    mtu=$(cat "/sys/class/net/$device/mtu" 2>/dev/null) || :
}

# Whether this dockerd has the flag $1: with one that it does not know it would not start.
dockerd_knows() {
    dockerd --help 2>&1 | grep -q -e "$1"
}

# --- for the clients ---------------------------------------------------------------------------

# For `docker run -v <path>:…`, where <path> is that of a client's socket: the daemon looks for it
# among its own files. A link that cannot be made is no reason not to start.
link_socket() {
    printf '%s\n' "${DINP_SOCKET_LINKS:-}" | grep . | while IFS= read -r path; do
        { mkdir -p "${path%/*}/" && ln -sfn /dinp/docker.sock "$path"; } ||
            echo "dinp: no link to the socket at $path" >&2
    done
}

# A copy that is there stays, as a client may be running it. The rename shows it when it is whole.
copy_for_clients() {
    [ ! -x "/dinp/bin/$2" ] || return 0
    mkdir -p /dinp/bin
    cp "$1" /dinp/bin/.new && mv /dinp/bin/.new "/dinp/bin/$2"
}

# A plugin that this image does not have is no reason not to start: without it, the client has an
# empty directory at its path, which the docker command passes over.
copy_docker_command() {
    copy_for_clients "$(command -v docker)" docker
    for plugin in ${DINP_CLI_PLUGINS:-}; do
        copy_for_clients "/usr/local/libexec/docker/cli-plugins/$plugin" "$plugin" ||
            echo "dinp: this image has no $plugin for the clients" >&2
    done
}

# --- limits ------------------------------------------------------------------------------------

# On cgroup v2 a privileged container sees the node's tree, and Docker would put its containers at
# the top of it, outside of the Pod's limits. So this container's own part becomes the root of what
# dockerd sees. It is mounted below itself too: containerd's shim looks for containers at the path
# that /proc says. Where that is not possible, and on cgroup v1, all stays as it was.
nest() (
    cgroup=$(sed -n 's/^0:://p' /proc/self/cgroup)
    cd "/sys/fs/cgroup$cgroup" || exit
    [ -f cgroup.type ] || exit
    # A cgroup with processes of its own can pass no controllers on: they move into one below.
    mkdir -p init || exit
    # The kubelet sets 1: one greedy build would kill the daemon and all others.
    echo 0 >memory.oom.group
    # EBUSY while a process is left outside of init: a probe may come in between.
    for _ in 1 2 3 4 5; do
        sort cgroup.procs | while read -r pid; do
            echo "$pid" >init/cgroup.procs
        done
        sed 's/[^ ][^ ]*/+&/g' cgroup.controllers >cgroup.subtree_control && break
    done
    [ "$cgroup" != / ] || exit # a namespace of its own: this is the root already
    mount --bind . /sys/fs/cgroup || exit
    mkdir -p "/sys/fs/cgroup$cgroup" || exit
    mount --bind . "/sys/fs/cgroup$cgroup"
)

# When memory is short the kernel kills the process with the highest score. The kubelet has given
# one to this container, and Docker gives its containers 0, so that the daemon would go first, and
# every build with it. A runc that comes first in PATH gives them the daemon's score, so that the
# size decides, then executes the real one. In the files that containerd writes for runc it changes
# that number alone, and only where it is 0.
write_runc() (
    mkdir -p /usr/local/sbin || exit
    cd /usr/local/sbin || exit
    cat >runc <<EOF || exit
#!/bin/sh
for f in config.json "\$@"; do
[ ! -f "\$f" ] || sed -i 's/\(oomScoreAdj.:\)0/\1$score/' "\$f"
done
exec $real "\$@"
EOF
    chmod +x runc
)

# A score of 0 or less is no higher than that of the containers. Where the file cannot be written,
# as without root, all stays as it was.
give_containers_our_oom_score() {
    score=$(cat /proc/self/oom_score_adj) || :
    real=$(command -v runc) || :
    if [ "$score" -le 0 ] || [ -e /usr/local/sbin/runc ]; then
        return 0
    fi
    write_runc 2>/dev/null || :
}

# --- dockerd -----------------------------------------------------------------------------------

# Ends when dockerd answers or has ended. The socket file is no sign of readiness: Docker 20.10
# makes it long before it answers.
await_answer() {
    until docker --host=unix:///dinp/docker.sock version; do
        kill -0 "$daemon" || exit
        sleep 1
    done >/dev/null 2>&1
}

# Starts dockerd again when it ends by itself: a container that ends with an error fails the whole
# Pod under some controllers. But not if it never was ready: it would end again, and hide why.
keep_running() {
    while [ -z "$stop" ]; do
        rm -f /var/run/docker.pid # of a dockerd that was killed: the next one would not start
        # The image's own entrypoint starts it; TINI_SUBREAPER, as it is not the first process.
        TINI_SUBREAPER=1 dockerd-entrypoint.sh "$@" &
        daemon=$!
        [ -z "$stop" ] || kill "$daemon" # TERM came before there was anybody to tell
        await_answer &
        # A signal ends a `wait` early: so the second one is in a loop, and asks again.
        if [ -z "$ready" ] && wait "$!"; then
            ready=1
        fi
        while kill -0 "$daemon" 2>/dev/null; do
            wait "$daemon" || :
        done
        if [ -z "$stop" ]; then
            if [ -z "$ready" ]; then
                echo "dinp: dockerd ended before it was ready" >&2
                exit 1
            fi
            echo "dinp: starting dockerd again" >&2
            sleep 1
        fi
    done
}

# From here to `keep_running` "$@" becomes what dockerd gets.
main() {
    find_directories
    lock_data_directory

    find_daemon_json
    if [ -f "$json" ]; then
        # Behind the word dockerd: a flag without its value would take what follows for one, and
        # dockerd read a file that nobody has checked.
        shift
        set -- dockerd "--config-file=$json" "$@"
        keys=$(top_level_keys <"$json" | tr '\n' ' ')
    fi
    check_keys
    find_data_root "$@"
    # dockerd refuses what both a flag and daemon.json set, so the file wins.
    for arg; do
        shift
        #: if tls
        [ "$arg" != --tlsverify ] || make_certificates
        #: end
        flag=${arg%%=*}
        if sets "${flag#--}"; then
            continue
        fi
        case $arg in
        --mtu=*) mtu=${arg#*=} ;;
        --host=tcp://127.0.0.1:*)
            set -- "$@" "$arg"
            ! has_ipv6_loopback || set -- "$@" "--host=tcp://[::1]:${arg##*:}"
            ;;
        --data-root=*)
            arg=${arg#*=}
            set -- "$@" "--data-root=${root:-$arg}"
            ;;
        *) set -- "$@" "$arg" ;;
        esac
    done
    [ -z "$root" ] || [ "$own" != /var/lib/dinp ] || set -- "$@" "--data-root=$root"
    trust_certificates

    find_mtu
    if [ -n "$mtu" ]; then
        set -- "$@" "--mtu=$mtu"
        # That is for docker0 alone. Networks that users make have an option since Docker 24.
        if ! sets default-network-opt && dockerd_knows --default-network-opt; then
            set -- "$@" "--default-network-opt=bridge=com.docker.network.driver.mtu=$mtu"
        fi
    fi

    link_socket
    copy_docker_command
    nest 2>/dev/null || :
    give_containers_our_oom_score
    keep_running "$@"
}

main "$@"
