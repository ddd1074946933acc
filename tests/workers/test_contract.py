"""What holds for every pool of restorers, in this process and on Ray."""

import re
import time
from concurrent.futures import Future, wait

import pytest

from streamrestore.errors import DeviceMemoryError, ModelError, RestoreError, WorkerStartError
from streamrestore.frame import Restored
from tests.workers.conftest import OpenPool
from tests.workers.fakes import FailingBuild, Script, chunk_of, hanging_build, value_of
from workers.inline import InlinePool

PATIENCE_SECONDS = 120.0
"""For what is expected to happen; a busy machine takes its time."""


def answer(future: "Future[Restored]") -> int:
    return value_of(future.result(PATIENCE_SECONDS).planes)


def test_each_result_belongs_to_its_chunk_whatever_order_they_finish_in(open_any: OpenPool) -> None:
    pool = open_any(Script(seconds={0: 0.5, 1: 0.3, 5: 0.2}))
    futures = [pool.submit(chunk_of(value)) for value in range(40)]
    assert [answer(future) for future in futures] == list(range(1, 41))
    assert futures[0].result().seconds == 0.5


def test_a_chunk_may_be_submitted_before_the_workers_are_ready_and_ready_may_be_asked_twice(open_any: OpenPool) -> None:
    pool = open_any(Script())
    early = pool.submit(chunk_of(3))
    pool.ready(PATIENCE_SECONDS)
    pool.ready(0)
    assert answer(early) == 4
    assert pool.budget_bytes > 0


def test_a_pool_that_is_ready_counts_all_its_workers(open_any: OpenPool) -> None:
    """Windows are planned by their number at that moment."""
    pool = open_any(Script())
    pool.ready(PATIENCE_SECONDS)
    assert pool.state().workers == (1 if isinstance(pool, InlinePool) else 2)


def test_one_pool_serves_streams_of_different_formats(open_any: OpenPool) -> None:
    pool = open_any(Script())
    chunks = [chunk_of(7), chunk_of(500, (256, 512), 16), chunk_of(8, (300, 300)), chunk_of(65_534, (3, 5), 16)]
    for chunk in chunks:
        (plane,) = pool.submit(chunk).result(PATIENCE_SECONDS).planes
        (given,) = chunk.planes
        assert (plane.shape, plane.dtype) == (given.shape, given.dtype)
        assert (plane == given + 1).all()


def test_an_error_keeps_its_class_and_costs_only_its_own_chunk(open_any: OpenPool) -> None:
    errors = {1: DeviceMemoryError("no room"), 3: RestoreError("not finite"), 4: ZeroDivisionError("a bug")}
    pool = open_any(Script(errors=errors))
    futures = [pool.submit(chunk_of(value)) for value in range(6)]
    for value, error in errors.items():
        with pytest.raises(type(error), match=f"^{error}$") as raised:
            answer(futures[value])
        assert type(raised.value) is type(error)
    assert [answer(futures[value]) for value in (0, 2, 5)] == [1, 3, 6]
    assert pool.state().deaths == 0


def test_no_worker_is_given_more_than_it_can_overlap(open_any: OpenPool) -> None:
    pool = open_any(Script())
    pool.ready(PATIENCE_SECONDS)
    futures = [pool.submit(chunk_of(value % 100)) for value in range(300)]
    busiest = 0
    while wait(futures, timeout=0.002).not_done:
        busiest = max(busiest, pool.state().busy)
    assert busiest <= 4
    assert [answer(future) for future in futures] == [value % 100 + 1 for value in range(300)]


def test_the_state_says_what_is_busy_and_what_waits(open_any: OpenPool) -> None:
    pool = open_any(Script(seconds=dict.fromkeys(range(9), 600.0)))
    pool.ready(PATIENCE_SECONDS)
    assert (pool.state().busy, pool.state().queued) == (0, 0)
    for value in range(9):
        pool.submit(chunk_of(value))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (state := pool.state()).busy + state.queued < 9 or state.busy == 0:
        assert time.monotonic() < deadline, state
        time.sleep(0.01)
    assert state.workers in (1, 2)
    assert state.busy == {1: 1, 2: 4}[state.workers]
    assert re.search(rf"\b{state.busy} .*busy.*\b{state.queued} queued", repr(pool))


def test_close_cancels_every_chunk_at_once_and_may_be_called_twice(open_any: OpenPool) -> None:
    pool = open_any(Script(seconds=dict.fromkeys(range(8), 600.0)))
    pool.ready(PATIENCE_SECONDS)
    futures = [pool.submit(chunk_of(value)) for value in range(8)]
    time.sleep(0.5)
    began = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - began < 30
    done, _ = wait(futures, timeout=1)
    assert len(done) == 8
    assert all(future.cancelled() for future in futures)
    with pytest.raises(RuntimeError, match="no more"):
        pool.submit(chunk_of(0))


def test_a_pool_can_be_closed_before_it_is_ready(open_any: OpenPool) -> None:
    pool = open_any(hanging_build)
    future = pool.submit(chunk_of(0))
    pool.close()
    assert future.cancelled()
    with pytest.raises(WorkerStartError, match="closed"):
        pool.ready(1)


def test_a_cancelled_chunk_does_not_hold_up_the_others(open_any: OpenPool) -> None:
    pool = open_any(Script(seconds=dict.fromkeys(range(4), 1.0) | dict.fromkeys(range(10, 20), 600.0)))
    pool.ready(PATIENCE_SECONDS)
    wanted = [pool.submit(chunk_of(value)) for value in range(4)]
    unwanted = [pool.submit(chunk_of(value)) for value in range(10, 20)]
    for future in unwanted:
        assert future.cancel()
    wanted.append(pool.submit(chunk_of(4)))
    assert [answer(future) for future in wanted] == [1, 2, 3, 4, 5]


def test_building_that_fails_is_told_by_ready_and_by_every_chunk(open_any: OpenPool) -> None:
    pool = open_any(FailingBuild(ModelError("the weights have no key 'tail.weight'")))
    future = pool.submit(chunk_of(0))
    with pytest.raises(WorkerStartError, match=r"ModelError: the weights have no key 'tail\.weight'") as raised:
        pool.ready(PATIENCE_SECONDS)
    assert isinstance(raised.value.__cause__, ModelError)
    with pytest.raises(RestoreError, match="ModelError"):
        future.result(PATIENCE_SECONDS)
    with pytest.raises(RestoreError, match="ModelError"):
        pool.submit(chunk_of(1)).result(PATIENCE_SECONDS)


def test_building_that_hangs_is_told_by_ready_in_time(open_any: OpenPool) -> None:
    pool = open_any(hanging_build)
    with pytest.raises(WorkerStartError, match="ready after 2 s"):
        pool.ready(2)
