"""The workers of a run for weeks: a pool that is lost comes back."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Event

import pytest

from pipelines.live.restorers import AGAIN_SECONDS, Restorers
from streamrestore.errors import ConfigError, WorkerStartError
from streamrestore.frame import Chunk, Restored
from tests.workers.fakes import Script, chunk_of, value_of
from workers import PoolState, open_pool


class Pool:
    """A pool that is what a test says."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.workers, self.lost = 0, False
        self.closed = Event()

    @property
    def budget_bytes(self) -> int:
        return 1 << 20

    def ready(self, timeout_seconds: float) -> None:
        if self.error is not None:
            raise self.error
        self.workers = 2

    def submit(self, chunk: Chunk) -> "Future[Restored]":
        raise AssertionError(chunk)

    def state(self) -> PoolState:
        return PoolState(self.workers, 0, 0, 0, 0, self.lost)

    def close(self) -> None:
        self.closed.set()


def tick_until(restorers: Restorers, condition: Callable[[], object], now: float = 0.0) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        restorers.tick(now)
        time.sleep(0.001)


@pytest.mark.parametrize("error", [WorkerStartError("no Ray"), ConfigError("no room")])
def test_workers_that_cannot_be_started_at_all_end_the_run(error: Exception) -> None:
    restorers = Restorers(lambda: Pool(error))
    with pytest.raises(type(error), match=str(error)):
        tick_until(restorers, lambda: False)
    restorers.close()


def test_a_pool_that_is_lost_is_opened_anew_and_less_often_where_that_does_not_help() -> None:
    pools = [Pool(), Pool(WorkerStartError("still no Ray")), Pool(WorkerStartError("still no Ray")), Pool()]
    opened = list[Pool]()

    def start() -> Pool:
        opened.append(pools[len(opened)])
        return opened[-1]

    restorers = Restorers(start)
    tick_until(restorers, lambda: restorers.workers == 2)
    pools[0].workers, pools[0].lost = 0, True
    now = 100.0
    for number, wait in enumerate((AGAIN_SECONDS[0], 2 * AGAIN_SECONDS[0], 4 * AGAIN_SECONDS[0])):
        tick_until(restorers, pools[number].closed.is_set, now)
        assert restorers.workers == 0
        restorers.tick(now + wait - 0.1)
        assert len(opened) == number + 1
        now += wait
        restorers.tick(now)
        assert len(opened) == number + 2
    tick_until(restorers, lambda: restorers.workers == 2, now)
    restorers.close()
    assert pools[3].closed.is_set()


def test_a_real_pool_restores() -> None:
    restorers = Restorers(lambda: open_pool(Script(), workers=0))
    tick_until(restorers, lambda: restorers.workers == 1)
    assert value_of(restorers.submit(chunk_of(4)).result(20).planes) == 5
    restorers.close()


@pytest.mark.ray
def test_a_pool_whose_workers_all_die_for_good_says_that_it_is_lost(ray_cluster: None) -> None:
    pool = open_pool(Script(kill=frozenset({7})), workers=1)
    pool.ready(60)
    assert not pool.state().lost
    for _ in range(4):  # three deaths are a chunk's fault, so more than one chunk is needed
        if not pool.state().lost:
            pool.submit(chunk_of(7)).exception(60)
    deadline = time.monotonic() + 60
    while not pool.state().lost:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert pool.state().workers == 0
    pool.close()
