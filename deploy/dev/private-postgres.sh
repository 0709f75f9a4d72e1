#!/usr/bin/env bash
# A PostgreSQL of one's own: its files, its port and its password belong to one folder, so that any number can run side
# by side, and none touches a PostgreSQL that the machine already has. Linux only (it reads /proc).
#
#   private-postgres.sh start DIR   prints the URL, the only line on stdout, once the server takes connections
#   private-postgres.sh stop  DIR   graceful; afterwards nothing of it runs
#   private-postgres.sh kill  DIR   SIGKILL, as in a power cut; afterwards nothing of it runs
#   private-postgres.sh standby DIR OF_DIR [sync]   starts a copy that follows the server in OF_DIR, and prints its URL
#   private-postgres.sh promote DIR                 makes a primary of a standby
#
# With `sync` the server in OF_DIR answers a commit only when the standby has it on disk too. A standby has the password
# of its primary, and is started, stopped and killed like any other server.
# A second `start` with the same DIR is the same server again, on the same port, with the data it held. DIR/more.conf may
# hold more settings, and name files in DIR: they are given to the server's user.
# $POSTGRES_BIN names another folder with initdb and postgres; the default is Debian's newest.
set -euo pipefail

readonly START_LIMIT_S=60 STOP_LIMIT_S=30 PORT_TRIES=4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'private-postgres: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# PostgreSQL refuses to run as root; then the user of Debian's package runs it.
as_owner() {
    if [[ $(id -u) == 0 ]]; then setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else "$@"; fi
}

find_bin() {
    if [[ -n ${POSTGRES_BIN:-} ]]; then
        [[ -x $POSTGRES_BIN/postgres ]] || die "POSTGRES_BIN=$POSTGRES_BIN has no postgres in it"
        printf '%s\n' "$POSTGRES_BIN"
        return
    fi
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || "$here/install.sh" postgres >&2
    compgen -G '/usr/lib/postgresql/*/bin/postgres' | sort -V | tail -n 1 | xargs dirname
}

# The first line of its lock file is the server's process ID; a file left by a killed one may name another program.
server_pid() {
    local pid
    pid=$(sed -n 1p "$dir/data/postmaster.pid" 2>/dev/null) || return 0
    if [[ -n $pid && /proc/$pid/cwd -ef $dir/data ]]; then printf '%s\n' "$pid"; fi
}

alive() {
    local pid
    for pid in "$@"; do if [[ -d /proc/$pid ]]; then return 0; fi; done
    return 1
}

wait_gone() {
    local deadline=$((SECONDS + STOP_LIMIT_S))
    while alive "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

stop() {
    local pid
    pid=$(server_pid)
    [[ -n $pid ]] || return 0
    kill -INT "$pid" # "fast": ends sessions, writes everything out
    wait_gone "$pid" || kill_all
}

kill_all() {
    local pid children
    pid=$(server_pid)
    [[ -n $pid ]] || return 0
    kill -STOP "$pid" # so that it starts no more children
    children=$(cat "/proc/$pid/task/$pid/children")
    # shellcheck disable=SC2086 # one word a process
    kill -KILL "$pid" $children 2>/dev/null || true
    # shellcheck disable=SC2086
    wait_gone "$pid" $children || die "these processes of the server in $dir do not die: $pid $children"
}

# Below the range from which the kernel hands out ports to clients, so that no passing connection takes one meanwhile.
free_port() {
    local port
    while :; do
        port=$((10000 + (RANDOM * 32768 + RANDOM) % 22000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { printf '%s\n' "$port"; return; }
    done
}

initialise() {
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$dir/password"
    if [[ $(id -u) == 0 ]]; then chown -R postgres: "$dir"; fi
    chmod 600 "$dir/password"
    as_owner "$bin/initdb" --pgdata="$dir/data" --username=eraser --pwfile="$dir/password" --auth=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; die 'initdb failed'; }
    printf "include_if_exists = '%s/more.conf'\n" "$dir" >>"$dir/data/postgresql.conf"
}

# A copy of a running server's files, with the settings that make it follow that server.
copy_of() {
    local of=$1
    cp "$of/password" "$dir/password"
    if [[ $(id -u) == 0 ]]; then chown -R postgres: "$dir"; fi
    chmod 600 "$dir/password"
    PGPASSWORD=$(cat "$of/password") as_owner "$bin/pg_basebackup" --host=127.0.0.1 --port="$(cat "$of/port")" \
        --username=eraser --pgdata="$dir/data" --write-recovery-conf --wal-method=stream --checkpoint=fast --no-sync \
        >"$dir/basebackup.log" 2>&1 || { cat "$dir/basebackup.log" >&2; die 'pg_basebackup failed'; }
    printf "include_if_exists = '%s/more.conf'\n" "$dir" >>"$dir/data/postgresql.conf"
}

# One SQL statement on the server in a folder.
sql_on() {
    PGPASSWORD=$(cat "$1/password") "$bin/psql" --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 \
        --host=127.0.0.1 --port="$(cat "$1/port")" --username=eraser --dbname=postgres --command="$2"
}

wait_followed() {
    local of=$1 state=$2 deadline=$((SECONDS + START_LIMIT_S))
    while ((SECONDS < deadline)); do
        [[ $(sql_on "$of" "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = '$state'") == 0 ]] || return 0
        sleep 0.05
    done
    die "the standby in $dir does not follow the server in $of"
}

standby() {
    local of=$1 sync=${2:-}
    bin=$(find_bin)
    [[ ! -e $dir/data ]] || die "$dir holds a server already"
    copy_of "$of"
    url=$(start)
    if [[ -z $sync ]]; then
        wait_followed "$of" async
    else
        sql_on "$of" "ALTER SYSTEM SET synchronous_standby_names = '*'"
        sql_on "$of" 'SELECT pg_reload_conf()' >/dev/null
        wait_followed "$of" sync
    fi
    printf '%s\n' "$url"
}

promote() {
    bin=$(find_bin)
    as_owner "$bin/pg_ctl" promote --wait --pgdata="$dir/data" >>"$dir/promote.log" 2>&1 \
        || { cat "$dir/promote.log" >&2; die "the server in $dir cannot be promoted"; }
}

# In a new session, so that a Ctrl-C in the terminal reaches the command under test and not the server below it.
launch() {
    as_owner setsid "$bin/postgres" -D "$dir/data" -p "$port" -k "$dir" -c listen_addresses=127.0.0.1 \
        -c max_connections=200 </dev/null >>"$dir/postgres.log" 2>&1 &
    launched=$!
}

wait_ready() {
    local deadline=$((SECONDS + START_LIMIT_S))
    while ((SECONDS < deadline)); do
        if [[ $(sed -n 8p "$dir/data/postmaster.pid" 2>/dev/null) == ready* && -n $(server_pid) ]]; then return 0; fi
        kill -0 "$launched" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

start() {
    local try
    [[ -z $(server_pid) ]] || die "the server in $dir runs already (stop or kill it first)"
    bin=$(find_bin)
    [[ -s $dir/data/PG_VERSION ]] || initialise
    trap 'kill_all' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    for ((try = 1; try <= PORT_TRIES; try++)); do
        port=$(cat "$dir/port" 2>/dev/null || free_port)
        launch
        if wait_ready; then
            printf '%s\n' "$port" >"$dir/port"
            trap - EXIT INT TERM
            printf 'postgres://eraser:%s@127.0.0.1:%s/postgres\n' "$(cat "$dir/password")" "$port"
            return
        fi
        # Between choosing a port and listening on it another program may have taken it; anything else is final.
        [[ ! -s $dir/port ]] && grep -q 'Address already in use' "$dir/postgres.log" || break
    done
    tail -n 30 "$dir/postgres.log" >&2
    die "PostgreSQL did not start in $dir"
}

usage() { sed -n '5,9s/^# *//p' "$0" >&2; exit 2; }
case ${1:-} in
    start | stop | kill | promote) [[ $# == 2 ]] || usage ;;
    standby) [[ $# == 3 || ($# == 4 && $4 == sync) ]] || usage ;;
    *) usage ;;
esac
[[ -d /proc/self ]] || die 'needs Linux; start a PostgreSQL yourself and set DATABASE_URL'
dir=$2
if [[ $1 == start || $1 == standby ]]; then mkdir -p "$dir"; fi
[[ -d $dir ]] || exit 0 # nothing to stop
dir=$(cd "$dir" && pwd -P)

case $1 in
    start) start ;;
    stop) stop ;;
    kill) kill_all ;;
    standby) standby "$(cd "$3" && pwd -P)" "${4:-}" ;;
    promote) promote ;;
esac
