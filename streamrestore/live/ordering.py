"""Frames of a live stream come back in any order and leave in order, and none waits long for another.

The one place where that order is restored. Decides and never acts: no threads and no clock in here.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from math import inf
from statistics import median
from typing import NamedTuple

TURNAROUNDS = 50
"""So many of the last frames say how long one takes to come back."""

TIMES_MEDIAN = 3.0
LEAST_PATIENCE_SECONDS = 0.25
"""Even where frames come back at once, a worker may pause for a moment."""


class Leaving(NamedTuple):
    """A frame that leaves now."""

    number: int
    given_up: bool
    """It is not back; if it ever comes, it is to be thrown away."""


class FrameOrder:
    """Which frames of one stream are out, and which may leave. For one thread.

    ``now`` is always seconds on one monotonic clock.
    """

    def __init__(self, max_latency_seconds: float) -> None:
        """Begin with no frame.

        Args:
            max_latency_seconds: No frame is waited for longer, from its capture on; infinite where none is given up.
        """
        self._max_latency_seconds = max_latency_seconds
        self._captured_at: OrderedDict[int, float] = OrderedDict()
        """Of all frames that have not left, in order."""
        self._settled = set[int]()
        """Those of them that are back."""
        self._given_up: OrderedDict[int, float] = OrderedDict()
        """When the last of those were captured that left without being back."""
        self._turnarounds: deque[float] = deque(maxlen=TURNAROUNDS)
        self._last = -1

    @property
    def in_flight(self) -> int:
        """Frames that have not left, back or not."""
        return len(self._captured_at)

    @property
    def patience_seconds(self) -> float:
        """How long after its capture a frame is given up, where a later one is back."""
        if not self._turnarounds or self._max_latency_seconds == inf:
            return self._max_latency_seconds
        patience = max(TIMES_MEDIAN * median(self._turnarounds), LEAST_PATIENCE_SECONDS)
        return min(patience, self._max_latency_seconds)

    def add(self, number: int, captured_at: float) -> None:
        """A frame sets out.

        Args:
            number: Larger than those of all before.
            captured_at: When it was captured.

        Raises:
            ValueError: A frame with this number, or a larger one, was added before.
        """
        if number <= self._last:
            raise ValueError(f"frame {number} was added after frame {self._last}: numbers must rise")
        self._last = number
        self._captured_at[number] = captured_at

    def release(self, number: int) -> None:
        """A frame is not waited for, and may leave as it is. Unknown ones are ignored."""
        if number in self._captured_at:
            self._settled.add(number)

    def settle(self, number: int, now: float) -> None:
        """A frame is back. Unknown ones are ignored."""
        captured_at = self._captured_at.get(number)
        if captured_at is not None:
            if number in self._settled:
                return
            self._settled.add(number)
        else:
            # It comes too late; but if nobody learned from those, patience would stay too short for ever.
            captured_at = self._given_up.pop(number, None)
        if captured_at is not None:
            self._turnarounds.append(max(now - captured_at, 0.0))

    def drop(self, number: int) -> None:
        """Forget a frame: it neither leaves nor is waited for. Unknown ones are ignored."""
        self._captured_at.pop(number, None)
        self._settled.discard(number)
        self._given_up.pop(number, None)

    def take(self, now: float) -> list[Leaving]:
        """Which frames leave now, in order; each leaves once."""
        return list(self._leaving(now))

    def due(self, now: float) -> float | None:
        """When `take` will give something, if nothing else happens until then.

        Returns:
            On the clock of ``now``, and not before it; None while no frame is out.
        """
        head = next(iter(self._captured_at), None)
        if head is None:
            return None
        return now if head in self._settled else max(now, self._given_up_at(head))

    def _leaving(self, now: float) -> Iterator[Leaving]:
        while self._captured_at:
            number = next(iter(self._captured_at))
            back = number in self._settled
            if not back and now < self._given_up_at(number):
                return
            captured_at = self._captured_at.pop(number)
            self._settled.discard(number)
            if not back:
                self._given_up[number] = captured_at
                if len(self._given_up) > TURNAROUNDS:
                    self._given_up.popitem(last=False)
            yield Leaving(number, not back)

    def _given_up_at(self, head: int) -> float:
        """When the first of all frames, which is not back, is given up."""
        # Whatever is back came later than the first.
        patience = self.patience_seconds if self._settled else self._max_latency_seconds
        return self._captured_at[head] + patience
