#!/bin/sh
# Has the clients of PyPI speak to the front door of a quick start, which the tests start by themselves.
#
#   scheduler-stub/tests/clients/run.sh                  all of them, then the tour of README
#   scheduler-stub/tests/clients/run.sh test_sfn         one module, class or test, as `python -m unittest` takes them
#
# Needs target/debug/scheduler-stub (SCHEDULER_STUB names another one). UPDATE_COVERED=1 writes covered.txt anew.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../../target}
target=$(cd "$target" && pwd)
"$here/setup.sh" "$target/clients"
export SCHEDULER_STUB="${SCHEDULER_STUB:-$target/debug/scheduler-stub}" PATH="$target/clients/bin:$PATH"
export PYTHONDONTWRITEBYTECODE=1
cd "$here"
if [ $# -gt 0 ]; then exec python -m unittest -v "$@"; fi
python all.py
python tour.py
