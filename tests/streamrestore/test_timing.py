"""Times rise strictly, and whoever has a good one keeps it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.timing import plan_time

Times = list[int | None]


def plan_all(own: Times, step: int = 40) -> list[int]:
    planned: list[int] = []
    for pts, following in zip(own, [*own[1:], None], strict=True):
        planned.append(plan_time(pts, following, planned[-1] if planned else None, step))
    return planned


@given(st.lists(st.integers(-(10**6), 10**6), unique=True, min_size=1).map(sorted))
def test_rising_times_stay(own: list[int]) -> None:
    assert plan_all(list(own)) == own


@given(st.lists(st.none() | st.integers(-(2**40), 2**40), min_size=1), st.integers(1, 5000))
def test_times_always_rise(own: Times, step: int) -> None:
    planned = plan_all(own, step)
    assert all(one < other for one, other in pairwise(planned))


@pytest.mark.parametrize(
    ("own", "planned"),
    [
        ([0, None, 80], [0, 40, 80]),
        ([0, None, 30], [0, 15, 30]),
        ([0, None, None, 120], [0, 40, 80, 120]),
        ([0, 40, 40, 120], [0, 40, 80, 120]),
        ([0, 40, 9_000_000, 120, 160], [0, 40, 80, 120, 160]),
        ([0, 40, 120, 80, 160], [0, 40, 60, 80, 160]),
        ([800, 840, 0, 40, 80], [800, 840, 880, 920, 960]),
        ([None, None, None], [0, 40, 80]),
        ([0, 1, None, 2, 3], [0, 1, 2, 3, 43]),
    ],
    ids=["missing", "no room", "two missing", "twice", "a leap", "swapped", "begins anew", "none", "no tick between"],
)
def test_what_becomes_of_bad_times(own: Times, planned: list[int]) -> None:
    assert plan_all(own) == planned
