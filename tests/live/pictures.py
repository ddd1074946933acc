"""What a viewer saw and heard, and what it says about the way there. Pure functions; times are in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Picture:
    """A decoded picture."""

    arrival: float
    """When it was decoded, as `time.monotonic` has it."""
    pts: float | None
    """What its stream says when it is to be seen."""
    index: int | None
    """Of its time code; None if it cannot be read."""
    time: float | None
    """Of its time code: when the camera's encoder got it, as `time.monotonic` has it."""
    height: int
    width: int
    luma: float
    """The mean of its first plane, in the stream's own codes."""
    session: int
    """Counts the viewer's sessions, from 1."""


@dataclass(frozen=True)
class Sound:
    """A packet of sound."""

    arrival: float
    pts: float | None
    size: int
    """In bytes."""
    session: int


@dataclass(frozen=True)
class End:
    """The end of a session, or of a try to begin one."""

    time: float
    reason: str
    """The class of the error, or "end" where the stream just ended."""


def indices(pictures: Sequence[Picture]) -> list[int]:
    """The indices of those that carry one, in order of arrival."""
    return [picture.index for picture in pictures if picture.index is not None]


def fresh(pictures: Sequence[Picture]) -> list[Picture]:
    """Those with an index that was not there before."""
    first = dict[int, Picture]()
    for picture in pictures:
        if picture.index is not None:
            first.setdefault(picture.index, picture)
    return list(first.values())


def lost(indices: Sequence[int]) -> list[int]:
    """Those that are missing between the lowest and the highest."""
    return sorted(set(range(min(indices), max(indices) + 1)) - set(indices)) if indices else []


def reordered(indices: Sequence[int]) -> list[int]:
    """Those that come after a higher one, but for repetitions of what was there before."""
    late, seen, highest = list[int](), set[int](), -1
    for index in indices:
        if index < highest and index not in seen:
            late.append(index)
        seen.add(index)
        highest = max(highest, index)
    return late


def duplicated(indices: Sequence[int]) -> list[int]:
    """Each repetition."""
    seen, again = set[int](), list[int]()
    for index in indices:
        if index in seen:
            again.append(index)
        seen.add(index)
    return again


def gaps(pictures: Sequence[Picture] | Sequence[Sound]) -> list[float]:
    """The time from each arrival to the next."""
    arrivals = [one.arrival for one in pictures]
    return [after - before for before, after in pairwise(arrivals)]


def largest_gap(pictures: Sequence[Picture] | Sequence[Sound], until: float | None = None) -> float:
    """The longest time without an arrival.

    Args:
        pictures: At least one.
        until: The end of what was watched; None ends with the last arrival.
    """
    last = [] if until is None else [until - pictures[-1].arrival]
    return max([*gaps(pictures), *last], default=0.0)


def latencies(pictures: Sequence[Picture]) -> list[float]:
    """How long after their time code those that carry one arrived; mostly asked of `fresh` ones."""
    return [picture.arrival - picture.time for picture in pictures if picture.time is not None]


def slope(pictures: Sequence[Picture]) -> float:
    """How much the latency grows, in seconds a second: the line of least squares through latency over arrival.

    Args:
        pictures: At least two with a time code.
    """
    coded = [(picture.arrival, picture.arrival - picture.time) for picture in pictures if picture.time is not None]
    arrival = sum(x for x, _ in coded) / len(coded)
    latency = sum(y for _, y in coded) / len(coded)
    return sum((x - arrival) * (y - latency) for x, y in coded) / sum((x - arrival) ** 2 for x, _ in coded)
