#!/usr/bin/env bash
# Installs what the tests need (Debian, as root), then runs all of them.
#
#   ./test.sh            format, lints, all tests, the language cases, the recorded corpus where it is beside the clone
#   ./test.sh --no-apt   the same, without installing anything
#
# SEED=… makes the simulator run that seed alone and print it; CRASH_SEED=… draws other strikes of the kill test.
set -euo pipefail
cd "$(dirname "$0")"

step() { printf '\n== %s\n' "$*"; }
missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v promtool >/dev/null || missing+=(prometheus)
command -v cc >/dev/null || missing+=(build-essential)
command -v python3 >/dev/null || missing+=(python3)
[ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ] || missing+=(fonts-dejavu-core)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ "${1:-}" != --no-apt ] && [ ${#missing[@]} -gt 0 ]; then
    step "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # Services must not start by themselves: the tests start their own on free ports.
    [ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d && made=1; }
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
    [ -z "${made:-}" ] || rm -f /usr/sbin/policy-rc.d
fi

# Nothing is built twice here: what incremental builds keep would only double what the disk has to hold.
export CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"

step "format"
cargo fmt --all -- --check
step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
step "tests"
# Binaries first: tests of processes start them.
cargo build --workspace --bins --locked
# The Python worker, for the tests of examples.
examples/python/setup.sh "${CARGO_TARGET_DIR:-$PWD/target}/python"
cargo test --workspace --locked
step "clients of Step Functions and ASW, and the tour of README"
scheduler-stub/tests/clients/run.sh
step "the cache of credentials under every order of its threads"
cargo test -p token-cache --features model --lib --locked model

# The short form: debug builds, a rate that two cores carry beside everything else. CRASH_SEED=… draws other strikes. Each store
# is hit by each kind of strike that it allows, once, and by some that are drawn.
step "kill test"
crash() { "${CARGO_TARGET_DIR:-target}/debug/bench" crash --seed "${CRASH_SEED:-7}" --dir "${CARGO_TARGET_DIR:-target}" "$@"; }
crash --kills 26 --nodes 2 --rate 200
crash --kills 20 --nodes 2 --rate 200 --store redis-cluster
crash --kills 12 --store file --retention 10m --rate 200

step "kill test of a Redis that forgets, which must be found"
forgets=0
found=$(crash --kills 3 --strikes kill --rate 200 --retention 20s --redis-forgets 2>&1) || forgets=$?
if [ "$forgets" != 1 ] || ! grep -qE 'FAULT.* (is LOST|acknowledged executions have no terminal record)' <<<"$found"; then
    printf '%s\nexpected exit status 1 and a fault that says what is lost, found status %s\n' "$found" "$forgets"
    exit 1
fi

step "recorded cases"
corpus=../shared/conformance
conform() { python3 "$corpus/check.py" "$@" -- "${CARGO_TARGET_DIR:-target}/debug/executor" conform; }
if [ -f "$corpus/check.py" ]; then
    # One of the recordings lost its output: a bare word stands in its place, and the checker takes no list for it.
    conform "$corpus/dev.jsonl" --ids "$corpus/t1-main-job.ids" --min-outcome 99.7
    conform "$corpus/dev.jsonl" --needs none --min-outcome 100
    conform "$corpus/dev.jsonl" --min-outcome 99.8
    conform "$corpus/validation_dev.jsonl" --min-outcome 100
else
    echo "skipped: $corpus is not beside this clone; the language cases of executor/crates/asl ran above"
fi
step "all passed"
