#!/usr/bin/env bash
# Everything that waits for a GPU, in one go: the tests marked gpu, then what the tables lack.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
REQUIRE_GPU=1 "$python" -m pytest -m gpu
"$python" benchmarks/throughput.py
"$python" benchmarks/quality.py
