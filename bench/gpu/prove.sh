#!/usr/bin/env bash
# Everything that only a GPU can prove, in eight minutes: bench/gpu/prove.sh [--quick] [--mnist FILE.npz] [--out FOLDER]
# The JSON and the log go to bench/results, or with --out to FOLDER, where only one folder comes back from the machine.
# Needs this checkout and a python3 with CuPy and pytest; nothing is installed. PYTHON names another interpreter.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" "$root/bench/gpu/prove.py" "$@"
