#!/usr/bin/env bash
# sbom.sh: lists the crates that the worker is built from, with their versions, licences and checksums, as CycloneDX 1.5 in
# target/dist/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

command -v cargo-cyclonedx >/dev/null || {
    echo 'cargo-cyclonedx was not found: cargo install cargo-cyclonedx --locked' >&2
    exit 1
}
name=asset-eraser-$(deploy/release/version.sh).cdx
# It writes a file beside each Cargo.toml of a workspace. The tools are no part of a release.
trap 'find . -path ./target -prune -o -name "$name.json" -exec rm {} +' EXIT
cargo cyclonedx --quiet --format json --spec-version 1.5 --all --no-build-deps --target x86_64-unknown-linux-gnu \
    --override-filename "$name"
mkdir -p target/dist
mv "$name.json" target/dist/
ls -l "target/dist/$name.json"
