"""Times of live outputs rise, whatever the source's clock does, and keep its spacing where that can be trusted."""

import random
from collections import deque
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrestore.live.clock import JUMP_SECONDS, LIVE_TIME_BASE, SLEW_SECONDS, SPACING_TICKS, LiveClock

STEP = 0.04
JITTER = 0.08
START = 1000.0
TICK = float(LIVE_TIME_BASE)

delays = st.lists(st.floats(0, JITTER), min_size=100, max_size=300)
jumps = st.floats(0.25, 4e4) | st.floats(-4e4, -0.25)
gaps = st.floats(0, 3)
medias = st.none() | st.floats(-1e5, 1e5) | st.floats(0, 2)
operations = st.lists(
    st.tuples(st.sampled_from(("video", "video", "leave", "held", "audio", "connected")), gaps, medias), max_size=150
)


def arrivals_of(delayed: list[float]) -> list[float]:
    """When frames arrive that were taken every `STEP` seconds and took so long; none overtakes another."""
    return list(accumulate((START + 5 + place * STEP + delay for place, delay in enumerate(delayed)), max))


def seconds(ticks: list[int]) -> list[float]:
    return [START + pts * TICK for pts in ticks]


@settings(deadline=None)
@given(operations)
def test_times_rise_whatever_happens(happened: list[tuple[str, float, float | None]]) -> None:
    clock = LiveClock(START)
    now = START
    in_flight = deque[int]()
    captured, gone_out, sound = list[int](), list[int](), list[int]()
    for kind, gap, media in happened:
        now += gap
        if kind == "video":
            captured.append(clock.video(now, media))
            in_flight.append(captured[-1])
        elif kind == "leave" and in_flight:
            gone_out.append(clock.fresh(in_flight.popleft()))
        elif kind == "held":
            gone_out.append(clock.held(now, gap / 2))
        elif kind == "audio":
            pts = clock.audio(now, media, gap / 10)
            sound += [] if pts is None else [pts]
        elif kind == "connected":
            clock.connected()
    for times in (captured, gone_out):
        assert all(time >= 0 for time in times)
        assert all(later - earlier >= SPACING_TICKS for earlier, later in pairwise(times))
    assert all(time >= 0 for time in sound)
    assert all(later > earlier for earlier, later in pairwise(sound))
    assert all(time * TICK <= now - START + len(captured) * SPACING_TICKS * TICK + JUMP_SECONDS for time in captured)


@settings(deadline=None)
@given(delays, st.floats(-1e5, 1e5))
def test_spacing_of_jittered_frames_is_the_source_s(delayed: list[float], begin: float) -> None:
    clock = LiveClock(START)
    arrivals = arrivals_of(delayed)
    pts = [clock.video(arrival, begin + place * STEP) for place, arrival in enumerate(arrivals)]
    for (earlier, later), (came, came_later) in zip(pairwise(pts), pairwise(arrivals), strict=True):
        slewed = (came_later - came) * JITTER / SLEW_SECONDS
        assert abs((later - earlier) * TICK - STEP) <= slewed + 2 * TICK
    assert all(abs(time - arrival) <= JITTER + TICK for time, arrival in zip(seconds(pts), arrivals, strict=True))
    assert clock.rebases == 0


@settings(deadline=None)
@given(delays, jumps, st.integers(40, 90))
def test_a_jump_costs_one_rebase_and_no_step(delayed: list[float], jump: float, at: int) -> None:
    clock = LiveClock(START)
    arrivals = arrivals_of(delayed)
    pts = [clock.video(arrival, place * STEP + jump * (place >= at)) for place, arrival in enumerate(arrivals)]
    assert clock.rebases == 1
    steps = [(later - earlier) * TICK for earlier, later in pairwise(pts)]
    assert max(steps) <= STEP + JITTER + 2 * TICK
    assert all(abs(time - arrival) <= JITTER + TICK for time, arrival in zip(seconds(pts), arrivals, strict=True))


def test_jumps_there_and_back_and_a_wrap() -> None:
    clock = LiveClock(START)
    pts = list[int]()
    for place in range(1000):
        jump = {2: 10.0, 4: -10.0, 6: 1800.0}.get(place // 100, 0.0)
        media = (95_400 + place * STEP + jump) % (2**33 / 90_000)
        pts.append(clock.video(START + place * STEP, media))
    assert clock.rebases in (6, 7)
    assert all(later - earlier == 3600 for earlier, later in pairwise(pts))


@pytest.mark.parametrize("hiccup", [0.2, 0.4, 1.5])
def test_a_burst_of_late_frames_keeps_its_spacing(hiccup: float) -> None:
    """Nothing comes for a moment, then all that is missing at once, every ten seconds."""
    clock = LiveClock(START)
    pts = list[int]()
    for place in range(2000):
        taken = START + 2 + place * STEP
        since = taken % 10
        pts.append(clock.video(taken + max(hiccup - since, 0.0), place * STEP))
    assert clock.rebases == 0
    assert all(abs(later - earlier - 3600) <= 40 for earlier, later in pairwise(pts))


def test_a_slow_way_out_of_a_hiccup_is_waited_for() -> None:
    """After two seconds of nothing, frames come 1.2 times as fast as they were taken."""
    clock = LiveClock(START)
    arrival, pts = START, list[int]()
    for place in range(2000):
        taken = START + place * STEP
        arrival = max(taken, arrival + STEP / 1.2, START + 12 if place == 250 else 0.0)
        pts.append(clock.video(arrival, place * STEP))
    assert clock.rebases == 0
    assert all(abs(later - earlier - 3600) <= 40 for earlier, later in pairwise(pts))


@settings(deadline=None)
@given(st.floats(0.2, 1.9), delays)
def test_time_that_the_source_lost_is_made_up_for_without_a_step(lost: float, delayed: list[float]) -> None:
    """A source whose clock stood still for a while."""
    clock = LiveClock(START)
    delayed = [*delayed, *delayed, *[0.0] * 100]
    at = len(delayed) // 2
    arrivals = [arrival + lost * (place >= at) for place, arrival in enumerate(arrivals_of(delayed))]
    pts = [clock.video(arrival, place * STEP) for place, arrival in enumerate(arrivals)]
    steps = [(later - earlier) * TICK for earlier, later in pairwise(pts)]
    assert max(steps) <= STEP + JUMP_SECONDS + 0.01
    assert abs(seconds(pts)[-1] - arrivals[-1]) <= JUMP_SECONDS + TICK
    assert clock.rebases <= 1 + (lost < JUMP_SECONDS + 2 * JITTER)
    assert clock.rebases or lost < JUMP_SECONDS + JITTER + 0.01


@pytest.mark.parametrize("drift", [-0.001, 0.001])
@pytest.mark.parametrize("jitter", [0.0, 0.06])
def test_a_drifting_clock_is_followed(drift: float, jitter: float) -> None:
    chance = random.Random(1)
    clock = LiveClock(START)
    worst, last = 0.0, 0
    for place in range(2 * 3600 * 10):
        arrival = START + place * 0.1 + chance.uniform(0, jitter)
        pts = clock.video(arrival, place * 0.1 * (1 + drift))
        assert abs((pts - last) * TICK - 0.1) < 0.002 or not place
        worst, last = max(worst, abs(START + pts * TICK - arrival)), pts
    assert clock.rebases == 0
    assert worst <= jitter + 0.02


def test_the_earliest_arrivals_are_followed_and_not_the_mean() -> None:
    chance = random.Random(2)
    clock = LiveClock(START)
    for place in range(5000):
        taken = START + 1 + place * STEP
        pts = clock.video(taken + chance.uniform(0, JITTER), place * STEP)
        assert START + pts * TICK <= taken + 0.015 or place < 1500


def test_reconnections_are_no_rebases_and_count_from_one_epoch() -> None:
    clock = LiveClock(START)
    arrival, pts = START, list[int]()
    for connection in range(20):
        arrival += 7.0
        clock.connected()
        for place in range(50):
            arrival += STEP
            pts.append(clock.video(arrival, place * STEP - connection * 1e4))
    assert clock.rebases == 0
    assert seconds(pts)[-1] == pytest.approx(arrival, abs=TICK)
    assert all(later - earlier >= 3590 for earlier, later in pairwise(pts))


def test_rebases_of_earlier_connections_stay_counted() -> None:
    clock = LiveClock(START)
    for connection in range(3):
        clock.connected()
        for place in range(100):
            clock.video(START + connection * 10 + place * STEP, place * STEP + 100 * (place >= 60))
    assert clock.rebases == 3


def test_a_connection_that_begins_with_late_frames_finds_its_place() -> None:
    """What was buffered while it was opened comes at once, a second late at first."""
    clock = LiveClock(START)
    arrivals = [max(START + 1.0, START + place * STEP) for place in range(200)]
    pts = [clock.video(arrival, 50 + place * STEP) for place, arrival in enumerate(arrivals)]
    assert clock.rebases == 0
    assert abs(seconds(pts)[-1] - arrivals[-1]) <= JUMP_SECONDS


def test_frames_without_times_take_their_arrival() -> None:
    clock = LiveClock(START)
    assert [clock.video(START + place * STEP, None) for place in range(4)] == [0, 3600, 7200, 10800]
    assert clock.rebases == 0


def test_held_frames_run_on_and_fresh_ones_follow_them() -> None:
    clock = LiveClock(START)
    captured = [clock.video(START + 1 + place * STEP, place * STEP) for place in range(10)]
    gone_out = [clock.fresh(pts) for pts in captured]
    assert gone_out == captured
    behind = 0.2
    for now in (2.0, 2.2, 2.4):
        gone_out.append(clock.held(START + now, behind))
        assert gone_out[-1] == round((now - behind) / TICK)
    # Captured before the last repeat's time, and out only now.
    late = clock.video(START + 2.1, 1.1)
    following = clock.video(START + 2.3, 1.3)
    assert late < gone_out[-1] < following
    gone_out += [clock.fresh(late), clock.fresh(following)]
    assert gone_out[-2] == gone_out[-3] + SPACING_TICKS
    assert gone_out[-1] == following


def test_a_repeat_is_never_before_what_went_out() -> None:
    clock = LiveClock(START)
    last = clock.fresh(clock.video(START + 1, 0.0))
    assert clock.held(START + 1.1, 0.5) == last + SPACING_TICKS


@settings(deadline=None)
@given(delays, st.floats(-0.3, 0.3), st.floats(0, 0.3), st.floats(-1e5, 1e5))
def test_sound_keeps_its_offset_to_the_pictures(delayed: list[float], offset: float, lag: float, begin: float) -> None:
    """Whatever the jitter, and although packets of sound arrive ``lag`` later than pictures of their time."""
    clock = LiveClock(START)
    arrivals = arrivals_of(delayed)
    clock.video(arrivals[0], begin)
    for place, arrival in enumerate(arrivals[1:], 1):
        pts = clock.video(arrival, begin + place * STEP)
        sound = clock.audio(arrival + max(lag + offset, 0.0), begin + place * STEP + offset, STEP)
        if sound is not None:
            assert abs((sound - pts) * TICK - offset) <= 0.02
        else:
            assert place == 1
    assert clock.rebases == 0


def test_sound_goes_on_where_there_are_no_pictures() -> None:
    clock = LiveClock(START)
    times = [clock.audio(START + 1 + place * 0.02, 7 + place * 0.02, 0.02) for place in range(100)]
    assert times == [90_000 + place * 1800 for place in range(100)]


@pytest.mark.parametrize("jump", [10.0, -10.0, 1800.0])
@pytest.mark.parametrize("sound_first", [True, False])
def test_sound_goes_through_a_jump(jump: float, sound_first: bool) -> None:
    clock = LiveClock(START)
    sound, left_out = list[int](), 0
    for place in range(1000):
        arrival, media = START + place * 0.02, place * 0.02
        pictures_jumped, sound_jumped = (place >= 510, place >= 500) if sound_first else (place >= 500, place >= 510)
        if place % 2 == 0:
            clock.video(arrival, media + jump * pictures_jumped)
        pts = clock.audio(arrival + 0.005, media + jump * sound_jumped, 0.02)
        sound += [] if pts is None else [pts]
        left_out += pts is None
    assert clock.rebases == 1
    assert left_out <= 1
    assert all(abs(later - earlier - 1800) <= 1800 for earlier, later in pairwise(sound))
    assert sound[-1] * TICK == pytest.approx(999 * 0.02, abs=0.02)


def test_sound_on_a_clock_of_its_own_is_placed_by_its_arrival() -> None:
    clock = LiveClock(START)
    for place in range(500):
        clock.video(START + place * STEP, place * STEP)
        pts = clock.audio(START + place * STEP, 4711 + place * STEP, STEP)
    assert pts is not None
    assert pts * TICK == pytest.approx(499 * STEP, abs=0.01)


def test_sound_without_times_is_counted() -> None:
    """Packets come ten at a time."""
    clock = LiveClock(START)
    times = [clock.audio(START + (place // 10) * 0.2, None, 0.02) for place in range(1000)]
    # The last of the first ten tells when they were due.
    assert all(time is not None for time in times[20:])
    whole = [time for time in times[20:] if time is not None]
    assert all(abs(later - earlier - 1800) <= 20 for earlier, later in pairwise(whole))


def test_sound_of_no_known_length_and_time_takes_its_arrival() -> None:
    clock = LiveClock(START)
    assert [clock.audio(START + place * 0.02, None) for place in range(4)] == [0, 1800, 3600, 5400]


def test_sound_that_would_sound_twice_is_left_out() -> None:
    clock = LiveClock(START)
    for place in range(100):
        assert clock.audio(START + place * 0.02, place * 0.02, 0.02) is not None
    # The same once more, after a reconnection that overlaps.
    clock.connected()
    again = [clock.audio(START + 1.9 + place * 0.02, place * 0.02, 0.02) for place in range(10)]
    assert [pts is None for pts in again] == [True] * 5 + [False] * 5


def test_sound_before_the_epoch_is_left_out() -> None:
    clock = LiveClock(START)
    assert clock.audio(START - 1, 0.0, 0.02) is None
    assert clock.audio(START + 1, 2.0, 0.02) == 90_000
