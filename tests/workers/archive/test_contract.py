"""What holds for every pool of steps, in this process and on Ray."""

import re
import time
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path

import pytest

from streamrestore.errors import DecodeError, DiskFullError, ModelError, WorkerStartError
from tests.workers.archive.conftest import OpenStepPool
from tests.workers.archive.fakes import Build, Kind, Marked, Raise, Sleep

PATIENCE_SECONDS = 120.0
"""For what is expected to happen; a busy machine takes its time."""


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_each_result_belongs_to_its_step_whatever_order_they_end_in(open_any: OpenStepPool) -> None:
    pool = open_any(Build())
    futures = [pool.submit(Sleep(0.2 if value % 7 == 0 else 0.0, value), "restore") for value in range(30)]
    assert [future.result(PATIENCE_SECONDS)[0] for future in futures] == list(range(30))


def test_a_step_may_be_submitted_before_a_worker_is_ready_and_ready_may_be_asked_twice(open_any: OpenStepPool) -> None:
    pool = open_any(Build(kind="this", seconds=0.2))
    early = pool.submit(Kind(), "side")
    worker = pool.first_ready(PATIENCE_SECONDS)
    assert pool.first_ready(0) == worker
    assert (worker.kind, worker.gpus) == ("this", ())
    assert worker in pool.workers()
    assert early.result(PATIENCE_SECONDS)[0] == "this"


def test_an_error_keeps_its_class_and_costs_only_its_own_step(open_any: OpenStepPool) -> None:
    pool = open_any(Build())
    errors = {1: DecodeError("no key frame"), 3: DiskFullError("full"), 4: ZeroDivisionError("a bug")}
    futures = [pool.submit(Raise(errors[n]) if n in errors else Sleep(value=n), "side") for n in range(6)]
    for number, error in errors.items():
        with pytest.raises(type(error), match=f"^{error}$") as raised:
            futures[number].result(PATIENCE_SECONDS)
        assert type(raised.value) is type(error)
    assert [futures[number].result(PATIENCE_SECONDS)[0] for number in (0, 2, 5)] == [0, 2, 5]
    assert pool.state().deaths == 0


def test_a_worker_restores_two_segments_and_does_one_other_thing_at_once(open_any: OpenStepPool) -> None:
    pool = open_any(Build())
    pool.first_ready(PATIENCE_SECONDS)
    wait_until(lambda: pool.state().workers == pool.state().wanted)
    workers = pool.state().workers
    for _ in range(9):
        pool.submit(Sleep(600), "restore")
    wait_until(lambda: pool.state().busy == 2 * workers)
    for _ in range(9):
        pool.submit(Sleep(600), "side")
    wait_until(lambda: pool.state().busy == 3 * workers)
    time.sleep(0.3)
    state = pool.state()
    assert (state.busy, state.queued) == (3 * workers, 18 - 3 * workers)
    assert re.search(rf"\b{state.busy} .*busy.*\b{state.queued} queued", repr(pool))


def test_what_waits_can_be_cancelled_and_what_runs_cannot(open_any: OpenStepPool, tmp_path: Path) -> None:
    pool = open_any(Build())
    pool.first_ready(PATIENCE_SECONDS)
    wait_until(lambda: pool.state().workers == pool.state().wanted)
    workers, end = pool.state().workers, tmp_path / "end"
    running = [pool.submit(Marked(tmp_path / str(number), end), "side") for number in range(workers)]
    wait_until(lambda: all((tmp_path / str(number)).exists() for number in range(workers)))
    waiting = [pool.submit(Sleep(600), "side") for _ in range(3)]
    last = pool.submit(Sleep(), "side")
    assert [future.cancel() for future in waiting] == [True] * 3
    assert [future.cancel() for future in (*waiting, *running)] == [True] * 3 + [False] * workers
    assert all(future.running() for future in running)
    done, _ = wait(waiting, timeout=1)
    assert len(done) == 3
    end.touch()
    assert all(future.result(PATIENCE_SECONDS) for future in (*running, last))


def test_close_cancels_every_step_at_once_and_may_be_called_twice(open_any: OpenStepPool) -> None:
    pool = open_any(Build())
    pool.first_ready(PATIENCE_SECONDS)
    futures = [pool.submit(Sleep(600), "restore") for _ in range(8)]
    wait_until(lambda: pool.state().busy > 0)
    began = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - began < 30
    done, _ = wait(futures, timeout=1)
    assert len(done) == 8
    assert all(future.cancelled() for future in futures)
    with pytest.raises(RuntimeError, match="no more"):
        pool.submit(Sleep(), "side")
    assert (pool.state().workers, pool.state().lost, pool.workers()) == (0, False, ())


def test_a_pool_can_be_closed_before_it_is_ready(open_any: OpenStepPool) -> None:
    pool = open_any(Build(seconds=600))
    future = pool.submit(Sleep(), "side")
    pool.close()
    assert future.cancelled()
    with pytest.raises(WorkerStartError, match="closed"):
        pool.first_ready(1)


def test_building_that_fails_is_told_by_first_ready_and_by_every_step(open_any: OpenStepPool) -> None:
    pool = open_any(Build(error=ModelError("the weights have no key 'tail.weight'")))
    future = pool.submit(Sleep(), "restore")
    with pytest.raises(WorkerStartError, match=r"ModelError: the weights have no key 'tail\.weight'") as raised:
        pool.first_ready(PATIENCE_SECONDS)
    assert isinstance(raised.value.__cause__, ModelError)
    for _ in range(2):
        with pytest.raises(WorkerStartError, match="ModelError"):
            future.result(PATIENCE_SECONDS)
        future = pool.submit(Sleep(), "restore")
    assert (pool.state().workers, pool.state().lost) == (0, True)


def test_building_that_hangs_is_told_by_first_ready_in_time(open_any: OpenStepPool) -> None:
    pool = open_any(Build(seconds=600))
    with pytest.raises(WorkerStartError, match="ready after 1 s"):
        pool.first_ready(1)
