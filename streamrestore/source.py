"""Read a video file: its frames with their exact times.

A frame's time is decided in one line of `Source.frames`: the decoder's own pts, an integer in
the stream's time base. Nothing here computes with seconds but the choice of where to begin.
"""

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.video.frame import VideoFrame

from streamrestore.errors import ConfigError, DecodeError
from streamrestore.formats import sample_layout
from streamrestore.frame import Frame
from streamrestore.planes import copy_planes
from streamrestore.probing import AV_ERRORS, SourceInfo, open_container, probe, reason, use_only

_SEEK_BACK_SECONDS = (0, 10, 60)
"""How far before the wanted time to seek: a container's index may lead behind it, or lie."""


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
    """Open a video file.

    Args:
        path: A regular file, whatever its name.

    Raises:
        SourceError, UnsupportedError, DecodeError: As `probe`.
    """
    return Source(probe(path))


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
