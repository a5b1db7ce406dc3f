#!/bin/sh
# Starts the dinp-dind sidecar; "$@" is dockerd's command line. The image has BusyBox ash, so POSIX only; the kubelet
# expands this text, so no two dollars in a row and no bare word in dollar-parentheses.
set -eu; stop='' ready='' daemon='' keys='' mtu='' config=${DINP_DAEMON_CONFIG:-/dinp-config} data=/var/lib/docker own=/var/lib/dinp
trap 'stop=1; [ -z "$daemon" ] || kill "$daemon" || :' TERM INT
die() { echo "dinp: $*" >&2; exit 1; }
sets() { case " $keys " in *" $1 "* | *" $1s "* | *" ${1%y}ies "*) ;; *) return 1 ;; esac; } # a flag; keys may be plurals
keys() { # of the JSON object on stdin, one a line; what no key of dockerd's has, escapes too, becomes an underscore
    sed 's/\\./_/g' | LC_ALL=C awk 'BEGIN { RS = "\"" } # so every other record is the inside of a string
        NR % 2 == 0 { key = $0; gsub(/[^a-z0-9-]|^$/, "_", key); next }
        { if (/^[ \t\r\n]*:/ && depth == 1) print key; depth += gsub(/[[{]/, "") - gsub(/[]}]/, "") }'
}
issue() { # a name, and the signer's options
    openssl req -new -config cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=dinp $1" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -extfile cnf -extensions "$@" -days 3650 -out "$1.pem"
}
certificates() ( # made in the memory volume; the CA's key is dropped, and ca.pem comes last: who sees it has all
    umask 077; rm -rf /dinp/certs/.new; mkdir -p /dinp/certs/.new /dinp/server; cd /dinp/certs/.new
    id='subjectKeyIdentifier=hash' by='authorityKeyIdentifier=keyid' # Python 3.13 insists on these and on the CA's keyUsage
    printf '%s\n' '[req]' distinguished_name=req '[ca]' "$id" basicConstraints=critical,CA:TRUE keyUsage=critical,keyCertSign \
        '[server]' "$id" "$by" extendedKeyUsage=serverAuth subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1 \
        '[client]' "$id" "$by" extendedKeyUsage=clientAuth >cnf
    issue ca -signkey ca.key; for name in server client; do issue "$name" -CA ca.pem -CAkey ca.key -CAcreateserial; done
    chmod 0444 client.key client.pem ca.pem; mv server.key /dinp/server/key.pem; mv server.pem /dinp/server/cert.pem
    mv client.key ../key.pem; mv client.pem ../cert.pem; mv ca.pem ../ca.pem; rm -rf /dinp/certs/.new
)
nest() ( # cgroup v2 shows a privileged container the node's tree. Make our part its root, so that builds count against the
    # Pod, and mount it below itself too: containerd's shim looks for containers at the path that /proc says.
    own=$(sed -n 's/^0:://p' /proc/self/cgroup); cd "/sys/fs/cgroup$own" && [ -f cgroup.type ] && mkdir -p init || exit
    echo 0 >memory.oom.group # the kubelet sets 1: one greedy build would kill the daemon and all others
    for _ in 1 2 3 4 5; do # EBUSY while a process is left outside of init: a probe may come in between
        sort cgroup.procs | while read -r pid; do echo "$pid" >init/cgroup.procs; done
        sed 's/[^ ][^ ]*/+&/g' cgroup.controllers >cgroup.subtree_control && break
    done
    [ "$own" = / ] || { mount --bind . /sys/fs/cgroup && mkdir -p "/sys/fs/cgroup$own" && mount --bind . "/sys/fs/cgroup$own"; }
)
[ "$(id -u)" = 0 ] || data=/home/rootless/.local/share/docker own=/home/rootless/.dinp
exec 9>"$data/.dinp.lock"; flock -n 9 || die "another daemon uses $data: give each Pod a volume of its own (dinp.io/storage)"
json=$config/daemon.json; [ -f "$json" ] || json=/etc/docker/daemon.json
from=$json # for people
if [ -n "${DINP_DAEMON_CONFIG_KEYS+is set}" ]; then
    # The keys that daemon.json may set. dockerd gets a copy: who can write to the file could add a key later,
    # and where there is none, dockerd would look for one by itself at each start.
    mkdir -p "$own"
    if [ -f "$json" ]; then cat "$json"; else echo '{}'; fi >"$own/daemon.json"
    json=$own/daemon.json
fi
[ ! -f "$json" ] || { set -- "$@" "--config-file=$json"; keys=$(keys <"$json" | tr '\n' ' '); }
for key in $keys; do
    case " ${DINP_DAEMON_CONFIG_KEYS-$key} " in
    *" $key "*) ;;
    *) die "$from sets \"$key\", which sidecar.daemonConfigKeys of dinp's config file does not allow (${DINP_DAEMON_CONFIG_KEYS:-no key}): take it out" ;;
    esac
done
! sets host || die "$from sets \"hosts\", but where the daemon listens is for dinp to say: take it out"
for arg; do # dockerd refuses what both a flag and daemon.json set
    shift; flag=${arg%%=*}; [ "$arg" != --tlsverify ] || certificates
    sets "${flag#--}" || case $arg in --mtu=*) mtu=${arg#*=} ;; *) set -- "$@" "$arg" ;; esac
done
[ ! -d "$config" ] || export SSL_CERT_DIR="${SSL_CERT_DIR:-/etc/ssl/certs}:$config" # dockerd reads the *.crt in it
device=$(awk '$2 $8 == "0000000000000000" { print $1; exit } # the default route by IPv4, else by IPv6
    $2 == "00" && $10 != "lo" { print $10; exit }' /proc/net/route /proc/net/ipv6_route 2>/dev/null) || :
[ -n "$mtu" ] || sets mtu || mtu=$(cat "/sys/class/net/$device/mtu" 2>/dev/null) || :; [ -z "$mtu" ] || set -- "$@" "--mtu=$mtu"
[ -z "$mtu" ] || sets default-network-opt || ! dockerd --help 2>&1 | grep -q -e --default-network-opt ||
    set -- "$@" "--default-network-opt=bridge=com.docker.network.driver.mtu=$mtu" # --mtu is for docker0 alone
printf '%s\n' "${DINP_SOCKET_LINKS:-}" | grep . | while IFS= read -r path; do
    { mkdir -p "${path%/*}/" && ln -sfn /dinp/docker.sock "$path"; } || echo "dinp: no link to the socket at $path" >&2; done
[ -x /dinp/bin/docker ] || { mkdir -p /dinp/bin; cp "$(command -v docker)" /dinp/bin/.new; mv /dinp/bin/.new /dinp/bin/docker; }
nest 2>/dev/null || :; score=$(cat /proc/self/oom_score_adj) runc=$(command -v runc) at=/usr/local/sbin || : # containers get 0: who has more is killed first
[ "$score" -le 0 ] || [ -e $at/runc ] || (mkdir -p $at && cd $at && printf '%s\n' '#!/bin/sh' "for f in config.json \"\$@\"; do
[ ! -f \"\$f\" ] || sed -i 's/\(oomScoreAdj.:\)0/\1$score/' \"\$f\"; done; exec $runc \"\$@\"" >runc && chmod +x runc) 2>/dev/null || :
while [ -z "$stop" ]; do # the socket file is no sign of readiness: Docker 20.10 makes it long before it answers
    rm -f /var/run/docker.pid; TINI_SUBREAPER=1 dockerd-entrypoint.sh "$@" 9>&- & daemon=$!; [ -z "$stop" ] || kill "$daemon"
    until docker --host=unix:///dinp/docker.sock version; do kill -0 "$daemon" || exit; sleep 1; done >/dev/null 2>&1 &
    [ -n "$ready" ] || ! wait "$!" || ready=1 # a trapped signal ends a wait early
    while kill -0 "$daemon" 2>/dev/null; do wait "$daemon" || :; done
    [ -n "$stop" ] || { [ -n "$ready" ] || die "dockerd ended before it was ready"; echo "dinp: starting dockerd again" >&2; sleep 1; }
done
