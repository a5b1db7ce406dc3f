#!/bin/sh
# Starts dockerd in the container of a shared daemon: it becomes dind.sh, which stands beside it.
# "$@" is dockerd's command line. The image has BusyBox ash, so it is POSIX sh.
#
# Beside dockerd it looks once a second whether the keeper asks for a restart, which dockerd needs
# to see another certificate. keeper/files.py says what is in this directory:
#
#   restart   there is one while a restart is asked for; it says idle, or now
#   next      a link to the certificate that dockerd is to have then; need not be there
#   tls       a link to the certificate that dockerd has
#
# It kills no process but dockerd, and dind.sh then starts that again.
set -eu

here=${0%/*}
pidfile=/var/run/docker.pid

# How many connections of clients dockerd has, whose process is $1. Those from another Pod to the
# socket are in the tables of that Pod's network, and not in ours. So each socket counts that is
# not known to be something else: awk reads the tables, then which sockets dockerd has open.
count_clients() {
    fds=/proc/$1/fd
    set --
    for table in unix tcp tcp6 udp udp6 raw raw6 packet netlink; do
        [ ! -e "/proc/net/$table" ] || set -- "$@" "/proc/net/$table"
    done
    # shellcheck disable=SC2012 # nothing but numbers and what they lead to
    ls -l "$fds" | awk '
        # A client is connected (03) to a docker.sock.
        FILENAME ~ /\/unix$/ {
            if ($6 != "03" || $8 !~ /\/docker\.sock$/) other[$7]
            next
        }
        # A client is connected (01) to a port at which somebody listens (0A). Those come first.
        FILENAME ~ /\/tcp6?$/ {
            port = $2
            sub(/.*:/, "", port)
            if ($4 == "0A") listens[port]
            if ($4 != "01" || !(port in listens)) other[$10]
            next
        }
        FILENAME ~ /\/packet$/ { other[$9]; next }
        FILENAME ~ /^\/proc/ { other[$10]; next }
        # What dockerd has open, as ls says it: 12 -> socket:[34567]
        $NF ~ /^socket:/ {
            gsub(/[^0-9]/, "", $NF)
            if (!($NF in other)) n++
        }
        END { print n + 0 }' "$@" -
}

# As soon as it may be: for `idle` there must be no client, and the next look may find it so.
restart_dockerd() {
    when=$(cat "$here/restart")
    pid=$(cat "$pidfile")
    if [ "$when" = idle ] && [ "$(count_clients "$pid")" != 0 ]; then
        return 0
    fi
    if [ -L "$here/next" ]; then
        ln -sfn "$(readlink "$here/next")" "$here/tls"
        rm -f "$here/next"
    fi
    rm -f "$here/restart"
    echo "dinp: restarting dockerd" >&2
    kill "$pid"
}

# As long as this shell is there, which is dind.sh by then. What fails is tried again.
watch_for_requests() {
    while kill -0 $$ 2>/dev/null; do
        sleep 1
        [ ! -e "$here/restart" ] || [ ! -s "$pidfile" ] || restart_dockerd || :
    done
}

watch_for_requests &
exec sh "$here/dind.sh" "$@"
