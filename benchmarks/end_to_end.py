"""How many frames of 1080p a second does a whole job restore on a GPU, and is the GPU ever idle?

The real command on a clip made of the demo scene, with random weights of the published widths (speed does not depend
on what weights are), in this process and through one Ray worker. Frames a second are from the first decoded frame to
the last written one; the share of that time in which the GPU computed is what the progress line calls "restore".
Without a GPU nothing is measured, and nothing recorded.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from _clips import make_clip
from _networks import PUBLISHED, untrained
from _record import ROOT, record

from streamrestore.checkpoint import write_safetensors
from streamrestore.devices import find_devices
from streamrestore.tasks import Task

SECONDS_OF_WORK = 12
EXPECTED_FPS: dict[Task, int] = {"derain": 40, "deblur": 8}
"""The goals, by which the clip's length is chosen."""


def restore(clip: Path, weights: Path, task: Task, workers: int) -> dict[str, object]:
    """One run of the command."""
    program = "from pipelines.cli import main; main()"
    job = ["restore", str(clip), "-t", task, "--weights", str(weights), "-o", str(clip.with_name("restored.mp4"))]
    options = ["--workers", str(workers), "--preset", "veryfast", "--no-reuse", "-y", "--progress", "json"]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *job, *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the command failed with {done.returncode}:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return {
        "task": task,
        "workers": workers,
        "frames": told["frames"],
        "fps": round(told["frames"] / told["elapsed_seconds"], 2),
        "gpu_busy": told["restore"],
        "bottleneck": told["bottleneck"],
        "seconds_besides": round(time.perf_counter() - began - told["elapsed_seconds"], 1),
    }


def main() -> None:
    device = find_devices()[0]
    if device.kind != "cuda":
        print("skipped: no CUDA device")
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task, fps in EXPECTED_FPS.items():
            weights, clip = folder / f"{task}.safetensors", folder / f"{task}.mp4"
            model = replace(untrained(*PUBLISHED[task]), task=task, source="random", license="none")
            write_safetensors(model, weights)
            make_clip(clip, (1080, 1920), fps * SECONDS_OF_WORK)
            for workers in (0, 1):
                rows.append(restore(clip, weights, task, workers))
                print(rows[-1], flush=True)
    record("end_to_end_cuda", rows)


if __name__ == "__main__":
    main()
