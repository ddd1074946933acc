"""Write restored frames straight into one output, for what cannot be done again: a pipe's one pass.

A frame's time is the source's pts plus the plan's shift, in the source's time base; the muxer
rounds it to its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from streamrestore.assembly import muxer_loses_aspect, muxer_options
from streamrestore.bare_carry import BARE
from streamrestore.carry import Carrier, CarryPlan, copy_video_tags
from streamrestore.encoder import ASSUMED_RATE, FrameEncoder, add_video, stream_options, writing_to
from streamrestore.encoding import Encoding
from streamrestore.errors import SinkError
from streamrestore.frame import Planes, Stamp
from streamrestore.matroska_aspect import write_aspect
from streamrestore.pipes import PipeWriter
from streamrestore.probing import TAG_ERRORS, SourceInfo, open_container
from streamrestore.segment_file import close_quietly

_COUNTING = frozenset({"yuv4mpegpipe", "rawvideo"})
"""Muxers that hold no times: they write one rate, or none, and frames one after the other."""


class StreamSink:
    """An output that takes frames in order. Passive: one thread at a time."""

    def __init__(
        self,
        name: Path,
        output: OutputContainer,
        stream: VideoStream,
        info: SourceInfo,
        encoding: Encoding,
        plan: CarryPlan,
        carrier: Carrier | None,
    ) -> None:
        self._name = name
        self._output = output
        self._stream = stream
        self._encoder = FrameEncoder(stream, info, encoding)
        self._time_base = info.time_base
        self._counts = encoding.container in _COUNTING
        self._fills_end = encoding.container in ("mp4", "mov")
        self._shift = plan.shift
        self._carrier = carrier
        self._waiting: dict[int, Stamp] = {}
        self._held: Packet[VideoStream] | None = None
        self._first: Packet[VideoStream] | None = None
        self._stop = 0
        self.stamps = list[Stamp]()
        """Of the frames that were written."""

    def write(self, stamp: Stamp, planes: Planes) -> None:
        """Encode one frame.

        Args:
            stamp: Of the frame, whose time is after the one before.
            planes: Of the source's format; may be read-only.

        Raises:
            SinkError: Encoding or writing failed.
            DiskFullError: There is no space left.
        """
        pts = len(self.stamps) if self._counts else stamp.pts + self._shift
        self.stamps.append(stamp)
        self._waiting[pts] = stamp
        self._stop = max(self._stop, pts + stamp.duration)
        with writing_to(self._name):
            self._take(self._encoder.encode(pts, planes))

    def finish(self) -> None:
        """Write what is still inside the encoder, what else there is, and the end of the file.

        Raises:
            SinkError: There was no frame, the encoder lost some, or writing failed.
            DiskFullError: There is no space left.
        """
        if not self.stamps:
            raise SinkError(f"{self._name}: there was no frame to write")
        with writing_to(self._name):
            self._take(self._encoder.flush())
            self._mux_held(last=True)
            if self._waiting:
                raise SinkError(f"{self._name}: the encoder lost {len(self._waiting)} frames")
            if self._carrier is not None:
                self._carrier.mux_until(None)
            self._output.close()

    def _take(self, packets: "list[Packet[VideoStream]]") -> None:
        for packet in packets:
            self._mux_held(last=False)
            self._held = packet

    def _mux_held(self, *, last: bool) -> None:
        """Write the packet before this one: only then is it known whether it is the last."""
        packet = self._held
        if packet is None:
            return
        if packet.pts is None or packet.dts is None:
            raise SinkError(f"{self._name}: the encoder gave a packet without a time")
        self._first = self._first or packet
        # Some encoders round times to a clock of their own.
        _, pts = min((abs(pts - packet.pts), pts) for pts in self._waiting)
        packet.pts, packet.duration = pts, self._waiting.pop(pts).duration
        if last and self._fills_end and self._first.dts is not None:
            # They store distances of dts: the last one must fill the track up to its end.
            start = self.stamps[0].pts + self._shift
            packet.duration = max(packet.duration, self._stop - start - (packet.dts - self._first.dts))
        if self._carrier is not None:
            self._carrier.mux_until(packet.dts * self._time_base)
        packet.stream = self._stream
        self._output.mux(packet)


class _AspectWriter:
    """A pipe of yuv4mpegpipe that says its pixel aspect ratio: FFmpeg asks a field for it that PyAV cannot set."""

    def __init__(self, pipe: PipeWriter, aspect: Fraction) -> None:
        self._pipe = pipe
        self._said = f" A{aspect.numerator}:{aspect.denominator} ".encode()
        self._begun = False

    def write(self, data: bytes) -> int:
        self._pipe.write(data if self._begun else data.replace(b" A0:0 ", self._said, 1))
        self._begun = True
        return len(data)


@contextmanager
def open_stream_sink(
    target: Path | PipeWriter, info: SourceInfo, encoding: Encoding, plan: CarryPlan
) -> Iterator[StreamSink]:
    """Open an output for restored frames, with all that is carried along.

    Leaving the context finishes it; leaving it by an exception leaves it as it is.

    Args:
        target: Written exactly there, whatever its suffix.
        info: The source of the frames and of everything else; what is carried from a pipe is in its header.
        encoding: How the video is written.
        plan: What goes along.

    Raises:
        OutputError: The target cannot be written.
        SinkError: The encoder or the muxer refuses its settings.
        SourceError: The source cannot be read any more.
    """
    name = target if isinstance(target, Path) else Path("standard output")
    if encoding.container in _COUNTING:
        info = replace(info, time_base=1 / Fraction(info.average_rate or ASSUMED_RATE))
    with open_container(info.opening) as source:
        with writing_to(name):
            output = av.open(
                _file(target, info, encoding),
                "w",
                format=encoding.container,
                container_options=muxer_options(encoding, plan) | stream_options(encoding.container),
                metadata_errors=TAG_ERRORS,
            )
        try:
            with writing_to(name):
                stream = add_video(output, info, encoding)
                if encoding.codec_tag is not None:
                    stream.codec_context.codec_tag = encoding.codec_tag
                carrier: Carrier | None = None
                if encoding.container not in BARE:
                    if info.display_matrix is not None:
                        stream.set_display_matrix(info.display_matrix)
                    copy_video_tags(source.streams[info.stream_index], stream)
                    carrier = Carrier(source, output, info, plan)
                output.start_encoding()
            sink = StreamSink(name, output, stream, info, encoding, plan, carrier)
            yield sink
            sink.finish()
            if isinstance(target, Path) and info.sample_aspect_ratio is not None and muxer_loses_aspect(encoding):
                with writing_to(name):
                    write_aspect(target, info.sample_aspect_ratio)
        finally:
            close_quietly(output)


def _file(target: Path | PipeWriter, info: SourceInfo, encoding: Encoding) -> str | PipeWriter | _AspectWriter:
    """What PyAV opens."""
    if isinstance(target, Path):
        return f"file:{target}"
    if encoding.container == "yuv4mpegpipe" and info.sample_aspect_ratio is not None:
        return _AspectWriter(target, info.sample_aspect_ratio)
    return target
