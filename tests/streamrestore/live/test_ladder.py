"""Under overload frames get fewer stages, soon and no more than needed, and the level does not swing."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrestore.live.ladder import LONGEST_HOLD_SECONDS, QualityLadder
from streamrestore.tasks import Stages

COSTS = {1: 0.14, 2: 0.3, 3: 1.0}
DECIDE_SECONDS = 0.25


def during(begin: float, end: float, value: float, otherwise: float) -> Callable[[float], float]:
    return lambda now: value if begin <= now < end else otherwise


@dataclass
class Pool:
    """Workers with a short queue, as the frames of a live stream meet them; in simulated time."""

    ladder: QualityLadder = field(default_factory=lambda: QualityLadder(3, COSTS))
    stage_seconds: dict[int, float] = field(
        default_factory=lambda: {level: 0.03 * cost for level, cost in COSTS.items()}
    )
    """What a frame really takes, before slowdown and noise."""
    workers: int = 1
    fps: Callable[[float], float] = lambda now: 25
    slowdown: Callable[[float], float] = lambda now: 1
    noise: float = 0.0
    seed: int = 0

    now: float = 0.0
    changes: list[tuple[float, int]] = field(default_factory=list)
    captured: int = 0
    restored: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._free_at = [0.0] * self.workers
        self._in_flight = list[tuple[float, int, float]]()
        self._arrived = deque[float]()
        self._overflowed = 0
        self._next_frame = 0.0
        self._next_decision = DECIDE_SECONDS

    @property
    def level(self) -> int:
        return self.ladder.level

    def run(self, until: float) -> None:
        while self.now < until:
            self.now = min(self._next_frame, self._next_decision)
            self._finish()
            if self.now >= self._next_decision:
                self._decide()
                self._next_decision += DECIDE_SECONDS
            else:
                self._capture()
                self._next_frame += 1 / self.fps(self.now)

    def _finish(self) -> None:
        for done in [run for run in self._in_flight if run[0] <= self.now]:
            self._in_flight.remove(done)
            self.ladder.observe(done[1], done[2])

    def _capture(self) -> None:
        self.captured += 1
        self._arrived.append(self.now)
        stages = self.level or (1 if self.captured % 25 == 0 else 0)
        if not stages:
            return
        if len(self._in_flight) > 2 * self.workers:
            self._overflowed += 1
            return
        self.restored += 1
        spread = self._chance.uniform(1 - self.noise, 1 + self.noise)
        seconds = self.stage_seconds[stages] * self.slowdown(self.now) * spread
        worker = min(range(self.workers), key=self._free_at.__getitem__)
        self._free_at[worker] = max(self._free_at[worker], self.now) + seconds
        self._in_flight.append((self._free_at[worker], stages, seconds))

    def _decide(self) -> None:
        while self._arrived and self._arrived[0] <= self.now - 2:
            self._arrived.popleft()
        before, overflowed, self._overflowed = self.level, self._overflowed, 0
        demand = len(self._arrived) / min(self.now, 2.0)
        level = self.ladder.decide(self.now, demand, self.workers, overflowed)
        assert level == self.level
        if level != before:
            self.changes.append((self.now, level))

    def changes_between(self, begin: float, end: float) -> list[int]:
        return [level for at, level in self.changes if begin <= at < end]


def test_an_easy_load_stays_at_the_top() -> None:
    pool = Pool(noise=0.3)
    pool.run(600)
    assert pool.changes == []
    assert pool.restored == pool.captured


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_a_slow_minute_is_met_at_once_and_forgotten_soon(noise: float, seed: int) -> None:
    pool = Pool(slowdown=during(60, 120, 4, 1), noise=noise, seed=seed)
    pool.run(120)
    assert 60 < pool.changes[0][0] <= 61
    assert pool.level in (1, 2)
    assert pool.changes_between(62, 120) in ([], [1])
    pool.run(150)
    assert pool.level == 3
    assert len(pool.changes) <= 4
    pool.run(600)
    assert len(pool.changes) <= 4


@pytest.mark.parametrize("slowdown", [1.0, 1.15, 1.25, 1.32, 1.4, 2.0, 3.9, 4.2, 4.5, 5.0, 9.4, 9.8, 15.0, 18.5, 19.5])
@pytest.mark.parametrize("seed", range(3))
def test_noise_does_not_make_it_swing(slowdown: float, seed: int) -> None:
    """Whatever the load, also one between two levels."""
    pool = Pool(slowdown=lambda now: slowdown, noise=0.3, seed=seed)
    pool.run(20)
    pool.run(620)
    assert len(pool.changes_between(20, 620)) <= 2, pool.changes


@pytest.mark.parametrize(
    "stage_seconds",
    [{1: 0.02, 2: 0.025, 3: 0.03}, {1: 0.01, 2: 0.02, 3: 0.03}, {1: 0.001, 2: 0.002, 3: 0.03}],
    ids=["flat", "even", "steep"],
)
@pytest.mark.parametrize("slowdown", [1.3, 1.7, 2.5, 4.0])
def test_costs_that_are_wrong_do_not_make_it_swing(stage_seconds: dict[int, float], slowdown: float) -> None:
    pool = Pool(stage_seconds=stage_seconds, slowdown=lambda now: slowdown, noise=0.3)
    pool.run(60)
    pool.run(660)
    assert len(pool.changes_between(60, 660)) <= 6, pool.changes


@pytest.mark.parametrize(
    "stage_seconds",
    [{1: 0.02, 2: 0.024, 3: 0.028}, {1: 0.01, 2: 0.02, 3: 0.028}, {1: 0.001, 2: 0.002, 3: 0.028}],
    ids=["flat", "even", "steep"],
)
@pytest.mark.parametrize("slowdown", [1.6, 4.0, 12.0])
def test_it_comes_back_to_the_top_although_costs_are_wrong(stage_seconds: dict[int, float], slowdown: float) -> None:
    pool = Pool(stage_seconds=stage_seconds, slowdown=during(60, 120, slowdown, 1), noise=0.1)
    pool.run(120)
    assert pool.level < 3
    pool.run(210)
    assert pool.level == 3, pool.changes


@settings(deadline=None, max_examples=25)
@given(
    st.floats(0.3, 8),
    st.sampled_from((0.03, 0.1)),
    st.sampled_from(((0.14, 0.3), (0.6, 0.8), (0.33, 0.66), (0.03, 0.06), (0.14, 0.9))),
    st.sampled_from((1, 2, 4)),
    st.integers(0, 1000),
)
def test_it_settles_whatever_frames_take(
    load: float, seconds: float, shares: tuple[float, float], workers: int, seed: int
) -> None:
    """Whatever the load, and whatever the levels really cost."""
    stage_seconds = {1: shares[0] * seconds, 2: shares[1] * seconds, 3: seconds}
    demand = load * workers / seconds
    pool = Pool(stage_seconds=stage_seconds, workers=workers, fps=lambda now: demand, noise=0.3, seed=seed)
    pool.run(100)
    pool.run(700)
    assert len(pool.changes_between(100, 700)) <= 8, pool.changes


def test_more_demand_is_met_at_once() -> None:
    pool = Pool(workers=2, fps=during(60, 70, 150, 50))
    pool.run(60)
    assert pool.level == 3
    pool.run(62)
    assert pool.level == 2
    pool.run(90)
    assert pool.level == 3
    assert len(pool.changes) == 2
    assert pool.restored > 0.98 * pool.captured


def test_a_demand_that_keeps_leaping_is_met_by_staying_low() -> None:
    """Up is tried less and less often."""
    pool = Pool(fps=lambda now: 60 if now % 20 < 10 else 20)
    pool.run(1200)
    assert len(pool.changes_between(0, 100)) >= 3
    assert len(pool.changes_between(100, 1200)) <= 8


def test_workers_that_die_and_come_back() -> None:
    ladder = QualityLadder(3, COSTS)
    for tick in range(200):
        ladder.observe(3, 0.03)
        workers = 2 if tick < 80 else 1 if tick < 120 else 0
        level = ladder.decide(tick / 4, 50, workers, 0)
        assert level == (3 if tick < 80 else 2)


def test_it_goes_as_far_down_as_it_must_in_one_step() -> None:
    ladder = QualityLadder(3, COSTS)
    for tick in range(80):
        ladder.observe(3, 0.03)
        assert ladder.decide(tick / 4, 25, 1, 0) == 3
    assert ladder.decide(20, 150, 1, 0) == 1


@pytest.mark.parametrize(("stage_seconds", "level"), [(0.03, 1), (0.07, 1), (0.09, 0), (0.5, 0)])
def test_all_frames_are_passed_on_only_where_not_even_half_could_be_restored(stage_seconds: float, level: int) -> None:
    pool = Pool(stage_seconds={1: stage_seconds, 2: 2 * stage_seconds, 3: 7 * stage_seconds}, noise=0.1)
    pool.run(30)
    assert pool.level == level
    settled = len(pool.changes)
    pool.run(300)
    assert pool.level == level
    assert len(pool.changes) == settled


def test_probes_lead_back_from_the_bottom() -> None:
    pool = Pool(slowdown=during(20, 80, 40, 1))
    pool.run(80)
    assert pool.level == 0
    pool.run(130)
    assert pool.level == 3


def test_half_of_the_frames_are_enough_to_come_back_for() -> None:
    pool = Pool(stage_seconds={1: 0.05, 2: 0.2, 3: 0.4}, slowdown=during(20, 60, 4, 1))
    pool.run(60)
    assert pool.level == 0
    pool.run(90)
    assert pool.level == 1


def test_a_guess_that_is_wrong_does_not_keep_it_down_for_ever() -> None:
    """All levels take nearly the same, and all that was seen of the third is that it once took very long."""
    ladder = QualityLadder(3, COSTS)
    times = {1: 0.02, 2: 0.024, 3: 0.5}
    levels = list[int]()
    for tick in range(4 * 120):
        for _ in range(6):
            ladder.observe(ladder.level, times[ladder.level])
        levels.append(ladder.decide(tick / 4, 25, 1, 0))
        if levels[-1] < 3:
            times[3] = 0.028
    assert levels[4 * 20] == 1
    assert levels[4 * 50] == 2
    assert levels[-1] == 3


def test_one_stage_is_not_given_up_unseen() -> None:
    ladder = QualityLadder(3, COSTS)
    for tick in range(40):
        ladder.observe(3, 1.0)
        level = ladder.decide(tick / 4, 25, 1, 0)
    assert level == 1
    load = ladder.load(1, 25, 1)
    assert load is not None
    assert load > 2
    ladder.observe(1, 0.14)
    assert ladder.decide(10, 25, 1, 0) == 0


def test_the_first_frames_are_so_slow_that_none_is_back() -> None:
    pool = Pool(stage_seconds={1: 20.0, 2: 30.0, 3: 40.0})
    pool.run(1)
    assert pool.level == 2
    pool.run(3)
    assert pool.level == 1


def test_a_slow_first_frame_does_not_keep_it_down() -> None:
    """Kernels are chosen and caches filled for the first ones."""
    pool = Pool(slowdown=during(0, 1, 30, 1))
    pool.run(3)
    assert pool.level < 3
    pool.run(15)
    assert pool.level == 3
    pool.run(300)
    assert pool.level == 3


def test_overflow_that_the_load_does_not_explain_lowers_the_level() -> None:
    ladder = QualityLadder(3, COSTS)
    levels = list[int]()
    for tick in range(24):
        ladder.observe(max(ladder.level, 1), 0.03 * COSTS[max(ladder.level, 1)])
        levels.append(ladder.decide(tick / 4, 25, 1, 0 if tick < 12 else 1))
    assert levels[:12] == [3] * 12
    assert levels[-1] < 3
    assert levels.index(2) <= 16


def test_overflow_of_frames_from_before_a_step_does_not_lower_it_twice() -> None:
    ladder = QualityLadder(3, COSTS)
    stepped_at: int | None = None
    for tick in range(40):
        ladder.observe(ladder.level, 0.03 * COSTS[ladder.level])
        overflowed = tick >= 12 and (stepped_at is None or tick - stepped_at <= 4)
        if ladder.decide(tick / 4, 25, 1, int(overflowed)) < 3 and stepped_at is None:
            stepped_at = tick
        assert ladder.level >= 2
    assert stepped_at is not None


@pytest.mark.parametrize("frames", [1, 5])
def test_one_moment_s_overflow_does_not(frames: int) -> None:
    ladder = QualityLadder(3, COSTS)
    for tick in range(400):
        ladder.observe(3, 0.03)
        assert ladder.decide(tick / 4, 25, 1, frames if tick % 8 == 0 else 0) == 3


def test_one_frame_that_hangs_does_not() -> None:
    ladder = QualityLadder(3, COSTS)
    for tick in range(400):
        for frame in range(6):
            ladder.observe(3, 0.5 if tick % 40 == 39 and not frame else 0.025)
        assert ladder.decide(tick / 4, 25, 1, 0) == 3


def test_a_step_up_that_is_always_wrong_is_tried_rarely() -> None:
    """Nothing shows beforehand that three stages overflow: the load looks light."""
    ladder = QualityLadder(3, COSTS)
    ups = list[float]()
    level = 3
    for tick in range(4 * 1800):
        now = tick / 4
        ladder.observe(max(level, 1), 0.02 * COSTS[max(level, 1)])
        before, level = level, ladder.decide(now, 25, 1, 3 if level == 3 else 0)
        if level > before:
            ups.append(now)
    assert len(ups) >= 5
    spaces = [later - earlier for earlier, later in pairwise(ups)]
    assert all(later >= earlier for earlier, later in pairwise(spaces))
    assert spaces[-1] >= LONGEST_HOLD_SECONDS


def test_after_a_long_quiet_the_way_up_is_short_again() -> None:
    pool = Pool(fps=lambda now: (60 if now % 20 < 10 else 20) if now < 300 or now >= 3000 else 25)
    pool.run(3000)
    assert pool.level == 3
    pool.run(3040)
    assert len(pool.changes_between(3000, 3040)) >= 3


@pytest.mark.parametrize("most", [1, 2, 3])
def test_it_never_goes_above_what_was_asked_for(most: Stages) -> None:
    pool = Pool(QualityLadder(most, COSTS), slowdown=during(20, 40, 30, 1))
    assert pool.level == most
    pool.run(150)
    assert pool.level == most
    assert pool.changes
    assert all(level <= most for _, level in pool.changes)


def test_what_is_measured_wins_over_what_is_guessed() -> None:
    ladder = QualityLadder(3, COSTS)
    assert ladder.seconds(3) is None
    assert ladder.load(3, 25, 1) is None
    assert ladder.seconds(0) == 0
    ladder.observe(3, 0.03)
    ladder.decide(0.25, 25, 1, 0)
    assert ladder.seconds(3) == pytest.approx(0.03)
    assert ladder.seconds(1) == pytest.approx(0.03 * 0.14)
    assert ladder.load(3, 50, 2) == pytest.approx(0.75)
    for tick in range(2, 10):
        for _ in range(6):
            ladder.observe(1, 0.01)
            ladder.observe(3, 0.03)
        ladder.decide(tick / 4, 25, 1, 0)
    assert ladder.seconds(1) == pytest.approx(0.01, rel=0.05)
    assert ladder.seconds(3) == pytest.approx(0.03, rel=0.05)


def test_without_workers_or_demand() -> None:
    ladder = QualityLadder(2, COSTS)
    ladder.observe(2, 0.03)
    assert ladder.decide(0, 0, 0, 0) == 2
    assert ladder.load(2, 0, 0) == 0
    assert ladder.load(2, 25, 0) == float("inf")
    assert ladder.decide(1, 25, 0, 25) == 2


calls = st.lists(
    st.tuples(
        st.floats(0.01, 20),
        st.floats(0, 500),
        st.integers(0, 4),
        st.integers(0, 100),
        st.lists(st.tuples(st.integers(1, 3), st.floats(1e-4, 100)), max_size=5),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(st.sampled_from((1, 2, 3)), calls)
def test_whatever_happens_it_stays_on_the_ladder(
    most: Stages, happened: list[tuple[float, float, int, int, list[tuple[int, float]]]]
) -> None:
    ladder = QualityLadder(most, COSTS)
    now, raised = 0.0, 0.0
    for wait, demand, workers, overflowed, observed in happened:
        now += wait
        for stages, busy_seconds in observed:
            ladder.observe(min(stages, most), busy_seconds)
        before = ladder.level
        load_before = ladder.load(before, demand, workers)
        level = ladder.decide(now, demand, workers, overflowed)
        assert 0 <= level <= most
        assert all((ladder.seconds(one) or 0.0) >= 0 for one in range(most + 1))
        assert level == before or workers
        if level > before:
            assert now - raised >= 1 or raised == 0
            raised = now
        if not observed and level < before:
            assert overflowed or (load_before is not None and load_before > 1)


@pytest.mark.parametrize("costs", [{}, {1: 1.0, 2: 2.0}, {1: 0.0, 2: 1.0, 3: 2.0}, {1: 1.0, 2: 1.0, 3: 2.0}])
def test_costs_must_rise(costs: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="must be positive and rise"):
        QualityLadder(3, costs)
