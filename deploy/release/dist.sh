#!/usr/bin/env bash
# dist.sh: makes what a release offers for this machine's architecture, in target/dist/: the Debian package, and an archive
# with the program, its pages and completions, and the systemd unit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

package=$(deploy/debian/build.sh | tail -n 1)
version=$(deploy/release/version.sh)
name=asset-eraser-$version-$(uname -m)-linux

mkdir -p target/dist
folder=target/dist/$name
rm -rf "$folder"
install -D -t "$folder" "${CARGO_TARGET_DIR:-target}/release/asset-eraser"
install -D -m 0644 -t "$folder" README.md CHANGELOG.md SECURITY.md LICENSE-APACHE LICENSE-MIT
cp -r target/pages/man target/pages/completions deploy/systemd "$folder"
strip "$folder/asset-eraser"

# The same commit gives the same archive on every machine with the same compiler.
committed=$(git -c safe.directory="$PWD" log -1 --format=%ct)
tar -C target/dist --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$committed" -c "$name" \
    | gzip -n9 >"target/dist/$name.tar.gz"
rm -r "$folder"
cp "$package" target/dist/
ls -l target/dist
