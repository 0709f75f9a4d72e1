#!/usr/bin/env bash
# with-rabbitmq.sh CMD…: runs CMD with AMQP_URL set: to the caller's broker if AMQP_URL is set already, else to a
# private RabbitMQ that lives exactly as long as CMD. Exits with CMD's exit code.
set -euo pipefail

[[ $# -gt 0 ]] || { sed -n '2,3s/^# *//p' "$0" >&2; exit 2; }
if [[ -n ${AMQP_URL:-} ]]; then exec "$@"; fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/private-rabbitmq.XXXXXX")
child='' status=0 interrupted=''

# shellcheck disable=SC2329 # called by the traps
# Killed rather than stopped: its folder goes with it, so there is nothing for it to save.
cleanup() {
    trap '' INT TERM HUP
    "$here/private-rabbitmq.sh" kill "$dir" || true
    rm -rf "$dir"
}
# shellcheck disable=SC2329
forward() {
    interrupted=$1
    if [[ -n $child ]]; then kill -s "$1" "$child" 2>/dev/null || true; fi
}
trap cleanup EXIT
# A Ctrl-C reaches CMD from the terminal by itself; a TERM reaches only this script.
trap 'interrupted=INT' INT
trap 'forward TERM' TERM
trap 'forward HUP' HUP

AMQP_URL=$("$here/private-rabbitmq.sh" start "$dir")
export AMQP_URL
[[ -z $interrupted ]] || exit 130

# In the background, for a foreground command would hold back the traps until it ends; and with its own stdin and
# SIGINT given back, which bash takes from background commands.
env --default-signal=INT,QUIT "$@" <&0 &
child=$!
while :; do
    status=0
    wait "$child" || status=$?
    kill -0 "$child" 2>/dev/null || break # a trapped signal ends `wait` early, while CMD still runs
done

if [[ $status != 0 && -z $interrupted ]]; then
    printf 'with-rabbitmq: the command failed (%s); what the broker complained of last:\n' "$status" >&2
    grep -hE '\[(warning|error|critical)\]' "$dir/rabbitmq.log" | tail -n 20 >&2 || echo '(nothing)' >&2
fi
exit "$status"
