"""Does memory grow with the length of a video?

A restorer that gives back what it is given, so that hours of video take minutes: what is left is all that the
pipeline itself keeps. Each run has a process of its own; the memory of that process and of all that descend from
it, Ray's object store included, is looked at ten times a second, from before the first import until all is
verified and the receipt is written. Small frames make growth easy to see: the window that holds them is small beside
the rest, and there are no weights.
"""

import multiprocessing
import tempfile
import threading
from pathlib import Path

from _clips import make_clip
from _processes import Memory, memory
from _record import record

MINUTES = {0: (1, 5, 20), 1: (1, 5)}
"""Of video, for each number of Ray workers; 0 is none but the process itself."""
SIZE = (180, 320)
RATE = 25
SAMPLE_SECONDS = 0.1
ULTRAFAST = ("libx264", "-preset", "ultrafast", "-g", "250", "-an")


def restore(clip: Path, workers: int) -> None:
    """The whole way of a file; runs in a process of its own."""
    from pipelines.file import restore_file
    from pipelines.outputs import Item
    from pipelines.planning import prepare_file
    from streamrestore.encoding import EncodingRequest
    from tests.networks import offset_restorer
    from tests.pipelines.runs import Notes, options
    from workers import open_pool

    pool = open_pool(offset_restorer, workers=workers)
    try:
        pool.ready(120)
        job = prepare_file(
            Item(clip, clip.with_suffix(f".{workers}.mp4")), options(encoding=EncodingRequest(preset="ultrafast"))
        )
        restore_file(job, pool, Notes(), threading.Event())
    finally:
        pool.close()


def measure(clip: Path, workers: int) -> Memory:
    """The most that each kind of memory came to while a clip was restored."""
    child = multiprocessing.get_context("spawn").Process(target=restore, args=(clip, workers))
    child.start()
    assert child.pid is not None
    peaks = Memory(0, 0, 0)
    while child.is_alive():
        peaks = Memory(*map(max, peaks, memory(child.pid)))
        child.join(SAMPLE_SECONDS)
    if child.exitcode:
        raise SystemExit(f"restoring {clip.name} failed")
    return peaks


def per_frame(more: int, minutes: int) -> int | None:
    """How many bytes each frame of so many more minutes adds."""
    return round(more / (minutes * 60 * RATE)) if minutes else None


def main() -> None:
    """Measure and record."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        clips = {minutes: Path(folder) / f"{minutes}.mp4" for minutes in sorted({*sum(MINUTES.values(), ())})}
        for minutes, clip in clips.items():
            make_clip(clip, SIZE, minutes * 60 * RATE, ULTRAFAST, "-r", str(RATE))
        for workers, lengths in MINUTES.items():
            runs = {minutes: measure(clips[minutes], workers) for minutes in lengths}
            first = runs[lengths[0]]
            for minutes, peaks in runs.items():
                row = {
                    "workers": workers,
                    "minutes": minutes,
                    "frames": minutes * 60 * RATE,
                    "resident_mib": round(peaks.resident / 2**20, 1),
                    "resident_over_first": round(peaks.resident / first.resident, 3),
                    "own_mib": round(peaks.own / 2**20, 1),
                    "own_bytes_per_further_frame": per_frame(peaks.own - first.own, minutes - lengths[0]),
                    "store_mib": round(peaks.shared / 2**20, 1),
                }
                print(", ".join(f"{key} {value}" for key, value in row.items()))
                rows.append(row)
    record("memory", {"size": SIZE, "rate": RATE, "rows": rows})


if __name__ == "__main__":
    main()
