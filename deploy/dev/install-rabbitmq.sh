#!/usr/bin/env bash
# Installs Debian's or Ubuntu's RabbitMQ for private-rabbitmq.sh, without starting it as a service of the machine.
set -euo pipefail

readonly POLICY=/usr/sbin/policy-rc.d MARK='asset-eraser: start no service while RabbitMQ is installed'

if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    cat >&2 <<'HELP'
No RabbitMQ server was found. Do one of these:
  - use one that runs:       export AMQP_URL=amqp://user:password@host:5672/%2f
  - install it (as root):    apt-get install --no-install-recommends rabbitmq-server
  - point at another server: export RABBITMQ_SERVER=/path/to/rabbitmq-server
  - with Docker:             docker run -d -p 5672:5672 rabbitmq:4, and AMQP_URL as above
HELP
    exit 1
fi

# Tests start several brokers at once; one of them installs, the others wait and find it done.
exec 9>/tmp/asset-eraser-install-rabbitmq.lock
flock 9
[[ ! -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || exit 0

# The exit code 101 of this file is Debian's way to say "install, but start nothing". An existing one is the
# machine owner's and stays.
if [[ ! -e $POLICY ]]; then
    trap 'grep -qsF "$MARK" "$POLICY" && rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\n# %s\nexit 101\n' "$MARK" >"$POLICY"
    chmod 755 "$POLICY"
fi

echo 'RabbitMQ is missing; installing it (apt-get install rabbitmq-server)' >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 rabbitmq-server
