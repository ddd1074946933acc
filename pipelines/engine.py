"""Frames through a pool of restorers and out again in order: the threads and the one queue.

::

    thread "read"                                      thread "write"
    source.frames() -> chunk -> pool.submit --+        head.result() -> sink.write
                                              |              ^
                                              +-- futures ---+
                                      in order, at most the window

The queue holds one future a chunk, in presentation order, so order is restored here and
nowhere else, whatever order workers finish in. It is the only queue. A chunk takes a place in
the window before it is decoded and leaves it when its frames are written; when there is none
the reader waits, so memory is bounded by the window however slow the slowest stage is. The
calling thread reports progress and turns a stop request into a clean end.
"""

import logging
import math
import queue
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import Protocol

import numpy as np

from streamrestore.errors import DeviceLostError, DeviceMemoryError, RestoreError, StoppedError, WorkerStartError
from streamrestore.frame import Chunk, Frame, OnError, Planes, Restored, Stamp, VideoFormat, planes_md5
from streamrestore.patches import PatchPlan
from streamrestore.shots import Shot, shot_at
from workers import RestorerPool, plan_window

log = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3
"""Chunks that cannot be restored, one after the other, until the run ends."""

DRAIN_SECONDS = 5.0
"""How long a stop request waits for the frames in flight: they may be the last of a segment."""

_POLL_SECONDS = 0.1
"""How long a blocked thread waits before it looks for a stop request again."""


class FrameWriter(Protocol):
    """Where restored frames go, in presentation order."""

    def write(self, stamp: Stamp, planes: Planes) -> None:
        """Take one frame; its planes may be read-only."""
        ...


@dataclass(frozen=True, slots=True)
class StageLoad:
    """Share of the elapsed time that each stage was busy, 0 to 1. The largest is the bottleneck."""

    decode: float
    restore: float
    encode: float

    def bottleneck(self) -> str:
        """The name of the busiest stage."""
        loads = {"decode": self.decode, "restore": self.restore, "encode": self.encode}
        return max(loads, key=lambda stage: loads[stage])


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one video stands."""

    frames: int
    """Frames written."""
    elapsed_seconds: float
    load: StageLoad

    def frames_per_second(self) -> float:
        """Average since the start."""
        return self.frames / self.elapsed_seconds if self.elapsed_seconds > 0 else 0.0

    def seconds_left(self, frames_total: int | None) -> float | None:
        """At the average rate so far; None where the number of frames or the rate is unknown."""
        rate = self.frames_per_second()
        return max(0.0, frames_total - self.frames) / rate if frames_total and rate else None


@dataclass(slots=True)
class _Meter:
    """Busy seconds of each stage; each field is written by one thread only."""

    began: float = field(default_factory=time.monotonic)
    counted_until: float = 0.0
    """When the last chunk was written. Loads are shares of the time until then, because
    restoring and encoding are counted when they are done."""
    decode: float = 0.0
    restore: float = 0.0
    encode: float = 0.0
    frames: int = 0

    def progress(self, workers: int) -> Progress:
        elapsed = time.monotonic() - self.began
        counted = self.counted_until - self.began
        share = 1 / counted if counted > 0 else 0.0
        load = StageLoad(
            min(1.0, self.decode * share),
            min(1.0, self.restore * share / max(1, workers)),
            min(1.0, self.encode * share),
        )
        return Progress(self.frames, elapsed, load)


@dataclass(frozen=True, slots=True)
class _Pending:
    """One chunk in the window, and what stays of its frames while their planes travel."""

    stamps: tuple[Stamp, ...]
    chunk: Chunk
    """Kept in case it cannot be restored."""
    result: "Future[Restored] | None"
    """None where nothing is to be done."""


def _groups(
    frames: Iterator[Frame], shots: Sequence[Shot], cuts: Sequence[int], most: int
) -> Iterator[tuple[Shot | None, list[Frame]]]:
    """Frames that travel together, at most so many; of one segment, and of the one shot that they come with."""

    def kind(frame: Frame) -> tuple[int, Shot | None]:
        return bisect_right(cuts, frame.pts), shot_at(shots, frame.pts) if shots else None

    for (_, shot), same in groupby(frames, kind):
        for group in _lists(same, most):
            yield shot, group


def _lists(frames: Iterator[Frame], most: int) -> Iterator[list[Frame]]:
    """Frames in lists of at most so many; an error comes after all frames before it."""
    while True:
        group = list[Frame]()
        try:
            for frame in islice(frames, most):
                group.append(frame)
        except BaseException:
            if group:
                yield group
            raise
        if not group:
            return
        yield group


def _stamp(frame: Frame, *, untouched: bool) -> Stamp:
    md5 = planes_md5(frame.planes)
    return Stamp(frame.pts, frame.duration, md5, frame.defects, frame.lost, untouched=untouched)


def build_engine(
    pool: RestorerPool,
    video: VideoFormat,
    plan: PatchPlan,
    *,
    shots: Sequence[Shot] = (),
    cuts: Sequence[int] = (),
    on_error: OnError = "pass",
) -> "FrameEngine":
    """An engine with chunks and a window that suit the frames, and the pool as it is now.

    Args:
        pool: Where chunks are restored; ready.
        video: What all frames have in common.
        plan: How they are cut.
        shots: As of `FrameEngine`.
        cuts: As of `FrameEngine`.
        on_error: As of `FrameEngine`.
    """
    window = plan_window(max(1, pool.state().workers), video.frame_bytes(), pool.budget_bytes)
    return FrameEngine(
        pool,
        video,
        plan,
        frames_per_chunk=window.frames_per_chunk,
        window=window.chunks,
        shots=shots,
        cuts=cuts,
        on_error=on_error,
    )


class FrameEngine:
    """Restores one stream of frames. Made for one run."""

    def __init__(
        self,
        pool: RestorerPool,
        video: VideoFormat,
        plan: PatchPlan,
        *,
        frames_per_chunk: int,
        window: int,
        shots: Sequence[Shot] = (),
        cuts: Sequence[int] = (),
        on_error: OnError = "pass",
    ) -> None:
        """Prepare a run.

        Args:
            pool: Where chunks are restored.
            video: What all frames have in common.
            plan: How they are cut.
            frames_per_chunk: Frames that travel and are batched together.
            window: Most chunks between decoder and encoder, both included.
            shots: What is done to which frames; those of a shot that needs nothing go on as they came, without
                the pool. Where there are none, every frame is given all that the pool's restorers do.
            cuts: First times of segments, rising. Frames of two of them do not travel together, so that what
                shares a chunk does not depend on which segments an earlier run finished.
            on_error: Whether frames that cannot be restored are passed on as they came, or end
                the run. Where it happens `FAILURES_IN_A_ROW` times, or no worker is left, it is not
                the frames' fault, and the run ends all the same.
        """
        self._pool = pool
        self._video = video
        self._plan = plan
        self._frames_per_chunk = frames_per_chunk
        self._shots = shots
        self._cuts = cuts
        self._on_error = on_error
        self._failures = 0
        """Chunks in a row that could not be restored."""
        self._last_failure: RestoreError | None = None
        self._restored_any = False
        self._places = threading.Semaphore(window)
        self._window: queue.SimpleQueue[_Pending | BaseException | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._meter = _Meter()
        self._failure: BaseException | None = None

    def run(
        self,
        frames: Iterator[Frame],
        sink: FrameWriter,
        *,
        stop: threading.Event,
        report: Callable[[Progress], None],
    ) -> Progress:
        """Restore every frame and write it.

        Args:
            frames: In presentation order; read in a thread of its own.
            sink: Written to in another thread.
            stop: Set from outside to end early: after the frames in flight, if they do not take long.
            report: Called in this thread, several times a second.

        Returns:
            How it went, once the last frame is written.

        Raises:
            StoppedError: ``stop`` was set before the end.
            StreamRestoreError: Whatever a stage raised, after every frame before it was written.
        """
        reader = threading.Thread(target=self._read, args=(frames, stop), name="read", daemon=True)
        writer = threading.Thread(target=self._write, args=(sink,), name="write", daemon=True)
        reader.start()
        writer.start()
        deadline = math.inf
        try:
            while writer.is_alive():
                writer.join(_POLL_SECONDS)
                report(self._meter.progress(self._pool.state().workers))
                if stop.is_set():
                    deadline = min(deadline, time.monotonic() + DRAIN_SECONDS)
                if time.monotonic() > deadline:
                    self._stop.set()
        finally:
            # Also at a second Ctrl-C: the caller closes what these threads read and write.
            self._stop.set()
            reader.join()
            writer.join()
            self._cancel_window()
        if self._failure is not None:
            raise self._failure
        return self._meter.progress(self._pool.state().workers)

    def _cancel_window(self) -> None:
        """Take back what nobody waits for any more, so that a warm pool is free for the next file."""
        with suppress(queue.Empty):
            while True:
                item = self._window.get_nowait()
                if isinstance(item, _Pending) and item.result is not None:
                    item.result.cancel()

    def _read(self, frames: Iterator[Frame], enough: threading.Event) -> None:
        """Decode, group and submit until the end, or until it is enough; an error takes its place in the order."""
        last: BaseException | None = None
        try:
            groups = _groups(frames, self._shots, self._cuts, self._frames_per_chunk)
            while True:
                self._take_place()
                if enough.is_set():
                    raise StoppedError("stopped before the last frame")
                began = time.monotonic()
                shot, group = next(groups, (None, []))
                if not group:
                    break
                tasks = None if shot is None else shot.tasks
                untouched = tasks == ()
                planes = tuple(np.stack(same) for same in zip(*(frame.planes for frame in group), strict=True))
                stamps = tuple(_stamp(frame, untouched=untouched) for frame in group)
                self._meter.decode += time.monotonic() - began
                chunk = Chunk(self._video, self._plan, planes, tasks)
                self._window.put(_Pending(stamps, chunk, None if untouched else self._pool.submit(chunk)))
        except BaseException as error:  # noqa: BLE001 - it is handed to the caller's thread, not swallowed
            last = error
        self._window.put(last)

    def _take_place(self) -> None:
        """Wait for a place in the window."""
        while not self._places.acquire(timeout=_POLL_SECONDS):
            self._check_stop()
        self._check_stop()

    def _write(self, sink: FrameWriter) -> None:
        """Take results in order and write their frames, until the end or the first error."""
        try:
            while (item := self._get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                stamps, planes = self._restored(item)
                began = time.monotonic()
                for index, stamp in enumerate(stamps):
                    sink.write(stamp, tuple(plane[index] for plane in planes))
                    self._meter.frames += 1
                self._meter.counted_until = time.monotonic()
                self._meter.encode += self._meter.counted_until - began
                self._places.release()
            if self._last_failure is not None and not self._restored_any:
                raise self._last_failure
        except BaseException as error:  # noqa: BLE001 - it is handed to the caller's thread, not swallowed
            self._failure = error
            self._stop.set()

    def _restored(self, item: _Pending) -> tuple[tuple[Stamp, ...], Planes]:
        """A chunk's frames, restored, or as they came if that is how it must be."""
        if item.result is None:
            return item.stamps, item.chunk.planes
        try:
            restored = self._result(item.result)
        except (DeviceLostError, DeviceMemoryError, WorkerStartError):
            raise
        except RestoreError as error:
            self._failures += 1
            if self._on_error == "fail" or self._failures >= FAILURES_IN_A_ROW or self._pool.state().lost:
                raise
            self._last_failure = error
            first = item.stamps[0].pts
            log.warning("%d frames from pts %d on are passed on unrestored: %s", len(item.stamps), first, error)
            return tuple(replace(stamp, passed=True) for stamp in item.stamps), item.chunk.planes
        self._failures, self._restored_any = 0, True
        self._meter.restore += restored.seconds
        return item.stamps, restored.planes

    def _get(self) -> _Pending | BaseException | None:
        while True:
            try:
                return self._window.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                self._check_stop()

    def _result(self, future: "Future[Restored]") -> Restored:
        while True:
            self._check_stop()
            try:
                return future.result(timeout=_POLL_SECONDS)
            except TimeoutError:
                if future.done():
                    raise

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise StoppedError("stopped before the last frame")
