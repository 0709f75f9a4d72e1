#!/usr/bin/env bash
# mutants.sh [MUTANT…]: puts mended faults back, one at a time, and expects the tests to find each of them.
#
# A mutant is a patch of tests/mutants/ against src/ of HEAD; without names all of them are tried, and a name may be its
# beginning. The first line of a patch says which promise it breaks. Each line `# found by:` holds the arguments of one
# `cargo test`, or the word `faults` for `make faults`; each of these runs has to fail. Logs are in target/mutants.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# All mutants share one broker and one database.
if [[ -z ${MUTANTS_SERVERS:-} ]]; then
    MUTANTS_SERVERS=yes exec deploy/dev/with-servers.sh --postgres "${BASH_SOURCE[0]}" "$@"
fi

root=$PWD logs=$PWD/target/mutants tree=$PWD/target/mutants/tree
cargo=${CARGO:-cargo}
# One folder for all of them, so that a mutant costs what it changes.
export CARGO_TARGET_DIR=$logs/build FAULTS_MINUTES=${FAULTS_MINUTES:-5}
# Longest time for one run, in seconds: a worker that never answers keeps some tests waiting.
limit=${MUTANT_LIMIT_S:-900}

remove_tree() { git worktree remove --force "$tree" 2>/dev/null || true; }
trap remove_tree EXIT

patches() {
    [[ $# -gt 0 ]] || set -- ''
    local name found
    for name in "$@"; do
        mapfile -t found < <(compgen -G "tests/mutants/$name*.patch" | sort)
        [[ ${#found[@]} -gt 0 ]] || { printf 'mutants: no patch is named %s\n' "$name" >&2; return 1; }
        printf '%s\n' "${found[@]}"
    done
}

row() { printf '%-40s %-10s %6s  %s\n' "$@"; }

# run LOG WORD…: one run of the tests, which says with what it ended.
run() {
    local log=$1
    shift
    if [[ $1 == faults ]]; then
        timeout "$((limit + FAULTS_MINUTES * 60))" make -C "$tree" faults >"$log" 2>&1 || true
    elif ! (cd "$tree" && $cargo test --locked --no-run "$@") >"$log" 2>&1; then
        echo 'NO BUILD' && return
    else
        began=$SECONDS
        (cd "$tree" && timeout "$limit" $cargo test --locked "$@") >>"$log" 2>&1 || true
    fi
    if grep -aq '^test result: FAILED' "$log"; then echo found; else echo 'NOT FOUND'; fi
}

# The tests that have failed, on one line.
failed() { sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$1" | sort -u | head -n 3 | paste -sd ' '; }

# try PATCH: applies it, makes each of its runs, and takes it back. Fails unless every run has found it.
try() {
    local patch=$1 name=${1##*/} by end began names took missed='' number=0
    name=${name%.patch}
    if ! git -C "$tree" apply "$root/$patch" 2>"$logs/$name.log"; then
        row "$name" 'NO PATCH' '' "$(head -n 1 "$logs/$name.log")"
        return 1
    fi
    while read -r by; do
        number=$((number + 1)) began=$SECONDS
        # shellcheck disable=SC2086 # words for the command line
        run "$logs/$name.$number.log" $by >"$logs/end" </dev/null && end=$(<"$logs/end")
        took=$((SECONDS - began))s
        names=$([[ $end != found ]] || failed "$logs/$name.$number.log")
        row "$name" "$end" "$took" "${names:-$by}"
        [[ $end == found ]] || missed=yes
    done < <(sed -n 's/^# found by: *//p' "$patch")
    git -C "$tree" checkout --quiet -- .
    [[ -z $missed && $number -gt 0 ]]
}

all=$(patches "$@")
mkdir -p "$logs"
remove_tree
git worktree add --quiet --detach "$tree" HEAD
echo 'mutants: what they have in common is built first' >&2
(cd "$tree" && $cargo test --locked --no-run) >"$logs/build.log" 2>&1 || {
    tail -n 20 "$logs/build.log" >&2
    exit 1
}

missed=0
row MUTANT END TESTS 'FAILED TESTS, AT MOST THREE'
while read -r patch; do
    try "$patch" || missed=$((missed + 1))
done <<<"$all"
[[ $missed == 0 ]] || { printf '%s mutants were not found; see %s\n' "$missed" "$logs" >&2; exit 1; }
