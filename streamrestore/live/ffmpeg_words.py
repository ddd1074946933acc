"""What FFmpeg's errors mean for a live connection."""

import errno

import av

from streamrestore.live.states import Cause
from streamrestore.probing import reason

_CAUSES: tuple[tuple[type[Exception], Cause], ...] = (
    (av.error.HTTPUnauthorizedError, Cause.UNAUTHORIZED),
    (av.error.HTTPForbiddenError, Cause.UNAUTHORIZED),
    (av.error.HTTPNotFoundError, Cause.NOT_FOUND),
    (ConnectionRefusedError, Cause.REFUSED),
    (TimeoutError, Cause.TIMEOUT),
    (av.error.ExitError, Cause.TIMEOUT),
    (ConnectionError, Cause.ENDED),
    (EOFError, Cause.ENDED),
    (FileNotFoundError, Cause.NOT_FOUND),
    (av.error.InvalidDataError, Cause.INVALID),
    (ValueError, Cause.INVALID),
)

_ENDED_ERRNOS = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EIO, errno.ENOTCONN})


def cause_of(error: Exception) -> Cause:
    """What kind of trouble an error of FFmpeg's is."""
    if getattr(error, "errno", None) in _ENDED_ERRNOS:
        return Cause.ENDED
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), Cause.FAILED)


def words_of(error: Exception) -> str:
    """FFmpeg's words for it; never the address, which may hold a password."""
    return reason(error) or type(error).__name__
