"""Read a video file: what it is, and its frames with their exact times.

A frame's time is decided in one line of `Source.frames`: the decoder's own pts, an integer in
the stream's time base. Nothing here computes with seconds but the choice of where to begin.
"""

import os
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideData
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamrestore.errors import ConfigError, DecodeError, SourceError, UnsupportedError
from streamrestore.formats import ColourTags, sample_layout, video_format
from streamrestore.frame import Frame, VideoFormat
from streamrestore.planes import copy_planes

# A "video" may be a playlist: it must not make us fetch addresses.
_PROTOCOLS = {"protocol_whitelist": "file,crypto,data"}

TAG_ERRORS = "surrogateescape"
"""How tags that are not UTF-8 are read, so that they can be written again byte for byte."""

AV_ERRORS = (av.FFmpegError, OSError, ValueError)
"""What PyAV raises when a file is not what it says, or cannot be read or written."""

_TEXT_ART = frozenset({"tty", "bin", "xbin", "adf", "idf"})
"""FFmpeg draws text files as pictures; nobody who names one means that."""

_SEEK_BACK_SECONDS = (0, 10, 60)
"""How far before the wanted time to seek: a container's index may lead behind it, or lie."""

_FASTEST_RATE = 240
"""Frames a second; files that claim more have durations of one tick, not a rate."""

_LOST_SIDE_DATA = {
    SideData.MASTERING_DISPLAY_METADATA: "HDR10 mastering display metadata",
    SideData.CONTENT_LIGHT_LEVEL: "HDR10 content light levels",
    SideData.AMBIENT_VIEWING_ENVIRONMENT: "the ambient viewing environment",
    SideData.DYNAMIC_HDR_PLUS: "HDR10+ metadata",
    SideData.DOVI_RPU_BUFFER: "Dolby Vision metadata",
    SideData.DYNAMIC_HDR_VIVID: "HDR Vivid metadata",
    SideData.A53_CC: "closed captions inside the video",
    SideData.STEREO3D: "stereo 3D marks",
    SideData.SPHERICAL: "spherical video marks",
    SideData.ICC_PROFILE: "an ICC profile",
}


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream beside the restored one."""

    index: int
    kind: str
    """``video``, ``audio``, ``subtitle``, ``attachment``, ``data`` or ``unknown``."""
    codec: str | None
    """FFmpeg's name; None where FFmpeg does not know it."""
    language: str | None
    cover_art: bool
    """A still picture that stands for the file."""

    def __str__(self) -> str:
        """Such as ``audio stream #1 (aac, eng)``."""
        details = ", ".join(word for word in (self.codec, self.language) if word and word != "und")
        return f"{'cover art' if self.cover_art else self.kind} stream #{self.index}" + (
            f" ({details})" if details else ""
        )


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a video file before it is read through."""

    path: Path
    container: str
    """FFmpeg's names of the container, such as ``matroska,webm``."""
    stream_index: int
    """Of the video stream that is restored."""
    codec: str
    video: VideoFormat
    """With every guess about colour made."""
    pixel_format_name: str
    """What the decoder gives; `video` has its planar twin."""
    tags: ColourTags
    """As found."""
    time_base: Fraction
    """Seconds a tick of every pts and duration."""
    sample_aspect_ratio: Fraction | None
    display_matrix: tuple[int, ...] | None
    """Nine fixed-point numbers that turn the picture, as FFmpeg stores them."""
    average_rate: Fraction | None
    """Frames a second; a hint, since the rate may vary."""
    estimated_frames: int | None
    """From the header: packets, which need not all be shown."""
    start_pts: int
    """Of the first frame."""
    container_start: Fraction
    """Seconds at which the first stream of the file begins; ``--ss`` counts from here."""
    duration_seconds: float | None
    interlaced: bool | None
    """What the stream's flags say; None where they say nothing."""
    lost_side_data: tuple[str, ...]
    """What the first frame carries that the sink does not write again."""
    other_streams: tuple[StreamInfo, ...]

    @property
    def hdr(self) -> bool:
        """Whether the transfer is PQ or HLG."""
        return self.tags.hdr


@dataclass(frozen=True, slots=True)
class Trim:
    """The part of a source that is wanted, in ticks of its video stream: ``[start_pts, stop_pts)``."""

    start_pts: int | None = None
    stop_pts: int | None = None


WHOLE = Trim()
"""All of the source."""


def plan_trim(info: SourceInfo, start_seconds: float | None, stop_seconds: float | None) -> Trim:
    """Turn seconds since the file's start into ticks: the frames with start <= t < stop.

    Args:
        info: The source.
        start_seconds: To the microsecond; None from the first frame on.
        stop_seconds: To the microsecond; None to the last frame.

    Raises:
        ConfigError: A time is negative, or the part would be empty.
    """
    if min(start_seconds or 0, stop_seconds or 0) < 0:
        raise ConfigError("times of a part count from the start of the file: they cannot be negative")
    if stop_seconds is not None and stop_seconds <= (start_seconds or 0):
        raise ConfigError(
            f"the part ends at {stop_seconds:g} s, not after its start at {start_seconds or 0:g} s: give a later end"
        )

    def first_tick(seconds: float | None) -> int | None:
        if seconds is None:
            return None
        # A float's exact value lies just beside what was typed, which would lose the frame at 0.1 s.
        time = info.container_start + Fraction(seconds).limit_denominator(1_000_000)
        return -(-time // info.time_base)

    return Trim(first_tick(start_seconds), first_tick(stop_seconds))


class Source:
    """A video file, ready to be read. Passive: one reader at a time, closed in the thread that reads."""

    def __init__(self, info: SourceInfo) -> None:
        self.info = info
        self._reader: Generator[Frame] | None = None

    def frames(self, trim: Trim = WHOLE) -> Iterator[Frame]:
        """Decode the frames that are shown, in presentation order.

        Args:
            trim: The part that is wanted; frames are counted from 0 within it.

        Returns:
            Frames with pts as the decoder gives them; their planes are copies. Each call reads
            anew, and ends the reader before.

        Raises:
            SourceError: While iterating: the file is gone.
            DecodeError: While iterating: the stream cannot be read on, changes its size or pixel
                format, or a frame has no time or does not follow its predecessor.
        """
        self.close()
        self._reader = _read(self.info, trim)
        return self._reader

    def close(self) -> None:
        """End the reader, if any; may be called twice."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_source(path: Path) -> Source:
    """Open a video file and decode its first frame, to know what it is.

    Args:
        path: A regular file, whatever its name.

    Raises:
        SourceError: There is no such file, or FFmpeg cannot read it.
        UnsupportedError: It has no video, or none that can be restored without loss.
        DecodeError: Its first frame cannot be decoded.
    """
    check_source(path)
    with open_container(path) as container:
        stream = _choose_video(container, path)
        try:
            first = next(container.decode(stream), None)
        except AV_ERRORS as error:
            raise DecodeError(f"{path}: the first frame cannot be decoded: {reason(error)}") from error
        if first is None or first.pts is None:
            raise DecodeError(f"{path}: no frame with a time could be decoded")
        return Source(_describe(path, container, stream, first))


def check_source(path: Path) -> None:
    """Find out what can be told without reading a file.

    Raises:
        SourceError: It is not there, no regular file, or empty.
    """
    if not os.path.exists(path):  # unlike pathlib, also for a name that is too long
        raise SourceError(f"{path} does not exist")
    if not path.is_file():
        raise SourceError(f"{path} is not a regular file: name one video file")
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty")


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open a file for demuxing, by the `file` protocol and nothing else.

    Raises:
        SourceError: FFmpeg cannot read it.
    """
    try:
        # The prefix keeps names such as "-x.mp4" or "http:x.mp4" what they are: names.
        container = av.open(f"file:{path}", "r", container_options=_PROTOCOLS, metadata_errors=TAG_ERRORS)
    except PermissionError as error:
        raise SourceError(f"{path} cannot be read: permission denied") from error
    except AV_ERRORS as error:
        raise SourceError(f"{path} is not a video that can be read, or it is damaged: {reason(error)}") from error
    with container:
        yield container


def reason(error: Exception) -> str:
    """FFmpeg's words for what went wrong, without the name of the file."""
    return str(getattr(error, "strerror", None) or error)


def _choose_video(container: InputContainer, path: Path) -> VideoStream:
    videos = [stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition]
    if not videos or container.format.name in _TEXT_ART:
        kinds = sorted({stream.type for stream in container.streams}) if container.format.name not in _TEXT_ART else []
        raise UnsupportedError(f"{path} has no video stream ({', '.join(kinds) or 'text'} only)")
    best = container.streams.best("video")
    stream = best if isinstance(best, VideoStream) and best in videos else videos[0]
    # Asking a stream without a codec context for anything crashes the interpreter.
    if stream.codec_context is None:
        raise UnsupportedError(f"{path}: there is no decoder for video stream #{stream.index}")
    use_only(container, [stream])
    stream.thread_type = "AUTO"
    return stream


def use_only(container: InputContainer, streams: Collection[Stream]) -> None:
    """Have the demuxer skip every other stream."""
    for stream in container.streams:
        stream.discard = Discard.default if stream in streams else Discard.all


def _describe(path: Path, container: InputContainer, stream: VideoStream, first: VideoFrame) -> SourceInfo:
    if not stream.time_base:
        raise UnsupportedError(f"{path}: the video stream has no time base")
    tags = ColourTags(first.color_range, first.colorspace, first.color_primaries, first.color_trc)
    side_data = cast(SideDataContainer, first.side_data)  # its stub says otherwise
    matrix = side_data.get(SideData.DISPLAYMATRIX)
    display_matrix = None if matrix is None else tuple(np.frombuffer(bytes(matrix), np.int32).tolist())
    rate = _average_rate(stream)
    duration = _duration_seconds(container, stream)
    return SourceInfo(
        path=path,
        container=container.format.name,
        stream_index=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        video=replace(
            video_format(first.width, first.height, first.format.name, tags, stream.codec_context.codec.canonical_name),
            quarter_turns=_quarter_turns(display_matrix),
        ),
        pixel_format_name=first.format.name,
        tags=tags,
        time_base=stream.time_base,
        sample_aspect_ratio=stream.sample_aspect_ratio or None,
        display_matrix=display_matrix,
        average_rate=rate,
        estimated_frames=stream.frames or (round(duration * rate) if duration and rate else None),
        start_pts=first.pts or 0,
        container_start=_container_start(container),
        duration_seconds=duration,
        interlaced=_interlaced(stream, first),
        lost_side_data=tuple(name for kind, name in _LOST_SIDE_DATA.items() if kind in side_data),
        other_streams=tuple(_describe_other(other) for other in container.streams if other is not stream),
    )


def _quarter_turns(display_matrix: tuple[int, ...] | None) -> int:
    """Counterclockwise quarter turns nearest to a display matrix, whose first two numbers say where right goes."""
    if display_matrix is None:
        return 0
    right, down = display_matrix[0], display_matrix[1]
    if abs(down) > abs(right):
        return 3 if down > 0 else 1
    return 2 if right < 0 and display_matrix[4] < 0 else 0


def _average_rate(stream: VideoStream) -> Fraction | None:
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and rate <= _FASTEST_RATE:
            return rate
    return stream.average_rate or None


def _container_start(container: InputContainer) -> Fraction:
    # Not `container.start_time`: it is rounded to microseconds, which can lie after the first frame.
    starts = [
        stream.start_time * stream.time_base
        for stream in container.streams
        if stream.type in ("video", "audio") and stream.start_time is not None and stream.time_base
    ]
    return min(starts, default=Fraction(0))


def _duration_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _interlaced(stream: VideoStream, first: VideoFrame) -> bool | None:
    if first.interlaced_frame:
        return True
    return {0: None, 1: False}.get(stream.codec_context.field_order, True)


def _describe_other(stream: Stream) -> StreamInfo:
    codec = stream.name if stream.type == "data" else None
    if stream.codec_context is not None:
        codec = stream.codec_context.codec.canonical_name
    return StreamInfo(
        index=stream.index,
        kind=stream.type,
        codec=codec,
        language=stream.language,
        cover_art=Disposition.attached_pic in stream.disposition,
    )


def _read(info: SourceInfo, trim: Trim) -> Generator[Frame]:
    layout = sample_layout(info.pixel_format_name)
    shape = (info.video.width, info.video.height, info.pixel_format_name)
    index = 0
    last_pts: int | None = None
    try:
        for picture in _decode(info, trim.start_pts):
            pts = picture.pts
            if pts is None or (last_pts is not None and pts <= last_pts):
                raise DecodeError(f"{_where(info, last_pts)}: the next frame has {_time_trouble(pts)}")
            last_pts = pts
            if trim.stop_pts is not None and pts >= trim.stop_pts:
                return
            if trim.start_pts is not None and pts < trim.start_pts:
                continue
            if (picture.width, picture.height, picture.format.name) != shape:
                raise DecodeError(
                    f"{_where(info, pts)}: the video changes from {shape[0]}x{shape[1]} {shape[2]} to "
                    f"{picture.width}x{picture.height} {picture.format.name}: cut the file there and restore the parts"
                )
            yield Frame(index, pts, picture.duration, copy_planes(picture, layout, info.video))
            index += 1
    except AV_ERRORS as error:
        raise DecodeError(f"{_where(info, last_pts)}: decoding stopped: {reason(error)}") from error


def _where(info: SourceInfo, pts: int | None) -> str:
    if pts is None:
        return f"{info.path}: before the first frame"
    return f"{info.path}: at pts {pts} ({float(pts * info.time_base):.3f} s)"


def _time_trouble(pts: int | None) -> str:
    return "no time" if pts is None else f"an earlier or equal time (pts {pts})"


def _decode(info: SourceInfo, start_pts: int | None) -> Iterator[VideoFrame]:
    """Decode from a key frame at or before ``start_pts``, or from the beginning."""
    for seconds_before in (*_SEEK_BACK_SECONDS, None) if start_pts is not None else (None,):
        with open_container(info.path) as container:
            stream = next(video for video in container.streams.video if video.index == info.stream_index)
            use_only(container, [stream])
            stream.thread_type = "AUTO"
            if start_pts is not None and seconds_before is not None:
                with suppress(av.FFmpegError):  # not seekable: this reads from the beginning
                    container.seek(start_pts - int(seconds_before / info.time_base), stream=stream)
            pictures = container.decode(stream)
            first = next(pictures, None)
            too_late = start_pts is not None and (first is None or first.pts is None or first.pts > start_pts)
            if too_late and seconds_before is not None:
                continue
            if first is not None:
                yield first
                yield from pictures
            return
