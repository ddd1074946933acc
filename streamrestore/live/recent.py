"""The largest of what was lately."""

from collections import deque


class RecentMost:
    """The largest value of the last while, exact to a sixtieth of it. To be told by one thread, and read by any.

    ``now`` is always seconds on one monotonic clock.
    """

    def __init__(self, seconds: float) -> None:
        """Begin with nothing.

        Args:
            seconds: How long a value is remembered.
        """
        self._seconds = seconds
        self._step = seconds / 60
        self._largest: deque[tuple[float, float]] = deque()
        """By when they came: of each step the largest, and none that a later one exceeds."""
        self.value = 0.0
        """As of the last time that something was added; 0 where that was nothing."""

    def add(self, now: float, value: float) -> None:
        """Take a value in."""
        largest = self._largest
        while largest and largest[0][0] <= now - self._seconds:
            largest.popleft()
        while largest and largest[-1][1] <= value:
            largest.pop()
        if not largest or now - largest[-1][0] >= self._step:
            largest.append((now, value))
        self.value = largest[0][1]
