"""Find out what a file is, before it is read through: its container, streams, formats, colour and side data."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.codec import CodecContext
from av.codec.codec import UnknownCodecError
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideData
from av.stream import Discard, Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamrestore.ebml import LONGEST_HEADER
from streamrestore.errors import DecodeError, SourceError, UnsupportedError
from streamrestore.field_filters import FilterChain
from streamrestore.formats import ColourTags, video_format
from streamrestore.frame import ChromaLocation, VideoFormat
from streamrestore.hdr import (
    ContentLight,
    MasteringDisplay,
    ambient_message,
    parse_content_light,
    parse_mastering_display,
)
from streamrestore.messages import Message, MessageKind
from streamrestore.opening import Opening, check_source
from streamrestore.ranges import RangeReader
from streamrestore.siting import matroska_chroma_location, tagged_chroma_location, y4m_chroma_location

# A "video" may be a playlist: it must not make us fetch addresses.
_PROTOCOLS = {"protocol_whitelist": "file,crypto,data"}

_BUFFER_BYTES = 1 << 18
"""Of what comes from a pipe, read at once."""

_FIRST_PACKETS = 500
"""How far to look for the first picture that can be decoded."""

TAG_ERRORS = "surrogateescape"
"""How tags that are not UTF-8 are read, so that they can be written again byte for byte."""

DAMAGE_ERRORS = (av.InvalidDataError, av.error.BlockingIOError, av.error.MemoryError, av.error.PatchWelcomeError)
"""What demuxers say of damage: lengths that ask for all memory, packets that must be tried again."""

AV_ERRORS = (av.FFmpegError, OSError, ValueError)
"""What PyAV raises when a file is not what it says, or cannot be read or written."""

_TEXT_ART = frozenset({"tty", "bin", "xbin", "adf", "idf"})
"""FFmpeg draws text files as pictures; nobody who names one means that."""

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own drop the second picture of a WebM packet, which is the alpha."""

_UNREAD_ALPHA = "the alpha channel, which no decoder here reads,"

_Y4M_HEADER_BYTES = 256
"""The longest that FFmpeg reads."""

_NEWER_KINDS = 8
"""Of side data that FFmpeg may know beyond those that PyAV names; 8.1 has four."""

MOST_PIXELS = 8192 * 8192
"""Of a picture. Twice 8K; one frame of more, in all the forms that it takes on its way, would fill a machine."""

_FASTEST_RATE = 240
"""Frames a second; files that claim more have durations of one tick, not a rate."""

_LOST_SIDE_DATA = {
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
class Riding:
    """Something that goes along with the pictures, inside their packets."""

    kind: MessageKind
    name: str
    without: str
    """What happens where it is lost."""


_RIDING = {
    SideData.A53_CC: Riding(MessageKind.T35, "the closed captions inside the video", "players show none"),
    SideData.AFD: Riding(MessageKind.T35, "the active format description", "players do not know which part is picture"),
    SideData.DYNAMIC_HDR_PLUS: Riding(MessageKind.T35, "the HDR10+ metadata", "players take it for plain HDR10"),
    SideData.DYNAMIC_HDR_VIVID: Riding(MessageKind.T35, "the HDR Vivid metadata", "players take it for plain HDR"),
    SideData.DOVI_RPU_BUFFER: Riding(
        MessageKind.DOLBY_VISION, "the Dolby Vision metadata", "players show its plain HDR picture"
    ),
    SideData.AMBIENT_VIEWING_ENVIRONMENT: Riding(
        MessageKind.AMBIENT, "the ambient viewing environment", "players cannot adapt to the room"
    ),
}
"""By the side data of a frame that tells of it."""


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
    lost_side_data: tuple[str, ...]
    """What the first frame carries that the sink does not write again."""
    other_streams: tuple[StreamInfo, ...]
    chroma_location: ChromaLocation | None = None
    """As tagged; `video` has the codec's own where nothing is said."""
    mastering_display: MasteringDisplay | None = None
    content_light: ContentLight | None = None
    ambient: Message | None = None
    """The room a film was graded in, for every key frame."""
    riding: tuple[Riding, ...] = ()
    """What the first frame's packet carries beside the picture."""
    opened: Opening | None = None
    """How it is opened; None for a file by its name."""

    @property
    def opening(self) -> Opening:
        """How it is opened, whatever it is."""
        return self.opened or Opening(self.path)

    @property
    def hdr(self) -> bool:
        """Whether the transfer is PQ or HLG."""
        return self.tags.hdr


def probe(source: Path | Opening, stream_index: int | None = None) -> SourceInfo:
    """Open a video and decode its first frame, to know what it is.

    Args:
        source: A regular file, whatever its name; or how another input is opened.
        stream_index: Of the video stream that is meant; None takes the one that players would show.

    Raises:
        SourceError: There is no such file, or FFmpeg cannot read it.
        UnsupportedError: It has no video, or none that can be restored without loss.
        DecodeError: Its first frame cannot be decoded.
    """
    if isinstance(source, Path):
        check_source(source)
    opening = source if isinstance(source, Opening) else Opening(source)
    path = opening.path
    with open_container(opening) as container:
        stream = choose_video(container, path, stream_index)
        try:
            first = _first_picture(container, stream)
        except AV_ERRORS as error:
            raise DecodeError(f"{path}: the first frame cannot be decoded: {reason(error)}") from error
        if first is None:
            raise DecodeError(f"{path}: no frame could be decoded")
        return describe(opening, container, stream, first)


def _first_picture(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """The first that can be decoded: of damage ahead of it the reader tells."""
    refused: av.FFmpegError | None = None
    decoder = picture_decoder(stream)
    for packet in islice(container.demux(stream), _FIRST_PACKETS):
        try:
            if pictures := decoder.decode(packet):
                return pictures[0]
        except av.FFmpegError as error:
            refused = error
    if refused is not None:
        raise refused
    return None


def picture_decoder(stream: VideoStream) -> VideoCodecContext:
    """The decoder of a stream's pictures: its own, or where that drops their alpha one that does not.

    Args:
        stream: Of an open container.
    """
    own = stream.codec_context
    if stream.metadata.get("alpha_mode") != "1" or own.codec.canonical_name not in _ALPHA_DECODERS:
        return own
    try:
        decoder = CodecContext.create(_ALPHA_DECODERS[own.codec.canonical_name], "r")
    except UnknownCodecError:
        return own
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata, decoder.width, decoder.height = own.extradata, own.width, own.height
    return decoder


@contextmanager
def open_container(source: Path | Opening, content: RangeReader | None = None) -> Iterator[InputContainer]:
    """Open an input for demuxing, by the `file` protocol, in ranges or from its pipe, and by nothing else.

    Args:
        source: A file, or how another input is opened.
        content: Read in place of the file, which is elsewhere.

    Raises:
        SourceError: FFmpeg cannot read it.
        StreamRestoreError: What is read in ranges could not be; also at the end, where FFmpeg hid that.
    """
    opening = source if isinstance(source, Opening) else Opening(source)
    if opening.pipe is not None:
        opening.pipe.rewind()
    ranges = nullcontext(content) if opening.content is None else opening.content.open()
    with ranges as file, _demuxed(opening, file) as container:
        yield container


@contextmanager
def _demuxed(opening: Opening, content: RangeReader | None) -> Iterator[InputContainer]:
    try:
        container = av.open(
            opening.pipe or content or opening.url,
            "r",
            format=opening.format,
            container_options=_PROTOCOLS | dict(opening.options),
            metadata_errors=TAG_ERRORS,
            buffer_size=_BUFFER_BYTES,
        )
    except PermissionError as error:
        raise SourceError(f"{opening} cannot be read: permission denied") from error
    except AV_ERRORS as error:
        raise SourceError(
            f"{opening} is no video or picture that can be read, or it is damaged: {reason(error)}"
        ) from error
    with container:
        yield container


def reason(error: Exception) -> str:
    """FFmpeg's words for what went wrong, without the name of the file."""
    return str(getattr(error, "strerror", None) or error)


def choose_video(container: InputContainer, path: Path, stream_index: int | None = None) -> VideoStream:
    """The video stream that is meant.

    Args:
        container: Open; its other streams are discarded.
        path: What it is called.
        stream_index: Of the stream that is meant; None takes the one that players would show.

    Raises:
        UnsupportedError: There is none, or none that can be decoded, or its pictures are too large.
    """
    videos = [stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition]
    if not videos or container.format.name in _TEXT_ART:
        kinds = sorted({stream.type for stream in container.streams}) if container.format.name not in _TEXT_ART else []
        raise UnsupportedError(f"{path} has no video stream ({', '.join(kinds) or 'text'} only)")
    meant = next((video for video in videos if video.index == stream_index), container.streams.best("video"))
    stream = meant if isinstance(meant, VideoStream) and meant in videos else videos[0]
    # Asking a stream without a codec context for anything crashes the interpreter.
    if stream.codec_context is None:
        raise UnsupportedError(f"{path}: there is no decoder for video stream #{stream.index}")
    # Before a picture is decoded: that alone may take all memory.
    _check_size(path, stream.codec_context.width, stream.codec_context.height)
    use_only(container, [stream])
    stream.thread_type = "AUTO"
    return stream


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise UnsupportedError(
            f"{path} has pictures of {width}x{height} pixels, {width * height / 1e6:.0f} million: up to "
            f"{MOST_PIXELS / 1e6:.0f} million are restored, such as 8192x8192; make them smaller, or cut them up"
        )


def use_only(container: InputContainer, streams: Collection[Stream]) -> None:
    """Have the demuxer skip every other stream."""
    for stream in container.streams:
        stream.discard = Discard.default if stream in streams else Discard.all


def describe(opening: Opening, container: InputContainer, stream: VideoStream, first: VideoFrame) -> SourceInfo:
    """What a video is, from its container's headers and its first picture.

    Args:
        opening: How the container was opened.
        container: Open.
        stream: Of it, the one that is restored.
        first: Its first picture.

    Raises:
        UnsupportedError: It cannot be restored without loss.
    """
    if not stream.time_base:
        raise UnsupportedError(f"{opening}: the video stream has no time base")
    _check_size(opening.path, first.width, first.height)
    tags = ColourTags(first.color_range, first.colorspace, first.color_primaries, first.color_trc)
    side_data = _side_data(first)
    matrix = side_data.get(SideData.DISPLAYMATRIX)
    display_matrix = None if matrix is None else tuple(np.frombuffer(bytes(matrix), np.int32).tolist())
    display = side_data.get(SideData.MASTERING_DISPLAY_METADATA)
    light = side_data.get(SideData.CONTENT_LIGHT_LEVEL)
    ambient = side_data.get(SideData.AMBIENT_VIEWING_ENVIRONMENT)
    video = video_format(first.width, first.height, first.format.name, tags, stream.codec_context.codec.canonical_name)
    chroma_location = _chroma_location(opening, container, stream) if video.pixels.chroma_shift == (1, 1) else None
    rate = average_rate(stream)
    duration = stream_seconds(container, stream)
    return SourceInfo(
        path=opening.path,
        container=container.format.name,
        stream_index=stream.index,
        codec=stream.codec_context.codec.canonical_name,
        video=replace(
            video,
            chroma_location=chroma_location or video.chroma_location,
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
        lost_side_data=(
            *(name for kind, name in _LOST_SIDE_DATA.items() if kind in side_data),
            *([_UNREAD_ALPHA] if stream.metadata.get("alpha_mode") == "1" and not video.pixels.alpha else []),
        ),
        other_streams=tuple(_describe_other(other) for other in container.streams if other is not stream),
        chroma_location=chroma_location,
        mastering_display=None if display is None else parse_mastering_display(bytes(display)),
        content_light=None if light is None else parse_content_light(bytes(light)),
        ambient=None if ambient is None else ambient_message(bytes(ambient)),
        riding=tuple(riding for kind, riding in _RIDING.items() if kind in side_data),
        opened=None if opening == Opening(opening.path) else opening,
    )


def _side_data(picture: VideoFrame) -> SideDataContainer:
    """What comes with a picture, of the kinds that PyAV has a name for."""
    try:
        return cast(SideDataContainer, picture.side_data)  # its stub says otherwise
    except ValueError:  # PyAV stumbles over kinds that are newer than it, such as the EXIF data of every TIFF
        newer = range(len(SideData), len(SideData) + _NEWER_KINDS)
        without = FilterChain(picture, [("sidedata", f"mode=delete:type={number}") for number in newer])
        return cast(SideDataContainer, without.push(picture)[0].side_data)


def _chroma_location(opening: Opening, container: InputContainer, stream: VideoStream) -> ChromaLocation | None:
    """As the container says it, or the codec's headers, which win."""
    if container.format.name == "yuv4mpegpipe":
        return y4m_chroma_location(opening.beginning(_Y4M_HEADER_BYTES))
    tagged = tagged_chroma_location(stream)
    if tagged is None and container.format.name.startswith("matroska"):
        with suppress(FileNotFoundError):  # it came over a network
            return matroska_chroma_location(opening.beginning(LONGEST_HEADER), stream.index)
    return tagged


def _quarter_turns(display_matrix: tuple[int, ...] | None) -> int:
    """Counterclockwise quarter turns nearest to a display matrix, whose first two numbers say where right goes."""
    if display_matrix is None:
        return 0
    right, down = display_matrix[0], display_matrix[1]
    if abs(down) > abs(right):
        return 3 if down > 0 else 1
    return 2 if right < 0 and display_matrix[4] < 0 else 0


def average_rate(stream: VideoStream) -> Fraction | None:
    """Frames a second, as its header says, if it says something sensible; a hint."""
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


def stream_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """How long a video is, as its container says, if it does."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


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
