#!/usr/bin/env bash
# A RabbitMQ of one's own: every port, file, cookie and even the epmd belong to one folder, so that any number can
# run side by side, and none touches a RabbitMQ that the machine already has. Linux only (it reads /proc).
#
#   private-rabbitmq.sh start DIR [PORT]   prints the AMQP URL, the only line on stdout, once the broker accepts AMQP
#   private-rabbitmq.sh stop  DIR          graceful: the broker closes its files; afterwards nothing of it runs
#   private-rabbitmq.sh kill  DIR          SIGKILL, as in a power cut; afterwards nothing of it runs
#   private-rabbitmq.sh settle DIR         waits until every quorum queue is old enough to outlive a `kill`
#   private-rabbitmq.sh ctl   DIR ARG…     rabbitmqctl
#
# RabbitMQ writes a new quorum queue's name to disk some seconds after it declared the queue (Ra's names.dets). Killed
# before, it forgets which log was the queue's: the queue comes back empty, without a leader, and every consume hangs.
# So a test declares, settles, publishes, kills. (Seen on 3.10.8 and 4.0.5.)
#
# A second `start` with the same DIR is the same broker again, on the same port, with the messages it held.
# Files DIR/conf.d/*.conf, if any, are read as more of its configuration; DIR/plugins, if any, names its plugins; DIR/advanced,
# if any, is its advanced.config; DIR/member, if any, makes it a node of a cluster (see private-cluster.sh).
# $RABBITMQ_SERVER names another server executable (see rabbitmq-in-root.sh); the default is Debian's.
set -euo pipefail

readonly START_LIMIT_S=90 STOP_LIMIT_S=30 SETTLE_S=6 PORT_TRIES=4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'private-rabbitmq: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
usage() { sed -n '5,9s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

# Everything the broker starts (the shell around it, beam, epmd, helpers) inherits this one variable; nothing else
# on the machine has it. So "all of ours" can be found without guessing by name, even the epmd that made itself a daemon.
ours() {
    local file
    for file in $(grep -lzsxF "PRIVATE_RABBITMQ_ID=$id" /proc/[0-9]*/environ 2>/dev/null || true); do
        file=${file#/proc/}
        printf '%s\n' "${file%/environ}"
    done
}

beam_pid() {
    local pid
    for pid in $(ours); do
        if [[ $(cat "/proc/$pid/comm" 2>/dev/null || true) == beam.smp ]]; then printf '%s\n' "$pid"; fi
    done
}

kill_all() {
    local signal pid tries
    # The beam first: nothing that dies before it gets a chance to tell it to tidy up.
    for pid in $(beam_pid); do kill -KILL "$pid" 2>/dev/null || true; done
    for ((tries = 0; tries < 100; tries++)); do
        signal=$(ours)
        [[ -n $signal ]] || return 0
        for pid in $signal; do kill -KILL "$pid" 2>/dev/null || true; done
        sleep 0.05
    done
    die "these processes of the broker in $dir do not die: $signal"
}

stop_gracefully() {
    local pid deadline=$((SECONDS + STOP_LIMIT_S))
    for pid in $(beam_pid); do kill -TERM "$pid" 2>/dev/null || true; done
    while [[ -n $(beam_pid) ]]; do
        if ((SECONDS >= deadline)); then
            say "the broker in $dir did not stop within $STOP_LIMIT_S s; killing it"
            break
        fi
        sleep 0.1
    done
    kill_all # epmd is a daemon that outlives its nodes; it goes here
}

# A queue's log folder gets its `config` file when the queue is declared.
settle() {
    while [[ -n $(find "$dir/data" -path '*/quorum/*/config' -newermt "-$SETTLE_S seconds" 2>/dev/null) ]]; do
        sleep 0.2
    done
}

# What the cluster says of its node: `node=NAME epmd_port=PORT cookie=WORD`. The epmd is the cluster's then.
node=private cluster_epmd_port='' cookie=''
read_member() {
    local epmd_port
    [[ -f $dir/member ]] || return 0
    # shellcheck disable=SC1091
    . "$dir/member"
    cluster_epmd_port=$epmd_port
    if [[ ! -e $dir/.erlang.cookie ]]; then
        printf '%s' "$cookie" >"$dir/.erlang.cookie"
        chmod 400 "$dir/.erlang.cookie"
    fi
}

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the range from which the kernel hands out ports to clients, so that no passing connection takes one meanwhile.
free_port() {
    local port
    while :; do
        port=$((10000 + (RANDOM * 32768 + RANDOM) % 22000))
        taken "$port" || { printf '%s\n' "$port"; return; }
    done
}

# The broker answers the protocol header with a method frame, whose first byte is 1.
accepts_amqp() {
    local first
    first=$( (
        exec 3<>"/dev/tcp/127.0.0.1/$amqp_port"
        printf 'AMQP\0\0\11\1' >&3
        timeout 2 head -c 1 <&3 | od -An -tu1 | tr -d ' '
    ) 2>/dev/null) || return 1
    [[ $first == 1 ]]
}

find_server() {
    local packaged=/usr/lib/rabbitmq/bin/rabbitmq-server
    if [[ -n ${RABBITMQ_SERVER:-} ]]; then
        [[ -x $RABBITMQ_SERVER ]] || die "RABBITMQ_SERVER=$RABBITMQ_SERVER cannot be executed"
        printf '%s\n' "$RABBITMQ_SERVER"
        return
    fi
    [[ -x $packaged ]] || "$here/install.sh" rabbitmq >&2
    [[ -x $packaged ]] || die "no $packaged; set RABBITMQ_SERVER"
    printf '%s\n' "$packaged"
}

write_files() {
    mkdir -p "$dir/conf.d"
    : >"$dir/rabbitmq-env.conf"
    cat "$dir/advanced" >"$dir/advanced.config" 2>/dev/null || printf '[].\n' >"$dir/advanced.config"
    printf '[%s].\n' "$(cat "$dir/plugins" 2>/dev/null || true)" >"$dir/enabled_plugins"
    cat >"$dir/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$amqp_port
disk_free_limit.absolute = 50MB
log.console = false
log.file.level = info
CONF
    cat >"$dir/ports" <<PORTS
amqp_port=$amqp_port dist_port=$dist_port epmd_port=$epmd_port
PORTS
}

# Each variable that could lead to a file or a port of another broker is set.
in_its_world() {
    local name
    for name in $(compgen -e RABBITMQ_); do
        [[ $name =~ ^RABBITMQ_(ROOT|PROGRAM)$ ]] || unset "$name"
    done
    exec env -u XDG_CONFIG_HOME -u NOTIFY_SOCKET \
        PRIVATE_RABBITMQ_ID="$id" HOME="$dir" \
        ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_NODENAME="$node@localhost" RABBITMQ_USE_LONGNAME=false \
        RABBITMQ_DIST_PORT="$dist_port" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" \
        RABBITMQ_CONF_ENV_FILE="$dir/rabbitmq-env.conf" \
        RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" \
        RABBITMQ_CONFIG_FILES="$dir/conf.d/*.conf" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$dir/advanced.config" \
        RABBITMQ_GENERATED_CONFIG_DIR="$dir/generated" RABBITMQ_SCHEMA_DIR="$dir/schema" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" \
        RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir" RABBITMQ_LOGS="$dir/rabbitmq.log" \
        RABBITMQ_PID_FILE="$dir/pid" ERL_CRASH_DUMP="$dir/erl_crash.dump" \
        "$@"
}

# In a new session, so that a Ctrl-C in the terminal reaches the command under test and not the broker below it.
launch() {
    if [[ -f $dir/rabbitmq.log ]]; then mv "$dir/rabbitmq.log" "$dir/rabbitmq.log.before"; fi
    rm -f "$dir/pid"
    in_its_world setsid "$server" </dev/null >"$dir/console.log" 2>&1 &
    launched=$!
}

ctl() {
    server=$(find_server)
    # shellcheck disable=SC1091
    . "$dir/ports"
    # A server's control program lies beside it; another executable is told which program is meant.
    if [[ $(basename "$server") == rabbitmq-server ]]; then
        in_its_world "$(dirname "$server")/rabbitmqctl" "$@"
    else
        RABBITMQ_PROGRAM=rabbitmqctl in_its_world "$server" "$@"
    fi
}

# Ready means that *this* broker says so and the port speaks AMQP: the port alone could be another program's.
wait_ready() {
    local deadline=$((SECONDS + START_LIMIT_S))
    while ((SECONDS < deadline)); do
        if grep -qs 'Server startup complete' "$dir/rabbitmq.log" && accepts_amqp; then return 0; fi
        kill -0 "$launched" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

show_logs() {
    local file
    for file in console.log rabbitmq.log; do
        [[ -s $dir/$file ]] || continue
        say "--- the end of $file:"
        tail -n 30 "$dir/$file" >&2
    done
}

start() {
    local wanted=${1:-} try
    [[ -z $(ours) ]] || die "the broker in $dir runs already (stop or kill it first)"
    server=$(find_server)
    amqp_port='' dist_port='' epmd_port=''
    if [[ -f $dir/ports ]]; then
        # shellcheck disable=SC1091
        . "$dir/ports"
    fi
    amqp_port=${wanted:-$amqp_port}
    if [[ -n $amqp_port ]] && taken "$amqp_port"; then die "port $amqp_port is taken"; fi
    local fixed_port=$amqp_port
    # A broker left half-started must not outlive an interrupted start.
    trap 'kill_all' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    for ((try = 1; try <= PORT_TRIES; try++)); do
        amqp_port=${fixed_port:-$(free_port)} dist_port=$(free_port) epmd_port=${cluster_epmd_port:-$(free_port)}
        write_files
        launch
        if wait_ready; then
            trap - EXIT INT TERM
            printf 'amqp://guest:guest@127.0.0.1:%s/%%2f\n' "$amqp_port"
            return
        fi
        kill_all
        # Between choosing a port and listening on it another program may have taken it; anything else is final.
        grep -qsE 'eaddrinuse|already running|in use' "$dir/console.log" "$dir/rabbitmq.log" || break
    done
    show_logs
    die "RabbitMQ did not start in $dir (server: $server)"
}

[[ $# -ge 2 && ($# -le 3 || $1 == ctl) ]] || usage
command=$1 dir=$2 port=${3:-}
[[ -d /proc/self ]] || die "needs Linux; start a RabbitMQ yourself and set AMQP_URL"
if [[ $command == start ]]; then
    [[ -z $port || $port =~ ^[0-9]{1,5}$ ]] || die "not a port: $port"
    mkdir -p "$dir"
    chmod 700 "$dir" # the Erlang cookie lies in it
elif [[ ! $command =~ ^(stop|kill|settle|ctl)$ || (-n $port && $command != ctl) ]]; then
    usage
fi
[[ -d $dir ]] || exit 0 # nothing to stop
dir=$(cd "$dir" && pwd -P)
[[ $dir != *[[:space:]]* ]] || die "RabbitMQ's scripts break on a folder name with blanks: $dir"
if [[ ! -s $dir/id ]]; then
    [[ $command == start ]] || exit 0
    printf '%s\n' "$$-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')" >"$dir/id"
fi
id=$(cat "$dir/id")
read_member

case $command in
    start) start "$port" ;;
    stop) stop_gracefully ;;
    kill) kill_all ;;
    settle) settle ;;
    ctl) ctl "${@:3}" ;;
esac
