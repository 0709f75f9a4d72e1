#!/usr/bin/env bash
# Runs the RabbitMQ of another Debian root, such as one that `debootstrap` made for a newer RabbitMQ, to test against
# a second version without containers:
#
#   RABBITMQ_ROOT=/path/to/root RABBITMQ_SERVER=deploy/dev/rabbitmq-in-root.sh deploy/dev/with-servers.sh CMD…
#
# $RABBITMQ_PROGRAM names another program of it than rabbitmq-server.
#
# The root itself is not written to: the mounts live in a mount namespace that ends with the broker. The broker's files
# must lie below /tmp, which is the folder that both worlds share.
set -euo pipefail

die() { printf 'rabbitmq-in-root: %s\n' "$*" >&2; exit 1; }

[[ -n ${RABBITMQ_ROOT:-} ]] || die 'set RABBITMQ_ROOT to the folder of a Debian root with rabbitmq-server in it'
[[ -e $RABBITMQ_ROOT/usr/lib/rabbitmq/bin/rabbitmq-server ]] || die "no RabbitMQ in RABBITMQ_ROOT=$RABBITMQ_ROOT"
[[ $(id -u) == 0 ]] || die 'needs root, for mount and chroot'
[[ $HOME == /tmp/* ]] || die "the broker's folder must be below /tmp, not $HOME (is TMPDIR set?)"

# `unshare --mount` makes every mount private, so none of these is seen outside.
# shellcheck disable=SC2016
exec unshare --mount bash -euc '
    root=$1
    shift
    mount --rbind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
    if [ -e "$root/etc/hosts" ]; then mount --bind /etc/hosts "$root/etc/hosts"; fi
    mount --bind /tmp "$root/tmp"
    cd /
    exec chroot "$root" "/usr/lib/rabbitmq/bin/${RABBITMQ_PROGRAM:-rabbitmq-server}" "$@"
' rabbitmq-in-root "$(cd "$RABBITMQ_ROOT" && pwd -P)" "$@"
