"""What does everything around the network cost, against the ffmpeg command that does the same?

The same clip, codec, preset, CRF and copied sound, through ffmpeg and through ours with a restorer that gives back
what it is given: in this process, and in one Ray worker. The three take turns. Frames a second count, for ours,
from the first frame that is decoded to the last one written; for ffmpeg by its own clock, from the same to the
closed file. What ffmpeg does not do is shown beside it: looking at the file and planning before, and after it
joining the segments, reading the result back, comparing every frame and time, and the receipt.
"""

import re
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from _clips import FFMPEG, make_clip
from _processes import cpu_seconds
from _record import record

from pipelines.engine import Progress
from pipelines.file import restore_file
from pipelines.outputs import Item
from pipelines.planning import prepare_file
from streamrestore.encoding import EncodingRequest
from tests.networks import offset_restorer
from tests.pipelines.runs import Notes, options
from workers import RestorerPool, open_pool

SIZES = {"720p": (1280, 720, 200), "1080p": (1920, 1080, 160)}
"""(width, height, frames)"""
ROUNDS = 2
PRESET, CRF = "veryfast", 20
SOURCE = ("libx264", "-preset", "veryfast", "-crf", "18", "-c:a", "copy")


@dataclass(frozen=True)
class Run:
    """One passage of a clip."""

    frames_per_second: float
    cpu_ms_per_frame: float
    seconds_before: float = 0.0
    seconds_after: float = 0.0


class Clock(Notes):
    """Looks at the processor time where the first frame is about to be decoded, and where the last was written."""

    def begin(self, source: Path, output: Path, frames: int | None) -> None:
        """Called before the first frame."""
        self.frames, self.began, self.cpu_began = frames, time.perf_counter(), cpu_seconds()

    def update(self, progress: Progress) -> None:
        """Called ten times a second; looking each time would cost what is to be measured."""
        if progress.frames == self.frames:
            self.cpu_ended = cpu_seconds()


def theirs(clip: Path, folder: Path, frames: int) -> Run:
    """The ffmpeg command."""
    codec = ["-c:v", "libx264", "-preset", PRESET, "-crf", str(CRF), "-c:a", "copy"]
    command = [FFMPEG, "-nostdin", "-nostats", "-benchmark", "-i", str(clip), *codec, "-y", str(folder / "theirs.mp4")]
    log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    user, system, real = (float(seconds) for seconds in re.findall(r"[usr]time=([\d.]+)s", log))
    return Run(frames / real, 1000 * (user + system) / frames)


def ours(clip: Path, folder: Path, pool: RestorerPool) -> Run:
    """The whole way of a file, with the restorers of a pool."""
    clock = Clock()
    wanted = options(encoding=EncodingRequest(preset=PRESET, crf=CRF))
    started = time.perf_counter()
    job = prepare_file(Item(clip, folder / "ours.mp4"), wanted)
    progress = restore_file(job, pool, clock, threading.Event()).progress
    wall = time.perf_counter() - started
    for file in folder.glob("ours.*"):
        file.unlink()
    before = clock.began - started
    cpu_ms = 1000 * (clock.cpu_ended - clock.cpu_began) / progress.frames
    return Run(progress.frames_per_second(), cpu_ms, before, wall - before - progress.elapsed_seconds)


def measure(folder: Path, name: str, pools: dict[str, RestorerPool]) -> list[dict[str, object]]:
    """All ways for one size of frames, in turns."""
    width, height, frames = SIZES[name]
    clip = folder / f"{name}.mp4"
    make_clip(clip, (height, width), frames, SOURCE, "-shortest")
    runs: dict[str, list[Run]] = {"ffmpeg": [], **{way: [] for way in pools}}
    for _ in range(ROUNDS):
        runs["ffmpeg"].append(theirs(clip, folder, frames))
        for way, pool in pools.items():
            runs[way].append(ours(clip, folder, pool))
    return [row(name, way, runs[way], runs["ffmpeg"]) for way in runs]


def row(size: str, way: str, runs: list[Run], base: list[Run]) -> dict[str, object]:
    """Medians, and the range of the ratios of each turn."""
    ratios = [run.frames_per_second / other.frames_per_second for run, other in zip(runs, base, strict=True)]
    found = {
        "size": size,
        "way": way,
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "fps_median": round(statistics.median(run.frames_per_second for run in runs), 1),
        "cpu_ms_per_frame_median": round(statistics.median(run.cpu_ms_per_frame for run in runs), 1),
        "seconds_before_median": round(statistics.median(run.seconds_before for run in runs), 2),
        "seconds_after_median": round(statistics.median(run.seconds_after for run in runs), 2),
    }
    print(", ".join(f"{key} {value}" for key, value in found.items()))
    return found


def main() -> None:
    """Measure and record."""
    pools = {
        "in this process": open_pool(offset_restorer, workers=0),
        "one Ray worker": open_pool(offset_restorer, workers=1),
    }
    try:
        for pool in pools.values():
            pool.ready(120)
        with tempfile.TemporaryDirectory() as folder:
            rows = [row for name in SIZES for row in measure(Path(folder), name, pools)]
    finally:
        for pool in pools.values():
            pool.close()
    clip = {name: f"{width}x{height}, {frames} frames" for name, (width, height, frames) in SIZES.items()}
    record("pipeline_tax", {"clips": clip, "encoder": f"libx264 {PRESET} CRF {CRF}", "rows": rows})


if __name__ == "__main__":
    main()
