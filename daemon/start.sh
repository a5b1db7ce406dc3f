#!/bin/sh
# Starts dind.sh in a shared daemon's container; "$@" is dockerd's command line. Beside it: restarts dockerd in place when
# the keeper asks for it by the file `restart`, with what it has put in `next`. BusyBox ash, so POSIX only.
set -eu; here=${0%/*} pidfile=/var/run/docker.pid
clients() { # how many connections of clients dockerd, process $1, has. Those from another Pod to the socket are in the
    # tables of that Pod's network, not in ours: so every socket counts that is not known to be something else.
    for table in unix tcp tcp6 udp udp6 raw raw6 packet netlink; do sed "s/^/$table /" "/proc/net/$table" 2>/dev/null || :; done >"$here/.sockets"
    # shellcheck disable=SC2012 # numbers only
    ls -l "/proc/$1/fd" | sed -n 's/.*socket:\[\([0-9]*\)\]$/fd \1/p' | awk '
        $1 == "unix" { if ($7 != "03" || $9 !~ /\/docker\.sock$/) other[$8] }
        $1 ~ /^tcp/ { port = $3; sub(/.*:/, "", port) } # those that listen come first
        $1 ~ /^tcp/ && $5 == "0A" { listens[port] }
        $1 ~ /^tcp/ && ($5 != "01" || !(port in listens)) || $1 ~ /^(udp|raw|netlink)/ { other[$11] }
        $1 == "packet" { other[$10] }
        $1 == "fd" && !($2 in other) { n++ }
        END { print n + 0 }' "$here/.sockets" -
}
restart() { # as soon as it may be: "idle" waits until there are no clients
    when=$(cat "$here/restart") pid=$(cat "$pidfile")
    [ "$when" != idle ] || [ "$(clients "$pid")" = 0 ] || return 0
    [ ! -L "$here/next" ] || { ln -sfn "$(readlink "$here/next")" "$here/tls"; rm -f "$here/next"; }
    rm -f "$here/restart"; echo "dinp: restarting dockerd" >&2; kill "$pid"
}
while kill -0 $$ 2>/dev/null; do sleep 1; [ ! -e "$here/restart" ] || [ ! -s "$pidfile" ] || restart || :; done &
# Without IPv6 in the kernel nothing can listen on [::], which elsewhere is both families.
[ -e /proc/net/if_inet6 ] || for arg; do
    shift; case $arg in --host=tcp://\[::\]:*) arg=--host=tcp://0.0.0.0:${arg##*:} ;; esac; set -- "$@" "$arg"
done
exec sh "$here/dind.sh" "$@"
