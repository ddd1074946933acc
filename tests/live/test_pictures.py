"""Tests of what is concluded from pictures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.live.pictures import (
    Picture,
    duplicated,
    fresh,
    gaps,
    indices,
    largest_gap,
    latencies,
    lost,
    reordered,
    slope,
)


def picture(arrival: float, index: int | None, time: float | None = None) -> Picture:
    return Picture(arrival, arrival, index, time, 180, 320, 128.0, 1)


@given(st.lists(st.integers(0, 20), unique=True, min_size=1))
def test_what_is_neither_lost_nor_late_nor_twice_is_in_order(numbers: list[int]) -> None:
    whole = not (lost(numbers) or reordered(numbers) or duplicated(numbers))
    assert whole == (numbers == list(range(numbers[0], numbers[0] + len(numbers))))


def test_each_kind_of_harm_is_told_apart() -> None:
    assert lost([3, 4, 7]) == [5, 6]
    assert lost([]) == []
    assert reordered([1, 3, 2, 4, 2]) == [2]
    assert duplicated([1, 1, 2, 1]) == [1, 1]
    assert reordered([1, 2, 2, 1]) == []


def test_pictures_held_or_without_a_code_are_not_fresh() -> None:
    pictures = [picture(0, 5), picture(1, 5), picture(2, None), picture(3, 6), picture(4, 5)]
    assert fresh(pictures) == [pictures[0], pictures[3]]
    assert indices(pictures) == [5, 5, 6, 5]


def test_gaps_are_between_arrivals_and_up_to_the_end() -> None:
    pictures = [picture(0.0, 0), picture(1.0, 1), picture(4.0, 2)]
    assert gaps(pictures) == [1.0, 3.0]
    assert largest_gap(pictures) == 3.0
    assert largest_gap(pictures, until=9.0) == 5.0
    assert largest_gap(pictures[:1]) == 0.0


def test_latency_and_its_growth() -> None:
    pictures = [picture(10 + n, n, time=10 + n - (0.1 + 0.25 * n)) for n in range(5)] + [picture(20, None)]
    assert latencies(pictures) == pytest.approx([0.1, 0.35, 0.6, 0.85, 1.1])
    assert slope(pictures) == pytest.approx(0.25)
