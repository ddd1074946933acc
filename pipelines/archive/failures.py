"""What follows when a step of an item fails: try it again, try it smaller, or give the item up."""

import traceback
from dataclasses import dataclass

from pipelines.exit_codes import ExitCode, exit_code
from streamrestore.errors import (
    DecodeError,
    DeviceMemoryError,
    DiskFullError,
    OutputError,
    RestoreError,
    SinkError,
    StorageError,
    StreamRestoreError,
    VerificationError,
    WorkerStartError,
)

ATTEMPTS = 3
"""Of a step that fails for a reason that may pass."""

PAUSE_SECONDS = 2.0
"""Before the second attempt; five times as long before the third."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """What to do about a failure."""

    again_after: float | None = None
    """Seconds until the step is tried again; None: not at all."""
    anew: bool = False
    """Whether the item is planned again instead: it may be done by now, or its folder gone."""
    smaller: bool = False
    """Whether it is planned with smaller patches."""


GIVE_UP = Reaction()
"""The item cannot be restored."""


def react(error: BaseException, attempts: int, *, planned: bool, finishing: bool = False) -> Reaction:
    """Decide what follows from a failure.

    Dead workers are not seen here: their steps were given to others before.

    Args:
        error: What the step raised.
        attempts: How often the step has failed, this time included.
        planned: Whether that was after the item was planned, and planning it again may help.
        finishing: Whether the step joins the segments.
    """
    if isinstance(error, DeviceMemoryError) and planned:
        return Reaction(again_after=0.0, anew=True, smaller=True)
    if isinstance(error, OutputError) and planned and attempts < ATTEMPTS:
        return Reaction(again_after=PAUSE_SECONDS, anew=True)
    # Storage that others use too is full for a while, mounted anew, or slow; files that are damaged stay so. Workers
    # differ: a device that has just failed is not that of the next one.
    may_pass = isinstance(error, OSError | DecodeError | DiskFullError | StorageError | WorkerStartError) or (
        isinstance(error, SinkError) and not isinstance(error, OutputError)
    )
    if finishing and attempts == 1 and isinstance(error, SinkError | VerificationError | RestoreError):
        # A segment may be damaged, which planning finds.
        return Reaction(again_after=PAUSE_SECONDS if may_pass else 0.0, anew=True)
    if may_pass and attempts < ATTEMPTS:
        return Reaction(again_after=PAUSE_SECONDS * 5 ** (attempts - 1))
    return GIVE_UP


def describe_failure(error: BaseException) -> tuple[str, str, ExitCode]:
    """A failure for a record: why, its traceback, and the exit code that a command would end with."""
    known = isinstance(error, StreamRestoreError)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    code = exit_code(error) if isinstance(error, StreamRestoreError) else ExitCode.FAILED
    return reason, "".join(traceback.format_exception(error)), code
