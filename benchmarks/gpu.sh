#!/usr/bin/env bash
# Everything that waits for a GPU, in one go of ten minutes: the tests marked gpu, then what the tables lack, what
# matters most first. A part that fails does not keep the others from running.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
status=0
REQUIRE_GPU=1 timeout 150 "$python" -m pytest -m gpu || status=1
for part in network:150 end_to_end:150 launching:120 patching:45 hwaccel:60 quality:120; do
    echo "== ${part%:*}"
    timeout "${part#*:}" "$python" "benchmarks/${part%:*}.py" || status=1
done
"$python" benchmarks/_tables.py || status=1
exit "$status"
