"""When everything is shown that a live stream puts out. The only place where that is decided.

Pure: whoever calls says when things came. All seconds are of one monotonic clock, and all outputs count from one
epoch, for the whole run: reconnections, jumps and wraps of the source's clock do not show.

The source's own times (*media*) are good for spacing alone, for nobody knows what they count from. When packets
*arrive* is known, but the network shakes it. So a frame belongs at ``media + offset``, and the offset follows the
arrivals slowly. It follows the *earliest* of them: a network can delay a packet and never bring it before its time,
so the least delay of a few seconds says where the source's clock stands, and neither jitter nor a burst of late
frames moves it. A mean would follow every hiccup, there and back.

What a frame is from then on:

- more than `JUMP_SECONDS` early: no network does that, so the source's clock leapt ahead: *rebased* to the arrival;
- late, and its media time is not after its predecessor's: the source's clock fell back: rebased;
- late, and its media time is: a hiccup, as it seems. It keeps its place, and so do those in its burst, which are
  ever less late. If lateness does not shrink for `LATE_SECONDS`, the source lost that time (its clock stood, or it
  counts frames): rebased, by `JUMP_SECONDS` with each frame at most, so that no step shows.
"""

from fractions import Fraction
from math import expm1, inf

LIVE_TIME_BASE = Fraction(1, 90_000)
"""Seconds per tick of all live outputs: what MPEG-TS and RTP have for video."""

JUMP_SECONDS = 0.1
"""Differences from the arrival up to this are jitter or drift, and followed slowly."""

SLEW_SECONDS = 10.0
"""Time constant of following: spacing is off by a hundredth at most, and a camera's drift of a thousandth is
followed at a distance of some 10 ms."""

LATE_SECONDS = 0.5
"""Lateness that lasts so long without shrinking is no hiccup: after one, frames come faster than they were taken."""

PROGRESS_SECONDS = 0.02
"""Lateness that is less by this has shrunk."""

WINDOW_SECONDS = 2.0
"""The earliest arrival is looked for over one to two of these."""

OPENING_SECONDS = 1.0
"""What a connection begins with is often late, buffered while it was opened. So early frames so soon after its
first one correct that one, and are no jump."""

SPACING_TICKS = 90
"""Video frames are at least 1 ms apart: players and muxers may round to that."""

RELATED_SECONDS = 0.5
"""Sound and pictures of one source whose offsets differ by more are not on one clock."""


class _Mapping:
    """From media times of one connection to the clock of arrivals."""

    def __init__(self) -> None:
        self.offset: float | None = None
        self.rebases = 0
        self._began = -inf
        self._media = -inf
        self._slewed_at = -inf
        self._least_delay = inf
        self._least_delay_before = inf
        """Of the window before the current one."""
        self._window_ends = -inf
        self._late_since: float | None = None
        self._least_lateness = inf
        self._overdue = False

    def place(self, arrival: float, media: float) -> float:
        """Where something belongs, on the clock of arrivals."""
        previous, self._media = self._media, media
        if self.offset is None:
            self._began = arrival
            return self._rebase(arrival, media)
        late = arrival - media - self.offset
        if late < -JUMP_SECONDS or (late > JUMP_SECONDS and media <= previous):
            self.rebases += late > 0 or arrival - self._began > OPENING_SECONDS
            return self._rebase(arrival, media)
        if self._overdue:
            self._make_up(arrival, late)
        elif late > JUMP_SECONDS:
            self._wait(arrival, late)
        else:
            self._forgive()
            self._slew(arrival, arrival - media)
        return media + self.offset

    def _rebase(self, arrival: float, media: float) -> float:
        self.offset = arrival - media
        self._forgive()
        self._look_anew(arrival)
        return arrival

    def _forgive(self) -> None:
        self._late_since, self._least_lateness, self._overdue = None, inf, False

    def _look_anew(self, arrival: float) -> None:
        self._least_delay = self._least_delay_before = inf
        self._window_ends = arrival + WINDOW_SECONDS
        self._slewed_at = arrival

    def _wait(self, arrival: float, late: float) -> None:
        """Bear with what is late, for a while."""
        if self._late_since is None or late < self._least_lateness - PROGRESS_SECONDS:
            self._late_since, self._least_lateness = arrival, late
        elif arrival - self._late_since >= LATE_SECONDS:
            self.rebases += 1
            self._overdue = True
            self._make_up(arrival, late)
        # The last frames of a burst are hardly late, and shall not stand for all of the time it took.
        self._slewed_at = arrival

    def _make_up(self, arrival: float, late: float) -> None:
        """Follow lateness that lasts, one frame after the other."""
        remaining = min(late, self._least_lateness)
        step = min(max(remaining, 0.0), JUMP_SECONDS)
        self.offset = (self.offset or 0.0) + step
        self._least_lateness = remaining - step
        if self._least_lateness <= 0:
            self._forgive()
        self._look_anew(arrival)

    def _slew(self, arrival: float, delay: float) -> None:
        if arrival >= self._window_ends:
            recent = arrival < self._window_ends + WINDOW_SECONDS
            self._least_delay_before = self._least_delay if recent else inf
            self._least_delay, self._window_ends = inf, arrival + WINDOW_SECONDS
        self._least_delay = min(self._least_delay, delay)
        # After a gap, one arrival is not worth as much as all that are missing.
        elapsed = min(max(arrival - self._slewed_at, 0.0), 1.0)
        self._slewed_at = max(arrival, self._slewed_at)
        offset = self.offset or 0.0
        difference = min(self._least_delay, self._least_delay_before) - offset
        self.offset = offset - difference * expm1(-elapsed / SLEW_SECONDS)


class LiveClock:
    """The times of one live stream's outputs, in `LIVE_TIME_BASE`, never negative. Passive, for one thread.

    A frame is placed when it is captured (`video`), and gets its final time when it goes out (`fresh`), for meanwhile
    repeats of an older one may have gone out (`held`). Sound is placed and goes out at once (`audio`).
    """

    def __init__(self, epoch_seconds: float) -> None:
        """Begin.

        Args:
            epoch_seconds: When time 0 of the outputs is.
        """
        self._epoch_seconds = epoch_seconds
        self._rebases_before = 0
        self._video = _Mapping()
        self._audio = _Mapping()
        self._counted_seconds = 0.0
        """Of sound without media times, in this connection."""
        self._captured = self._gone_out = -SPACING_TICKS
        self._audio_begin = -1
        self._audio_end = 0

    @property
    def rebases(self) -> int:
        """Jumps of the source's clock that were taken out, in all connections."""
        return self._rebases_before + self._video.rebases

    def connected(self) -> None:
        """A new connection to the source begins: what is captured next has new media times."""
        self._rebases_before = self.rebases
        self._video, self._audio = _Mapping(), _Mapping()
        self._counted_seconds = 0.0

    def video(self, arrival_seconds: float, media_seconds: float | None) -> int:
        """Place a frame that was captured. Called in the order in which frames are shown.

        Args:
            arrival_seconds: When its packet came.
            media_seconds: The source's own time; None takes the arrival.

        Returns:
            Where it belongs: after all frames before it.
        """
        place = arrival_seconds if media_seconds is None else self._video.place(arrival_seconds, media_seconds)
        self._captured = max(self._ticks(place), self._captured + SPACING_TICKS)
        return self._captured

    def fresh(self, pts: int) -> int:
        """The time of a captured frame that goes out now.

        Args:
            pts: As `video` gave it.

        Returns:
            The same; just after the last frame that went out, fresh or held, where that is later.
        """
        self._gone_out = max(pts, self._gone_out + SPACING_TICKS)
        return self._gone_out

    def held(self, now: float, behind_seconds: float) -> int:
        """The time of a repeat of the last frame that goes out now.

        Args:
            now: When it does.
            behind_seconds: How long before that a frame is captured that goes out now, in normal running.

        Returns:
            A time after the last frame that went out. Frames in flight are not waited for: see `fresh`.
        """
        return self.fresh(self._ticks(now - behind_seconds))

    def audio(self, arrival_seconds: float, media_seconds: float | None, duration_seconds: float = 0.0) -> int | None:
        """The time of a packet of sound.

        Sound is placed as pictures are, so that the source's offset between the two is kept; by its own arrivals
        before the first picture of a connection, and while the two are not on one clock, as in the moment in which
        only one of them has jumped.

        Args:
            arrival_seconds: When it came.
            media_seconds: The source's own time, on the same clock as the pictures'; None counts durations.
            duration_seconds: How long it sounds.

        Returns:
            A time after that of the packet before; None where most of it would sound while others do, or before
            the epoch: it is to be left out.
        """
        duration = round(duration_seconds / LIVE_TIME_BASE)
        begin = self._ticks(self._place_audio(arrival_seconds, media_seconds, duration_seconds))
        if begin + duration // 2 < self._audio_end:
            return None
        begin = max(begin, self._audio_begin + 1)
        self._audio_begin, self._audio_end = begin, begin + duration
        return begin

    def _place_audio(self, arrival: float, media: float | None, duration: float) -> float:
        if media is None:
            if duration <= 0:
                return arrival
            # Packets of sound come several at once, so that their arrivals say little.
            counted = self._counted_seconds
            self._counted_seconds += duration
            return self._audio.place(arrival, counted)
        own = self._audio.place(arrival, media)
        ours, theirs = self._audio.offset, self._video.offset
        related = ours is not None and theirs is not None and abs(ours - theirs) <= RELATED_SECONDS
        return media + theirs if related and theirs is not None else own

    def _ticks(self, seconds: float) -> int:
        return round((seconds - self._epoch_seconds) * LIVE_TIME_BASE.denominator)
