#!/usr/bin/env bash
# version.sh: prints the version of the worker, as Cargo.toml has it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
id=$(cargo pkgid --locked --package asset-eraser)
printf '%s\n' "${id##*[#@]}"
