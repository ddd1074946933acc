"""Publish one live output: encode frames, write them with the sound, and say what was taken.

Writing blocks for as long as the other side does not read, with Python's lock or without; the
supervisor sees that nothing is answered any more, and replaces the process.
"""

import io
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from streamrestore.encoder import FrameEncoder, add_video
from streamrestore.frame import Planes
from streamrestore.live.card import no_signal_card
from streamrestore.live.clock import LIVE_TIME_BASE
from streamrestore.live.encoding import GOP_SECONDS
from streamrestore.live.ffmpeg_words import cause_of, words_of
from streamrestore.live.fitting import Fitter
from streamrestore.live.hls import end_playlist, remove_leftovers
from streamrestore.live.recordings import free_name, remove_without_picture
from streamrestore.live.states import Cause
from streamrestore.probing import AV_ERRORS
from streamrestore.segment_file import close_quietly
from workers.live.messages import Closed, Finish, Lost, Play, Publish, Repeat, Show, Taken, Up
from workers.live.ring import FrameRing

if TYPE_CHECKING:
    from workers.live.child import Line

_MPEGTS_SOUNDS = frozenset({"aac", "ac3", "dts", "eac3", "mp2", "mp3", "opus", "truehd"})
"""What MPEG-TS has names for, by FFmpeg's."""


def publish(request: Publish, line: "Line") -> None:
    """Hold one connection to its end, and say what ended it.

    Args:
        request: What to open.
        line: To the supervisor.

    Raises:
        OSError, EOFError: The supervisor is gone.
    """
    # With messages of FFmpeg's going through Python, some of its threads would wait for the lock that
    # writing a header or a trailer holds.
    av.logging.set_level(None)
    url, file = request.url, request.file
    try:
        if file is not None and request.goes_on:
            file = free_name(file)
            url = f"file:{file}"
        playlist = Path(request.url.removeprefix("file:")) if request.encoding.container == "hls" else None
        if playlist is not None:
            remove_leftovers(playlist)
        with ExitStack() as stack:
            output = av.open(url, "w", format=request.encoding.container, options=dict(request.options))
            stack.callback(close_quietly, output)
            publishing = _Publishing(request, output, stack)
            stack.callback(publishing.close)
            line.send(Up(publishing.notes))
            publishing.serve(line)
            publishing.finish()
            if playlist is not None:
                end_playlist(playlist)
        line.send(Closed())
    except av.error.HTTPForbiddenError as error:
        # A password is asked for by another answer. This one is for a path that is taken, as by our own connection
        # before, which a server that stood still does not know to be gone: a minute's wait would be for nothing.
        line.send(Lost(Cause.FAILED, words_of(error)))
    except AV_ERRORS as error:
        if file is not None:
            remove_without_picture(file)  # there may be as many as there are attempts
        line.send(Lost(cause_of(error), words_of(error)))


class _Publishing:
    """An open output."""

    def __init__(self, request: Publish, output: OutputContainer, stack: ExitStack) -> None:
        self._output = output
        self._info = request.info
        self.notes: tuple[str, ...] = ()
        self._stream = add_video(output, request.info, request.encoding)
        if request.encoding.codec_tag is not None:
            self._stream.codec_context.codec_tag = request.encoding.codec_tag
        # Threads with a frame each, which files are encoded with, hold as many frames back.
        self._stream.codec_context.thread_type = "SLICE"
        self._encoder = FrameEncoder(self._stream, request.info, request.encoding)
        self._sound = self._add_sound(request, stack)
        output.start_encoding()
        self._fitter = Fitter(request.info.video)
        self._ring: FrameRing | None = None
        self._last: Planes | None = None
        self._card: Planes | None = None
        self._next_key = 0
        self._first: int | None = None
        """When the first picture is to be seen."""

    def serve(self, line: "Line") -> None:
        """Do what the supervisor says until it says to finish.

        Raises:
            av.FFmpegError: The connection broke.
            OSError, EOFError: The supervisor is gone.
        """
        while True:
            message = line.receive()
            began = time.monotonic()
            match message:
                case FrameRing():
                    if self._ring is not None:
                        self._ring.close()
                    self._ring = message
                    continue
                case Show():
                    self._show(message)
                case Repeat():
                    self._repeat(message)
                case Play():
                    self._play(message)
                case Finish():
                    return
            line.send(Taken(time.monotonic() - began))

    def finish(self) -> None:
        """Write the end.

        Raises:
            av.FFmpegError: The connection broke.
        """
        self._mux(self._encoder.flush())
        self._output.close()

    def close(self) -> None:
        """Let go of the frames' memory."""
        if self._ring is not None:
            self._ring.close()

    def _show(self, message: Show) -> None:
        assert self._ring is not None
        video = message.video or self._info.video
        planes = self._ring.empty(message.slot, video)
        self._last, self._card = self._fitter.fit(planes, video), None
        self._encode(message.pts, self._last, key=message.key)

    def _repeat(self, message: Repeat) -> None:
        if self._last is None:
            return
        if message.card and self._card is None:
            self._card = no_signal_card(self._last, self._info.video)
        planes = self._card if message.card and self._card is not None else self._last
        self._encode(message.pts, planes, key=False)

    def _encode(self, pts: int, planes: Planes, *, key: bool) -> None:
        self._first = pts if self._first is None else self._first
        key = key or pts >= self._next_key
        if key:
            # By time, not by count: frames may come five times a second for hours.
            self._next_key = pts + round(GOP_SECONDS / LIVE_TIME_BASE)
        self._mux(self._encoder.encode(pts, planes, key=key))

    def _mux(self, packets: "list[Packet]") -> None:  # type: ignore[type-arg] # only generic in PyAV's stubs
        for packet in packets:
            packet.stream = self._stream
            self._output.mux(packet)

    def _play(self, message: Play) -> None:
        if self._sound is None or self._first is None or message.pts < self._first:
            return  # a muxer takes the first time that it sees for 0, and squeezes what comes before it
        packet = Packet(message.data)
        packet.stream, packet.time_base = self._sound, LIVE_TIME_BASE
        packet.pts = packet.dts = message.pts
        packet.duration = message.duration
        self._output.mux(packet)

    def _add_sound(self, request: Publish, stack: ExitStack) -> AudioStream | None:
        if request.sound is None:
            return None
        template = stack.enter_context(av.open(io.BytesIO(request.sound), format="nut")).streams.audio[0]
        container = request.encoding.container
        if _holds(container, template):
            return self._output.add_stream_from_template(template)
        self.notes = (f"{container} holds no {template.codec_context.codec.canonical_name}: it goes without sound",)
        return None


def _holds(container: str, sound: AudioStream) -> bool:
    """Whether players of such an output find that sound in it."""
    if container == "mpegts":  # takes all, as data that nobody knows
        return sound.codec_context.codec.canonical_name in _MPEGTS_SOUNDS
    # HLS takes all, too; what its segments do not take ends it.
    with av.open(io.BytesIO(), "w", format="mp4" if container == "hls" else container) as probe:
        try:
            probe.add_stream_from_template(sound)
        except ValueError:
            return False
        return True
