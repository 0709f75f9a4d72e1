#!/usr/bin/env bash
# A PgBouncer of one's own in front of a PostgreSQL server: its files and its port belong to one folder. Linux only (it
# reads /proc).
#
#   private-pgbouncer.sh start DIR URL [MODE]   prints the pooler's URL, the only line on stdout, once it takes connections
#   private-pgbouncer.sh mode DIR MODE          changes the mode while it runs
#   private-pgbouncer.sh stop|kill DIR          SIGINT (clients are let go) or SIGKILL; afterwards nothing of it runs
#
# URL is that of the server, MODE is session (the default), transaction or statement. A second `start` with the same DIR is
# the same pooler again, on the same port. DIR/more.ini may hold more settings.
# $PGBOUNCER names another executable; the default is Debian's.
set -euo pipefail

readonly START_LIMIT_S=30 STOP_LIMIT_S=30 PORT_TRIES=4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() { printf 'private-pgbouncer: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '5,7s/^# *//p' "$0" >&2; exit 2; }

# PgBouncer refuses to run as root; then the user of PostgreSQL's package runs it.
as_owner() {
    if [[ $(id -u) == 0 ]]; then setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else "$@"; fi
}

find_pgbouncer() {
    local packaged=/usr/sbin/pgbouncer
    if [[ -n ${PGBOUNCER:-} ]]; then
        [[ -x $PGBOUNCER ]] || die "PGBOUNCER=$PGBOUNCER cannot be executed"
        printf '%s\n' "$PGBOUNCER"
        return
    fi
    [[ -x $packaged ]] || "$here/install.sh" pgbouncer >&2
    printf '%s\n' "$packaged"
}

# A PID file left by a killed pooler may name another program.
pooler_pid() {
    local pid
    pid=$(cat "$dir/pgbouncer.pid" 2>/dev/null) || return 0
    if [[ -n $pid && /proc/$pid/cwd -ef $dir ]]; then printf '%s\n' "$pid"; fi
}

end() {
    local pid deadline=$((SECONDS + STOP_LIMIT_S))
    pid=$(pooler_pid)
    [[ -n $pid ]] || return 0
    kill -s "$1" "$pid"
    while [[ -d /proc/$pid ]]; do
        ((SECONDS < deadline)) || { kill -KILL "$pid"; deadline=$((SECONDS + STOP_LIMIT_S)); }
        sleep 0.05
    done
}

# Below the range from which the kernel hands out ports to clients, so that no passing connection takes one meanwhile.
free_port() {
    local port
    while :; do
        port=$((10000 + (RANDOM * 32768 + RANDOM) % 22000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { printf '%s\n' "$port"; return; }
    done
}

write_files() {
    [[ $url =~ ^postgres(ql)?://([^:@]+):([^@]+)@([^:/]+):([0-9]+)/([^?]*) ]] || die "not postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    user=${BASH_REMATCH[2]} password=${BASH_REMATCH[3]} database=${BASH_REMATCH[6]}
    printf '"%s" "%s"\n' "$user" "$password" >"$dir/users"
    touch "$dir/more.ini"
    cat >"$dir/pgbouncer.ini" <<INI
[databases]
* = host=${BASH_REMATCH[4]} port=${BASH_REMATCH[5]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $dir/users
admin_users = $user
logfile = $dir/pgbouncer.log
pidfile = $dir/pgbouncer.pid
pool_mode = $mode
default_pool_size = 100
max_client_conn = 1000
%include $dir/more.ini
INI
    if [[ $(id -u) == 0 ]]; then chown -R postgres: "$dir"; fi
    chmod 600 "$dir/users" "$dir/pgbouncer.ini"
}

wait_ready() {
    local deadline=$((SECONDS + START_LIMIT_S))
    while ((SECONDS < deadline)); do
        if [[ -n $(pooler_pid) ]] && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return 0; fi
        kill -0 "$launched" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

start() {
    local try program
    [[ -z $(pooler_pid) ]] || die "the pooler in $dir runs already (stop or kill it first)"
    program=$(find_pgbouncer)
    trap 'end KILL' EXIT
    for ((try = 1; try <= PORT_TRIES; try++)); do
        port=$(cat "$dir/port" 2>/dev/null || free_port)
        rm -f "$dir/pgbouncer.pid"
        write_files
        # In a new session, so that a Ctrl-C in the terminal reaches the command under test and not the pooler below it.
        as_owner env --chdir="$dir" setsid "$program" "$dir/pgbouncer.ini" </dev/null >>"$dir/console.log" 2>&1 &
        launched=$!
        if wait_ready; then
            printf '%s\n' "$port" >"$dir/port"
            trap - EXIT
            printf 'postgres://%s:%s@127.0.0.1:%s/%s\n' "$user" "$password" "$port" "$database"
            return
        fi
        # Between choosing a port and listening on it another program may have taken it; anything else is final.
        [[ ! -s $dir/port ]] && grep -qs 'Address already in use' "$dir/console.log" "$dir/pgbouncer.log" || break
    done
    tail -n 20 "$dir/console.log" >&2
    die "PgBouncer did not start in $dir"
}

change_mode() {
    local pid
    pid=$(pooler_pid)
    [[ -n $pid ]] || die "no pooler runs in $dir"
    sed -i "s/^pool_mode = .*/pool_mode = $mode/" "$dir/pgbouncer.ini"
    if [[ $(id -u) == 0 ]]; then chown postgres: "$dir/pgbouncer.ini"; fi
    kill -HUP "$pid"
}

case ${1:-} in
    start) [[ $# == 3 || $# == 4 ]] || usage ;;
    mode) [[ $# == 3 ]] || usage ;;
    stop | kill) [[ $# == 2 ]] || usage ;;
    *) usage ;;
esac
[[ -d /proc/self ]] || die 'needs Linux; start a PgBouncer yourself'
dir=$2
if [[ $1 == start ]]; then mkdir -p "$dir"; fi
[[ -d $dir ]] || exit 0 # nothing to stop
dir=$(cd "$dir" && pwd -P)

case $1 in
    start) url=$3 mode=${4:-session} && start ;;
    mode) mode=$3 && change_mode ;;
    stop) end INT ;;
    kill) end KILL ;;
esac
