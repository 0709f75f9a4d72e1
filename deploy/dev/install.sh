#!/usr/bin/env bash
# install.sh rabbitmq|postgres|pgbouncer|browser|faketime|groff|pika|node|prometheus: installs what is missing of Debian's servers for
# private-rabbitmq.sh and private-postgres.sh, without starting them as services of the machine, or for the tests its
# headless browser, its library that tells a process another time, what `man` reads pages with, pika for its Python, Node
# with npm, or its Prometheus with promtool.
set -euo pipefail

readonly POLICY=/usr/sbin/policy-rc.d MARK='asset-eraser: start no service while a server is installed'

case ${1:-} in
    rabbitmq)
        name='RabbitMQ server' packages=(rabbitmq-server) variable=AMQP_URL
        url=amqp://user:password@host:5672/%2f run='docker run -d -p 5672:5672 rabbitmq:4'
        other='RABBITMQ_SERVER=/path/to/rabbitmq-server'
        there() { [[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]]; }
        ;;
    postgres)
        name='PostgreSQL server' packages=(postgresql) variable=DATABASE_URL
        url=postgres://user:password@host/database run='docker run -d -p 5432:5432 -e POSTGRES_PASSWORD=… postgres'
        other='POSTGRES_BIN=/folder/with/initdb'
        there() { compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }
        ;;
    pgbouncer)
        name='PgBouncer' packages=(pgbouncer) variable=PGBOUNCER
        url=/path/to/pgbouncer run='nothing (it has to be on this machine)'
        other='PGBOUNCER=/path/to/pgbouncer'
        there() { [[ -x /usr/sbin/pgbouncer ]]; }
        ;;
    browser)
        name='browser with a WebDriver' packages=(chromium chromium-driver) variable=WEBDRIVER_URL
        url=http://127.0.0.1:9515 run='docker run -d -p 9515:4444 selenium/standalone-chromium'
        other='PATH=/folder/with/chromedriver:$PATH'
        there() { command -v chromedriver >/dev/null; }
        ;;
    faketime)
        name='libfaketime' packages=(libfaketime) variable=LIBFAKETIME
        url=/path/to/libfaketimeMT.so.1 run='nothing (it has to be on this machine)'
        other='LIBFAKETIME=/path/to/libfaketimeMT.so.1'
        there() { compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null; }
        ;;
    groff)
        name='groff' packages=(groff-base) variable=PATH
        url='/folder/with/groff:$PATH' run='nothing (it has to be on this machine)'
        other='PATH=/folder/with/groff:$PATH'
        there() { command -v groff >/dev/null; }
        ;;
    pika)
        name='pika for /usr/bin/python3' packages=(python3-pika) variable=PYTHON
        url=/folder/of/a/venv/bin/python run='nothing (it has to be on this machine)'
        other='PYTHON=/folder/of/a/venv/bin/python   # after: python3 -m venv …; pip install pika'
        there() { /usr/bin/python3 -c 'import pika' 2>/dev/null; }
        ;;
    node)
        name='Node with npm' packages=(nodejs npm) variable=PATH
        url='/folder/with/node/and/npm:$PATH' run='nothing (it has to be on this machine)'
        other='PATH=/folder/with/node/and/npm:$PATH'
        there() { command -v node >/dev/null && command -v npm >/dev/null; }
        ;;
    prometheus)
        name='Prometheus (with promtool)' packages=(prometheus) variable=PATH
        url='/folder/with/prometheus:$PATH' run='nothing (it has to be on this machine)'
        other='PATH=/folder/with/promtool:$PATH'
        there() { command -v prometheus >/dev/null && command -v promtool >/dev/null; }
        ;;
    *)
        sed -n '2,5s/^# *//p' "$0" >&2
        exit 2
        ;;
esac

if there; then exit 0; fi
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    cat >&2 <<HELP
No $name was found. Do one of these:
  - use one that runs:       export $variable=$url
  - install it (as root):    apt-get install --no-install-recommends ${packages[*]}
  - point at another one:    export $other
  - with Docker:             $run, and $variable as above
HELP
    exit 1
fi

# Tests start several servers at once; one of them installs, the others wait and find it done.
exec 9>/tmp/asset-eraser-install.lock
flock 9
if there; then exit 0; fi

# The exit code 101 of this file is Debian's way to say "install, but start nothing". An existing one is the
# machine owner's and stays.
if [[ ! -e $POLICY ]]; then
    trap 'grep -qsF "$MARK" "$POLICY" && rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\n# %s\nexit 101\n' "$MARK" >"$POLICY"
    chmod 755 "$POLICY"
fi

echo "$name: missing; installing it (apt-get install ${packages[*]})" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 "${packages[@]}"
