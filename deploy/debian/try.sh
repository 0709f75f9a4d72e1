#!/usr/bin/env bash
# try.sh [FILE.deb]: installs the Debian package, upgrades, removes and purges it in a Debian of its own, and checks what
# is there after each step. Without FILE.deb it builds the package first. Needs root, and debootstrap, which downloads
# some 100 MB of Debian's packages into a temporary folder. $SUITE is the Debian to try it on (bookworm), $MIRROR where
# its packages come from. No service is started: a root without an init process has none.
set -euo pipefail
package=${1:+$(realpath "$1")}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly USER_NAME=asset-eraser SETTINGS=/etc/asset-eraser/asset-eraser.toml LEDGER=/var/lib/asset-eraser
readonly UNIT=asset-eraser.service

die() { printf 'try.sh: %s\n' "$*" >&2; exit 1; }

[[ $(id -u) == 0 ]] || die 'needs root, for debootstrap and chroot'
command -v debootstrap >/dev/null || die 'debootstrap was not found: apt-get install debootstrap'
# The mounts live in a mount namespace, and end with it.
[[ -n ${IN_NAMESPACE:-} ]] || exec env IN_NAMESPACE=1 unshare --mount deploy/debian/try.sh "$package"

[[ -n $package ]] || package=$(deploy/debian/build.sh | tail -n 1)
[[ -r $package ]] || die "$package cannot be read"
version=$(dpkg-deb --field "$package" Version)
work=$(mktemp -d "${TMPDIR:-/tmp}/try-deb.XXXXXX")
root=$work/root
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT

inside() { chroot "$root" env LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
as_service() { inside setpriv --reuid="$USER_NAME" --regid="$USER_NAME" --clear-groups "$@"; }
is_there() { [[ -e $root$1 ]]; }
owner_and_mode() { inside stat -c '%U:%G %a' "$1"; }

# ok WHAT CMD…: CMD has to succeed. What the one before it printed is in $work/before then.
ok() {
    local what=$1
    shift
    if [[ -e $work/output ]]; then mv "$work/output" "$work/before"; fi
    if "$@" >"$work/output" 2>&1; then printf '  ok    %s\n' "$what"; return; fi
    printf '  WRONG %s\n' "$what" >&2
    sed 's/^/        /' "$work/output" >&2
    exit 1
}
equal() { [[ $1 == "$2" ]] || { printf 'found %s, expected %s\n' "$1" "$2"; return 1; }; }
no() { ! "$@"; }

# The next version, whose settings file is another one too.
next_version() {
    dpkg-deb --raw-extract "$package" "$work/next"
    sed -i "s/^Version: .*/&+next/" "$work/next/DEBIAN/control"
    echo '# new in this version' >>"$work/next$SETTINGS"
    (cd "$work/next" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | xargs -0 md5sum >DEBIAN/md5sums)
    dpkg-deb --build "$work/next" "$root/next.deb" >/dev/null
}

settings_are_read() {
    as_service /usr/bin/asset-eraser --config "$SETTINGS" config >"$work/config"
    grep -F 'url = "sqlite:///var/lib/asset-eraser/asset-eraser.db"' "$work/config"
}

printf '==> Debian %s in %s\n' "${SUITE:=bookworm}" "$root"
debootstrap --variant=minbase --include=ca-certificates,systemd "$SUITE" "$root" ${MIRROR:+"$MIRROR"} \
    >"$work/debootstrap.log" 2>&1 || { tail -n 5 "$work/debootstrap.log" >&2; die 'debootstrap failed'; }
mount -t proc proc "$root/proc"
cp "$package" "$root/this.deb"
next_version

printf '==> install %s (%s bytes, %s KiB installed)\n' \
    "$(basename "$package")" "$(stat -c %s "$package")" "$(dpkg-deb --field "$package" Installed-Size)"
printf '    Depends: %s\n' "$(dpkg-deb --field "$package" Depends)"
ok 'apt installs it' inside apt-get install -y --no-install-recommends /this.deb
ok 'dpkg finds nothing changed' inside dpkg --verify asset-eraser
ok 'the user is there, without a shell' \
    equal "$(inside getent passwd "$USER_NAME" | cut -d: -f6,7)" "$LEDGER:/usr/sbin/nologin"
ok 'the program runs' equal "$(inside asset-eraser --version)" "asset-eraser ${version%-*}"
ok 'systemd accepts the unit' inside systemd-analyze verify "/usr/lib/systemd/system/$UNIT"
ok 'the service is not enabled' equal "$(inside systemctl is-enabled "$UNIT" || true)" disabled
# shellcheck disable=SC2016 # dpkg's variables, not the shell's
ok 'the settings are a conffile' grep -F "$SETTINGS" <(inside dpkg-query --show --showformat='${Conffiles}' asset-eraser)
ok 'the service can read the settings, other users cannot' equal "$(owner_and_mode "$SETTINGS")" "root:$USER_NAME 640"
# As systemd does for the unit's LoadCredential lines.
for token in provider-token guard-token; do
    install -m 0600 /dev/stdin "$root/etc/asset-eraser/$token" <<<a-token
    inside install -D -m 0400 -o "$USER_NAME" "/etc/asset-eraser/$token" "/run/credentials/$UNIT/$token"
done
ok 'the program takes the settings' settings_are_read
ok 'the manual pages are there' inside gzip --test /usr/share/man/man1/asset-eraser{,-submit}.1.gz
for file in bash-completion/completions/asset-eraser fish/vendor_completions.d/asset-eraser.fish \
    zsh/vendor-completions/_asset-eraser doc/asset-eraser/copyright doc/asset-eraser/changelog.Debian.gz doc/asset-eraser/CHANGELOG.md; do
    ok "/usr/share/$file is there" is_there "/usr/share/$file"
done

# As systemd does for StateDirectory, and the worker in it.
inside install -d -m 0700 -o "$USER_NAME" -g "$USER_NAME" "$LEDGER"
as_service touch "$LEDGER/asset-eraser.db"

printf '==> upgrade, with settings that were edited\n'
echo '# edited by the operator' >>"$root$SETTINGS"
inside chmod 0600 "$SETTINGS"
inside chown "$USER_NAME:$USER_NAME" "$SETTINGS"
ok 'apt upgrades it' inside apt-get install -y -o DPkg::Options::=--force-confold /next.deb
# shellcheck disable=SC2016
ok 'the new version is there' equal "$(inside dpkg-query --show --showformat='${Version}' asset-eraser)" "$version+next"
ok 'the edited settings are kept' grep -F '# edited by the operator' "$root$SETTINGS"
ok 'their owner and mode are kept' equal "$(owner_and_mode "$SETTINGS")" "$USER_NAME:$USER_NAME 600"
ok 'the new settings are beside them' grep -F '# new in this version' "$root$SETTINGS.dpkg-dist"
ok 'the ledger is kept' is_there "$LEDGER/asset-eraser.db"

printf '==> remove\n'
ok 'apt removes it' inside apt-get remove -y asset-eraser
ok 'the program is gone' no is_there /usr/bin/asset-eraser
ok 'the unit is gone' no is_there "/usr/lib/systemd/system/$UNIT"
ok 'the edited settings are kept' grep -F '# edited by the operator' "$root$SETTINGS"
ok 'the tokens are kept' is_there /etc/asset-eraser/provider-token
ok 'the ledger is kept' is_there "$LEDGER/asset-eraser.db"

printf '==> install again, then purge\n'
ok 'apt installs it' inside apt-get install -y /next.deb
ok 'the edited settings are kept' grep -F '# edited by the operator' "$root$SETTINGS"
ok 'apt purges it' inside apt-get purge -y asset-eraser
ok 'the operator is told where the ledger is' grep -F "the ledger is still in $LEDGER" "$work/before"
ok 'settings and tokens are gone' no is_there /etc/asset-eraser
ok 'the ledger is kept, and belongs to the same user' \
    equal "$(owner_and_mode "$LEDGER/asset-eraser.db" | cut -d' ' -f1)" "$USER_NAME:$USER_NAME"
inside rm -r "$LEDGER"
ok 'without a ledger, nothing is left' inside sh -c 'apt-get install -y /next.deb && apt-get purge -y asset-eraser'
ok 'the operator is told nothing then' no grep -F 'the ledger is still' "$work/before"
for file in /etc/asset-eraser "$LEDGER" /usr/share/doc/asset-eraser /var/lib/systemd/deb-systemd-helper-enabled/$UNIT.dsh-also; do
    ok "$file is gone" no is_there "$file"
done

printf '==> all as it should be\n'
