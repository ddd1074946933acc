"""Frames leave in order, each once, and none is waited for longer than its patience."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrestore.live.ordering import LEAST_PATIENCE_SECONDS, FrameOrder, Leaving

MAX_LATENCY = 1.0

Event = tuple[str, int, float]
events = st.lists(
    st.tuples(st.sampled_from(("add", "settle", "drop", "wait")), st.integers(0, 12), st.floats(0, 0.3)), max_size=120
)


def leave(*numbers: int) -> list[Leaving]:
    return [Leaving(number, False) for number in numbers]


@dataclass
class Run:
    """An order, and what is known of its frames from outside."""

    order: FrameOrder = field(default_factory=lambda: FrameOrder(MAX_LATENCY))
    now: float = 100.0
    captured_at: dict[int, float] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)
    left: list[Leaving] = field(default_factory=list)

    def handle(self, event: Event) -> None:
        kind, which, seconds = event
        self.now += seconds
        if kind == "add":
            number = max(self.captured_at, default=-1) + 1 + which
            self.captured_at[number] = self.now
            self.order.add(number, self.now)
        elif kind != "wait":
            # Any frame, those that have left and one that never was among them.
            number = [*self.captured_at, 10_000][which % (len(self.captured_at) + 1)]
            if kind == "settle":
                self.order.settle(number, self.now)
                self.settled.add(number)
            else:
                self.order.drop(number)
                if number not in {leaving.number for leaving in self.left}:
                    self.dropped.add(number)
        self.left += self.order.take(self.now)


@settings(deadline=None)
@given(events)
def test_frames_leave_in_order_and_once(happened: list[Event]) -> None:
    run = Run()
    for event in happened:
        run.handle(event)
    numbers = [number for number, _ in run.left]
    out = set(run.captured_at) - set(numbers) - run.dropped
    assert run.order.in_flight == len(out)
    run.left += run.order.take(run.now + 100)
    numbers = [number for number, _ in run.left]
    assert numbers == sorted(set(run.captured_at) - run.dropped)
    assert run.order.in_flight == 0
    assert run.order.due(run.now) is None


@settings(deadline=None)
@given(events)
def test_none_is_blocked_longer_than_its_patience(happened: list[Event]) -> None:
    run = Run()
    for event in happened:
        before = len(run.left)
        run.handle(event)
        for number, given_up in run.left[before:]:
            assert given_up == (number not in run.settled)
            assert not given_up or run.now - run.captured_at[number] >= LEAST_PATIENCE_SECONDS
        waiting = sorted(set(run.captured_at) - {number for number, _ in run.left} - run.dropped)
        due = run.order.due(run.now)
        if not waiting:
            assert due is None
            continue
        head = waiting[0]
        assert head not in run.settled
        later_is_back = any(number in run.settled for number in waiting)
        patience = run.order.patience_seconds if later_is_back else MAX_LATENCY
        assert due == run.captured_at[head] + patience
        assert run.now < due <= run.captured_at[head] + MAX_LATENCY


@settings(deadline=None)
@given(events)
def test_what_is_due_happens_then_and_not_before(happened: list[Event]) -> None:
    run = Run()
    for event in happened:
        run.handle(event)
    due = run.order.due(run.now)
    if due is not None:
        assert run.order.take(due - 1e-6) == []
        assert run.order.take(due) != []


def test_frames_that_come_in_order_leave_at_once() -> None:
    order = FrameOrder(MAX_LATENCY)
    for number in range(3):
        order.add(number, number * 0.04)
    for number in range(3):
        order.settle(number, 0.1 + number * 0.04)
        assert order.take(0.1 + number * 0.04) == leave(number)


def test_a_lost_frame_holds_up_the_others_for_a_moment_only() -> None:
    order = FrameOrder(2.0)
    gone_at = dict[int, float]()
    for tick in range(400):
        now = tick * 0.01
        if tick % 4 == 0:
            order.add(tick, now)
        if (tick - 10) % 4 == 0 and tick >= 10 and tick - 10 != 200:
            order.settle(tick - 10, now)
        for number, given_up in order.take(now):
            gone_at[number] = now
            assert given_up == (number == 200)
    assert gone_at[204] - gone_at[196] < 0.6
    assert gone_at[300] - 3.00 == pytest.approx(0.1)


def test_a_frame_that_nobody_waits_behind_may_take_all_the_time() -> None:
    order = FrameOrder(2.0)
    order.add(0, 0.0)
    order.settle(0, 0.05)
    assert order.take(0.05) == leave(0)
    order.add(1, 1.0)
    assert order.take(2.99) == []
    assert order.due(2.99) == 3.0
    order.add(2, 2.99)
    order.settle(2, 3.0)
    assert order.take(3.0) == [Leaving(1, True), Leaving(2, False)]


def test_before_anything_is_known_nothing_is_hurried() -> None:
    order = FrameOrder(2.0)
    order.add(0, 0.0)
    order.add(1, 0.04)
    assert order.patience_seconds == 2.0
    order.settle(1, 1.0)
    assert order.take(1.0) == []
    order.settle(0, 1.5)
    assert order.take(1.5) == leave(0, 1)


def test_patience_is_learned_from_frames_that_came_too_late() -> None:
    """Of each pair the first takes ten times as long as the second, and is given up at first, but not for ever."""
    order = FrameOrder(5.0)
    order.add(0, 0.0)
    order.settle(0, 0.05)
    given_up = [leaving.given_up for leaving in order.take(0.05)]
    for now in range(1, 100):
        order.add(2 * now, now)
        order.add(2 * now + 1, now)
        order.settle(2 * now + 1, now + 0.05)
        given_up += [leaving.given_up for leaving in order.take(now + 0.49)]
        order.settle(2 * now, now + 0.5)
        given_up += [leaving.given_up for leaving in order.take(now + 0.5)]
    assert any(given_up)
    assert not any(given_up[60:])


def test_patience_never_exceeds_the_latency_allowed() -> None:
    order = FrameOrder(1.0)
    for number in range(10):
        order.add(number, float(number))
        order.settle(number, number + 0.9)
        order.take(number + 0.9)
    assert order.patience_seconds == 1.0


def test_a_dropped_frame_blocks_nobody() -> None:
    order = FrameOrder(MAX_LATENCY)
    order.add(0, 0.0)
    order.add(1, 0.0)
    order.settle(1, 0.1)
    assert order.take(0.1) == []
    order.drop(0)
    assert order.due(0.1) == 0.1
    assert order.take(0.1) == leave(1)


def test_a_frame_that_was_back_and_is_dropped_hurries_nobody() -> None:
    order = FrameOrder(MAX_LATENCY)
    order.add(0, 0.0)
    order.add(1, 0.0)
    order.settle(1, 0.05)
    assert order.due(0.05) == 0.25
    order.drop(1)
    assert order.due(0.05) == MAX_LATENCY


def test_what_was_given_up_is_not_remembered_for_ever() -> None:
    order = FrameOrder(MAX_LATENCY)
    for number in range(1000):
        order.add(number, float(number))
        order.take(number + 2.0)
    assert len(order._given_up) <= 50
    assert order.in_flight == 0


@pytest.mark.parametrize("number", [4, 5])
def test_numbers_rise(number: int) -> None:
    order = FrameOrder(MAX_LATENCY)
    order.add(5, 0.0)
    with pytest.raises(ValueError, match="numbers must rise"):
        order.add(number, 0.1)


def test_with_infinite_patience_nothing_is_given_up() -> None:
    order = FrameOrder(float("inf"))
    for number in range(100):
        order.add(number, float(number))
        if number:
            order.settle(number, number + 0.01)
    assert order.take(1e6) == []
    order.settle(0, 1e6)
    assert [leaving.number for leaving in order.take(1e6)] == list(range(100))
