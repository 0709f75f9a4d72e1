#!/usr/bin/env bash
# A RabbitMQ cluster of one's own: three nodes on this machine. Each is a broker of private-rabbitmq.sh in a folder DIR/n1,
# DIR/n2, DIR/n3; they share a cookie and an epmd. Linux only (it reads /proc).
#
#   private-cluster.sh start DIR            prints three AMQP URLs, the only lines on stdout, once the nodes are one cluster
#   private-cluster.sh stop|kill DIR        afterwards nothing of it runs
#   private-cluster.sh stop-node DIR N      graceful, as for an upgrade
#   private-cluster.sh kill-node DIR N      SIGKILL, as in a power cut
#   private-cluster.sh start-node DIR N     the same node again, on the same port, with the data it held
#   private-cluster.sh cut DIR N            the node runs on, and neither finds the others nor is found by them
#   private-cluster.sh heal DIR N           the nodes find each other again
#   private-cluster.sh leader DIR QUEUE     prints the number of the node that leads a quorum queue of the virtual host /
#   private-cluster.sh ctl DIR N ARG…       rabbitmqctl
#   private-cluster.sh settle DIR           waits until every quorum queue is old enough to outlive a `kill-node`
#
# A cut is made with the nodes' cookies: each side is told a wrong one for the other, and disconnects. Both notice at once, as
# with a network that refuses; a network that swallows everything would be noticed after `net_ticktime`. A proxy could do that
# too, but for the epmd, which tells each node the others' true ports. Clients reach a node that is cut off as long as its
# broker runs; with `pause_minority`, which the nodes have, it stops on its own account.
# $RABBITMQ_SERVER names another server executable, as for private-rabbitmq.sh.
set -euo pipefail

readonly START_LIMIT_S=90 NODES='1 2 3'
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() { printf 'private-cluster: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '5,14s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

node() {
    local command=$1 number=$2
    shift 2
    "$here/private-rabbitmq.sh" "$command" "$dir/n$number" "$@"
}

ctl() { node ctl "$@"; }

eval_on() { ctl "$1" eval "$2" >/dev/null; }

free_port() {
    local port
    while :; do
        port=$((10000 + (RANDOM * 32768 + RANDOM) % 22000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { printf '%s\n' "$port"; return; }
    done
}

epmd_pid() {
    local pid
    pid=$(cat "$dir/epmd.pid" 2>/dev/null) || return 0
    if [[ -n $pid && $(cat "/proc/$pid/comm" 2>/dev/null || true) == epmd ]]; then printf '%s\n' "$pid"; fi
}

# An epmd of the cluster's own: one that a node starts would end with that node.
start_epmd() {
    command -v epmd >/dev/null || "$here/install.sh" rabbitmq >&2
    [[ -z $(epmd_pid) ]] || return 0
    setsid epmd -port "$1" -address 127.0.0.1 </dev/null >"$dir/epmd.log" 2>&1 &
    printf '%s\n' "$!" >"$dir/epmd.pid"
}

# The first node begins the cluster; the others find it there, and join.
write_node() {
    local number=$1
    mkdir -p "$dir/n$number/conf.d"
    printf 'node=n%s epmd_port=%s cookie=%s\n' "$number" "$(cat "$dir/epmd_port")" "$(cat "$dir/cookie")" >"$dir/n$number/member"
    cat >"$dir/n$number/conf.d/cluster.conf" <<CONF
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = n1@localhost
cluster_formation.target_cluster_size_hint = 3
cluster_partition_handling = pause_minority
CONF
}

running() { ctl "$1" eval 'length(rabbit_mnesia:cluster_nodes(running)).' 2>/dev/null || true; }

wait_whole() {
    local number deadline=$((SECONDS + START_LIMIT_S))
    for number in $NODES; do
        while [[ $(running "$number") != 3 ]]; do
            ((SECONDS < deadline)) || die "the nodes in $dir are not one cluster"
            sleep 0.2
        done
    done
}

start() {
    [[ -s $dir/epmd_port ]] || free_port >"$dir/epmd_port"
    [[ -s $dir/cookie ]] || od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$dir/cookie"
    start_epmd "$(cat "$dir/epmd_port")"
    trap 'all kill' EXIT
    if [[ -d $dir/n3/data ]]; then start_together; else start_in_turn; fi
    wait_whole
    trap - EXIT
    cat "$dir"/n{1,2,3}/url
}

start_in_turn() {
    local number
    for number in $NODES; do
        write_node "$number"
        node start "$number" >"$dir/n$number/url"
    done
}

# Nodes that were a cluster wait for the one that was up last, which may be any.
start_together() {
    local number starts=()
    for number in $NODES; do
        node start "$number" >"$dir/n$number/url" &
        starts+=("$!")
    done
    for number in "${starts[@]}"; do wait "$number"; done
}

all() {
    local number pid
    for number in $NODES; do node "$1" "$number"; done
    pid=$(epmd_pid)
    if [[ -n $pid ]]; then kill -KILL "$pid"; fi
}

# `rabbit` is started again by the broker itself, where pause_minority has stopped it.
set_cookies() {
    local number=$1 own=$2 others=$3 other
    for other in $NODES; do
        [[ $other != "$number" ]] || continue
        eval_on "$number" "erlang:set_cookie(n$other@localhost, '$own')."
        eval_on "$other" "erlang:set_cookie(n$number@localhost, '$others')."
    done
}

cut() {
    local other
    set_cookies "$1" "cut-$1" "off-$1"
    for other in $NODES; do
        [[ $other == "$1" ]] || eval_on "$other" "erlang:disconnect_node(n$1@localhost)."
    done
}

heal() {
    local cookie
    cookie=$(cat "$dir/cookie")
    set_cookies "$1" "$cookie" "$cookie"
    wait_whole
}

leader() {
    local number found
    for number in $NODES; do
        found=$(ctl "$number" list_queues --local --quiet --no-table-headers name leader 2>/dev/null) || continue
        found=$(awk -v queue="$1" '$1 == queue && $2 ~ /^n[123]@/ { print substr($2, 2, 1) }' <<<"$found")
        [[ -z $found ]] || { printf '%s\n' "$found"; return; }
    done
    die "no node leads $1"
}

[[ $# -ge 2 ]] || usage
command=$1 dir=$2
case $command in
    start | stop | kill | settle) [[ $# == 2 ]] || usage ;;
    stop-node | kill-node | start-node | cut | heal) [[ $# == 3 && $3 =~ ^[123]$ ]] || usage ;;
    leader) [[ $# == 3 ]] || usage ;;
    ctl) [[ $# -ge 4 && $3 =~ ^[123]$ ]] || usage ;;
    *) usage ;;
esac
[[ -d /proc/self ]] || die 'needs Linux; start a cluster yourself'
if [[ $command == start ]]; then mkdir -p "$dir" && chmod 700 "$dir"; fi
[[ -d $dir ]] || exit 0 # nothing to stop
dir=$(cd "$dir" && pwd -P)

case $command in
    start) start ;;
    stop | kill) all "$command" ;;
    settle) for number in $NODES; do node settle "$number"; done ;;
    stop-node) node stop "$3" ;;
    kill-node) node kill "$3" ;;
    start-node) node start "$3" >/dev/null ;;
    cut) cut "$3" ;;
    heal) heal "$3" ;;
    leader) leader "$3" ;;
    ctl) ctl "${@:3}" ;;
esac
