#!/bin/sh
# Makes the virtual environment of the clients' tests: the clients from PyPI.
#
#   scheduler-stub/tests/clients/setup.sh [FOLDER]      default: target/clients
set -eu
root=$(cd "$(dirname "$0")/../../.." && pwd)
venv=${1:-$root/target/clients}
wanted=$root/scheduler-stub/tests/clients/requirements.txt
# What is installed already is not asked for again.
if [ -x "$venv/bin/python" ] && cmp -s "$wanted" "$venv/requirements.txt"; then exit 0; fi
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
cp "$wanted" "$venv/requirements.txt"
