#!/usr/bin/env bash
# fuzz.sh [TARGET…]: runs each fuzz target (all of them without a name) for $FUZZ_S seconds, 60 by default. What it finds on its
# way is kept under target/fuzz; fuzz/corpus is only read. A crash ends it, with the command that repeats it.
#
#   fuzz.sh --minimise [TARGET…]   puts into fuzz/corpus the smallest set of inputs that covers what is covered so far
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=${FUZZ_S:-60} minimise=''
if [[ ${1:-} == --minimise ]]; then minimise=yes && shift; fi
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=(request properties envelope registry settings)

say() { printf 'fuzz: %s\n' "$*" >&2; }
rustup run nightly rustc --version >/dev/null 2>&1 || {
    say 'a nightly compiler is needed: rustup toolchain install nightly'
    exit 1
}
command -v cargo-fuzz >/dev/null || {
    say 'cargo-fuzz is needed: cargo install cargo-fuzz'
    exit 1
}

# Without a sanitizer: there is no unsafe code here, and without one it runs several times as many inputs.
fuzz() { cargo +nightly fuzz "$1" --sanitizer none "${@:2}"; }

for target in "${targets[@]}"; do
    found=target/fuzz/$target
    mkdir -p "$found"
    if [[ -n $minimise ]]; then
        least=$(mktemp -d)
        # The corpus first: of two inputs that cover the same, the one that is known is kept.
        fuzz run "$target" "$least" "fuzz/corpus/$target" "$found" -- -merge=1 -max_len=4096
        rm -rf "fuzz/corpus/$target" && mkdir -p "fuzz/corpus/$target"
        cp "$least"/* "fuzz/corpus/$target/"
        rm -rf "$least"
        continue
    fi
    say "$target, for $seconds seconds"
    fuzz run "$target" "$found" "fuzz/corpus/$target" -- -max_total_time="$seconds" -print_final_stats=1 \
        -max_len=70000 -timeout=5 -rss_limit_mb=1024
done
