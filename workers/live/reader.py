"""Read one live source: demux, decode, hand frames and packets of sound over as they come.

Packets are taken from the socket as fast as it gives them, and every picture is decoded: nothing here
ever waits for who restores, unless that was asked for. What there is no room for is lost and counted.
"""

import io
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamrestore.errors import StreamRestoreError
from streamrestore.frame import VideoFormat
from streamrestore.live.burst import OpeningBurst
from streamrestore.live.ffmpeg_words import cause_of, words_of
from streamrestore.live.states import Cause
from streamrestore.opening import Opening
from streamrestore.planes import copy_planes
from streamrestore.probing import AV_ERRORS, SourceInfo, choose_video, describe, use_only
from streamrestore.samples import sample_layout
from workers.live.messages import Connect, Disconnect, Lost, Opened, Picture, Priming, Remark, Sound
from workers.live.ring import FrameRing

if TYPE_CHECKING:
    from workers.live.child import Line

RING_SLOTS = 16
"""Frames on their way to the supervisor. It takes each at once, so that but for a moment in which it is busy one
slot is used again and again, and the memory of the others is never touched."""

_REMEMBERED_PACKETS = 64
"""Packets whose arrival is remembered until their pictures are shown."""

_WAIT_SECONDS = 0.005
"""Between two looks for a free slot, where losing frames was not allowed."""

_SLOW_SECONDS = 3.0
"""An opening that fails only after so long has waited for an answer."""

_TELL_SECONDS = 0.5
"""Between two words that packets come, though no picture does."""


_ADTS_SECONDS, _ADTS_PACKETS = 1.0, 256
"""How long, and in how many packets, the first one of sound is looked for where only that says what sound it is."""


_INTERLACED_WORDS = (
    "its pictures are interlaced: they are restored as whole frames and published as progressive, so that what moves "
    "keeps its combs; set the camera to progressive if it can be"
)


class _Complaints(logging.Handler):
    """Counts what FFmpeg complains of: the only sign of damage that it gives."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count it, if it is about what came: errors, and packets of RTP that did not."""
        if record.levelno >= logging.ERROR or "missed" in record.getMessage():
            self.count += 1


def read(request: Connect, line: "Line") -> None:
    """Hold one connection to its end, and say what ended it.

    Args:
        request: What to open.
        line: To the supervisor.

    Raises:
        OSError, EOFError: The supervisor is gone.
    """
    # In a process of its own FFmpeg's threads may wait for Python's lock; nothing else here does.
    av.logging.set_level(av.logging.WARNING)
    complaints = _Complaints()
    logger = logging.getLogger("libav")
    logger.addHandler(complaints)
    logger.propagate = False
    began, opened = time.monotonic(), False
    try:
        with av.open(request.url, options=dict(request.options)) as container:
            opened = True
            reading = _Reading(request, container, line, complaints)
            try:
                reading.run()
            finally:
                reading.close()
        line.send(Lost(Cause.ENDED, "the source ended the stream"))
    except StreamRestoreError as error:
        line.send(Lost(Cause.INVALID, str(error)))
    except AV_ERRORS as error:
        if isinstance(error, av.error.InvalidDataError) and not opened and time.monotonic() >= began + _SLOW_SECONDS:
            line.send(Lost(Cause.TIMEOUT, "no answer"))  # which FFmpeg calls invalid data
        else:
            line.send(Lost(cause_of(error), words_of(error)))
    finally:
        logger.removeHandler(complaints)


class _Reading:
    """An open source."""

    def __init__(self, request: Connect, container: InputContainer, line: "Line", complaints: _Complaints) -> None:
        self._line = line
        self._waits = request.waits
        self._complaints = complaints
        self._container = container
        self._opening = Opening(Path(request.shown))
        self._video = choose_video(container, self._opening.path)
        self._video.thread_type = "SLICE"  # threads with a frame each hold as many frames back
        sounds = container.streams.audio if request.audio else ()
        self._sound: AudioStream | None = next((each for each in sounds if each.codec_context is not None), None)
        self._streams = [self._video] if self._sound is None else [self._video, self._sound]
        use_only(container, self._streams)
        self._keyed = False
        self._arrivals: OrderedDict[int, float] = OrderedDict()
        self._burst = OpeningBurst()
        # A recording comes as fast as it is taken, and all of it is wanted.
        self._primed = request.waits
        self._told = 0.0
        self._ring: FrameRing | None = None
        self._kind: tuple[int, int, str] | None = None
        self._format: VideoFormat | None = None
        self._skipped = 0
        self._interlaced = False
        self._packets = container.demux(self._streams)
        self._early: list[tuple[Packet[Any], float]] = []
        """Taken before the source was said to be open, and when they came."""
        self._without_adts: BitStreamFilterContext | None = None

    def run(self) -> None:
        """Read to the end of the stream, or until the supervisor wants no more of it.

        Raises:
            av.FFmpegError: The connection broke.
            StreamRestoreError: It has no video that can be restored.
        """
        self._line.send(self._opened())
        for packet, now in self._arriving():
            while self._line.pending():
                if isinstance(self._line.receive(), Disconnect):
                    return
            if not packet.size:
                continue
            if packet.stream is self._video:
                self._take_picture(cast("Packet[VideoStream]", packet), now)
            else:
                self._take_sound(cast("Packet[AudioStream]", packet), now)
            if not self._primed and now >= self._told + _TELL_SECONDS:
                self._told = now
                self._line.send(Priming(self._burst.dropped))
        for frame in self._video.codec_context.decode(None):
            self._hand_over(frame, time.monotonic())

    def close(self) -> None:
        """Let go of the frames' memory; the supervisor still reads what lies in it."""
        if self._ring is not None:
            self._ring.close()

    def _arriving(self) -> "Iterator[tuple[Packet[Any], float]]":
        yield from self._early
        self._early = []
        for packet in self._packets:
            yield packet, time.monotonic()

    def _opened(self) -> Opened:
        if self._sound is None:
            return Opened()
        context = self._sound.codec_context
        extradata = None
        if context.codec.canonical_name == "aac" and not context.extradata:
            extradata = self._wait_for_adts(self._sound)
        words = f"{context.codec.canonical_name} {context.sample_rate} Hz {context.layout.name}"
        return Opened(sound_template(self._sound, extradata), words)

    def _wait_for_adts(self, sound: AudioStream) -> bytes | None:
        """What AAC in MPEG-TS says with each packet, and what RTSP must say before the first one; None if it does not.

        Packets are from then on without it.
        """
        until = time.monotonic() + _ADTS_SECONDS
        for packet in self._packets:
            now = time.monotonic()
            self._early.append((packet, now))
            if packet.stream is sound and packet.size:
                with suppress(av.FFmpegError):
                    # A copy, since the filter keeps what it is given.
                    [first] = BitStreamFilterContext("aac_adtstoasc", sound).filter(Packet(bytes(packet)))
                    found = {side.data_type: bytes(side) for side in first.iter_sidedata()}
                    if (extradata := found.get("new_extradata")) is not None:
                        self._without_adts = BitStreamFilterContext("aac_adtstoasc", sound)
                        return extradata
                return None
            if now >= until or len(self._early) >= _ADTS_PACKETS:
                return None
        return None

    def _take_picture(self, packet: "Packet[VideoStream]", now: float) -> None:
        self._keyed = self._keyed or packet.is_keyframe
        if not self._keyed:
            return  # it would be made of grey
        if packet.pts is not None:
            self._arrivals[packet.pts] = now
            if len(self._arrivals) > _REMEMBERED_PACKETS:
                self._arrivals.popitem(last=False)
        try:
            frames = self._video.codec_context.decode(packet)
        except av.FFmpegError:
            self._complaints.count += 1
            return
        for frame in frames:
            self._complaints.count += frame.is_corrupt
            self._hand_over(frame, now)

    def _hand_over(self, frame: VideoFrame, now: float) -> None:
        arrival = now if frame.pts is None else self._arrivals.pop(frame.pts, now)
        base = frame.time_base or self._video.time_base
        media = None if frame.pts is None or not base else float(frame.pts * base)
        if not self._primed:
            if self._burst.is_old(arrival, media):
                return
            self._primed = True
            self._line.send(Priming(self._burst.dropped))  # all of them: a burst is over before one is told of again
        if frame.interlaced_frame and not self._interlaced:
            self._interlaced = True
            self._line.send(Remark(_INTERLACED_WORDS))
        info = self._describe(frame)
        slot = self._free_slot()
        if slot is None:
            self._skipped += 1
            if info is not None:
                self._kind = None  # to be told with the next one
            return
        assert self._ring is not None
        assert self._format is not None
        self._ring.fill(slot, copy_planes(frame, sample_layout(frame.format.name), self._format))
        self._line.send(Picture(slot, arrival, media, info, self._skipped, self._complaints.count))

    def _describe(self, frame: VideoFrame) -> SourceInfo | None:
        """What frames are from here on, where that is news; the ring then has room for them."""
        kind = (frame.width, frame.height, frame.format.name)
        if kind == self._kind:
            return None
        info = describe(self._opening, self._container, self._video, frame)
        self._kind, self._format = kind, info.video
        if self._ring is None or info.video.frame_bytes() > self._ring.slot_bytes:
            if self._ring is not None:
                self._ring.close()
            self._ring = FrameRing.create(RING_SLOTS, info.video.frame_bytes())
            self._line.give(self._ring)
        return info

    def _free_slot(self) -> int | None:
        assert self._ring is not None
        while (slot := self._ring.free_slot()) is None and self._waits:
            time.sleep(_WAIT_SECONDS)
        return slot

    def _take_sound(self, packet: "Packet[AudioStream]", now: float) -> None:
        base = packet.time_base
        media = None if packet.pts is None or not base else float(packet.pts * base)
        duration = float(packet.duration * base) if packet.duration and base else 0.0
        if not self._primed:
            return
        try:
            payloads = [packet] if self._without_adts is None else self._without_adts.filter(packet)
        except av.FFmpegError:
            self._complaints.count += 1
            return
        for payload in payloads:
            self._line.send(Sound(bytes(payload), now, media, duration))


def sound_template(stream: AudioStream, extradata: bytes | None = None) -> bytes:
    """A little NUT file with one stream like this one, from which PyAV makes streams of outputs.

    PyAV can set up a stream to be copied only from another one, and none crosses to another process.

    Args:
        stream: Of an open source.
        extradata: What its decoder must know, where the stream itself does not say it.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="nut") as output:
        copy = output.add_stream_from_template(stream)
        if extradata is not None:
            copy.codec_context.extradata = extradata
        output.start_encoding()
        packet = Packet(b"\x00" * 16)
        packet.stream, packet.pts, packet.dts = copy, 0, 0
        output.mux(packet)
    return buffer.getvalue()
