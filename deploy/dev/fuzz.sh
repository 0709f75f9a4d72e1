#!/usr/bin/env bash
# fuzz.sh [TARGET…]: runs each fuzz target (all of them without a name) for $FUZZ_S seconds, 60 by default.
#
# What covers something new is kept under target/fuzz, from where the next run goes on; fuzz/corpus is only read. It stays
# small: `cargo test` replays it. What breaks a promise ends the run, and is worth a place in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=${FUZZ_S:-60}
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=(request properties envelope registry settings)

die() { printf 'fuzz: %s\n' "$*" >&2; exit 1; }
rustup run nightly rustc --version >/dev/null 2>&1 ||
    die 'a nightly compiler is needed: rustup toolchain install nightly'
command -v cargo-fuzz >/dev/null || die 'cargo-fuzz is needed: cargo install cargo-fuzz'

for target in "${targets[@]}"; do
    found=target/fuzz/$target
    mkdir -p "$found"
    printf '\n==> %s, for %s seconds\n' "$target" "$seconds"
    # Without a sanitizer: there is no unsafe code here, and without one it tries several times as many inputs.
    cargo +nightly fuzz run --sanitizer none "$target" "$found" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=70000 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1
done
