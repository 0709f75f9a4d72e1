#!/usr/bin/env bash
# A private RabbitMQ cluster of three nodes on this machine: every port, file, cookie and the epmd belong to one folder, so
# that several clusters can run side by side, and none touches anything else on the machine. Node N is a broker of
# private-rabbitmq.sh in the folder DIR/nN. Linux only.
#
#   private-cluster.sh start      DIR             prints the three AMQP URLs, the only lines on stdout, once all are one cluster
#   private-cluster.sh stop       DIR             graceful; afterwards nothing of the cluster runs
#   private-cluster.sh kill       DIR             SIGKILL, as in a power cut; afterwards nothing of the cluster runs
#   private-cluster.sh stop-node  DIR N           graceful
#   private-cluster.sh kill-node  DIR N           SIGKILL, as in a power cut; afterwards nothing of the node runs
#   private-cluster.sh start-node DIR N           the same node again, on the same port; returns once it accepts AMQP
#   private-cluster.sh cut        DIR N           no more traffic between the node and the others; the node runs on
#   private-cluster.sh heal       DIR N           undoes `cut`; returns once all three nodes, which must run, are one cluster again
#   private-cluster.sh leader     DIR VHOST QUEUE prints the number of the node that leads the quorum queue
#   private-cluster.sh settle     DIR             waits until every quorum queue is old enough to outlive a `kill`
#   private-cluster.sh ctl        DIR N ARG…      rabbitmqctl on the node
#
# One node at a time can be cut off. It is no longer cut off when it has been stopped or killed and started again.
# A second `start` with the same DIR is the same cluster again. A node that starts while the two others are down waits for
# one of them, and its start fails after a while.
# Files DIR/conf.d/*.conf, if any, are read by every node as more of its configuration; DIR/plugins, if any, names the plugins.
# $RABBITMQ_SERVER names another server executable, as for private-rabbitmq.sh.
#
# How `cut` works. On both ends of each link between the node and the others, Erlang stops reading the link's socket, and
# the node gets a wrong cookie for each other node, so that no new link can be made in either direction. That is a cable
# pulled out: both sides go on sending, hear nothing, and learn of it from silence. Ra (the quorum queues) learns of it within
# seconds, Erlang after `net_ticktime`, which is 20 s here (between 15 s and 25 s after the cut). An
# `erlang:disconnect_node` would be simpler, but both sides would know at once, which a real partition does not grant. A
# proxy before the distribution port does not work: epmd tells each node the others' true ports.
#
# Clients can connect to a cut-off node at all times until it has learned of the cut. Then `pause_minority` closes its AMQP
# port, which is this setting's purpose, until the cut is healed. For a cut-off node that accepts clients for longer, write a
# larger `net_ticktime` in DIR/conf.d/test.conf before `start`. With `cluster_partition_handling = ignore` it accepts them for
# ever, but then `heal` fails by RabbitMQ's design: such a node joins the others only when it is stopped and started.
# Stream queues replicate over sockets of their own, which `cut` leaves alone.
set -euo pipefail

readonly NODES='1 2 3' TOGETHER_LIMIT_S=90 LEADER_LIMIT_S=30
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'private-cluster: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
usage() { sed -n '6,16s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

broker() { "$here/private-rabbitmq.sh" "$@"; }
ctl() { broker ctl "$dir/n$1" "${@:2}"; }

# Prints the value of an Erlang expression on one line.
evaluate() { timeout 30 "$here/private-rabbitmq.sh" ctl "$dir/n$1" eval "$2" 2>&1 | tr -d ' \n'; }

# Runs a command with each of the numbers as its last argument, all at the same time; fails if one of them fails.
at_once() {
    local numbers=$1 number pids=() pid failed=0
    shift
    for number in $numbers; do
        "$@" "$number" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
    return "$failed"
}

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the range from which the kernel hands out ports to clients, as in private-rabbitmq.sh.
free_port() {
    local port
    while :; do
        port=$((10000 + (RANDOM * 32768 + RANDOM) % 22000))
        taken "$port" || { printf '%s\n' "$port"; return; }
    done
}

random_word() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# The nodes' epmd must outlive each node, so it has an id of its own: the id of DIR, which has the form that
# `private-rabbitmq.sh kill DIR` understands.
start_epmd() {
    local program=(epmd)
    # The epmd of another root, if RABBITMQ_SERVER is rabbitmq-in-root.sh: this machine need not have Erlang.
    if [[ -n ${RABBITMQ_SERVER:-} && $(basename "$RABBITMQ_SERVER") != rabbitmq-server ]]; then
        program=(env RABBITMQ_PROGRAM=../../../bin/epmd "$RABBITMQ_SERVER")
    elif ! command -v epmd >/dev/null; then
        "$here/install.sh" rabbitmq >&2
    fi
    PRIVATE_RABBITMQ_ID=$(cat "$dir/id") HOME=$dir \
        setsid "${program[@]}" -address 127.0.0.1 -port "$epmd_port" </dev/null >"$dir/epmd.log" 2>&1 &
    wait_for_epmd
}

wait_for_epmd() {
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        if taken "$epmd_port"; then return 0; fi
        sleep 0.1
    done
    die "epmd does not listen on 127.0.0.1:$epmd_port: $(tail -n 3 "$dir/epmd.log")"
}

# n1 begins the cluster, and names no peers; the others find n1 and join it. Once a node has data, it no longer looks for peers.
# $dir/conf.d comes later in the alphabet, so its settings win.
write_node() {
    local number=$1 folder=$dir/n$1
    mkdir -p "$folder/conf.d"
    chmod 700 "$folder"
    printf 'node=n%s epmd_port=%s cookie=%s\n' "$number" "$epmd_port" "$cookie" >"$folder/member"
    printf 'cluster_partition_handling = pause_minority\nnet_ticktime = 20\n' >"$folder/conf.d/00-cluster.conf"
    # What a queue was handing on (at-least-once dead-lettering) to a leader that died, it hands on again after this time.
    # The default is three minutes.
    printf '[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}].\n' >"$folder/advanced"
    if [[ $number != 1 ]]; then
        cat >>"$folder/conf.d/00-cluster.conf" <<CONF
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = n1@localhost
cluster_formation.classic_config.nodes.2 = n$number@localhost
CONF
    fi
    if compgen -G "$dir/conf.d/*.conf" >/dev/null; then cp "$dir"/conf.d/*.conf "$folder/conf.d/"; fi
    if [[ -f $dir/plugins ]]; then cp "$dir/plugins" "$folder/plugins"; fi
}

start_node() {
    rm -f "$dir/n$1/cut" # the cut lived in the Erlang machine that has ended
    broker start "$dir/n$1" >"$dir/n$1/url"
}

# Nodes that know each other start at the same time, because each of them waits for the others' data.
start_nodes() {
    if [[ -f $dir/formed ]]; then
        at_once "$NODES" start_node
        return
    fi
    rm -rf "$dir"/n[123]/data # of a start that was interrupted
    start_node 1
    at_once '2 3' start_node
}

# One line of what every node answers: how many nodes it sees running, and which partitions it remembers.
views() {
    local all='[n1@localhost,n2@localhost,n3@localhost]'
    evaluate "$1" "[element(1, rpc:multicall($all, M, F, [], 5000))
        || {M, F} <- [{rabbit_nodes, running_count}, {rabbit_node_monitor, partitions}, {rabbit, is_running}]]."
}

accept_clients() {
    local number
    for number in $NODES; do
        # shellcheck disable=SC1090
        taken "$(. "$dir/n$number/ports" && printf '%s' "$amqp_port")" || return 1
    done
}

wait_together() {
    local seen deadline=$((SECONDS + TOGETHER_LIMIT_S))
    while ((SECONDS < deadline)); do
        seen=$(views "$1") || true
        if [[ $seen == '[[3,3,3],[[],[],[]],[true,true,true]]' ]] && accept_clients; then return 0; fi
        sleep 0.5
    done
    die "the nodes in $dir are not one cluster after $TOGETHER_LIMIT_S s. Node $1 sees: $seen"
}

end_nodes() {
    local number
    for number in $NODES; do rm -f "$dir/n$number/cut"; done
    at_once "$NODES" end_node "$1"
    broker kill "$dir" # the epmd
}

end_node() { broker "$1" "$dir/n$2"; }

# A cluster left half-started must not outlive an interrupted start. A start in the background ends soon after its node was
# killed; one that had not launched its node yet may do so meanwhile, so the nodes are killed again until no start is left.
give_up() {
    while end_nodes kill && [[ -n $(jobs -pr) ]]; do sleep 0.2; done
}

runs() {
    local file
    for file in "$dir/id" "$dir"/n[123]/id; do
        [[ -s $file ]] || continue
        # grep's exit code says little: some process always ends while its environment is read.
        if [[ -n $(grep -lzsxF "PRIVATE_RABBITMQ_ID=$(cat "$file")" /proc/[0-9]*/environ || true) ]]; then return 0; fi
    done
    return 1
}

start() {
    local number
    if runs; then die "the cluster in $dir runs already (stop or kill it first)"; fi
    [[ -s $dir/id ]] || random_word >"$dir/id"
    [[ -s $dir/cookie ]] || random_word >"$dir/cookie"
    epmd_port=$(free_port) cookie=$(cat "$dir/cookie")
    trap give_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start_epmd
    for number in $NODES; do write_node "$number"; done
    start_nodes
    wait_together 1
    : >"$dir/formed"
    trap - EXIT INT TERM
    cat "$dir"/n{1,2,3}/url
}

# Erlang's list of the nodes other than the one given.
others() {
    local number list=()
    for number in $NODES; do
        if [[ $number != "$1" ]]; then list+=("n$number@localhost"); fi
    done
    (IFS=, && printf '[%s]' "${list[*]}")
}

# The other end of a link goes deaf first: its answer still gets through, and the node's own end follows.
cut() {
    local answer file
    for file in "$dir"/n[123]/cut; do
        if [[ -e $file ]]; then die "a node is cut off already: heal it first ($file)"; fi
    done
    : >"$dir/n$1/cut"
    answer=$(evaluate "$1" "
        Links = erlang:system_info(dist_ctrl),
        [erlang:set_cookie(Other, cut_off) || Other <- $(others "$1")],
        [begin
            {_, Far} = lists:keyfind(node(), 1, rpc:call(Other, erlang, system_info, [dist_ctrl])),
            ok = rpc:call(Other, inet, setopts, [Far, [{active, false}]]),
            ok = inet:setopts(Near, [{active, false}])
         end || {Other, Near} <- Links, lists:member(Other, $(others "$1"))], ok.") || true
    [[ $answer == ok ]] || die "cannot cut off node $1: $answer"
}

# Every node reads its links again. What was sent meanwhile arrives late, as after a short cut of a network.
heal() {
    local number answer tries
    for number in $NODES; do
        for ((tries = 1; ; tries++)); do
            answer=$(evaluate "$number" "
                case node() of
                    n$1@localhost -> [erlang:set_cookie(Other, erlang:get_cookie()) || Other <- $(others "$1")];
                    _ -> ok
                end,
                [inet:setopts(Link, [{active, true}]) || {_, Link} <- erlang:system_info(dist_ctrl), is_port(Link)], ok.") || true
            [[ $answer != ok ]] || break
            # A node that is just pausing may be too busy to answer.
            ((tries < 5)) || die "cannot heal node $number: $answer"
            sleep 1
        done
    done
    rm -f "$dir/n$1/cut"
    wait_together "$1"
}

# An Erlang binary with the bytes of a text, so that no character of it needs quoting.
binary() { printf '<<%s>>' "$(printf '%s' "$1" | od -An -v -tu1 | xargs | tr ' ' ,)"; }

# A consistent query is answered only by a leader that a majority follows. A cut-off node that still thinks itself
# the leader cannot answer.
leader() {
    local number answer='' deadline=$((SECONDS + LEADER_LIMIT_S))
    while ((SECONDS < deadline)); do
        for number in $NODES; do
            [[ ! -e $dir/n$number/cut ]] || continue
            answer=$(evaluate "$number" "
                {ok, Queue} = rabbit_amqqueue:lookup(rabbit_misc:r($(binary "$1"), queue, $(binary "$2"))),
                {Name, _} = amqqueue:get_pid(Queue),
                {ok, true, {_, Leader}} = ra:consistent_query({Name, node()}, fun erlang:is_tuple/1, 3000),
                Leader.") || true
            if [[ $answer =~ ^n([123])@localhost$ ]]; then printf '%s\n' "${BASH_REMATCH[1]}"; return; fi
        done
        sleep 0.5
    done
    die "no leader of the quorum queue $2 in the virtual host $1 within $LEADER_LIMIT_S s: $answer"
}

[[ $# -ge 2 ]] || usage
command=$1 dir=$2
case $command in
    start | stop | kill | settle) [[ $# == 2 ]] || usage ;;
    stop-node | kill-node | start-node | cut | heal) [[ $# == 3 && $3 =~ ^[123]$ ]] || usage ;;
    ctl) [[ $# -ge 4 && $3 =~ ^[123]$ ]] || usage ;;
    leader) [[ $# == 4 ]] || usage ;;
    *) usage ;;
esac
[[ -d /proc/self ]] || die "needs Linux"
if [[ $command == start ]]; then
    mkdir -p "$dir"
    chmod 700 "$dir" # the Erlang cookie lies in it
fi
[[ -d $dir ]] || exit 0 # nothing to stop
dir=$(cd "$dir" && pwd -P)
[[ $dir != *[[:space:]]* ]] || die "RabbitMQ's scripts break on a folder name with blanks: $dir"

case $command in
    start) start ;;
    stop | kill) end_nodes "$command" ;;
    settle) for number in $NODES; do broker settle "$dir/n$number"; done ;;
    stop-node | kill-node) rm -f "$dir/n$3/cut" && end_node "${command%-node}" "$3" ;;
    start-node) start_node "$3" ;;
    cut | heal) "$command" "$3" ;;
    leader) leader "$3" "$4" ;;
    ctl) ctl "${@:3}" ;;
esac
