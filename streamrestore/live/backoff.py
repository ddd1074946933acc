"""How long to wait before a connection is tried again."""

import random

from streamrestore.live.states import Cause

FIRST_SECONDS = (0.25, 0.5)
"""Between attempts of an outage's first minute: most outages are short, and every second of one is seen."""

PATIENT_AFTER_SECONDS = 60.0

LONGEST_SECONDS = 5.0
"""Between attempts of a long outage."""

AUTH_SECONDS = 60.0
"""After a refused password, which more attempts do not make right, but may lock the account."""

GOOD_SECONDS = 10.0
"""What a connection must last for the outage before it to count as over."""

_JITTER = 0.2


class Backoff:
    """The waits of one connection. Passive; ``now`` is always seconds on one monotonic clock.

    A connection that comes and goes is one outage: it does not start anew with the shortest waits.
    """

    def __init__(self, generator: random.Random | None = None) -> None:
        self._random = generator or random.Random()
        self._since: float | None = None
        self._up_since: float | None = None

    def up(self, now: float) -> None:
        """The connection does what it is for."""
        self._up_since = now if self._up_since is None else self._up_since

    def down(self, now: float, cause: Cause) -> float:
        """The connection is gone, or was not made.

        Returns:
            Seconds to wait.
        """
        up_since, self._up_since = self._up_since, None
        if self._since is None or (up_since is not None and now - up_since >= GOOD_SECONDS):
            self._since = now
        if cause is Cause.UNAUTHORIZED:
            return AUTH_SECONDS * (1 + self._random.uniform(0, _JITTER))
        outage = now - self._since
        if outage < PATIENT_AFTER_SECONDS:
            return self._random.uniform(*FIRST_SECONDS)
        longest = min(LONGEST_SECONDS, FIRST_SECONDS[1] * outage / PATIENT_AFTER_SECONDS * 2)
        return longest * self._random.uniform(1 - _JITTER, 1)
