"""The workers of a run for weeks: a pool that is lost comes back."""

import logging
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
        self.deaths = self.replaced = self.away = 0
        self.last_loss = ""
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
        return PoolState(
            self.workers,
            busy=0,
            queued=0,
            deaths=self.deaths,
            redispatched=0,
            lost=self.lost,
            away=self.away,
            replaced=self.replaced,
            last_loss=self.last_loss,
        )

    def close(self) -> None:
        self.closed.set()


def tick_until(restorers: Restorers, condition: Callable[[], object], now: float = 0.0) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        restorers.tick(now)
        time.sleep(0.001)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged since the last time."""
    said = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return said


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pipelines.live")


def test_each_worker_that_is_lost_and_each_that_takes_its_place_is_told_with_the_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = Pool()
    restorers = Restorers(lambda: pool)
    tick_until(restorers, lambda: restorers.workers == 2)
    restorers.tick(0.0)
    assert lines(caplog) == ["2 workers are ready"]
    pool.workers, pool.deaths, pool.away, pool.last_loss = 1, 1, 1, "ActorDiedError: killed"
    for _ in range(2):
        restorers.tick(1.0)
    assert lines(caplog) == ["a worker was lost: ActorDiedError: killed"]
    assert restorers.counts == {"ready": 1, "starting": 0, "lost": 1}
    pool.workers, pool.replaced, pool.away = 2, 1, 0
    for _ in range(2):
        restorers.tick(2.0)
    assert lines(caplog) == ["a lost worker was replaced: 2 workers are ready"]
    pool.workers, pool.deaths, pool.lost, pool.last_loss = 0, 3, True, "OSError: no GPU"
    restorers.tick(3.0)
    assert lines(caplog) == [
        "2 workers were lost, the last one: OSError: no GPU",
        f"all workers are lost, new ones are tried in {AGAIN_SECONDS[0]:g} s: OSError: no GPU",
    ]
    assert restorers.counts == {"ready": 0, "starting": 0, "lost": 2}
    restorers.close()


def test_a_run_begins_with_the_workers_there_are(caplog: pytest.LogCaptureFixture) -> None:
    pool = Pool(WorkerStartError("1 of 2 workers were ready after 300 s"))
    pool.workers, pool.away = 1, 1
    restorers = Restorers(lambda: pool)
    tick_until(restorers, lambda: "1 worker is ready, 1 not yet" in caplog.text)
    assert restorers.workers == 1
    assert not pool.closed.is_set()
    restorers.close()


def test_once_there_was_a_worker_no_error_ends_the_run() -> None:
    first, last = Pool(), Pool()
    opened = list[Pool | Exception]()
    script: list[Pool | Exception] = [
        first,
        RuntimeError("can't start new thread"),
        Pool(ZeroDivisionError("a bug")),
        last,
    ]

    def start() -> Pool:
        opened.append(script[len(opened)])
        if isinstance(found := opened[-1], Exception):
            raise found
        return found

    restorers = Restorers(start)
    tick_until(restorers, lambda: restorers.workers == 2)
    first.workers, first.lost = 0, True
    now = 0.0
    deadline = time.monotonic() + 20
    while last not in opened:
        assert time.monotonic() < deadline
        now += AGAIN_SECONDS[1]
        restorers.tick(now)
        time.sleep(0.01)
    tick_until(restorers, lambda: restorers.workers == 2, now)
    restorers.close()


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
