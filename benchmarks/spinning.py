"""Should threads of the network that wait for the next piece of work spin, and how long, in a whole restore?

Each run is the real command on a part of the demo clip, in one process with its decoder and encoder, timed by the
seconds it reports from the first decoded frame to the last written one. The settings take turns.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _record import ROOT, record

ROUNDS = 2
PART = ("--to", "0.6", "--workers", "0")
COMMAND = (sys.executable, "-c", "from pipelines.cli import main; main()", "restore", str(ROOT / "demo" / "rainy.mp4"))

SETTINGS: dict[str, dict[str, str]] = {
    "as the command sets it": {},
    "always": {"GOMP_SPINCOUNT": "infinite"},
    "never": {"GOMP_SPINCOUNT": "0"},
}


def run(environment: dict[str, str], output: Path) -> float:
    """Frames a second while restoring."""
    arguments = (*COMMAND, "-t", "derain", "--devices", "cpu", *PART, "-o", str(output), "-y", "--progress", "json")
    done = subprocess.run(
        arguments,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    last = json.loads(done.stdout.splitlines()[-1])
    frames_per_second: float = last["frames"] / last["elapsed_seconds"]
    return frames_per_second


def main() -> None:
    found: dict[str, list[float]] = {name: [] for name in SETTINGS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            for name, environment in SETTINGS.items():
                found[name].append(run(environment, Path(folder) / "out.mp4"))
    rows = []
    first = next(iter(SETTINGS))
    for name, runs in found.items():
        ratios = [mine / base for mine, base in zip(runs, found[first], strict=True)]
        row = {
            "setting": name,
            "fps_median": round(statistics.median(runs), 3),
            "fps_ratio_median": round(statistics.median(ratios), 3),
        }
        print(f"{name}: {row['fps_median']} fps ({row['fps_ratio_median']} x)")
        rows.append(row)
    record("spinning", rows)


if __name__ == "__main__":
    main()
