#!/bin/sh
# Starts dind.sh in a shared daemon's container; "$@" is dockerd's command line. Beside it: restarts dockerd in place when
# the keeper asks for it by the file `restart`, with what it has put in `next`. BusyBox ash, so POSIX only.
set -eu; here=${0%/*} pidfile=/var/run/docker.pid
clients() { # how many connections of clients dockerd, process $1, has. Those from another Pod to the socket are in the
    # tables of that Pod's network, not in ours: so every socket counts that is not known to be something else.
    fds=/proc/$1/fd; set --
    for table in unix tcp tcp6 udp udp6 raw raw6 packet netlink; do
        [ ! -e "/proc/net/$table" ] || set -- "$@" "/proc/net/$table"
    done
    # shellcheck disable=SC2012 # nothing but numbers and what they lead to
    ls -l "$fds" | awk '
        FILENAME ~ /\/unix$/ { if ($6 != "03" || $8 !~ /\/docker\.sock$/) other[$7]; next }
        FILENAME ~ /\/tcp6?$/ { # those that listen come first
            port = $2; sub(/.*:/, "", port); if ($4 == "0A") listens[port]
            if ($4 != "01" || !(port in listens)) other[$10]; next }
        FILENAME ~ /\/packet$/ { other[$9]; next }
        FILENAME ~ /^\/proc/ { other[$10]; next }
        $NF ~ /^socket:/ { gsub(/[^0-9]/, "", $NF); if (!($NF in other)) n++ }
        END { print n + 0 }' "$@" -
}
restart() { # as soon as it may be: "idle" waits until there are no clients
    when=$(cat "$here/restart") pid=$(cat "$pidfile")
    [ "$when" != idle ] || [ "$(clients "$pid")" = 0 ] || return 0
    [ ! -L "$here/next" ] || { ln -sfn "$(readlink "$here/next")" "$here/tls"; rm -f "$here/next"; }
    rm -f "$here/restart"; echo "dinp: restarting dockerd" >&2; kill "$pid"
}
while kill -0 $$ 2>/dev/null; do sleep 1; [ ! -e "$here/restart" ] || [ ! -s "$pidfile" ] || restart || :; done &
exec sh "$here/dind.sh" "$@"
