#!/usr/bin/env bash
# notes.sh VERSION: prints the section of CHANGELOG.md about a version that is about to be released. Fails if Cargo.toml
# has another version, if there is no such section, or if it still says "unreleased".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

die() { printf 'notes.sh: %s\n' "$*" >&2; exit 1; }

version=${1:?notes.sh VERSION}
ours=$(deploy/release/version.sh)
[[ $version == "$ours" ]] || die "the tag says $version, Cargo.toml says $ours: change one of them"
heading=$(grep -F "## [$version]" CHANGELOG.md) || die "CHANGELOG.md has no section [$version]: write one"
[[ $heading != *unreleased* ]] || die "CHANGELOG.md calls $version unreleased: put the date there"
awk -v start="## [$version]" 'index($0, "## ") == 1 { inside = index($0, start) == 1; next } inside' CHANGELOG.md
