#!/usr/bin/env bash
# with-servers.sh [--postgres] CMD…: runs CMD with AMQP_URL (and DATABASE_URL) set: to the caller's server if the variable
# is set already, else to a private one that lives exactly as long as CMD. Exits with CMD's exit code.
set -euo pipefail

postgres=''
if [[ ${1:-} == --postgres ]]; then postgres=yes && shift; fi
[[ $# -gt 0 ]] || { sed -n '2,3s/^# *//p' "$0" >&2; exit 2; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/private-servers.XXXXXX")
chmod 755 "$dir" # PostgreSQL's part belongs to another user when this one is root
child='' status=0 interrupted=''

# shellcheck disable=SC2329 # called by the traps
# Killed rather than stopped: their folders go with them, so there is nothing for them to save.
cleanup() {
    trap '' INT TERM HUP
    "$here/private-rabbitmq.sh" kill "$dir/rabbitmq" || true
    "$here/private-postgres.sh" kill "$dir/postgres" || true
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

if [[ -z ${AMQP_URL:-} ]]; then
    AMQP_URL=$("$here/private-rabbitmq.sh" start "$dir/rabbitmq")
    export AMQP_URL
fi
if [[ -n $postgres && -z ${DATABASE_URL:-} ]]; then
    DATABASE_URL=$("$here/private-postgres.sh" start "$dir/postgres")
    export DATABASE_URL
fi
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
    printf 'with-servers: the command failed (%s); what the servers complained of last:\n' "$status" >&2
    { grep -hE '\[(warning|error|critical)\]' "$dir/rabbitmq/rabbitmq.log" | tail -n 20; } >&2 2>/dev/null || true
    { grep -hE '(ERROR|FATAL|PANIC):' "$dir/postgres/postgres.log" | tail -n 20; } >&2 2>/dev/null || true
fi
exit "$status"
