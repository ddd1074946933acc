"""How near to the ideal do 1 to 32 workers come, with frames and with segments, and what is the driver's limit?

Workers sleep for as long as a GPU would compute, so that few cores can feed many of them. All else is real: Ray, the
pool, the scheduler, the window, and for frames the engine, between a source that gives the same decoded planes again
and again and a sink that drops them. Decoding and encoding are left out: their cost is in pipeline_tax.py.

Frames a second count from the end of every worker's first chunk to the last frame. A segment crosses Ray as a name and
a small record, so here it is a chunk of frames of 2x2 pixels, and frames a second count from the first to the last of
all segments. The driver's limit is the most frames that more workers than it can feed receive from it; beside it stands
the processor time that each thread spends on a frame, which says what the limit is made of. On few cores the workers,
who copy every frame once, take part of it away.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
from _processes import cpu_seconds, family
from _record import record

from pipelines.engine import build_engine
from streamrestore.frame import (
    ChromaLocation,
    Chunk,
    Frame,
    Matrix,
    PixelFormat,
    Planes,
    Restored,
    Stamp,
    VideoFormat,
    planes_md5,
)
from streamrestore.patches import PatchPlan
from workers import plan_window
from workers.cluster import Cluster
from workers.pool import RayPool
from workers.scheduling import Assignment, Scheduler

Row = dict[str, Any]
"""Of the JSON."""

WORKERS = (1, 4, 16, 32)
MS_PER_FRAME = (30, 100)
SIZES = {"1080p": (1080, 1920), "720p": (720, 1280)}
RUN_SECONDS = 2.0
LEAST_ROUNDS = 8
"""Chunks of each worker, however long they take."""
SEGMENT_FRAMES = 30
SEGMENTS_SECONDS = 3.5
LEAST_SEGMENTS_PER_WORKER = 2
START_SECONDS = 300.0
SCHEDULED = (8, 32, 1000)
"""Workers that the scheduler alone is measured with."""
SCHEDULED_ANSWERS = 2000
REPEATS = 9


class SleepingRestorer:
    """Takes as many ms a frame as the first sample says, and gives the frames back."""

    def restore(self, chunk: Chunk) -> Restored:
        luma = chunk.planes[0]
        seconds = len(luma) * int(luma[0, 0, 0]) / 1000
        time.sleep(seconds)
        return Restored(chunk.planes, seconds)


class DroppingSink:
    """Notes when each frame arrived, and how much processor time the thread has used."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.thread_seconds = 0.0

    def write(self, stamp: Stamp, planes: Planes) -> None:
        self.times.append(time.perf_counter())
        self.thread_seconds = time.thread_time()


class RepeatingSource:
    """The same frame as often as asked for, or until time is up."""

    def __init__(self, planes: Planes, frames: int) -> None:
        self._planes = planes
        self._frames = frames
        self.thread_seconds = 0.0

    def frames(self) -> Iterator[Frame]:
        until = time.perf_counter() + 1.5 * RUN_SECONDS
        for index in range(self._frames):
            self.thread_seconds = time.thread_time()
            if time.perf_counter() > until:
                return
            yield Frame(index, index, 1, self._planes)


def video_of(size: tuple[int, int]) -> VideoFormat:
    pixels = PixelFormat("yuv420p", "yuv", 8, (1, 1))
    return VideoFormat(size[1], size[0], pixels, Matrix.BT709, False, ChromaLocation.LEFT)


def plan_of(size: tuple[int, int]) -> PatchPlan:
    """Not used by who sleeps."""
    return PatchPlan(size, size, size, 0, 1)


def planes_of(video: VideoFormat, ms: int) -> Planes:
    random = np.random.default_rng(0)
    planes = tuple(random.integers(16, 235, shape).astype(np.uint8) for shape in video.plane_shapes())
    planes[0][0, 0] = ms
    return planes


def thread_seconds(name: str) -> float:
    """Processor time of a thread of this process."""
    (thread,) = (thread for thread in threading.enumerate() if thread.name == name)
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0))


def store_bytes() -> int:
    """What Ray's object store has taken of the memory so far: pages, once written, are not given back."""
    for pid in family():
        # Processes and files may end while they are looked at.
        with suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                if "/plasma" in str(entry.readlink()):
                    return entry.stat().st_blocks * 512
    raise SystemExit("no process has an object store open")


def feed_frames(pool: RayPool, size_name: str, ms: int) -> Row:
    """Frames through the engine."""
    video = video_of(SIZES[size_name])
    workers = pool.state().workers
    engine = build_engine(pool, video, plan_of(SIZES[size_name]))
    window = plan_window(workers, video.frame_bytes(), pool.budget_bytes)
    round_of_chunks = workers * window.frames_per_chunk
    rounds = max(LEAST_ROUNDS, round(RUN_SECONDS * 1000 / (ms * window.frames_per_chunk)))
    source, sink = RepeatingSource(planes_of(video, ms), rounds * round_of_chunks), DroppingSink()
    began, everywhere, here, pooling = time.perf_counter(), cpu_seconds(), time.process_time(), thread_seconds("pool")
    engine.run(source.frames(), sink, stop=threading.Event(), report=lambda _: None)
    elapsed = time.perf_counter() - began
    everywhere, here, pooling = cpu_seconds() - everywhere, time.process_time() - here, thread_seconds("pool") - pooling
    frames = len(sink.times)
    skipped = min(round_of_chunks, frames // 2)
    fps = (frames - skipped) / (sink.times[-1] - sink.times[skipped - 1])
    ideal = workers * 1000 / ms
    print(f"{size_name} frames, {workers} workers, {ms} ms: {fps:.1f} of {ideal:.1f} a second, {fps / ideal:.3f}")
    ray_threads = here - source.thread_seconds - pooling - sink.thread_seconds
    cpu = {
        "read": source.thread_seconds,
        "pool": pooling,
        "write": sink.thread_seconds,
        "ray_in_driver": ray_threads,
        "workers_and_raylet": everywhere - here,
    }
    return {
        "size": size_name,
        "workers": workers,
        "ms_per_frame": ms,
        "fps": round(fps, 2),
        "ideal_fps": round(ideal, 2),
        "of_ideal": round(fps / ideal, 4),
        "mb_per_second_each_way": round(fps * video.frame_bytes() / 1e6, 1),
        "window_chunks": window.chunks,
        "window_mb": round(2 * window.chunks * window.frames_per_chunk * video.frame_bytes() / 1e6, 1),
        "store_mb_so_far": round(store_bytes() / 1e6, 1),
        "cores_busy": round(everywhere / elapsed, 2),
        "cpu_ms_per_frame": {part: round(seconds * 1000 / frames, 3) for part, seconds in cpu.items()},
    }


def feed_segments(pool: RayPool, ms: int) -> Row:
    """Segments through the pool: names in, small records out."""
    workers = pool.state().workers
    video = video_of((2, 2))
    planes = planes_of(video, ms)
    segment = Chunk(
        video, plan_of((2, 2)), tuple(np.stack(same) for same in zip(*[planes] * SEGMENT_FRAMES, strict=True))
    )
    segments = workers * max(LEAST_SEGMENTS_PER_WORKER, round(SEGMENTS_SECONDS * 1000 / (SEGMENT_FRAMES * ms)))
    began = time.perf_counter()
    for answer in [pool.submit(segment) for _ in range(segments)]:
        answer.result()
    fps = segments * SEGMENT_FRAMES / (time.perf_counter() - began)
    ideal = workers * 1000 / ms
    print(f"segments, {workers} workers, {ms} ms: {fps:.1f} of {ideal:.1f} frames a second, {fps / ideal:.3f}")
    return {
        "workers": workers,
        "ms_per_frame": ms,
        "fps": round(fps, 2),
        "ideal_fps": round(ideal, 2),
        "of_ideal": round(fps / ideal, 4),
    }


def driver_limit(rows: Iterable[Row]) -> Row:
    """The most frames that arrived in a second, whatever the number of workers."""
    return max(rows, key=lambda row: row["fps"])


def hashing_ms(size: tuple[int, int]) -> float:
    """What the MD5 of one frame takes when nothing else runs."""
    planes = planes_of(video_of(size), 0)
    seconds = []
    for _ in range(REPEATS):
        began = time.thread_time()
        planes_md5(planes)
        seconds.append(time.thread_time() - began)
    return round(sorted(seconds)[REPEATS // 2] * 1000, 3)


def deciding_us(workers: int) -> float:
    """What the pool's thread spends on the decisions that follow from one answer."""
    scheduler = Scheduler(workers, 0.0)
    for life in scheduler.lives:
        scheduler.ready(life)
    for chunk in range(4 * workers):
        scheduler.add(chunk, 1)
    running: list[Assignment] = list(scheduler.assign(0.0))
    began = time.thread_time()
    for answer in range(SCHEDULED_ANSWERS):
        now = float(answer)
        scheduler.answered(*running[answer], now)
        scheduler.add(4 * workers + answer, 1)
        scheduler.hanging(now)
        running += scheduler.assign(now)
        scheduler.state()
        scheduler.next_due(now)
    return round((time.thread_time() - began) / SCHEDULED_ANSWERS * 1e6, 1)


def main() -> None:
    results: Row = {
        "decisions_us_per_answer": {str(workers): deciding_us(workers) for workers in SCHEDULED},
        "md5_ms_per_frame": {name: hashing_ms(size) for name, size in SIZES.items()},
    }
    began = time.perf_counter()
    with closing(Cluster(address="local", cpus=max(WORKERS))) as ray:
        ray.started.result()
        starts = {"ray": round(time.perf_counter() - began, 1)}
        frames, segments = list[Row](), list[Row]()
        for workers in WORKERS:
            began = time.perf_counter()
            with closing(RayPool(SleepingRestorer, cluster=Cluster(), workers=workers)) as pool:
                pool.ready(START_SECONDS)
                starts[f"{workers} workers"] = round(time.perf_counter() - began, 1)
                frames += [feed_frames(pool, size, ms) for size in SIZES for ms in MS_PER_FRAME]
                segments += [feed_segments(pool, ms) for ms in MS_PER_FRAME]
    results |= {
        "start_seconds": starts,
        "frames": frames,
        "segments": segments,
        "driver_limit": {size: driver_limit(row for row in frames if row["size"] == size) for size in SIZES},
    }
    record("scaling", results)


if __name__ == "__main__":
    main()
