"""What do Ray, and threads that spin while they wait, cost a whole ``streamrestore restore``?

Each run is the real command on a part of the demo clip, timed by the seconds it reports from the
first decoded frame to the last written one, so that starting up does not count; start-up is the
rest of the wall time. The settings take turns, so a machine that drifts drifts for all of them.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _record import ROOT, record

ROUNDS = 2
PART = ("--to", "1")
COMMAND = (sys.executable, "-c", "from pipelines.cli import main; main()", "restore", str(ROOT / "demo" / "rainy.mp4"))

SETTINGS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "in this process": (("--workers", "0"), {}),
    "one Ray worker": (("--workers", "1"), {}),
    "threads that always spin": (("--workers", "0"), {"GOMP_SPINCOUNT": "infinite"}),
    "threads that never spin": (("--workers", "0"), {"GOMP_SPINCOUNT": "0"}),
}


def run(options: tuple[str, ...], environment: dict[str, str], output: Path) -> tuple[float, float]:
    """(frames a second while restoring, seconds of everything else)."""
    arguments = (*COMMAND, "-t", "derain", "--devices", "cpu", *PART, "-o", str(output), "-y", "--progress", "json")
    began = time.perf_counter()
    done = subprocess.run(
        (*arguments, *options),
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    wall = time.perf_counter() - began
    last = json.loads(done.stdout.splitlines()[-1])
    return last["frames"] / last["elapsed_seconds"], wall - last["elapsed_seconds"]


def main() -> None:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            for name, (options, environment) in SETTINGS.items():
                found[name].append(run(options, environment, Path(folder) / "out.mp4"))
    rows = []
    first = next(iter(SETTINGS))
    for name, runs in found.items():
        ratios = [mine[0] / base[0] for mine, base in zip(runs, found[first], strict=True)]
        row = {
            "setting": name,
            "fps_median": round(statistics.median(fps for fps, _ in runs), 3),
            "fps_ratio_median": round(statistics.median(ratios), 3),
            "start_seconds_median": round(statistics.median(start for _, start in runs), 2),
        }
        print(
            f"{name}: {row['fps_median']} fps ({row['fps_ratio_median']} x), {row['start_seconds_median']} s to start"
        )
        rows.append(row)
    record("restore_speed", rows)


if __name__ == "__main__":
    main()
