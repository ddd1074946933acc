"""Where the two ends of a live stream are in their lives, and what ended a connection."""

from enum import StrEnum


class ReaderState(StrEnum):
    """Where the reading of one source is."""

    CONNECTING = "connecting"
    PRIMING = "priming"
    """Connected; waiting for the first picture that is complete and not old."""
    STREAMING = "streaming"
    STALLED = "stalled"
    """Still connected, but no picture has come for a second; outputs repeat the last one."""
    BACKOFF = "backoff"
    """Not connected; the next attempt waits."""
    AUTH_FAILED = "auth failed"
    """The source refuses the name or the password; asked again once a minute at most."""
    STOPPED = "stopped"


class PublisherState(StrEnum):
    """Where the publishing to one output is."""

    WAITING = "waiting"
    """No picture has been seen yet, so nothing is known to publish."""
    STARTING = "starting"
    PUBLISHING = "publishing"
    BACKOFF = "backoff"
    """Not connected; the next attempt waits."""
    STOPPED = "stopped"


class Cause(StrEnum):
    """What ended a connection, or kept it from being made."""

    REFUSED = "refused"
    """Nobody listens there."""
    NOT_FOUND = "not found"
    """The server has no such stream, now."""
    UNAUTHORIZED = "unauthorized"
    TIMEOUT = "timeout"
    """It said nothing for too long, or never answered."""
    NO_VIDEO = "no video"
    """Pictures stopped, whatever else went on."""
    ENDED = "ended"
    """The other side closed the connection, or its process died."""
    INVALID = "invalid"
    """What came is no video that can be read, or nothing that can be written."""
    HUNG = "hung"
    """The process that holds the connection did not answer, and was killed."""
    DIED = "died"
    """The process that held the connection died."""
    FAILED = "failed"
    """Anything else."""
