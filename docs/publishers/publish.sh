#!/usr/bin/env bash
# Asks asset-eraser to delete one asset for good, waits for the result, and prints it: by hand, over RabbitMQ's management
# plugin. A service had better use AMQP (publish.py, publish.js).
#
#   RABBITMQ_USER=USER RABBITMQADMIN='rabbitmqadmin -c FILE -N NODE' publish.sh ASSET_ID REQUEST_ID
#
# rabbitmqadmin is the Python script that the plugin serves under /cli/ (Debian's rabbitmq-server has it), version 1. FILE
# has host, port, USER and password, which so stay out of the list of processes, and `ssl = True` for TLS; see
# `rabbitmqadmin help config`. USER needs the tag `management`, and to configure and read its own queue, `USER.replies.*`.
# Choose the REQUEST_ID yourself, and keep it: one that was answered is answered the same for ever, and never deletes
# twice. So when this was interrupted, run it again.
set -euo pipefail

[[ $# == 2 ]] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
asset=$1 request=$2 exchange=${ASSET_ERASER_EXCHANGE:-asset.deletion} user=${RABBITMQ_USER:-guest}
# Neither may end a JSON text early.
[[ $asset =~ ^[A-Za-z0-9._-]+$ ]] || { echo "not an asset ID: $asset" >&2; exit 2; }
[[ $request != *[\"\\]* ]] || { echo "without \" and \\, please: $request" >&2; exit 2; }
read -ra admin <<<"${RABBITMQADMIN:-rabbitmqadmin}"

# A queue of our own for the result, which the broker deletes when nobody has looked into it for a minute.
replies=$user.replies.$$.$RANDOM
"${admin[@]}" -q declare queue name="$replies" durable=false arguments='{"x-expires": 60000}'
trap '"${admin[@]}" -q delete queue name="$replies" || true' EXIT

# user_id is checked by the broker; who may ask is known by it. delivery_mode 2 survives a restart of the broker.
said=$("${admin[@]}" publish exchange="$exchange" routing_key=request \
    payload="{\"request_id\": \"$request\", \"asset_id\": \"$asset\", \"requested_by\": \"publish.sh\"}" \
    properties="{\"content_type\": \"application/json\", \"delivery_mode\": 2, \"message_id\": \"$request\", \
                 \"user_id\": \"$user\", \"reply_to\": \"$replies\"}")
[[ $said == 'Message published' ]] || { echo "exchange $exchange: $said: has asset-eraser ever been started?" >&2; exit 1; }

while :; do
    got=$("${admin[@]}" -f raw_json get queue="$replies" ackmode=ack_requeue_false count=1)
    [[ $got == '[]' ]] || break
    sleep 2
done
python3 -c '
import json, sys
result = json.loads(json.load(sys.stdin)[0]["payload"])
print(json.dumps(result, indent=2))
sys.exit(result["data"]["outcome"] not in ("deleted", "already_absent"))' <<<"$got"
