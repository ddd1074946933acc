"""Turn planes into packets: an output's video stream, set up as an `Encoding` says."""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from streamrestore.encoders import ENCODER_THREADS
from streamrestore.encoding import Encoding
from streamrestore.errors import ConfigError, DiskFullError, OutputError, SinkError
from streamrestore.field_filters import FieldMarker
from streamrestore.frame import Planes
from streamrestore.planes import build_frame
from streamrestore.probing import AV_ERRORS, SourceInfo, reason
from streamrestore.rgb import output_tags, to_image

ASSUMED_RATE = 25
"""Frames a second where the source does not say; only rate control looks at it."""

_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
_PATH_ERRNOS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}
)


def add_video(output: OutputContainer, info: SourceInfo, encoding: Encoding) -> VideoStream:
    """Add the restored stream to an output, its encoder set up but not opened.

    Args:
        output: Any container that takes the codec.
        info: Size, times and colour tags are the source's.
        encoding: Everything else.

    Raises:
        ValueError: The container does not take the codec.
    """
    if encoding.encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # its only switch against a page of text on stderr
    rate = info.average_rate or ASSUMED_RATE
    stream = output.add_stream(encoding.encoder, rate=rate, options=dict(encoding.options))
    assert isinstance(stream, VideoStream)
    stream.time_base = info.time_base
    context = stream.codec_context
    context.time_base = info.time_base
    context.width, context.height = info.video.width, info.video.height
    context.pix_fmt = encoding.frame_format
    context.thread_count = ENCODER_THREADS
    # PyAV's own choice are threads that share a frame: x264 then leaves cores idle, and where frames are interlaced
    # gives other bytes from run to run. Threads with a frame each hold frames back, which a pipe of raw video need not.
    context.thread_type = "NONE" if encoding.encoder == "rawvideo" else "AUTO"
    tags = output_tags(info.tags, info.video, encoding.pixels)
    context.color_range = tags.range
    context.colorspace = tags.matrix
    context.color_primaries = tags.primaries
    context.color_trc = tags.transfer
    if info.sample_aspect_ratio is not None:
        context.sample_aspect_ratio = info.sample_aspect_ratio
    if encoding.container == "mpegts":
        # Whatever file the packets wait in: a transport stream is entered anywhere, so each
        # key frame must bring the headers along.
        context.flags &= ~Flags.global_header
    else:
        context.flags |= Flags.global_header
    return stream


def stream_options(container: str) -> dict[str, str]:
    """Options of a muxer that writes to a pipe.

    Args:
        container: FFmpeg's name of it.
    """
    # More than 8 bits are an extension of YUV4MPEG2 that all who write it know.
    return {"strict": "unofficial"} if container == "yuv4mpegpipe" else {}


class FrameEncoder:
    """Feeds planes to an opened stream's encoder."""

    def __init__(self, stream: VideoStream, info: SourceInfo, encoding: Encoding) -> None:
        self._stream = stream
        self._info = info
        self._encoding = encoding
        self._reformatter = VideoReformatter()
        self._marker = None if encoding.field_order is None else FieldMarker(encoding.field_order)

    def encode(self, pts: int, planes: Planes, *, key: bool = False) -> "list[av.Packet[VideoStream]]":
        """Encode one frame.

        Args:
            pts: In the source's time base, larger than the one before.
            planes: Of the source's format; may be read-only.
            key: Whether it must be a key frame; else the encoder decides.

        Returns:
            What the encoder gives back now: packets in decoding order.

        Raises:
            av.FFmpegError: The encoder failed.
        """
        frame = self._picture(planes)
        frame.pts, frame.time_base = pts, self._info.time_base
        if key:
            frame.pict_type = PictureType.I
        return self._stream.encode(frame if self._marker is None else self._marker.mark(frame))

    def flush(self) -> "list[av.Packet[VideoStream]]":
        """End the stream, and give what is still inside the encoder."""
        return self._stream.encode(None)

    def _picture(self, planes: Planes) -> VideoFrame:
        video, encoding = self._info.video, self._encoding
        tags = output_tags(self._info.tags, video, encoding.pixels)
        converted = encoding.pixels != video.pixels
        if converted and encoding.container == "image2":
            planes, video = to_image(planes, video, encoding.pixels), replace(video, pixels=encoding.pixels)
            converted = False
        frame = build_frame(planes, video, None if converted else encoding.frame_format)
        # ProRes is told by each frame what its colours are; swscale asks for the range.
        frame.color_range, frame.colorspace = tags.range, tags.matrix
        frame.color_primaries, frame.color_trc = tags.primaries, tags.transfer
        # One thread: with more, swscale was seen to skip rows of small frames.
        return self._reformatter.reformat(frame, format=encoding.frame_format, threads=1) if converted else frame


def check_encoder(info: SourceInfo, encoding: Encoding, pictures: int = 0) -> None:
    """Open the encoder once, in memory, to know before work starts that it takes its settings.

    Args:
        info: The source.
        encoding: How it is to be written.
        pictures: How many black ones are encoded, too.

    Raises:
        ConfigError: It does not take them, or its hardware is not there.
    """
    try:
        # Images go to files of their own, not into one stream of bytes.
        container = "image2pipe" if encoding.container == "image2" else encoding.container
        with av.open(io.BytesIO(), "w", format=container, container_options=stream_options(container)) as trial:
            stream = add_video(trial, info, encoding)
            trial.start_encoding()
            if pictures:
                _encode_black(trial, FrameEncoder(stream, info, encoding), info, pictures)
    except AV_ERRORS as error:
        settings = " ".join(f"{key}={value}" for key, value in encoding.options)
        hint = "; it needs an NVIDIA GPU with an encoder, and its driver" if "nvenc" in encoding.encoder else ""
        raise ConfigError(
            f"{encoding.encoder} cannot be opened with {settings or 'its defaults'}: {reason(error)}{hint}"
        ) from error


def _encode_black(output: OutputContainer, encoder: FrameEncoder, info: SourceInfo, pictures: int) -> None:
    dtype = np.uint8 if info.video.pixels.depth <= 8 else np.uint16
    black = tuple(np.zeros(shape, dtype) for shape in info.video.plane_shapes())
    interval = round(1 / ((info.average_rate or ASSUMED_RATE) * info.time_base))
    for index in range(pictures):
        output.mux(encoder.encode(index * interval, black))
    output.mux(encoder.flush())


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn what PyAV and the system raise while a file is written into our errors.

    Raises:
        DiskFullError: There is no space left.
        OutputError: The path cannot be written.
        SinkError: Encoding or writing failed.
    """
    try:
        yield
    except AV_ERRORS as error:
        code = getattr(error, "errno", None)
        if code in _FULL_ERRNOS:
            raise DiskFullError(f"{path}: no space left: free some and start again") from error
        if code in _PATH_ERRNOS:
            hint = "; is its folder still there?" if code == errno.ENOENT else ""
            raise OutputError(f"{path} cannot be written: {reason(error)}{hint}") from error
        raise SinkError(f"{path}: encoding or writing failed: {reason(error)}") from error
