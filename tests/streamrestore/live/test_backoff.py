"""How long connections wait before they are tried again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from streamrestore.live.backoff import Backoff
from streamrestore.live.states import Cause


def test_a_short_outage_is_tried_every_half_second_at_most() -> None:
    backoff, now = Backoff(random.Random(1)), 100.0
    while now < 159:
        wait = backoff.down(now, Cause.REFUSED)
        assert 0.25 <= wait <= 0.5
        now += wait


def test_a_long_outage_is_tried_less_often_up_to_five_seconds() -> None:
    backoff, now, waits = Backoff(random.Random(1)), 0.0, list[float]()
    while now < 3600:
        waits.append(backoff.down(now, Cause.REFUSED))
        now += waits[-1]
    assert max(waits) <= 5.0
    assert min(waits[-20:]) >= 4.0


@given(st.integers(0, 1000))
def test_a_wrong_password_is_tried_once_a_minute(seed: int) -> None:
    assert Backoff(random.Random(seed)).down(0.0, Cause.UNAUTHORIZED) >= 60.0


def test_ten_good_seconds_end_an_outage_and_fewer_do_not() -> None:
    def wait_after(good_seconds: float) -> float:
        backoff = Backoff(random.Random(1))
        now = 0.0
        while now < 600:
            now += backoff.down(now, Cause.ENDED)
        backoff.up(now)
        return backoff.down(now + good_seconds, Cause.ENDED)

    assert wait_after(10.0) <= 0.5
    assert wait_after(9.0) >= 2.0
