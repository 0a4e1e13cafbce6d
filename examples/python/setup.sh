#!/bin/sh
# Makes the virtual environment of the Python worker, and the stubs from the .proto files.
#
#   examples/python/setup.sh [FOLDER]       default: target/python
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=${1:-$root/target/python}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$root/examples/python/requirements.txt"
mkdir -p "$venv/stubs"
"$venv/bin/python" -m grpc_tools.protoc -I "$root/executor/crates/proto/proto" \
    --python_out="$venv/stubs" --grpc_python_out="$venv/stubs" executor/v1/executor.proto
