"""Workers that are to last for weeks: which are replaced for failing, and what becomes of slots that only die."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.patience import FAILURES_OF_A_WORKER, LEAST_TIMES_MEAN, MOST_TIMES_LONGER, Patience, Upkeep
from workers.scheduling import DEATHS_OF_A_SLOT, Life, Scheduler

UPKEEP = Upkeep(failing_seconds=5.0, rest_seconds=10.0, longest_seconds=60.0)
PATIENCE = Patience(least_seconds=10.0, times_mean=5.0, most_seconds=100.0, upkeep=UPKEEP)


@dataclass
class Run:
    """Workers that take one second for each chunk, and fail where a test says so."""

    slots: int
    fails: Callable[[Life, int], bool]
    now: float = 0.0
    chunks: int = 0
    restored: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    killed: list[tuple[float, Life]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.slots, self.now, PATIENCE)
        for life in self.scheduler.lives:
            self.scheduler.ready(life)

    def go_on(self, seconds: int, chunks_per_second: int = 1) -> None:
        for _ in range(seconds):
            for _ in range(chunks_per_second):
                self.scheduler.add(self.chunks, 1)
                self.chunks += 1
            self.replace()
            given = self.scheduler.assign(self.now)
            self.now += 1.0
            for life, chunk in given:
                if not self.fails(life, chunk):
                    if self.scheduler.answered(life, chunk, self.now):
                        self.restored.append(chunk)
                elif self.scheduler.failed(life, chunk, self.now):
                    self.failed.append(chunk)

    def replace(self) -> None:
        for life in self.scheduler.ill():
            self.killed.append((self.now, life))
            verdict = self.scheduler.died(life, self.now)
            assert verdict is not None
            assert verdict.poisoned == ()
            if verdict.successor is not None:
                assert self.scheduler.ready(verdict.successor)
        for life in self.scheduler.rested(self.now):
            assert self.scheduler.ready(life)


def test_a_worker_that_fails_with_everything_is_replaced_and_costs_no_chunk() -> None:
    run = Run(3, lambda life, chunk: life == Life(1, 0))
    run.go_on(20, chunks_per_second=3)
    assert [life for _, life in run.killed] == [Life(1, 0)]
    assert run.killed[0][0] <= 10.0
    assert run.failed == []
    assert sorted(run.restored) == list(range(run.chunks))


def test_several_ill_workers_do_not_vouch_for_each_other() -> None:
    run = Run(4, lambda life, chunk: life in (Life(0, 0), Life(1, 0)))
    run.go_on(30, chunks_per_second=3)
    assert {life for _, life in run.killed} == {Life(0, 0), Life(1, 0)}
    assert len(run.restored) > 0.8 * run.chunks


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_chunks_that_fail_by_their_own_fault_cost_no_worker(slots: int) -> None:
    run = Run(slots, lambda life, chunk: chunk % 2 == 0)
    run.go_on(100, chunks_per_second=slots)
    run.go_on(2 * slots, chunks_per_second=0)
    assert run.killed == []
    assert sorted(run.failed) == list(range(0, run.chunks, 2))
    assert sorted(run.restored) == list(range(1, run.chunks, 2))


def test_where_nobody_succeeds_all_are_replaced_less_and_less_often_and_never_rest() -> None:
    run = Run(1, lambda life, chunk: True)
    run.go_on(600)
    times = [time for time, _ in run.killed]
    assert times[0] == pytest.approx(UPKEEP.failing_seconds, abs=2)
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(UPKEEP.longest_seconds, abs=2)
    assert len(run.scheduler.lives) == 1
    assert run.failed == list(range(run.chunks)), "no chunk waits for a worker that could tell"


def test_a_lone_worker_that_fails_with_everything_is_replaced() -> None:
    run = Run(1, lambda life, chunk: life.number == 0 and chunk >= 10)
    run.go_on(60)
    assert [life for _, life in run.killed] == [Life(0, 0)]
    assert run.restored[-1] == run.chunks - 1


def test_for_files_an_error_is_its_chunks_own_however_often() -> None:
    scheduler = Scheduler(2, 0.0)
    for life in scheduler.lives:
        scheduler.ready(life)
    for chunk in range(50):
        scheduler.add(chunk, 1)
        ((life, _),) = scheduler.assign(float(chunk))
        assert scheduler.failed(life, chunk, chunk + 0.5)
    assert scheduler.ill() == ()
    assert (scheduler.state().busy, scheduler.state().redispatched) == (0, 0)


@given(seed=st.integers(0, 1 << 32), slots=st.integers(1, 4), bad=st.frozensets(st.integers(0, 19)))
def test_every_chunk_is_answered_once_whoever_fails_and_dies(seed: int, slots: int, bad: frozenset[int]) -> None:
    random = Random(seed)
    scheduler = Scheduler(slots, 0.0, PATIENCE)
    for life in scheduler.lives:
        scheduler.ready(life)
    waiting, now = list(range(20)), 0.0
    running = list[tuple[Life, int]]()
    answers = list[int]()
    deaths = 3
    while waiting or running or scheduler.state().queued:
        now += random.uniform(0.0, 2.0)
        for _ in range(random.randrange(4)):
            if waiting:
                scheduler.add(waiting.pop(), 1)
        for life in scheduler.rested(now):
            scheduler.ready(life)
        running += scheduler.assign(now)
        dead = list(scheduler.ill())
        if running:
            life, chunk = random.choice(running)
            if deaths and random.random() < 0.3:
                deaths -= 1
                dead.append(life)
            else:
                running.remove((life, chunk))
                ended = (scheduler.failed if chunk in bad else scheduler.answered)(life, chunk, now)
                answers += [chunk] * ended
        for life in dead:
            verdict = scheduler.died(life, now)
            if verdict is not None:
                running = [run for run in running if run[0] != life]
                answers += verdict.poisoned
                if verdict.successor is not None:
                    scheduler.ready(verdict.successor)
    assert sorted(answers) == list(range(20))


def test_a_slot_whose_workers_only_die_rests_ever_longer_and_is_tried_again() -> None:
    scheduler = Scheduler(2, 0.0, PATIENCE)
    scheduler.ready(Life(1, 0))
    now, number, rests = 0.0, 0, list[float]()
    while len(rests) < 5:
        verdict = scheduler.died(Life(0, number), now)
        assert verdict is not None
        number += 1
        if verdict.rest_seconds is None:
            assert number < DEATHS_OF_A_SLOT
            assert verdict.successor == Life(0, number)
            continue
        assert verdict.successor is None
        assert scheduler.lives == (Life(1, 0),), "the other one goes on"
        assert scheduler.all_ready
        assert (scheduler.state().starting, scheduler.state().away) == (0, 1)
        rests.append(verdict.rest_seconds)
        assert scheduler.next_due(now) == now + verdict.rest_seconds
        assert scheduler.rested(now + verdict.rest_seconds - 0.1) == ()
        now += verdict.rest_seconds
        assert scheduler.rested(now) == (Life(0, number),)
        assert scheduler.rested(now) == ()
        assert (scheduler.state().starting, scheduler.state().away) == (1, 0)
    assert rests == [10.0, 20.0, 40.0, 60.0, 60.0]
    assert scheduler.ready(Life(0, number))
    scheduler.add(0, 1)
    scheduler.add(1, 1)
    for assignment in scheduler.assign(now):
        scheduler.answered(*assignment, now + 1)
    verdict = scheduler.died(Life(0, number), now + 2)
    assert verdict is not None
    assert verdict.successor is not None, "what it restored has cleared it"


def test_a_worker_that_fails_to_start_rests_at_once() -> None:
    scheduler = Scheduler(2, 0.0, PATIENCE)
    verdict = scheduler.died(Life(0, 0), 1.0, hopeless=True)
    assert verdict is not None
    assert verdict.rest_seconds == 10.0
    assert not scheduler.all_ready, "the other one starts"
    scheduler.ready(Life(1, 0))
    assert scheduler.all_ready


def first_hang(scheduler: Scheduler, now: float) -> float:
    """When the one worker is killed that hangs with its first chunk, given to it now."""
    (life,) = scheduler.lives
    scheduler.ready(life)
    assert len(scheduler.assign(now)) == 1
    while not scheduler.hanging(now):
        due = scheduler.next_due(now)
        assert due is not None
        now = due
    scheduler.died(life, now)
    return now


def test_a_worker_that_hangs_with_its_first_chunk_is_noticed_and_the_next_one_is_given_longer() -> None:
    scheduler = Scheduler(1, 0.0, PATIENCE)
    scheduler.add(0, 1)
    most, kill = PATIENCE.most_seconds, PATIENCE.deadlines_to_kill
    began, given_seconds = 0.0, list[float]()
    for _ in range(2):
        ended = first_hang(scheduler, began)
        given_seconds.append(ended - began)
        began = ended
    assert given_seconds == [kill * most, kill * min(kill, MOST_TIMES_LONGER) * most]


def test_a_late_chunk_is_not_waited_for_beyond_the_most_but_for_a_slow_device() -> None:
    def late_after(seconds_per_chunk: float) -> float:
        scheduler = Scheduler(1, 0.0, Patience(least_seconds=2.0, times_mean=20.0, most_seconds=60.0))
        scheduler.ready(Life(0, 0))
        scheduler.add(0, 1)
        scheduler.assign(0.0)
        scheduler.answered(Life(0, 0), 0, seconds_per_chunk)
        scheduler.add(1, 1)
        scheduler.assign(seconds_per_chunk)
        due = scheduler.next_due(seconds_per_chunk)
        return inf if due is None else due - seconds_per_chunk

    assert late_after(0.01) == pytest.approx(2.0)
    assert late_after(1.0) == pytest.approx(20.0)
    assert late_after(10.0) == pytest.approx(60.0)
    assert late_after(100.0) == pytest.approx(100.0 * LEAST_TIMES_MEAN)


def test_an_error_says_nothing_of_what_chunks_take() -> None:
    scheduler = Scheduler(1, 0.0, PATIENCE)
    scheduler.ready(Life(0, 0))
    for chunk in range(FAILURES_OF_A_WORKER):
        scheduler.add(chunk, 1)
        scheduler.assign(float(chunk))
        scheduler.failed(Life(0, 0), chunk, chunk + 0.001)
    scheduler.add(9, 1)
    scheduler.assign(10.0)
    assert scheduler.next_due(10.0) == 10.0 + PATIENCE.most_seconds
