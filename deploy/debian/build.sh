#!/usr/bin/env bash
# build.sh: builds the Debian package for this machine's architecture, and prints its path as the last line. What is in
# it: [package.metadata.deb] in Cargo.toml.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

die() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }

command -v cargo-deb >/dev/null || die 'cargo-deb was not found: cargo install cargo-deb --locked'
command -v dpkg-shlibdeps >/dev/null || die 'dpkg-shlibdeps was not found: apt-get install dpkg-dev'

cargo build --release --locked --package asset-eraser --bin asset-eraser
program=${CARGO_TARGET_DIR:-target}/release/asset-eraser

# Cargo.toml names these folders.
rm -rf target/pages
mkdir -p target/pages/man target/pages/completions
"$program" man --dir target/pages/man >/dev/null
"$program" completions bash >target/pages/completions/asset-eraser
"$program" completions fish >target/pages/completions/asset-eraser.fish
"$program" completions zsh >target/pages/completions/_asset-eraser
# Debian's form of a changelog names the version alone. What changed is in CHANGELOG.md, beside it.
version=$(deploy/release/version.sh)
cat >target/pages/changelog <<CHANGELOG
asset-eraser ($version-1) stable; urgency=medium

  * Version $version: see CHANGELOG.md.

 -- $(sed -n 's/^maintainer = "\(.*>\)".*/\1/p' Cargo.toml)  $(date -R -u -d "@$(git -c safe.directory="$PWD" log -1 --format=%ct)")
CHANGELOG

cargo deb --no-build --locked --package asset-eraser
