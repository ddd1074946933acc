"""Write restored frames as video, with the exact times of their source.

A frame's time is decided in one line of `Sink.write`: the source's pts plus the plan's shift, in
the source's time base. The muxer rounds it to its own: mp4 and mov keep it exact, Matroska
counts milliseconds, a transport stream 90 kHz.
"""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from streamrestore.carry import Carrier, CarryPlan, copy_video_tags
from streamrestore.encoding import ENCODER_THREADS, Encoding
from streamrestore.errors import ConfigError, DiskFullError, OutputError, SinkError
from streamrestore.frame import Planes
from streamrestore.planes import build_frame
from streamrestore.probing import AV_ERRORS, TAG_ERRORS, SourceInfo, open_container, reason

_ASSUMED_RATE = 25
"""Frames a second where the source does not say; only rate control looks at it."""

_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
_PATH_ERRNOS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}
)


class Sink:
    """An output that takes frames in order. Passive: one thread at a time."""

    def __init__(
        self, path: Path, info: SourceInfo, encoding: Encoding, carrier: Carrier, output: OutputContainer, shift: int
    ) -> None:
        self._path = path
        self._info = info
        self._encoding = encoding
        self._carrier = carrier
        self._output = output
        self._stream = output.streams.video[0]
        self._shift = shift
        self._durations: dict[int, int] = {}
        self._reformatter = VideoReformatter()
        self._frames = 0
        self._start = 0
        self._stop = 0
        self._first_dts: int | None = None

    def write(self, pts: int, duration: int, planes: Planes) -> None:
        """Encode one frame.

        Args:
            pts: The source frame's, larger than the one before.
            duration: The source frame's, 0 if unknown.
            planes: Of the source's format; may be read-only.

        Raises:
            SinkError: Encoding or muxing failed, or the source cannot be copied from any more.
            DiskFullError: There is no space left.
        """
        with _translated(self._path):
            frame = build_frame(planes, self._info.video)
            frame.color_range = self._info.tags.range
            if self._encoding.pixels != self._info.video.pixels:
                # One thread: with more, swscale was seen to skip rows of small frames.
                frame = self._reformatter.reformat(frame, format=self._encoding.pixels.name, threads=1)
            frame.pts = pts + self._shift
            frame.duration = duration
            frame.time_base = self._info.time_base
            self._durations[frame.pts] = duration
            if not self._frames:
                self._start = self._stop = frame.pts
            self._frames += 1
            self._mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what is still inside the encoder, the rest of the copied streams, and the trailer.

        Raises:
            SinkError: There was no frame, or encoding or muxing failed.
            DiskFullError: There is no space left.
        """
        with _translated(self._path):
            if not self._frames:
                raise SinkError(f"{self._path}: there was no frame to write")
            rest = self._stream.encode(None)
            self._mux(rest[:-1])
            self._mux(rest[-1:], last=True)
            self._carrier.mux_until(None)
            self._output.close()

    def _mux(self, packets: "list[Packet[VideoStream]]", *, last: bool = False) -> None:
        for packet in packets:
            if packet.pts is not None and packet.dts is not None:
                duration = self._durations.pop(packet.pts, 0)  # not every encoder passes durations on
                self._stop = max(self._stop, packet.pts + duration)
                self._first_dts = packet.dts if self._first_dts is None else self._first_dts
                if last and self._encoding.container in ("mp4", "mov"):
                    # They store distances of dts: the last one must fill the track up to its end.
                    duration = max(duration, self._stop - self._start - (packet.dts - self._first_dts))
                packet.duration = duration
            self._carrier.mux_until((packet.dts or 0) * self._info.time_base)
            self._output.mux(packet)


@contextmanager
def open_sink(path: Path, info: SourceInfo, encoding: Encoding, plan: CarryPlan) -> Iterator[Sink]:
    """Open an output for restored frames, with all that is carried along.

    Leaving the context finishes the file; leaving it by an exception closes the file as it is,
    for the caller to delete.

    Args:
        path: Written exactly there, whatever its suffix; an existing file is overwritten.
        info: The source of the frames and of everything else.
        encoding: How the video is written.
        plan: What goes along, from `plan_carry`.

    Raises:
        OutputError: The path cannot be written.
        SinkError: The encoder or the muxer refuses its settings.
        SourceError: The source cannot be read any more.
    """
    if encoding.encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # its only switch against a page of text on stderr
    with open_container(info.path) as source, ExitStack() as stack:
        with _translated(path):
            output = av.open(
                f"file:{path}",
                "w",
                format=encoding.container,
                container_options=_muxer_options(encoding, plan),
                metadata_errors=TAG_ERRORS,
            )
            stack.callback(_abandon, output)
            target = _add_video(output, info, encoding)
            copy_video_tags(source.streams[info.stream_index], target)
            carrier = Carrier(source, output, info, plan)
            output.start_encoding()
        sink = Sink(path, info, encoding, carrier, output, plan.shift)
        yield sink
        sink.finish()


def check_encoder(info: SourceInfo, encoding: Encoding) -> None:
    """Open the encoder once, in memory, to know before work starts that it takes its settings.

    Raises:
        ConfigError: It does not, or its hardware is not there.
    """
    try:
        with av.open(io.BytesIO(), "w", format=encoding.container) as trial:
            _add_video(trial, info, encoding)
            trial.start_encoding()
    except AV_ERRORS as error:
        settings = " ".join(f"{key}={value}" for key, value in encoding.options)
        hint = "; it needs an NVIDIA GPU with an encoder, and its driver" if "nvenc" in encoding.encoder else ""
        raise ConfigError(
            f"{encoding.encoder} cannot be opened with {settings or 'its defaults'}: {reason(error)}{hint}"
        ) from error


def _muxer_options(encoding: Encoding, plan: CarryPlan) -> dict[str, str]:
    options = {
        # Without it, Matroska gets random ids: the same job would not give the same bytes.
        "fflags": "+bitexact",
        # Where times must move, the plan says so; a muxer would move them unasked.
        "avoid_negative_ts": "disabled",
    }
    if encoding.container == "mpegts":
        options |= {"mpegts_copyts": "1", "muxdelay": "0", "muxpreload": "0"}
    elif encoding.container in ("mp4", "mov"):
        options["movie_timescale"] = str(plan.file_clock)
        if plan.keyed_tags:
            options["movflags"] = "+use_metadata_tags"
    return options


def _add_video(output: OutputContainer, info: SourceInfo, encoding: Encoding) -> VideoStream:
    rate = info.average_rate or _ASSUMED_RATE
    stream = output.add_stream(encoding.encoder, rate=rate, options=dict(encoding.options))
    assert isinstance(stream, VideoStream)
    stream.time_base = info.time_base
    context = stream.codec_context
    context.time_base = info.time_base
    context.width, context.height = info.video.width, info.video.height
    context.pix_fmt = encoding.pixels.name
    context.thread_count = ENCODER_THREADS
    context.color_range = info.tags.range
    context.colorspace = info.tags.matrix
    context.color_primaries = info.tags.primaries
    context.color_trc = info.tags.transfer
    if info.sample_aspect_ratio is not None:
        context.sample_aspect_ratio = info.sample_aspect_ratio
    if encoding.codec_tag is not None:
        context.codec_tag = encoding.codec_tag
    if info.display_matrix is not None:
        stream.set_display_matrix(info.display_matrix)
    return stream


def _abandon(output: OutputContainer) -> None:
    """Close an output that is finished, or that nobody will read."""
    with suppress(*AV_ERRORS):
        output.close()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what PyAV raises into our errors."""
    try:
        yield
    except AV_ERRORS as error:
        code = getattr(error, "errno", None)
        if code in _FULL_ERRNOS:
            raise DiskFullError(f"{path}: no space left: free some and start again") from error
        if code in _PATH_ERRNOS:
            raise OutputError(f"{path} cannot be written: {reason(error)}") from error
        raise SinkError(f"{path}: encoding or writing failed: {reason(error)}") from error
