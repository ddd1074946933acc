"""How long until the first restored frame?

The real command on the demo clip's first frames, as many as travel together, from the start of the process until they
are restored and encoded: in this process, and with one Ray worker. What happens meanwhile is told by what the command
says, and when: the choice of a device (until then torch is imported and weights are read), the last of the planning,
the beginning of the work (the workers are ready: each has imported torch and built its network), and, at the end,
how long those frames took. Workers start while the input is looked at. Files are in the system's cache, but for the
first run, which does not count: no process, library or worker is warm.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TextIO

from _record import ROOT, record

ROUNDS = 2
FRAMES, RATE = 4, 20
WAYS = {"in this process": "0", "one Ray worker": "1"}
COMMAND = (sys.executable, "-c", "from pipelines.cli import main; main()")
RESTORE = ("restore", str(ROOT / "demo" / "rainy.mp4"), "-t", "derain", "--devices", "cpu", "--to", str(FRAMES / RATE))
SAYING = ("-v", "-y", "--progress", "json")


def run(workers: str, output: Path) -> dict[str, float]:
    """Seconds that each part took, and until the first frames were done."""
    began = time.perf_counter()
    process = subprocess.Popen(
        (*COMMAND, *RESTORE, *SAYING, "--workers", workers, "-o", str(output)),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[tuple[float, str]] = []
    pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
    threads = [threading.Thread(target=listen, args=(pipe, said)) for pipe in pipes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if process.wait():
        raise SystemExit("\n".join(line for _, line in said))

    def when(words: str) -> float:
        return next(moment for moment, line in said if words in line) - began

    done = json.loads(next(line for _, line in said if '"event": "done"' in line))
    chosen, planned, ready = when("devices: "), when("segments: "), when('"event": "begin"')
    return {
        "imports_and_weights": chosen,
        "planning": planned - chosen,
        "waiting_for_workers": ready - planned,
        "first_frames": done["elapsed_seconds"],
        "until_first_frames": ready + done["elapsed_seconds"],
    }


def listen(pipe: TextIO, said: list[tuple[float, str]]) -> None:
    """Write down each line and when it came."""
    for line in pipe:
        said.append((time.perf_counter(), line.rstrip()))


def version() -> float:
    """Seconds of the command line alone, which answers without torch."""
    began = time.perf_counter()
    subprocess.run(
        (*COMMAND, "--version"), env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True
    )
    return time.perf_counter() - began


def main() -> None:
    """Measure and record."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.mp4"
        run("0", output)
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, workers in WAYS.items():
                runs[way].append(run(workers, output))
    for way, found in runs.items():
        medians = {part: round(statistics.median(each[part] for each in found), 2) for part in found[0]}
        rows.append({"way": way, **medians})
        print(way, medians)
    answer = round(statistics.median(version() for _ in range(ROUNDS)), 2)
    print("--version", answer)
    record("startup", {"frames": FRAMES, "rows": rows, "version_seconds": answer})


if __name__ == "__main__":
    main()
