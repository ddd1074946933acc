"""The engine: order, back-pressure, errors in their place, a clean stop."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engine import FAILURES_IN_A_ROW, FrameEngine, Progress, StageLoad
from streamrestore.assessor import Assessment
from streamrestore.errors import DecodeError, DeviceLostError, DiskFullError, RestoreError, StoppedError
from streamrestore.frame import (
    ChromaLocation,
    Chunk,
    Frame,
    Matrix,
    OnError,
    PixelFormat,
    Planes,
    Restored,
    Stamp,
    VideoFormat,
)
from streamrestore.patches import plan_patches
from streamrestore.shots import Shot
from workers import PoolState

VIDEO = VideoFormat(4, 4, PixelFormat("gray", "grey", 8), Matrix.BT709, True, ChromaLocation.LEFT)
PLAN = plan_patches((4, 4), crop=8, batch_pixels=64, frames=1)


def frames(count: int, error: Exception | None = None) -> Iterator[Frame]:
    for index in range(count):
        yield Frame(index, index * 7 + 100, 7, (np.full((4, 4), index % 256, np.uint8),))
    if error is not None:
        raise error


@dataclass
class ScriptedPool:
    """Answers when told to, in the order told; counts what is outstanding."""

    delay: Callable[[int], float] = lambda _: 0.0
    failing: Sequence[int] = ()
    error: RestoreError = field(default_factory=lambda: RestoreError("a scripted failure"))
    lost: bool = False
    submitted: int = 0
    outstanding: int = 0
    most_outstanding: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    chunks: list[Chunk] = field(default_factory=list)
    futures: list["Future[Restored]"] = field(default_factory=list)
    timers: list[threading.Timer] = field(default_factory=list)

    def submit(self, chunk: Chunk) -> "Future[Restored]":
        future: Future[Restored] = Future()
        with self.lock:
            number = self.submitted
            self.submitted += 1
            self.outstanding += 1
            self.most_outstanding = max(self.most_outstanding, self.outstanding)
            self.chunks.append(chunk)
            self.futures.append(future)
            self.timers.append(threading.Timer(self.delay(number), self._answer, (number, chunk, future)))
            self.timers[-1].start()
        return future

    def _answer(self, number: int, chunk: Chunk, future: "Future[Restored]") -> None:
        if not future.set_running_or_notify_cancel():
            return
        if number in self.failing:
            future.set_exception(self.error)
        else:
            future.set_result(Restored(tuple(plane + 1 for plane in chunk.planes), 0.0))

    @property
    def budget_bytes(self) -> int:
        return 1 << 30

    def ready(self, timeout_seconds: float) -> None: ...

    def state(self) -> PoolState:
        return PoolState(1, 0, 0, 0, 0, lost=self.lost)

    def close(self) -> None: ...


@dataclass
class ListSink:
    pool: ScriptedPool
    delay_seconds: float = 0.0
    error_at: int | None = None
    written: list[tuple[int, int, int]] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)
    untouched: list[int] = field(default_factory=list)

    def write(self, stamp: Stamp, planes: Planes) -> None:
        if len(self.written) == self.error_at:
            raise DiskFullError("no space left")
        time.sleep(self.delay_seconds)
        self.written.append((stamp.pts, stamp.duration, int(planes[0][0, 0])))
        if stamp.passed:
            self.passed.append(len(self.written) - 1)
        if stamp.untouched:
            self.untouched.append(len(self.written) - 1)
        with self.pool.lock:
            self.pool.outstanding -= 1


def run(
    pool: ScriptedPool,
    sink: ListSink,
    source: Iterator[Frame],
    *,
    frames_per_chunk: int = 1,
    window: int = 4,
    stop: threading.Event | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    shots: Sequence[Shot] = (),
    on_error: OnError = "pass",
) -> Progress:
    engine = FrameEngine(
        pool, VIDEO, PLAN, frames_per_chunk=frames_per_chunk, window=window, shots=shots, on_error=on_error
    )
    return engine.run(source, sink, stop=stop or threading.Event(), report=report)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 30),
    frames_per_chunk=st.integers(1, 5),
    window=st.integers(1, 8),
    delays=st.lists(st.floats(0, 0.01), min_size=1, max_size=7),
)
def test_frames_leave_in_order_with_their_own_times(
    count: int, frames_per_chunk: int, window: int, delays: list[float]
) -> None:
    pool = ScriptedPool(lambda number: delays[number % len(delays)])
    sink = ListSink(pool)
    progress = run(pool, sink, frames(count), frames_per_chunk=frames_per_chunk, window=window)
    assert sink.written == [(index * 7 + 100, 7, index + 1) for index in range(count)]
    assert progress.frames == count


def test_a_slow_encoder_holds_the_decoder_back() -> None:
    pool = ScriptedPool()
    sink = ListSink(pool, delay_seconds=0.01)
    run(pool, sink, frames(40), window=3)
    assert pool.most_outstanding <= 3


@pytest.mark.parametrize("frames_per_chunk", [1, 2, 4, 8])
def test_a_decoding_error_comes_after_every_frame_before_it(frames_per_chunk: int) -> None:
    pool = ScriptedPool(lambda number: 0.02 if number == 0 else 0.0)
    sink = ListSink(pool)
    with pytest.raises(DecodeError, match="broken"):
        run(pool, sink, frames(5, DecodeError("broken")), frames_per_chunk=frames_per_chunk)
    assert [value for _, _, value in sink.written] == [1, 2, 3, 4, 5]


def test_a_failed_chunk_ends_the_run_after_the_frames_before_it_if_asked_to() -> None:
    pool = ScriptedPool(failing=range(3, 4))
    sink = ListSink(pool)
    with pytest.raises(RestoreError, match="scripted"):
        run(pool, sink, frames(100), on_error="fail")
    assert [value for _, _, value in sink.written] == [1, 2, 3]
    assert pool.submitted < 100


def test_frames_that_cannot_be_restored_are_passed_on_and_marked(caplog: pytest.LogCaptureFixture) -> None:
    pool = ScriptedPool(failing=range(3, 5))
    sink = ListSink(pool)
    assert run(pool, sink, frames(20)).frames == 20
    assert sink.passed == [3, 4]
    assert [value for _, _, value in sink.written] == [1, 2, 3, 3, 4, *range(6, 21)]
    assert "1 frames from pts 121 on are passed on unrestored: a scripted failure" in caplog.text


CLEAN, NOISY = Assessment(0, 0, 0), Assessment(0, 1, 0)


def shots_of(lengths: Sequence[tuple[int, bool]]) -> tuple[Shot, ...]:
    """Shots over `frames`, of so many frames each, noisy or not."""
    ends = [100 + 7 * end for end in accumulate((length for length, _ in lengths), initial=0)]
    kinds = [(length, NOISY if noisy else CLEAN) for length, noisy in lengths]
    return tuple(Shot(start, stop, *kind) for (start, stop), kind in zip(pairwise(ends), kinds, strict=True))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=6), st.integers(1, 5))
def test_chunks_hold_frames_of_one_shot_and_none_of_a_clean_one(
    lengths: list[tuple[int, bool]], frames_per_chunk: int
) -> None:
    pool, shots = ScriptedPool(), shots_of(lengths)
    sink = ListSink(pool)
    run(pool, sink, frames(sum(length for length, _ in lengths)), frames_per_chunk=frames_per_chunk, shots=shots)
    noisy = [is_noisy for length, is_noisy in lengths for _ in range(length)]
    assert [value for _, _, value in sink.written] == [index + is_noisy for index, is_noisy in enumerate(noisy)]
    assert sink.untouched == [index for index, is_noisy in enumerate(noisy) if not is_noisy]
    full = [[min(frames_per_chunk, n - at) for at in range(0, n, frames_per_chunk)] for n, noisy in lengths if noisy]
    assert [len(chunk.planes[0]) for chunk in pool.chunks] == [size for sizes in full for size in sizes]
    assert {chunk.tasks for chunk in pool.chunks} <= {("denoise",)}


def test_clean_frames_hide_no_pool_that_fails() -> None:
    pool = ScriptedPool(failing=range(100))
    with pytest.raises(RestoreError, match="scripted"):
        run(pool, ListSink(pool), frames(100), shots=shots_of([(1, True), (1, False)] * 50))
    assert pool.submitted < 20
    pool = ScriptedPool(failing=range(1))
    with pytest.raises(RestoreError, match="scripted"):
        run(pool, ListSink(pool), frames(4), shots=shots_of([(1, True), (3, False)]))


def test_an_error_in_a_clean_shot_comes_after_every_frame_before_it() -> None:
    pool = ScriptedPool()
    sink = ListSink(pool)
    with pytest.raises(DecodeError, match="broken"):
        run(pool, sink, frames(5, DecodeError("broken")), frames_per_chunk=2, shots=shots_of([(2, True), (9, False)]))
    assert [value for _, _, value in sink.written] == [1, 2, 2, 3, 4]


def test_failures_in_a_row_are_not_the_frames_fault() -> None:
    pool = ScriptedPool(failing=range(3, 3 + FAILURES_IN_A_ROW))
    sink = ListSink(pool)
    with pytest.raises(RestoreError, match="scripted"):
        run(pool, sink, frames(100))
    assert pool.submitted < 100


@pytest.mark.parametrize(("error", "lost"), [(DeviceLostError("broken"), False), (RestoreError("nobody left"), True)])
def test_the_last_frames_are_not_passed_on_where_the_worker_is_at_fault(error: RestoreError, lost: bool) -> None:
    pool = ScriptedPool(failing=[19], error=error, lost=lost)
    sink = ListSink(pool)
    with pytest.raises(type(error), match=str(error)):
        run(pool, sink, frames(20))
    assert (len(sink.written), sink.passed) == (19, [])


def test_a_run_that_restores_nothing_has_failed() -> None:
    pool = ScriptedPool(failing=range(2))
    with pytest.raises(RestoreError, match="scripted"):
        run(pool, ListSink(pool), frames(2))


def test_frames_in_flight_are_written_after_a_stop_request() -> None:
    pool = ScriptedPool(lambda _: 0.5)
    sink = ListSink(pool)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(StoppedError):
        run(pool, sink, frames(10_000), stop=stop)
    assert len(sink.written) == pool.submitted > 0


def test_chunks_that_nobody_waits_for_are_cancelled() -> None:
    pool = ScriptedPool(lambda number: 0.0 if number == 0 else 3600.0)
    with pytest.raises(DiskFullError):
        run(pool, ListSink(pool, error_at=0), frames(100))
    assert pool.futures
    assert all(future.cancelled() for future in pool.futures[1:])
    for timer in pool.timers:
        timer.cancel()


def test_a_full_disk_stops_the_decoder() -> None:
    pool = ScriptedPool()
    sink = ListSink(pool, error_at=2)
    with pytest.raises(DiskFullError):
        run(pool, sink, frames(10_000))
    assert pool.submitted < 100


def test_a_stop_request_ends_an_endless_source() -> None:
    pool = ScriptedPool(lambda _: 0.001)
    sink = ListSink(pool)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(StoppedError):
        run(pool, sink, frames(10_000_000), stop=stop)


def test_a_stop_request_does_not_wait_for_a_worker_that_hangs() -> None:
    pool = ScriptedPool(lambda _: 3600.0)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(StoppedError):
        run(pool, ListSink(pool), frames(2), stop=stop)
    for timer in pool.timers:
        timer.cancel()


def test_progress_is_reported_while_it_runs() -> None:
    pool = ScriptedPool(lambda _: 0.01)
    seen = list[Progress]()
    run(pool, ListSink(pool, delay_seconds=0.02), frames(30), report=seen.append)
    assert seen
    assert [progress.frames for progress in seen] == sorted(progress.frames for progress in seen)
    assert seen[-1].load.bottleneck() == "encode"


def test_the_busiest_stage_is_the_bottleneck() -> None:
    assert StageLoad(0.12, 0.96, 0.41).bottleneck() == "restore"
    assert StageLoad(0.99, 0.5, 0.41).bottleneck() == "decode"


@pytest.mark.parametrize("begin", [0, 5, 10])
def test_what_shares_a_chunk_does_not_depend_on_where_reading_begins(begin: int) -> None:
    """Frames of two segments never travel together, so a run that is resumed sends what the whole run sent."""
    cuts = [100, 135, 170]
    pool = ScriptedPool()
    engine = FrameEngine(pool, VIDEO, PLAN, frames_per_chunk=3, window=4, cuts=cuts)
    source = (frame for frame in frames(14) if frame.index >= begin)
    engine.run(source, ListSink(pool), stop=threading.Event(), report=lambda _: None)
    sent = [chunk.planes[0][:, 0, 0].tolist() for chunk in pool.chunks]
    whole = [[0, 1, 2], [3, 4], [5, 6, 7], [8, 9], [10, 11, 12], [13]]
    assert sent == [chunk for chunk in whole if chunk[0] >= begin]
