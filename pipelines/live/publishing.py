"""The publishing end of one output: a process that holds the connection, and when it is replaced."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipelines.live.link import ProcessLink
from streamrestore.encoding import EncodingRequest
from streamrestore.errors import ConfigError
from streamrestore.frame import Planes
from streamrestore.live.addresses import Address
from streamrestore.live.encoding import live_info, plan_live_encoding, plan_target
from streamrestore.live.report import OutputReport
from streamrestore.live.states import Cause, PublisherState
from streamrestore.probing import SourceInfo
from workers.live.child import Nursery
from workers.live.messages import Closed, Finish, Lost, Play, Publish, Repeat, Show, Taken, Up
from workers.live.ring import FrameRing

START_SECONDS = 5.0
"""What an output may take to accept the stream."""

HUNG_SECONDS = 1.5
"""What one frame may take to be encoded and written: longer, and the process is replaced."""

RING_SLOTS = 4
"""Frames on their way to the publisher; a full ring loses the newest, and says so."""

_MOST_OUTSTANDING_BYTES = 32 << 10
"""Sent to a publisher and not answered for: the pipe to it, which takes twice that, must never fill."""

_MESSAGE_BYTES = 256
"""What a message takes in the pipe beside its data."""


@dataclass(frozen=True, slots=True)
class OutputChanged:
    """The output came to another state."""

    before: PublisherState
    after: PublisherState
    cause: Cause | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A fresh frame went out."""

    seconds: float
    """What encoding and writing took."""


_MAY_BE_THE_SOUND = frozenset({Cause.INVALID, Cause.DIED, Cause.FAILED})
"""Why an output does not start that cannot hold the source's sound, which not every muxer knows beforehand."""

_Kind = Literal["fresh", "held", "sound"]


@dataclass(frozen=True, slots=True)
class _Sent:
    """A message that was not answered for."""

    kind: _Kind
    at: float
    bytes: int


class PublisherLink(ProcessLink):
    """Keeps one output open for as long as it is wanted. For one thread; never blocks.

    ``now`` is always seconds on the system's monotonic clock.
    """

    def __init__(self, address: Address, request: EncodingRequest, nursery: Nursery) -> None:
        """Wait for the first frame, which says what is to be published.

        Raises:
            ConfigError: Nothing is known of such an address.
        """
        super().__init__(nursery)
        self.address = address
        self._target = plan_target(address)
        self._request = request
        self._info: SourceInfo | None = None
        self._sound: bytes | None = None
        self._outstanding: deque[_Sent] = deque()
        self._outstanding_bytes = 0
        self._heard = 0.0
        self._last: tuple[Planes, SourceInfo] | None = None
        self._mute = False
        """Whether the output did not start with this sound, and is to go without."""
        self._began = 0.0
        self._tried = False
        """Whether something may have been written."""
        self._key = True
        self._went_out: float | None = None
        self.state = PublisherState.WAITING
        self._published = self._held = 0
        self._dropped: dict[str, int] = {}

    def report(self, now: float) -> OutputReport:
        """What is known of it now."""
        return OutputReport(
            name=str(self.address),
            state=self.state,
            published=self._published,
            held=self._held,
            dropped=dict(self._dropped),
            in_flight=sum(sent.kind == "fresh" for sent in self._outstanding),
            reconnects=dict(self.reconnects),
            respawns=self.respawns,
            age_seconds=None if self._went_out is None else now - self._went_out,
            pid=self.pid,
        )

    def show(self, planes: Planes, info: SourceInfo, pts: int, now: float) -> Iterator[OutputChanged]:
        """Publish a fresh frame; where that cannot be done now, it is counted as dropped."""
        if self._info is None:
            self._info = live_info(info)
            yield from self._start(now)
        self._last = planes, info
        if self.state is not PublisherState.PUBLISHING or self._child is None:
            self._drop("unavailable")
        elif not self._send_frame(planes, info, pts, "fresh", now):
            self._drop("full")

    def repeat(self, pts: int, now: float, *, card: bool) -> None:
        """Publish the last frame once more."""
        if self.state is not PublisherState.PUBLISHING or self._last is None or len(self._outstanding) >= RING_SLOTS:
            return
        if self._key:
            # This publisher has not seen it: it took over while there was nothing fresh.
            self._send_frame(*self._last, pts, "held", now)
        else:
            self._tell(Repeat(pts, card), "held", now)

    def play(self, data: bytes, pts: int, duration: int, now: float) -> None:
        """Publish a packet of sound; where the publisher is behind, it is left out."""
        room = _MOST_OUTSTANDING_BYTES - self._outstanding_bytes
        if self.state is PublisherState.PUBLISHING and len(data) + _MESSAGE_BYTES <= room:
            self._tell(Play(data, pts, duration), "sound", now, len(data))

    def hear(self, sound: bytes | None, now: float) -> Iterator[OutputChanged]:
        """The source's sound is like this from now on: where it is another, the output begins anew."""
        if sound == self._sound:
            return
        self._sound, self._mute = sound, False
        if self.state is not PublisherState.STOPPED and self._child is not None:
            self._drop_child()
            yield from self._start(now)

    def receive(self, now: float) -> Iterator[OutputChanged | Encoded]:
        """Take what the process has said."""
        if self._child is None:
            return
        child = self._child
        try:
            for message in child.receive():
                yield from self._take(message, now)
                if self._child is not child:
                    return
        except EOFError:
            if self.state is PublisherState.STOPPED:
                self._drop_child()
                return
            yield from self._lose(now, Cause.DIED, "the process that published died", replace=True)

    def tick(self, now: float) -> Iterator[OutputChanged]:
        """Do what time alone asks for."""
        if (due := self.due()) is None or now < due:
            return
        if self.state is PublisherState.BACKOFF:
            yield from self._start(now)
            return
        words = "it did not accept the stream" if self.state is PublisherState.STARTING else "it takes nothing any more"
        yield from self._lose(now, Cause.HUNG, words, replace=True)

    def due(self) -> float | None:
        """When time alone asks for something, at the earliest."""
        match self.state:
            case PublisherState.BACKOFF:
                return self._retry_at
            case PublisherState.STARTING:
                return self._began + START_SECONDS
            case PublisherState.PUBLISHING if self._outstanding:
                # Slow is not hung: what counts is since when nothing was done.
                return max(self._outstanding[0].at, self._heard) + HUNG_SECONDS
            case _:
                return None

    def fail(self, now: float, words: str) -> Iterator[OutputChanged]:
        """Begin anew after something that should not be."""
        if self.state not in (PublisherState.WAITING, PublisherState.STOPPED):
            yield from self._lose(now, Cause.FAILED, words, replace=True)

    def finish(self, now: float) -> Iterator[OutputChanged]:
        """Have the end written; `closed` says when it is, and `close` ends the wait."""
        if self.state is PublisherState.PUBLISHING and self._child is not None:
            self._child.send(Finish())
        else:
            self._drop_child()
        if self.state is not PublisherState.STOPPED:
            yield self._change(PublisherState.STOPPED)

    @property
    def closed(self) -> bool:
        """Whether nothing is left to be written."""
        return self._child is None

    def _take(self, message: object, now: float) -> Iterator[OutputChanged | Encoded]:
        match message:
            case Up():
                self._key = True
                yield self._change(PublisherState.PUBLISHING, words="; ".join(message.notes))
            case Taken() if self._outstanding:
                sent = self._outstanding.popleft()
                self._outstanding_bytes -= sent.bytes
                self._heard = now
                if sent.kind == "fresh":
                    self._published += 1
                    yield Encoded(message.seconds)
                elif sent.kind == "held":
                    self._held += 1
                if sent.kind != "sound":
                    self._went_out = now
                    self._backoff.up(now)
            case Closed():
                self._drop_child()
            case Lost() if self.state is PublisherState.STOPPED:
                self._drop_child()
            case Lost():
                yield from self._lose(now, message.cause, message.words, replace=False)
            case _:
                pass

    def _start(self, now: float) -> Iterator[OutputChanged]:
        assert self._info is not None
        if self._child is None:
            self._child = self._nursery.take()
        target = self._target
        self._began = now
        try:
            encoding = plan_live_encoding(self._info, self._request, target.muxer)
        except ConfigError as error:  # of this source alone: what never goes was refused before
            yield from self._lose(now, Cause.INVALID, str(error), replace=False)
            return
        request = Publish(
            target.url,
            str(self.address),
            target.options,
            self._info,
            encoding,
            self._wanted_sound,
            target.file,
            goes_on=self._tried,
        )
        self._tried = True
        if not self._child.send(request):
            yield from self._lose(now, Cause.DIED, "the process that was to publish died", replace=True)
            return
        self._share_ring(self._info.video.frame_bytes())
        yield self._change(PublisherState.STARTING)

    def _share_ring(self, slot_bytes: int) -> None:
        ring = FrameRing.create(RING_SLOTS, slot_bytes)
        self._share(ring)
        if self._child is not None:
            self._child.give(ring)

    @property
    def _wanted_sound(self) -> bytes | None:
        return None if self._mute else self._sound

    def _send_frame(self, planes: Planes, info: SourceInfo, pts: int, kind: _Kind, now: float) -> bool:
        """Hand a frame over; False where there is no room."""
        assert self._info is not None
        if self._ring is None or info.video.frame_bytes() > self._ring.slot_bytes:
            self._share_ring(info.video.frame_bytes())
        assert self._ring is not None
        slot = self._ring.free_slot()
        if slot is None:
            return False
        self._ring.fill(slot, planes)
        other = None if info.video == self._info.video else info.video
        self._tell(Show(slot, pts, other, self._key), kind, now)
        self._key = False
        return True

    def _tell(self, message: object, kind: _Kind, now: float, data_bytes: int = 0) -> None:
        assert self._child is not None
        if self._child.send(message):
            self._outstanding.append(_Sent(kind, now, data_bytes + _MESSAGE_BYTES))
            self._outstanding_bytes += data_bytes + _MESSAGE_BYTES
        elif kind == "fresh":
            self._drop("lost")

    def _drop(self, reason: str) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + 1

    def _lose(self, now: float, cause: Cause, words: str, *, replace: bool) -> Iterator[OutputChanged]:
        if self.state is PublisherState.STARTING and self._wanted_sound and cause in _MAY_BE_THE_SOUND:
            self._mute = True
            words += "; tried without the sound next"
        self._forget_outstanding()
        self._count_loss(now, cause, replace=replace)
        yield self._change(PublisherState.BACKOFF, cause, words)

    def _forget_outstanding(self) -> None:
        for sent in self._outstanding:
            if sent.kind == "fresh":
                self._drop("lost")
        self._outstanding.clear()
        self._outstanding_bytes = 0

    def _drop_child(self) -> None:
        self._forget_outstanding()
        super()._drop_child()

    def _change(self, state: PublisherState, cause: Cause | None = None, words: str = "") -> OutputChanged:
        before, self.state = self.state, state
        return OutputChanged(before, state, cause, words)
