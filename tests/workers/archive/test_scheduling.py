import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.archive.contract import LANES, Lane
from workers.archive.patience import StepPatience
from workers.archive.scheduling import DEATHS_OF_A_STEP, REQUEUES_OF_A_STEP, StepScheduler, Verdict
from workers.archive.slots import DEATHS_OF_A_SLOT, FAILING_SECONDS, FALSE_STARTS, QUIET_SECONDS
from workers.scheduling import Life

PATIENCE = StepPatience(twice_seconds=1.0, rest_seconds=60.0, longest_rest_seconds=200.0)


def start(scheduler: StepScheduler, now: float = 0.0, kind: str = "a", per_gpu: int = 1) -> list[Life]:
    """Start all workers that may be, on a machine of their own kind."""
    lives = list(scheduler.starts(now))
    for life in lives:
        assert scheduler.placed(life, "node", (str(life.slot // per_gpu),), now)
        assert scheduler.ready(life, kind, now)
    return lives


def ready_scheduler(slots: int, kind: str = "a", per_gpu: int = 1) -> StepScheduler:
    scheduler = StepScheduler(PATIENCE)
    scheduler.grow(slots)
    start(scheduler, kind=kind, per_gpu=per_gpu)
    return scheduler


def add(
    scheduler: StepScheduler, *steps: int, lane: Lane = "restore", kind: str | None = None, seconds: float | None = None
) -> None:
    for step in steps:
        scheduler.add(step, lane, kind, seconds, 0.0)


@dataclass
class Simulation:
    """Workers that answer, fail or die as drawn, and claims that come and go; checks every decision on the way."""

    data: st.DataObject
    scheduler: StepScheduler
    steps: dict[int, tuple[Lane, str | None]]
    poison: frozenset[int]
    kinds: list[str]
    troubles: int
    now: float = 0.0
    waiting: list[Life] = field(default_factory=list)
    running: dict[Life, list[int]] = field(default_factory=dict)
    kind_of: dict[Life, str] = field(default_factory=dict)
    alone: dict[Life, frozenset[int]] = field(default_factory=dict)
    """Suspects that were given last."""
    machines: int = 1
    """At a time."""
    groups: dict[int, str] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    blamed: Counter[int] = field(default_factory=Counter)
    ended: dict[int, str] = field(default_factory=dict)
    reserved: int = 0
    machine: int = 0
    """Number of those on which workers are placed now; those with lower ones go."""
    placed_on: dict[Life, int] = field(default_factory=dict)

    def end(self, step: int, how: str) -> None:
        assert step not in self.ended, "a step ended twice"
        self.ended[step] = how

    def act(self) -> None:
        for life in self.scheduler.drained(self.now):
            assert not self.running.pop(life, []), "a worker was ended in the middle of a step"
            self.give_up_homes()
            if life in self.waiting:
                self.waiting.remove(life)
        self.waiting += self.scheduler.starts(self.now)
        given = self.scheduler.assign(self.now)
        twice = self.scheduler.assign_twice(self.now)
        for life, step in (*given, *twice):
            _, kind = self.steps[step]
            assert kind in (None, self.kind_of[life]), "a step went to a worker of another kind"
            assert self.placed_on[life] == self.machine, "a step went to a machine that is about to go"
            assert step not in self.running[life], "a worker has a step twice"
            assert not self.blamed[step] or not self.running[life], "a suspect has company"
            assert not self.alone.get(life, frozenset()) - self.ended.keys(), "a suspect gets company"
            if (life, step) in given and not self.blamed[step]:
                self.check_preference(life, step)
            if step in self.groups:
                self.homes.setdefault(self.groups[step], self.node(life))
            self.alone[life] = frozenset([step] if self.blamed[step] else [])
            self.running[life].append(step)
        for steps in self.running.values():
            loads = Counter(self.steps[step][0] for step in steps)
            assert all(loads[lane] <= most for lane, most in LANES.items())

    def node(self, life: Life) -> str:
        return f"{self.placed_on[life]}.{life.slot % self.machines}"

    def give_up_homes(self) -> None:
        nodes = {self.node(life) for life in self.running if self.placed_on[life] == self.machine}
        self.homes = {group: home for group, home in self.homes.items() if home in nodes}

    def check_preference(self, life: Life, step: int) -> None:
        """No step that waits should have been taken rather than this."""
        node, (lane, _) = self.node(life), self.steps[step]
        busy = {number for numbers in self.running.values() for number in numbers}
        waiting = [number for number in self.steps if number not in {*busy, *self.ended} and not self.blamed[number]]
        able = [number for number in waiting if self.steps[number] in ((lane, None), (lane, self.kind_of[life]))]
        homes = {number: self.homes.get(self.groups.get(number, ""), node) for number in able}
        near = [number for number in able if homes[number] == node]
        assert step == min(near or able)

    def begin(self, life: Life) -> None:
        self.waiting.remove(life)
        self.placed_on[life] = self.machine
        assert self.scheduler.placed(life, self.node(life), (str(life.slot),), self.now)
        kind = self.kinds[life.slot % len(self.kinds)]
        assert self.scheduler.ready(life, kind, self.now)
        self.running[life], self.kind_of[life] = [], kind

    def die(self, life: Life, blamed: list[int] | None) -> None:
        steps = self.running.pop(life)
        self.give_up_homes()
        for step in steps if blamed is None else blamed:
            self.blamed[step] += step not in self.ended
        verdict = self.scheduler.died(life, self.now, blamed=blamed)
        assert verdict is not None
        assert self.scheduler.died(life, self.now) is None, "a worker died twice"
        for step in verdict.poisoned:
            assert self.blamed[step] == DEATHS_OF_A_STEP
            self.end(step, "poisoned")
        for step in verdict.exhausted:
            self.end(step, "exhausted")

    def happen(self) -> None:
        """One thing that may happen now, but nothing for ever: what has troubles runs out of them."""
        self.now += self.data.draw(st.sampled_from([0.1, 2.0, 30.0]))
        if self.data.draw(st.booleans()) and self.waiting:
            self.begin(self.waiting[0])
            return
        busy = [life for life, steps in self.running.items() if steps]
        if self.troubles and self.data.draw(st.booleans()):
            self.troubles -= 1
            self.trouble(busy)
        elif busy:
            life = self.data.draw(st.sampled_from(busy))
            step = self.data.draw(st.sampled_from(self.running[life]))
            if step in self.poison:
                self.die(life, None)
                return
            self.running[life].remove(step)
            self.alone[life] -= {step}
            if self.scheduler.answered(life, step, self.now):
                self.end(step, "answered")
        else:
            self.now += 1000.0
            for life in tuple(self.waiting):
                self.begin(life)

    def trouble(self, busy: list[Life]) -> None:
        what = self.data.draw(st.sampled_from(["claim", "node", "leave", "hang", "error", "cancel"]))
        if what == "leave":
            self.machine += 1
            self.scheduler.leave({f"{old}.{each}" for old in range(self.machine) for each in range(self.machines)})
            self.give_up_homes()
            return
        if what == "claim":
            self.reserved = self.data.draw(st.integers(0, 3))
            self.scheduler.make_room(len(self.scheduler_slots()), self.reserved, self.now)
            return
        if what == "cancel":
            left = sorted(self.steps.keys() - self.ended.keys())
            if left:
                step = self.data.draw(st.sampled_from(left))
                self.scheduler.drop(step)
                self.end(step, "cancelled")
            return
        if not busy:
            return
        life = self.data.draw(st.sampled_from(busy))
        step = self.data.draw(st.sampled_from(self.running[life]))
        if what == "node":
            self.die(life, [])
        elif what == "hang":
            self.die(life, [step])
        else:
            self.running[life].remove(step)
            self.alone[life] -= {step}
            if self.scheduler.failed(life, step):
                self.end(step, "failed")
                if self.homes.get(self.groups.get(step, "")) == self.node(life):
                    del self.homes[self.groups[step]]

    def scheduler_slots(self) -> range:
        return range(self.scheduler.state().wanted)

    def run(self) -> None:
        self.act()
        for _ in range(2000):
            if self.ended.keys() == self.steps.keys():
                return
            if not self.troubles and self.reserved:
                self.reserved = 0
                self.scheduler.make_room(len(self.scheduler_slots()), 0, self.now)
            self.happen()
            self.act()
        pytest.fail("the steps do not come to an end")


STEPS = st.lists(
    st.tuples(st.sampled_from(["restore", "restore", "side"]), st.sampled_from([None, "a", "b"])), max_size=20
)


@given(
    data=st.data(),
    slots=st.integers(2, 5),
    steps=STEPS,
    poison=st.frozensets(st.integers(0, 19), max_size=2),
    troubles=st.integers(0, 12),
    machines=st.integers(1, 4),
    groups=st.dictionaries(st.integers(0, 19), st.sampled_from(["x", "y", "z"])),
)
def test_every_step_ends_once_and_only_its_own_deaths_condemn_it_and_workers_prefer_what_their_machine_has_begun(
    data: st.DataObject,
    slots: int,
    steps: list[tuple[Lane, str | None]],
    poison: frozenset[int],
    troubles: int,
    machines: int,
    groups: dict[int, str],
) -> None:
    scheduler = StepScheduler(PATIENCE)
    scheduler.grow(slots)
    for number, (lane, kind) in enumerate(steps):
        scheduler.add(number, lane, kind, None, 0.0, groups.get(number))
    simulation = Simulation(
        data, scheduler, dict(enumerate(steps)), poison, ["a", "b"], troubles, machines=machines, groups=groups
    )
    simulation.run()
    assert all(how != "answered" for step, how in simulation.ended.items() if step in poison)
    assert scheduler.state().queued == 0


@given(slots=st.integers(1, 6), steps=st.integers(0, 20))
def test_steps_are_spread_before_any_worker_has_two(slots: int, steps: int) -> None:
    scheduler = ready_scheduler(slots)
    add(scheduler, *range(steps))
    loads = Counter(life.slot for life, _ in scheduler.assign(0.0))
    assert sum(loads.values()) == min(steps, 2 * slots)
    assert max(loads.values(), default=0) - min((loads[slot] for slot in range(slots)), default=0) <= 1
    assert scheduler.state().busy + scheduler.state().queued == steps


def test_lanes_do_not_wait_for_each_other_and_no_worker_gets_a_step_before_it_is_ready() -> None:
    scheduler = StepScheduler(PATIENCE)
    scheduler.grow(1)
    add(scheduler, 0, 1, 2)
    add(scheduler, 3, 4, lane="side")
    (life,) = scheduler.starts(0.0)
    assert scheduler.assign(0.0) == ()
    scheduler.placed(life, "node", (), 0.0)
    assert scheduler.assign(0.0) == ()
    scheduler.ready(life, "a", 0.0)
    assert [step for _, step in scheduler.assign(0.0)] == [0, 1, 3]
    assert scheduler.answered(life, 3, 1.0)
    assert [step for _, step in scheduler.assign(1.0)] == [4]


def test_steps_of_the_dead_go_before_all_others_and_alone() -> None:
    scheduler = ready_scheduler(1)
    add(scheduler, *range(5))
    scheduler.assign(0.0)
    assert scheduler.died(Life(0, 0), 1.0) == Verdict(requeued=(0, 1))
    (life,) = start(scheduler, 1.0)
    assert [step for _, step in scheduler.assign(1.0)] == [0]
    scheduler.answered(life, 0, 2.0)
    assert [step for _, step in scheduler.assign(2.0)] == [1]
    scheduler.answered(life, 1, 2.0)
    assert [step for _, step in scheduler.assign(2.0)] == [2, 3]


def test_steps_of_a_lost_machine_go_before_all_others_and_are_not_suspected() -> None:
    scheduler = ready_scheduler(1)
    add(scheduler, *range(5))
    for number in range(REQUEUES_OF_A_STEP):
        assert [step for _, step in scheduler.assign(0.0)] == [0, 1]
        assert scheduler.died(Life(0, number), 1.0, blamed=()) == Verdict(requeued=(0, 1))
        start(scheduler, 1.0)
    scheduler.assign(0.0)
    assert scheduler.died(Life(0, REQUEUES_OF_A_STEP), 1.0, blamed=()) == Verdict(exhausted=(0, 1))
    assert not scheduler.lost


def test_a_suspect_does_not_hold_up_others_while_it_waits_for_a_worker_of_its_own() -> None:
    scheduler = ready_scheduler(3)
    add(scheduler, *range(20))
    scheduler.assign(0.0)
    scheduler.died(Life(0, 0), 1.0)
    # The other two are busy; one of them is kept for each of the two suspects, and gets nothing more.
    assert scheduler.assign(1.0) == ()
    start(scheduler, 1.0)
    assert [step for _, step in scheduler.assign(1.0)] == [6, 7]
    kept = [step for _, step in scheduler.assign(1.0)]
    assert kept == []
    for step in (1, 4):
        scheduler.answered(Life(1, 0), step, 2.0)
    assert len(scheduler.assign(2.0)) == 1


def test_a_step_that_two_workers_of_one_slot_died_with_has_its_last_chance_elsewhere() -> None:
    scheduler = ready_scheduler(2)
    add(scheduler, 0, 1)
    lives = {step: life for life, step in scheduler.assign(0.0)}
    for _ in range(DEATHS_OF_A_STEP - 1):
        assert scheduler.died(lives[0], 1.0) == Verdict(requeued=(0,))
        (lives[0],) = start(scheduler, 1.0)
        given = scheduler.assign(1.0)
        assert given in (((lives[0], 0),), ())
    assert given == (), "the other one is busy"
    scheduler.answered(lives[1], 1, 2.0)
    assert scheduler.assign(2.0) == ((lives[1], 0),)


def test_a_worker_that_plans_and_never_restores_comes_to_rest() -> None:
    scheduler = ready_scheduler(1)
    for number in range(DEATHS_OF_A_SLOT):
        assert not scheduler.lost
        first = 2 * number
        add(scheduler, first, lane="side")
        add(scheduler, first + 1)
        scheduler.assign(0.0)
        assert scheduler.answered(Life(0, number), first, 0.0)
        scheduler.died(Life(0, number), 0.0)
        start(scheduler, 0.0)
    assert scheduler.lost


def test_only_the_step_that_hung_is_suspected() -> None:
    scheduler = ready_scheduler(2)
    add(scheduler, 0, 2, seconds=1000.0)
    add(scheduler, 1, seconds=40.0)
    lives = {step: life for life, step in scheduler.assign(0.0)}
    assert scheduler.overdue(399.0) == ()
    assert scheduler.overdue(400.0) == ((lives[1], 1),)
    assert scheduler.overdue(401.0) == ()
    assert scheduler.died(lives[1], 400.0, blamed=[1]) == Verdict(requeued=(1,))
    start(scheduler, 401.0)
    assert [step for _, step in scheduler.assign(401.0)] == [1]


@pytest.mark.parametrize(("seconds", "longest"), [(None, 3600.0), (5.0, 300.0), (60.0, 600.0)])
def test_a_step_may_take_ten_times_as_long_as_expected_and_five_minutes_at_least(
    seconds: float | None, longest: float
) -> None:
    scheduler = ready_scheduler(1)
    add(scheduler, 0, seconds=seconds)
    scheduler.assign(0.0)
    assert scheduler.overdue(longest - 1) == ()
    assert scheduler.overdue(longest) == ((Life(0, 0), 0),)


def test_a_worker_that_does_not_get_ready_hangs_but_one_without_a_machine_does_not() -> None:
    scheduler = StepScheduler(PATIENCE)
    scheduler.grow(2)
    first, second = scheduler.starts(0.0)
    scheduler.placed(first, "node", (), 10_000.0)
    assert scheduler.overdue(10_899.0) == ()
    assert scheduler.overdue(10_900.0) == ((first, None),)
    assert scheduler.died(second, 10_900.0) == Verdict()


def test_a_straggler_is_run_a_second_time_where_nothing_else_is_to_do_and_the_first_answer_counts() -> None:
    scheduler = ready_scheduler(3)
    add(scheduler, 0, 1, 2)
    lives = {step: life for life, step in scheduler.assign(0.0)}
    assert scheduler.assign_twice(100.0) == (), "no step has ended yet, so nothing is known"
    scheduler.answered(lives[0], 0, 10.0)
    assert scheduler.assign_twice(20.0) == ()
    assert scheduler.assign_twice(20.1) == ((lives[0], 1),), "the oldest, where nothing is to do"
    assert scheduler.assign_twice(20.2) == (), "nobody is idle"
    scheduler.answered(lives[2], 2, 20.3)
    assert scheduler.assign_twice(60.0) == (), "it runs twice already"
    assert scheduler.answered(lives[0], 1, 61.0)
    assert not scheduler.answered(lives[1], 1, 62.0)
    assert not scheduler.failed(lives[1], 1)
    assert scheduler.state().redispatched == 1


def test_a_straggler_is_not_run_twice_while_others_wait_or_by_another_kind_or_where_it_killed_a_worker() -> None:
    scheduler = ready_scheduler(2)
    add(scheduler, 0, 1)
    lives = {step: life for life, step in scheduler.assign(0.0)}
    scheduler.answered(lives[1], 1, 1.0)
    add(scheduler, 2, kind="b")
    assert [step for _, step in scheduler.assign_twice(50.0)] == [0], "what waits is for others"
    scheduler = ready_scheduler(2)
    add(scheduler, 0, kind="a", seconds=10.0)
    scheduler.assign(0.0)
    scheduler.died(Life(0, 0), 1.0)
    assert scheduler.assign(1.0) == ((Life(1, 0), 0),)
    start(scheduler, 1.0, kind="b")
    assert scheduler.assign_twice(50.0) == ()


def test_an_expectation_tells_better_than_the_mean_what_takes_long() -> None:
    scheduler = ready_scheduler(3)
    add(scheduler, 0)
    add(scheduler, 1, seconds=100.0)
    add(scheduler, 2, seconds=3.0)
    lives = {step: life for life, step in scheduler.assign(0.0)}
    scheduler.answered(lives[0], 0, 1.0)
    assert [step for _, step in scheduler.assign_twice(6.5)] == [2]
    scheduler.answered(lives[0], 2, 7.0)
    assert scheduler.assign_twice(199.0) == ()
    assert [step for _, step in scheduler.assign_twice(201.0)] == [1]


def test_an_error_is_no_answer_while_another_worker_runs_the_step() -> None:
    scheduler = ready_scheduler(2)
    add(scheduler, 0, seconds=1.0)
    ((first, _),) = scheduler.assign(0.0)
    ((second, _),) = scheduler.assign_twice(50.0)
    assert not scheduler.failed(second, 0)
    assert scheduler.assign_twice(51.0) == (), "it would fail there again and again"
    assert scheduler.failed(first, 0)
    assert scheduler.state().queued == scheduler.state().busy == 0


def test_a_step_that_runs_twice_goes_on_where_one_of_its_workers_dies() -> None:
    scheduler = ready_scheduler(2)
    add(scheduler, 0, seconds=1.0)
    ((first, _),) = scheduler.assign(0.0)
    ((second, _),) = scheduler.assign_twice(50.0)
    assert scheduler.died(first, 51.0) == Verdict()
    assert scheduler.state().busy == 1
    assert scheduler.died(second, 51.0) == Verdict(requeued=(0,))


def test_a_slot_whose_workers_only_die_rests_and_one_answer_clears_it() -> None:
    scheduler = ready_scheduler(2)
    for number in range(DEATHS_OF_A_SLOT - 1):
        scheduler.died(Life(0, number), 0.0)
        assert start(scheduler) == [Life(0, number + 1)]
    add(scheduler, 0)
    scheduler.died(Life(1, 0), 0.0, blamed=())
    ((life, _),) = scheduler.assign(0.0)
    assert life.slot == 0
    scheduler.answered(life, 0, 0.0)
    start(scheduler)
    for number in range(DEATHS_OF_A_SLOT):
        assert not scheduler.starts(0.0)
        scheduler.died(Life(0, life.number + number), 0.0)
        assert len(start(scheduler)) == (number + 1 < DEATHS_OF_A_SLOT)
    assert not scheduler.lost
    assert start(scheduler, 59.0) == []
    assert len(start(scheduler, 60.0)) == 1
    assert scheduler.state().deaths == 2 * DEATHS_OF_A_SLOT


def test_a_pool_is_lost_when_all_its_workers_cannot_start_but_not_while_one_may() -> None:
    scheduler = StepScheduler(PATIENCE)
    scheduler.grow(2)
    first, second = scheduler.starts(0.0)
    for life in (first, second):
        scheduler.placed(life, "node", (), 0.0)
    scheduler.died(first, 1.0, hopeless=True)
    assert not scheduler.state().lost
    assert scheduler.starts(1.0) == (), "not at once"
    scheduler.died(second, 1.0, hopeless=True)
    assert scheduler.state().lost


def test_slots_that_wait_for_room_do_not_all_have_to_fail() -> None:
    scheduler = StepScheduler(PATIENCE)
    scheduler.grow(100)
    lives = scheduler.starts(0.0)
    for number, life in enumerate(lives[: FALSE_STARTS + 1]):
        assert not scheduler.state().lost
        now = 1.0 if number < FALSE_STARTS else 1.0 + FAILING_SECONDS
        scheduler.placed(life, "node", (), now)
        scheduler.died(life, now, hopeless=True)
    assert scheduler.state().lost


def test_machines_that_go_are_no_fault_of_their_slots() -> None:
    scheduler = ready_scheduler(2)
    for number in range(50):
        for slot in range(2):
            scheduler.died(Life(slot, number), 0.0, blamed=())
        assert not scheduler.lost
        assert len(start(scheduler)) == 2


def test_steps_of_a_kind_that_is_gone_fail_after_a_while_if_there_are_others() -> None:
    scheduler = ready_scheduler(1, kind="a")
    scheduler.grow(2)
    add(scheduler, 0, kind="b")
    add(scheduler, 1, kind="c")
    add(scheduler, 2)
    assert scheduler.stranded(800.0) == ()
    start(scheduler, 800.0, kind="c")
    assert scheduler.stranded(900.0) == (0,)
    assert {step for _, step in scheduler.assign(900.0)} == {1, 2}
    scheduler.died(Life(1, 0), 1000.0)
    assert scheduler.stranded(1899.0) == ()
    assert scheduler.stranded(1900.0) == (1,)
    assert scheduler.stranded(9999.0) == ()


def test_where_there_is_no_worker_at_all_every_kind_may_come_back() -> None:
    scheduler = ready_scheduler(1, kind="a")
    add(scheduler, 0, kind="a")
    scheduler.died(Life(0, 0), 0.0, blamed=())
    assert scheduler.stranded(5000.0) == ()
    start(scheduler, 5000.0, kind="b")
    assert scheduler.stranded(5899.0) == ()
    assert scheduler.stranded(5900.0) == (0,)


def test_a_claim_ends_a_worker_when_it_has_no_step_and_brings_it_back_when_it_is_gone() -> None:
    scheduler = ready_scheduler(2)
    add(scheduler, *range(10))
    scheduler.assign(0.0)
    scheduler.make_room(2, 1, 1.0)
    assert scheduler.drained(1.0) == ()
    for step, slot in enumerate((0, 1, 0, 1)):
        assert step == 3 or scheduler.drained(2.0) == ()
        scheduler.answered(Life(slot, 0), step, 2.0)
    ended = scheduler.drained(2.0)
    assert len(ended) == 1
    assert all(life.slot != ended[0].slot for life, _ in scheduler.assign(2.0))
    for now in (3.0, 100.0):
        scheduler.make_room(2, 1, now)
        assert scheduler.starts(now) == scheduler.drained(now) == ()
    scheduler.make_room(2, 0, 101.0)
    assert scheduler.starts(101.0) == (Life(ended[0].slot, 1),)
    assert scheduler.state().deaths == 0


def scheduler_one_of_whose_machines_goes() -> StepScheduler:
    """It has two steps on each of two machines, which are called "stays" and "goes"."""
    scheduler = StepScheduler(PATIENCE)
    scheduler.grow(2)
    for life, node in zip(scheduler.starts(0.0), ("stays", "goes"), strict=True):
        scheduler.placed(life, node, (), 0.0)
        scheduler.ready(life, "a", 0.0)
    add(scheduler, *range(10))
    scheduler.assign(0.0)
    scheduler.leave({"goes"})
    return scheduler


def test_a_machine_that_goes_gets_no_steps_and_its_worker_waits_for_another_one_when_it_has_none() -> None:
    scheduler = scheduler_one_of_whose_machines_goes()
    scheduler.leave({"goes"})
    scheduler.answered(Life(1, 0), 1, 1.0)
    assert scheduler.drained(1.0) == ()
    assert scheduler.assign(1.0) == ()
    scheduler.answered(Life(1, 0), 3, 1.0)
    assert scheduler.drained(1.0) == (Life(1, 0),)
    assert scheduler.starts(1.0) == (Life(1, 1),)
    scheduler.placed(Life(1, 1), "comes", (), 2.0)
    scheduler.leave({"goes"})
    scheduler.ready(Life(1, 1), "a", 2.0)
    assert [life for life, _ in scheduler.assign(2.0)] == [Life(1, 1)] * 2
    assert scheduler.drained(2.0) == ()
    assert (scheduler.state().deaths, scheduler.state().redispatched) == (0, 0)


def test_a_claim_counts_only_machines_that_stay() -> None:
    scheduler = scheduler_one_of_whose_machines_goes()
    scheduler.make_room(1, 1, 1.0)
    for slot, step in ((0, 0), (1, 1), (0, 2), (1, 3)):
        scheduler.answered(Life(slot, 0), step, 2.0)
    assert set(scheduler.drained(2.0)) == {Life(0, 0), Life(1, 0)}
    scheduler.make_room(1, 0, 100.0)
    assert scheduler.starts(100.0) == (Life(0, 1), Life(1, 1))


def test_a_claim_that_goes_before_a_step_ends_changes_nothing() -> None:
    scheduler = ready_scheduler(2)
    add(scheduler, *range(10))
    scheduler.assign(0.0)
    scheduler.make_room(2, 2, 1.0)
    scheduler.make_room(2, 0, 2.0)
    scheduler.answered(Life(0, 0), 0, 3.0)
    scheduler.answered(Life(0, 0), 2, 3.0)
    assert scheduler.drained(3.0) == ()
    assert len(scheduler.assign(3.0)) == 2


def test_a_machine_that_comes_meets_the_claim() -> None:
    scheduler = ready_scheduler(2)
    add(scheduler, *range(4))
    scheduler.assign(0.0)
    scheduler.make_room(2, 1, 1.0)
    scheduler.make_room(3, 1, 2.0)
    for slot, step in enumerate((0, 1, 2, 3)):
        scheduler.answered(Life(slot % 2, 0), step, 3.0)
    assert scheduler.drained(3.0) == ()


@given(workers=st.integers(1, 4), claimed=st.integers(1, 3))
def test_claims_are_met_with_whole_devices(workers: int, claimed: int) -> None:
    """Two halves of two GPUs are no GPU."""
    scheduler = ready_scheduler(3 * workers, per_gpu=workers)
    add(scheduler, 0)
    ((busy, _),) = scheduler.assign(0.0)
    scheduler.make_room(3 * workers, claimed * workers, 1.0, workers)
    scheduler.answered(busy, 0, 2.0)
    ended = scheduler.drained(2.0)
    assert len({life.slot // workers for life in ended}) == claimed
    assert len(ended) == claimed * workers
    assert claimed == 3 or busy not in ended, "those with the least to do go first"


@given(data=st.data(), gpus=st.integers(2, 4), sharing=st.integers(2, 4))
def test_claims_are_met_with_whole_devices_however_few_workers_are_left_on_each(
    data: st.DataObject, gpus: int, sharing: int
) -> None:
    claimed = data.draw(st.integers(1, gpus))
    scheduler = ready_scheduler(gpus * sharing, per_gpu=sharing)
    dead = data.draw(st.sets(st.integers(0, gpus * sharing - 1)))
    for slot in dead:
        scheduler.died(Life(slot, 0), 0.0, blamed=())
    left = Counter(slot // sharing for slot in range(gpus * sharing) if slot not in dead)
    scheduler.make_room(gpus * sharing, claimed * sharing, 1.0, sharing)
    assert scheduler.starts(1.0) == (), "a new worker might take a share of what is to be left"
    ended = {life.slot for life in scheduler.drained(1.0)}
    assert scheduler.starts(1.0) == ()
    kept = Counter(slot // sharing for slot in range(gpus * sharing) if slot not in dead | ended)
    assert len(kept) == min(len(left), gpus - claimed)
    assert all(kept[gpu] == left[gpu] for gpu in kept), "no device is left in part"
    # Those that were killed come back, as many as there is room for beside the claims.
    again = scheduler.starts(1.0 + QUIET_SECONDS)
    assert sum(kept.values()) + len(again) == (gpus - claimed) * sharing


def test_a_worker_that_gets_in_where_a_device_is_being_left_leaves_it_too() -> None:
    scheduler = ready_scheduler(3, per_gpu=2)
    add(scheduler, *range(6))
    scheduler.assign(0.0)
    scheduler.grow(4)
    (late,) = scheduler.starts(0.0)
    scheduler.make_room(4, 2, 1.0, 2)
    assert scheduler.drained(1.0) == (late,), "it waits, and might take a share of what is to be left"
    scheduler.make_room(4, 0, 2.0, 2)
    (late,) = scheduler.starts(2.0)
    scheduler.placed(late, "node", ("1",), 2.0)
    scheduler.make_room(4, 2, 3.0, 2)
    for step in range(6):
        scheduler.answered(Life(step % 3, 0), step, 4.0)
    assert {life.slot // 2 for life in scheduler.drained(4.0)} in ({0}, {1})


def test_while_devices_are_claimed_workers_wait_only_for_machines_that_are_not_there_yet() -> None:
    scheduler = StepScheduler(PATIENCE)
    scheduler.grow(5)
    lives = scheduler.starts(0.0)
    scheduler.placed(lives[0], "node", ("0",), 0.0)
    scheduler.ready(lives[0], "a", 0.0)
    # Two devices: one is ours, and the claimed one is free; four of ours wait for it.
    scheduler.make_room(2, 1, 1.0)
    assert set(scheduler.drained(1.0)) == set(lives[1:])
    assert not scheduler.placed(lives[1], "node", ("1",), 1.0)
    assert scheduler.starts(1.0) == ()
    # Until the one who claims it has it; then an autoscaler is to hear of us again.
    scheduler.make_room(2, 1, 2.0)
    again = scheduler.starts(1.0 + QUIET_SECONDS)
    assert len(again) == 3
    # One of them gets in where the claim's own worker died.
    scheduler.placed(again[0], "node", ("1",), 20.0)
    scheduler.make_room(2, 1, 21.0)
    assert set(scheduler.drained(21.0)) in ({lives[0], *again[1:]}, set(again))
    assert scheduler.starts(22.0) == ()


def test_a_dropped_step_is_forgotten_wherever_it_is() -> None:
    scheduler = ready_scheduler(1)
    add(scheduler, 0, 1, 2, 3)
    scheduler.assign(0.0)
    scheduler.drop(0)
    scheduler.drop(3)
    assert (scheduler.state().busy, scheduler.state().queued) == (1, 1)
    assert not scheduler.answered(Life(0, 0), 0, 1.0)
    assert [step for _, step in scheduler.assign(1.0)] == [2]
    scheduler.died(Life(0, 0), 1.0)
    scheduler.drop(1)
    start(scheduler, 1.0)
    assert [step for _, step in scheduler.assign(1.0)] == [2]


def test_a_step_that_hangs_is_found_among_thousands_that_ended() -> None:
    scheduler = ready_scheduler(1)
    add(scheduler, 0)
    scheduler.assign(0.0)
    for step in range(1, 5000):
        scheduler.add(step, "restore", None, None, 1.0)
        ((life, _),) = scheduler.assign(1.0)
        scheduler.answered(life, step, 1.0)
    assert [step for _, step in scheduler.overdue(3600.0)] == [0]
    assert scheduler.overdue(9999.0) == ()


def machines_scheduler(machines: int) -> StepScheduler:
    """A worker on each of several machines, called by their numbers."""
    scheduler = StepScheduler(PATIENCE)
    scheduler.grow(machines)
    for life in scheduler.starts(0.0):
        assert scheduler.placed(life, str(life.slot), (), 0.0)
        assert scheduler.ready(life, "a", 0.0)
    return scheduler


def test_a_worker_takes_what_its_machine_has_begun_and_of_others_only_rather_than_none() -> None:
    scheduler = machines_scheduler(2)
    for step, group in enumerate("xyyxyyxy"):
        scheduler.add(step, "restore", None, None, 0.0, group)
    given = [(life.slot, step) for life, step in scheduler.assign(0.0)]
    assert given == [(0, 0), (1, 1), (1, 2), (0, 3)]
    scheduler.answered(Life(0, 0), 0, 1.0)
    assert scheduler.assign(1.0) == ((Life(0, 0), 6),), "two of the other machine's are before it"
    scheduler.answered(Life(0, 0), 3, 2.0)
    assert scheduler.assign(2.0) == ((Life(0, 0), 4),), "nothing else is to do"
    scheduler.add(8, "restore", None, None, 3.0, "z")
    scheduler.answered(Life(0, 0), 6, 3.0)
    assert scheduler.assign(3.0) == ((Life(0, 0), 8),), "nobody has begun it"


def test_what_follows_when_all_steps_of_a_group_have_ended_comes_to_its_machine() -> None:
    scheduler = machines_scheduler(3)
    scheduler.add(0, "side", None, None, 0.0)
    scheduler.add(1, "side", None, None, 0.0, "x")
    assert [life.slot for life, _ in scheduler.assign(0.0)] == [0, 1]
    scheduler.answered(Life(1, 0), 1, 1.0)
    for step in (2, 3, 4):
        scheduler.add(step, "restore", "a", None, 1.0, "x")
    slots = [life.slot for life, _ in scheduler.assign(1.0)]
    assert slots[0] == 1
    assert set(slots) == {0, 1, 2}, "a machine that idles goes before a second step"


@pytest.mark.parametrize("lost", [False, True])
def test_where_a_step_failed_or_no_worker_is_left_a_machine_is_no_home_any_more(lost: bool) -> None:
    scheduler = machines_scheduler(2)
    scheduler.add(0, "side", None, None, 0.0, "x")
    scheduler.add(1, "side", None, None, 0.0, "y")
    assert [life.slot for life, _ in scheduler.assign(0.0)] == [0, 1]
    scheduler.answered(Life(1, 0), 1, 1.0)
    if lost:
        scheduler.died(Life(0, 0), 1.0, blamed=())
        scheduler.drop(0)
        start(scheduler, 1.0)
    else:
        assert scheduler.failed(Life(0, 0), 0)
    scheduler.add(2, "side", None, None, 1.0, "x")
    assert scheduler.assign(1.0) == ((Life(1, 0), 2),), "it waits longest, and the other one is nobody's home"


@pytest.mark.parametrize("machines", [3, 10])
def test_most_sources_are_read_by_one_machine(machines: int) -> None:
    clips, segments = 100, 3
    scheduler, draw, numbers, now = machines_scheduler(machines), random.Random(machines), count(), 0.0
    clip_of, read, events = dict[int, int](), set[tuple[int, int]](), list[tuple[float, Life, int]]()
    left = dict.fromkeys(range(clips), segments + 2)

    def add(clip: int, lane: Lane, kind: str | None, steps: int) -> None:
        for number in islice(numbers, steps):
            clip_of[number] = clip
            scheduler.add(number, lane, kind, None, now, str(clip))

    for clip in range(clips):
        add(clip, "side", None, 1)
    while any(left.values()):
        for life, step in scheduler.assign(now):
            read.add((clip_of[step], life.slot))
            heappush(events, (now + draw.uniform(0.5, 1.5), life, step))
        now, life, step = heappop(events)
        assert scheduler.answered(life, step, now)
        clip = clip_of[step]
        left[clip] -= 1
        if left[clip] == segments + 1:
            add(clip, "restore", "a", segments)
        elif left[clip] == 1:
            add(clip, "side", "a", 1)
    assert not scheduler.state().queued
    assert len(read) < 1.6 * clips, "it would be three without"


def test_what_a_step_costs_does_not_grow_with_machines() -> None:
    def calls_for_an_answer(machines: int) -> int:
        scheduler = machines_scheduler(machines)
        for step in range(5 * machines):
            scheduler.add(step, "restore", None, None, 0.0, str(step % machines))
        *_, (life, step) = scheduler.assign(0.0)
        for other in range(step + 1, 5 * machines):
            if other % machines == life.slot:
                scheduler.drop(other)
        # What the first ones left behind is cleared away once.
        scheduler.answered(Life(1, 0), 1, 1.0)
        assert len(scheduler.assign(1.0)) == 1
        calls = Counter[str]()
        sys.setprofile(lambda frame, event, argument: calls.update([event]))
        try:
            scheduler.answered(life, step, 1.0)
            assert len(scheduler.assign(1.0)) == 1
            scheduler.add(5 * machines, "side", None, None, 1.0, "0")
            assert scheduler.assign(1.0) == ((Life(0, 0), 5 * machines),)
        finally:
            sys.setprofile(None)
        return calls["call"] + calls["c_call"]

    assert calls_for_an_answer(1000) <= calls_for_an_answer(10) + 10


def test_what_a_step_costs_does_not_grow_with_workers_or_steps() -> None:
    def calls_for_an_answer(slots: int) -> int:
        scheduler = ready_scheduler(slots)
        add(scheduler, *range(5 * slots))
        *_, last = scheduler.assign(0.0)
        calls = Counter[str]()
        sys.setprofile(lambda frame, event, argument: calls.update([event]))
        try:
            scheduler.answered(*last, 1.0)
            scheduler.add(5 * slots, "restore", None, None, 1.0)
            assert len(scheduler.assign(1.0)) == 1
        finally:
            sys.setprofile(None)
        return calls["call"] + calls["c_call"]

    assert calls_for_an_answer(1000) <= calls_for_an_answer(10) + 10
