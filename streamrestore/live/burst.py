"""Tell the pictures of a connection's opening burst, which are old when they come, from those of now."""

_LONGEST_SECONDS = 2.0
"""What a burst may take to come; after it, what comes counts as new."""

_PACE = 0.5
"""Pictures that come in less than this part of the time between them come in a burst."""


class OpeningBurst:
    """Servers and cameras begin with what they have kept, up to a whole GOP, all at once.

    Shown as it comes, it would put every later picture as late as it is long.
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._last: tuple[float, float] | None = None
        self.dropped = 0
        """Pictures that were old."""

    def is_old(self, arrival_seconds: float, media_seconds: float | None) -> bool:
        """Whether a picture belongs to the burst; not asked again after the first that does not.

        Args:
            arrival_seconds: When it came.
            media_seconds: When it is to be shown, on the source's clock.
        """
        first = self._began is None
        self._began = arrival_seconds if self._began is None else self._began
        last, self._last = self._last, None if media_seconds is None else (arrival_seconds, media_seconds)
        # FFmpeg knows no time of the very first one, although it does of all others.
        if (media_seconds is None and not first) or arrival_seconds - self._began > _LONGEST_SECONDS:
            return False
        # Of the first one nothing can be told, until the second one comes at its time or with it.
        if last is None or media_seconds is None or arrival_seconds - last[0] < _PACE * (media_seconds - last[1]):
            self.dropped += 1
            return True
        return False
