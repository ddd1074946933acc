"""The reading end of one stream: a process that holds the connection, and when it is replaced."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from pipelines.live.link import ProcessLink
from streamrestore.frame import Planes
from streamrestore.live.addresses import Address
from streamrestore.live.states import Cause, ReaderState
from streamrestore.probing import SourceInfo
from workers.live.child import Nursery
from workers.live.messages import Connect, Disconnect, Lost, Opened, Picture, Priming, Remark, Sound
from workers.live.ring import FrameRing

OPEN_SECONDS = 5.0
"""What a source may take to answer and to send its first packet."""

STALL_SECONDS = 2.0
"""Without a picture for so long, a connection is given up."""

QUIET_SECONDS = 1.0
"""Without a picture for so long, it is said to stall."""

_SLOW_FACTOR = 4.0
"""Cameras of few frames a second may be silent for so many times their usual distance."""

UNKNOWN_SECONDS = 2.5
"""Between two pictures, where only one was seen and nothing is said of a rate."""

_PRIMING_SECONDS = 30.0
"""What the first key frame may take where packets come."""

_SILENT_SECONDS = 10.0
"""Without a packet for so long, a connection that has given no picture yet is given up."""

_FASTEST_LEARNED, _SLOWEST_LEARNED = 0.01, 10.0

_SMOOTHING = 0.2


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame that was read."""

    planes: Planes
    info: SourceInfo
    arrival_seconds: float
    media_seconds: float | None
    skipped: int
    """Frames that were lost in the reader since the one before."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The connection came to another state."""

    before: ReaderState
    after: ReaderState
    cause: Cause | None = None
    words: str = ""


class ReaderLink(ProcessLink):
    """Keeps one source open for as long as it is wanted. For one thread; never blocks.

    ``now`` is always seconds on the system's monotonic clock.
    """

    def __init__(
        self, source: Address, options: Mapping[str, str], nursery: Nursery, now: float, *, audio: bool, waits: bool
    ) -> None:
        """Begin to connect.

        Args:
            source: What to read.
            options: For FFmpeg.
            nursery: Gives processes.
            now: When.
            audio: Whether its sound is wanted.
            waits: Whether no frame may be lost, however late it is.
        """
        super().__init__(nursery)
        self._request = Connect(source.url, str(source), dict(options), audio, waits)
        self._info: SourceInfo | None = None
        self._retry_at = now
        self._began = now
        self._heard = now
        self._seen = now
        self._interval: float | None = None
        self._skipped = self._damaged = self._damaged_before = 0
        self.state = ReaderState.BACKOFF
        self.opening = self._opening = 0
        self.outage_seconds = 0.0
        self._out_since: float | None = now
        self.paused = False
        """Whether nothing is to be taken from it now, so that it waits."""

    @property
    def connection(self) -> "Connection[Any, Any] | None":
        """To be waited for."""
        return None if self.paused else super().connection

    @property
    def damaged(self) -> int:
        """Complaints of the decoder in all."""
        return self._damaged_before + self._damaged

    @property
    def stall_seconds(self) -> float:
        """Silence of pictures after which this source counts as lost."""
        return max(STALL_SECONDS, _SLOW_FACTOR * self._usual_interval)

    @property
    def quiet_seconds(self) -> float:
        """Silence of pictures after which this source is said to stall."""
        return max(QUIET_SECONDS, _SLOW_FACTOR / 2 * self._usual_interval)

    @property
    def _usual_interval(self) -> float:
        """Seconds between two pictures, as was seen, or else as the source says."""
        if self._interval is not None:
            return self._interval
        rate = None if self._info is None else self._info.average_rate
        return float(1 / rate) if rate else UNKNOWN_SECONDS

    def outage_now(self, now: float) -> float:
        """Seconds in all in which nothing came."""
        return self.outage_seconds + (0.0 if self._out_since is None else now - self._out_since)

    def receive(self, now: float) -> Iterator[Captured | Sound | Opened | Remark | Changed]:
        """Take what the process has said."""
        if self._child is None or self.paused:
            return
        child = self._child
        try:
            for message in child.receive():
                self._heard = now
                yield from self._take(message, now)
                if self._child is not child or self.paused:
                    return
        except EOFError:
            if self.state is ReaderState.STOPPED:  # as it was told to
                self._drop_child()
                return
            yield from self._lose(now, Cause.DIED, "the process that read it died", replace=True)

    def tick(self, now: float) -> Iterator[Changed]:
        """Do what time alone asks for."""
        match self.state:
            case ReaderState.BACKOFF | ReaderState.AUTH_FAILED:
                if now >= self._retry_at:
                    yield from self._connect(now)
            case ReaderState.CONNECTING:
                if now >= self._began + OPEN_SECONDS:
                    yield from self._lose(now, Cause.TIMEOUT, f"no answer for {OPEN_SECONDS:g} s", replace=True)
            case ReaderState.PRIMING:
                silent, long = now >= self._heard + _SILENT_SECONDS, now >= self._began + _PRIMING_SECONDS
                if silent or long:
                    yield from self._lose(now, Cause.NO_VIDEO, "no picture came that could be shown", replace=True)
            case ReaderState.STREAMING | ReaderState.STALLED if not self.paused:
                silence = now - self._seen
                if silence >= self.stall_seconds:
                    heard = self._heard > self._seen + QUIET_SECONDS
                    cause = Cause.NO_VIDEO if heard else Cause.TIMEOUT
                    yield from self._lose(now, cause, f"no picture for {silence:.1f} s", replace=True)
                elif silence >= self.quiet_seconds and self.state is ReaderState.STREAMING:
                    yield self._change(ReaderState.STALLED, now)
            case _:
                pass

    def due(self) -> float | None:
        """When time alone asks for something, at the earliest."""
        match self.state:
            case ReaderState.BACKOFF | ReaderState.AUTH_FAILED:
                return self._retry_at
            case ReaderState.CONNECTING:
                return self._began + OPEN_SECONDS
            case ReaderState.PRIMING:
                return min(self._heard + _SILENT_SECONDS, self._began + _PRIMING_SECONDS)
            case ReaderState.STREAMING if not self.paused:
                return self._seen + self.quiet_seconds
            case ReaderState.STALLED if not self.paused:
                return self._seen + self.stall_seconds
            case _:
                return None

    def fail(self, now: float, words: str) -> Iterator[Changed]:
        """Begin anew after something that should not be."""
        if self.state is not ReaderState.STOPPED:
            yield from self._lose(now, Cause.FAILED, words, replace=True)

    def stop(self, now: float) -> Iterator[Changed]:
        """Close the connection in good order; the process is killed by `close`."""
        if self._child is not None:
            self._child.send(Disconnect())
        if self.state is not ReaderState.STOPPED:
            yield self._change(ReaderState.STOPPED, now)

    def _take(self, message: object, now: float) -> Iterator[Captured | Sound | Opened | Remark | Changed]:
        match message:
            case FrameRing():
                self._share(message)
            case Opened():
                self._began = self._seen = now
                yield message
                yield self._change(ReaderState.PRIMING, now)
            case Priming():
                self._opening = message.opening
            case Picture():
                yield from self._see(message, now)
            case Sound() | Remark():
                yield message
            case Lost() if self.state is not ReaderState.STOPPED:
                yield from self._lose(now, message.cause, message.words, replace=False)
            case _:
                pass

    def _see(self, picture: Picture, now: float) -> Iterator[Captured | Changed]:
        assert self._ring is not None
        self._info = picture.info or self._info
        assert self._info is not None
        if self.state is ReaderState.PRIMING:
            self.opening += self._opening
        elif self._seen < picture.arrival_seconds:
            self._learn(picture.arrival_seconds - self._seen)
        if self.state in (ReaderState.PRIMING, ReaderState.STALLED):
            yield self._change(ReaderState.STREAMING, now)
        self._backoff.up(now)
        self._seen = now
        skipped = picture.skipped - self._skipped
        self._skipped, self._damaged = picture.skipped, picture.damaged
        planes = self._ring.empty(picture.slot, self._info.video)
        yield Captured(planes, self._info, picture.arrival_seconds, picture.media_seconds, skipped)

    def _learn(self, interval: float) -> None:
        interval = min(max(interval, _FASTEST_LEARNED), _SLOWEST_LEARNED)
        self._interval = (
            interval if self._interval is None else self._interval + _SMOOTHING * (interval - self._interval)
        )

    def _connect(self, now: float) -> Iterator[Changed]:
        if self._child is None:
            self._child = self._nursery.take()
        self._began = self._heard = self._seen = now
        self._opening = 0
        if not self._child.send(self._request):
            yield from self._lose(now, Cause.DIED, "the process that was to read it died", replace=True)
            return
        yield self._change(ReaderState.CONNECTING, now)

    def _lose(self, now: float, cause: Cause, words: str, *, replace: bool) -> Iterator[Changed]:
        self._damaged_before, self._damaged, self._skipped = self.damaged, 0, 0
        self._count_loss(now, cause, replace=replace)
        state = ReaderState.AUTH_FAILED if cause is Cause.UNAUTHORIZED else ReaderState.BACKOFF
        yield self._change(state, now, cause, words)

    def _change(self, state: ReaderState, now: float, cause: Cause | None = None, words: str = "") -> Changed:
        before, self.state = self.state, state
        if state is ReaderState.STREAMING and self._out_since is not None:
            self.outage_seconds += now - self._out_since
            self._out_since = None
        elif state is not ReaderState.STREAMING and self._out_since is None:
            self._out_since = now
        return Changed(before, state, cause, words)
