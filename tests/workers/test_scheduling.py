import sys
from collections import Counter
from dataclasses import dataclass, field
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from workers.patience import Patience
from workers.scheduling import (
    CHUNKS_IN_FLIGHT,
    DEATHS_OF_A_CHUNK,
    DEATHS_OF_A_SLOT,
    SMOOTHING,
    Assignment,
    Life,
    Scheduler,
)

PATIENCE = Patience(least_seconds=10.0, times_mean=5.0, deadlines_to_kill=3.0, start_seconds=100.0)


def ready_scheduler(slots: int) -> Scheduler:
    scheduler = Scheduler(slots, 0.0, PATIENCE)
    for life in scheduler.lives:
        scheduler.ready(life)
    return scheduler


@dataclass
class Simulation:
    """Workers that answer or die as drawn; checks every decision on the way."""

    data: st.DataObject
    scheduler: Scheduler
    poison: frozenset[int] = frozenset()
    random_deaths: int = 0
    now: float = 0.0
    running: dict[Life, list[int]] = field(default_factory=dict)
    blamed: Counter[int] = field(default_factory=Counter)
    answers: list[int] = field(default_factory=list)
    poisoned: list[int] = field(default_factory=list)

    def start_all(self) -> None:
        for life in self.scheduler.lives:
            self.start(life)

    def start(self, life: Life) -> None:
        assert self.scheduler.ready(life)
        self.running[life] = []

    def dispatch(self) -> None:
        for life, chunk in self.scheduler.assign(self.now):
            assert life in self.running, "a chunk went to a worker that is not there"
            self.running[life].append(chunk)
        for chunks in self.running.values():
            assert len(chunks) <= CHUNKS_IN_FLIGHT
            assert len(chunks) == 1 or not any(self.blamed[chunk] for chunk in chunks), "a suspect had company"

    def die(self, life: Life) -> None:
        for chunk in self.running.pop(life):
            self.blamed[chunk] += 1
        verdict = self.scheduler.died(life, self.now)
        assert verdict is not None
        assert self.scheduler.died(life, self.now) is None, "a worker died twice"
        self.poisoned += verdict.poisoned
        if verdict.successor is not None:
            self.start(verdict.successor)

    def step(self) -> None:
        self.now += 0.01
        busy = [life for life, chunks in self.running.items() if chunks]
        life = self.data.draw(st.sampled_from(busy))
        if self.random_deaths and self.data.draw(st.booleans()):
            self.random_deaths -= 1
            self.die(life)
            return
        chunk = self.data.draw(st.sampled_from(self.running[life]))
        if chunk in self.poison:
            self.die(life)
        else:
            self.running[life].remove(chunk)
            assert self.scheduler.answered(life, chunk, self.now)
            self.answers.append(chunk)

    def run(self) -> None:
        self.dispatch()
        while any(self.running.values()):
            self.step()
            self.dispatch()


@given(
    data=st.data(),
    slots=st.integers(1, 4),
    chunks=st.integers(0, 25),
    poison=st.frozensets(st.integers(0, 24), max_size=3),
    random_deaths=st.integers(0, 3),
)
def test_every_chunk_ends_once_and_only_its_own_deaths_condemn_it(
    data: st.DataObject, slots: int, chunks: int, poison: frozenset[int], random_deaths: int
) -> None:
    simulation = Simulation(data, Scheduler(slots, 0.0, PATIENCE), poison, random_deaths)
    for chunk in range(chunks):
        simulation.scheduler.add(chunk, 100)
    simulation.start_all()
    simulation.run()
    assert len(set(simulation.answers)) == len(simulation.answers), "a chunk was answered twice"
    assert not set(simulation.answers) & set(simulation.poisoned)
    assert all(simulation.blamed[chunk] == DEATHS_OF_A_CHUNK for chunk in simulation.poisoned)
    if random_deaths < DEATHS_OF_A_CHUNK - 1:
        assert set(simulation.poisoned) <= poison, "a neighbour was condemned"
    if simulation.scheduler.lives:
        assert sorted([*simulation.answers, *simulation.poisoned]) == list(range(chunks)), "a chunk was forgotten"
        state = simulation.scheduler.state()
        assert (state.busy, state.queued, state.workers) == (0, 0, len(simulation.scheduler.lives))


@given(slots=st.integers(1, 8), chunks=st.integers(0, 40))
def test_work_is_spread_before_anybody_gets_a_second_chunk(slots: int, chunks: int) -> None:
    scheduler = ready_scheduler(slots)
    for chunk in range(chunks):
        scheduler.add(chunk, 1)
    assigned = scheduler.assign(0.0)
    assert [chunk for _, chunk in assigned] == list(range(min(chunks, CHUNKS_IN_FLIGHT * slots)))
    load = Counter(life.slot for life, _ in assigned)
    assert max(load.values(), default=0) - min((load[slot] for slot in range(slots)), default=0) <= 1
    assert scheduler.state().busy == len(assigned)
    assert scheduler.state().queued == chunks - len(assigned)


def test_nothing_goes_to_a_worker_that_is_not_ready() -> None:
    scheduler = Scheduler(2, 0.0, PATIENCE)
    scheduler.add(0, 1)
    assert scheduler.assign(0.0) == ()
    assert not scheduler.all_ready
    assert scheduler.ready(Life(1, 0))
    assert not scheduler.ready(Life(1, 0)), "it cannot become ready twice"
    assert scheduler.assign(0.0) == ((Life(1, 0), 0),)


def test_chunks_of_the_dead_go_before_all_others_in_their_order() -> None:
    scheduler = ready_scheduler(1)
    for chunk in range(4):
        scheduler.add(chunk, 1)
    assert [chunk for _, chunk in scheduler.assign(0.0)] == [0, 1]
    scheduler.died(Life(0, 0), 0.0)
    scheduler.ready(Life(0, 1))
    order = []
    for _ in range(4):
        assigned = scheduler.assign(0.0)
        order += [chunk for _, chunk in assigned]
        for life, chunk in assigned:
            scheduler.answered(life, chunk, 0.1)
    assert order == [0, 1, 2, 3]
    assert scheduler.state().redispatched == 2


def test_a_slot_that_only_dies_is_given_up_and_one_answer_clears_it() -> None:
    scheduler = ready_scheduler(1)
    life: Life | None = Life(0, 0)
    for round_of_deaths in (DEATHS_OF_A_SLOT - 1, DEATHS_OF_A_SLOT):
        for _ in range(round_of_deaths):
            assert life is not None
            verdict = scheduler.died(life, 0.0)
            assert verdict is not None
            life = verdict.successor
            if life is not None:
                scheduler.ready(life)
        if round_of_deaths < DEATHS_OF_A_SLOT:
            scheduler.add(7, 1)
            (assignment,) = scheduler.assign(0.0)
            assert scheduler.answered(*assignment, 0.1)
    assert life is None
    assert scheduler.lives == ()


def test_a_worker_that_can_never_start_is_given_up_at_once_but_not_one_that_has_been_ready() -> None:
    scheduler = Scheduler(2, 0.0, PATIENCE)
    scheduler.ready(Life(1, 0))
    verdict = scheduler.died(Life(0, 0), 0.0, hopeless=True)
    assert verdict is not None
    assert verdict.successor is None
    scheduler.died(Life(1, 0), 0.0)
    verdict = scheduler.died(Life(1, 1), 0.0, hopeless=True)
    assert verdict is not None
    assert verdict.successor == Life(1, 2)


def late_scheduler(slots: int) -> Scheduler:
    """Chunks take one second a byte; chunk 1, of 4 bytes, was given to the last slot at second 1."""
    scheduler = ready_scheduler(slots)
    for chunk in range(-slots, 0):
        scheduler.add(chunk, 1)
    for life, chunk in reversed(scheduler.assign(0.0)):
        scheduler.answered(life, chunk, 1.0)
    scheduler.add(1, 4)
    assert scheduler.assign(1.0) == ((Life(slots - 1, 0), 1),)
    return scheduler


def test_before_the_first_answer_nothing_is_late() -> None:
    scheduler = ready_scheduler(2)
    scheduler.add(0, 1)
    scheduler.assign(0.0)
    assert scheduler.next_due(0.0) is None
    assert scheduler.assign(1e9) == ()
    assert scheduler.hanging(1e9) == ()


def test_a_late_chunk_goes_to_one_other_worker_and_the_first_answer_counts() -> None:
    scheduler = late_scheduler(3)
    deadline_seconds = PATIENCE.times_mean * 4
    assert scheduler.assign(deadline_seconds) == ()
    assert scheduler.next_due(deadline_seconds) == 1.0 + deadline_seconds
    assert scheduler.assign(1.0 + deadline_seconds) == ((Life(1, 0), 1),)
    assert scheduler.assign(1.0 + deadline_seconds) == (), "once is enough"
    assert scheduler.state().redispatched == 1
    assert scheduler.answered(Life(1, 0), 1, 25.0)
    assert not scheduler.answered(Life(2, 0), 1, 26.0), "the late answer is dropped"
    assert scheduler.state().busy == 0


def test_a_late_worker_gets_nothing_new_until_it_answers() -> None:
    scheduler = late_scheduler(1)
    scheduler.add(2, 1)
    assert scheduler.assign(30.0) == ()
    assert scheduler.answered(Life(0, 0), 1, 31.0)
    assert scheduler.assign(31.0) == (Assignment(Life(0, 0), 2),)


def test_a_worker_far_too_late_hangs_and_its_chunk_is_given_again() -> None:
    scheduler = late_scheduler(1)
    assert scheduler.hanging(60.9) == ()
    assert scheduler.next_due(60.0) == 61.0
    assert scheduler.hanging(61.0) == (Life(0, 0),)
    scheduler.died(Life(0, 0), 61.0)
    assert scheduler.hanging(61.0) == ()
    scheduler.ready(Life(0, 1))
    assert scheduler.assign(62.0) == ((Life(0, 1), 1),)


def test_a_worker_that_hangs_with_a_chunk_answered_elsewhere_hangs_all_the_same() -> None:
    scheduler = late_scheduler(2)
    scheduler.assign(21.0)
    scheduler.answered(Life(0, 0), 1, 22.0)
    assert scheduler.hanging(1e6) == (Life(1, 0),)


def test_an_answer_of_a_worker_given_up_meanwhile_is_as_good_as_any() -> None:
    scheduler = late_scheduler(1)
    scheduler.died(Life(0, 0), 2.0)
    assert scheduler.answered(Life(0, 0), 1, 3.0)
    scheduler.ready(Life(0, 1))
    assert scheduler.assign(3.0) == (), "it needs not be restored again"


def test_a_worker_that_does_not_start_hangs() -> None:
    scheduler = Scheduler(1, 5.0, PATIENCE)
    assert scheduler.next_due(5.0) == 5.0 + PATIENCE.start_seconds
    assert scheduler.hanging(104.0) == ()
    assert scheduler.hanging(105.0) == (Life(0, 0),)


def test_a_dropped_chunk_is_forgotten_wherever_it_is() -> None:
    scheduler = ready_scheduler(1)
    for chunk in range(4):
        scheduler.add(chunk, 1)
    scheduler.assign(0.0)
    scheduler.drop(0)
    scheduler.drop(2)
    assert not scheduler.answered(Life(0, 0), 0, 1.0)
    assert scheduler.answered(Life(0, 0), 1, 1.0)
    assert scheduler.assign(1.0) == ((Life(0, 0), 3),)


@given(data=st.data(), slots=st.integers(1, 4), sizes=st.lists(st.integers(1, 50), max_size=15))
def test_who_looks_only_when_something_is_due_misses_nothing(data: st.DataObject, slots: int, sizes: list[int]) -> None:
    scheduler = Scheduler(slots, 0.0, PATIENCE)
    for chunk, size in enumerate(sizes):
        scheduler.add(chunk, size)
    starting = dict.fromkeys(scheduler.lives, 0.0)
    began: dict[Assignment, float] = {}
    done: set[int] = set()
    mean: float | None = None
    now = 0.0

    def late_at(run: Assignment, times: float = 1.0) -> float:
        if mean is None:
            return inf
        return began[run] + times * max(PATIENCE.least_seconds, PATIENCE.times_mean * mean * sizes[run.chunk])

    for _ in range(data.draw(st.integers(0, 30))):
        now += data.draw(st.floats(0.0, 50.0))
        if data.draw(st.booleans()) and starting:
            life = data.draw(st.sampled_from(list(starting)))
            assert scheduler.ready(life)
            del starting[life]
        elif began:
            run = data.draw(st.sampled_from(list(began)))
            assert scheduler.answered(*run, now) == (run.chunk not in done)
            seconds = (now - began.pop(run)) / sizes[run.chunk]
            mean = seconds if mean is None else mean + SMOOTHING * (seconds - mean)
            done.add(run.chunk)

        hanging = {run.life for run in began if now >= late_at(run, PATIENCE.deadlines_to_kill)}
        hanging |= {life for life, born in starting.items() if now >= born + PATIENCE.start_seconds}
        found = scheduler.hanging(now)
        assert set(found) == hanging
        for life in found:
            verdict = scheduler.died(life, now)
            assert verdict is not None
            done |= set(verdict.poisoned)
            starting.pop(life, None)
            began = {run: since for run, since in began.items() if run.life != life}
            if verdict.successor is not None:
                starting[verdict.successor] = now
        began |= dict.fromkeys(scheduler.assign(now), now)

        busy = {run.life for run in began}
        if any(life not in starting and life not in busy for life in scheduler.lives):
            places = Counter(run.chunk for run in began)
            lonely = [run for run in began if run.chunk not in done and places[run.chunk] == 1]
            assert scheduler.state().queued == 0, "a chunk waits beside an idle worker"
            assert not any(now >= late_at(run) for run in lonely), "a late chunk waits beside an idle worker"

        due = scheduler.next_due(now)
        times = [late_at(run, times) for run in began for times in (1.0, PATIENCE.deadlines_to_kill)]
        times += [born + PATIENCE.start_seconds for born in starting.values()]
        earliest = min((time for time in times if now < time < inf), default=None)
        assert (due is None) == (earliest is None)
        assert due is None or earliest is None or now < due <= earliest


def test_what_an_answer_costs_does_not_grow_with_workers_or_chunks() -> None:
    def calls_for_an_answer(slots: int) -> int:
        scheduler = ready_scheduler(slots)
        for chunk in range(4 * slots):
            scheduler.add(chunk, 1)
        *_, last = scheduler.assign(0.0)
        calls: Counter[str] = Counter()
        sys.setprofile(lambda frame, event, argument: calls.update([event]))
        try:
            scheduler.answered(*last, 1.0)
            scheduler.state()
            scheduler.hanging(1.0)
            assert len(scheduler.assign(1.0)) == 1
            scheduler.next_due(1.0)
        finally:
            sys.setprofile(None)
        return calls["call"] + calls["c_call"]

    assert calls_for_an_answer(1000) == calls_for_an_answer(4)
