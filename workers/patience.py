"""How long chunks and workers of a pool of restorers may take, and what becomes of those that fail."""

from dataclasses import dataclass
from math import inf

FAILURES_OF_A_WORKER = 3
"""A worker that failed with so many chunks, and succeeded with none in between, may be ill."""

LEAST_TIMES_MEAN = 3.0
"""No chunk is late before so many times what chunks of its size took on average, whatever `Patience` says."""

MOST_TIMES_LONGER = 5.0
"""`Patience.most_seconds` grows to so many times itself at most."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """How workers are kept for weeks.

    A chunk that fails is tried with one other worker, if possible with one that just succeeded. That tells who is to
    blame: where it fails again, the chunk itself; else the first worker, which is replaced when that was so with
    `FAILURES_OF_A_WORKER` chunks in a row. Slots whose workers only die rest for a while, and are not given up.
    """

    failing_seconds: float = 5.0
    """Where for so long no worker succeeds with anything, it cannot be told who is to blame, and those that fail are
    replaced; then after twice as long, and so on."""
    rest_seconds: float = 5.0
    """How long a slot rests at first; then twice as long, and so on."""
    longest_seconds: float = 60.0
    """What both grow to."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a chunk and a worker may take; generous by default, as for files."""

    least_seconds: float = 60.0
    """A chunk is late after this long at the earliest."""
    times_mean: float = 20.0
    """A chunk is late after this many times what chunks of its size took on average."""
    most_seconds: float = inf
    """A chunk is late after this long at the latest, also before the first answer, when there is no average; but see
    `LEAST_TIMES_MEAN`. By default nothing is late before the first answer: a chunk may take a CPU minutes. Where a
    worker is lost before it, that may have been its only fault, and this grows to what the worker was given."""
    deadlines_to_kill: float = 3.0
    """A worker with a chunk this many times later than late, at least 1, is killed: it hangs."""
    start_seconds: float = 900.0
    """A worker that is not ready after this long is killed, so that a pool cannot wait for ever."""
    upkeep: Upkeep | None = None
    """None where workers need not last long: every error is its chunk's own, and slots are given up."""
