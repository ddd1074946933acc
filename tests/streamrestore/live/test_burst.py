"""What a connection begins with may be old."""

from hypothesis import given
from hypothesis import strategies as st

from streamrestore.live.burst import OpeningBurst


def first_new(arrivals: list[float], medias: list[float | None]) -> int:
    burst = OpeningBurst()
    return next(number for number, each in enumerate(zip(arrivals, medias, strict=True)) if not burst.is_old(*each))


@given(burst=st.integers(0, 60), interval=st.sampled_from([0.01, 1 / 30, 0.04, 0.2, 1.0]))
def test_of_a_burst_nothing_is_shown_and_of_what_follows_all_but_the_first(burst: int, interval: float) -> None:
    old = [0.0005 * number for number in range(burst)]
    live = [0.03 + interval * number for number in range(1, 60)]
    medias = [interval * number for number in range(burst + 59)]
    found = first_new(old + live, [*medias])
    assert burst <= found <= burst + 1


def test_a_source_without_times_is_shown_from_its_second_picture() -> None:
    assert first_new([0.0, 0.001], [None, None]) == 1


def test_a_burst_is_one_although_the_time_of_its_first_picture_is_not_known() -> None:
    arrivals = [*(0.0005 * number for number in range(40)), 0.06, 0.1]
    assert first_new(arrivals, [None, *(0.04 * number for number in range(1, 42))]) == 40


def test_a_burst_that_does_not_end_is_shown_after_two_seconds() -> None:
    times = [0.01 * number for number in range(400)]
    assert 2.0 <= times[first_new(times, [0.04 * number for number in range(400)])] <= 2.1
