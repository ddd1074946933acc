"""How an input is opened: a file by its name or in ranges, numbered images by their pattern, a pipe as it comes."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol

from streamrestore.errors import ConfigError, SourceError
from streamrestore.image_sequence import Images, find_images, parse_pattern
from streamrestore.pipes import ReplayedPipe
from streamrestore.ranges import RangeReader

PIPE = Path("-")
"""What standard input and standard output are called."""

_CHUNK_BYTES = 1 << 20


class Content(Protocol):
    """A file that is read in ranges, rather than by FFmpeg itself."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def open(self) -> AbstractContextManager[RangeReader]:
        """The file, for reading.

        Raises:
            StreamRestoreError: It cannot be read; also while reading, and at the end where it could not before.
        """
        ...

    def check(self) -> None:
        """Make sure that it is still what it was.

        Raises:
            StreamRestoreError: It is not, or that cannot be found out.
        """
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """An input, and all that must be known to open it, again and again in the same way."""

    path: Path
    """As it is named: a file, a pattern of images, or `PIPE`; of what is elsewhere, a name for people."""
    format: str | None = None
    """FFmpeg's name of the demuxer; None has FFmpeg find out."""
    options: tuple[tuple[str, str], ...] = ()
    """For the demuxer."""
    images: Images | None = None
    """Where the path is a pattern."""
    pipe: ReplayedPipe | None = None
    """Where it is a pipe."""
    content: Content | None = None
    """Where it is read in ranges."""

    def __str__(self) -> str:
        return str(self.path)

    @property
    def url(self) -> str:
        """What FFmpeg is told to open."""
        # The prefix keeps names such as "-x.mp4" or "http:x.mp4" what they are: names.
        return f"file:{self.path if self.images is None else self.images.pattern.ffmpeg_name()}"

    def files(self) -> Iterator[Path]:
        """What FFmpeg opens by its name, in order: nothing of a pipe, or of what is read in ranges."""
        if self.images is not None:
            yield from self.images.files()
        elif self.pipe is None and self.content is None:
            yield self.path

    def beginning(self, count: int) -> bytes:
        """The first bytes; of a pipe, of those that were read.

        Raises:
            OSError: It cannot be read.
        """
        if self.pipe is not None:
            return self.pipe.beginning(count)
        if self.content is not None:
            with self.content.open() as content:
                return content.read(count)
        with next(self.files()).open("rb") as file:
            return file.read(count)

    def stat(self) -> tuple[int, ...]:
        """What is another where the input was replaced, or grew.

        Raises:
            OSError: It is gone.
            StreamRestoreError: As of `Content`.
        """
        if self.content is not None:
            self.content.check()
            return (self.content.size,)
        found = [path.stat() for path in self.files()]
        places = [number for each in found[:1] for number in (each.st_dev, each.st_ino)]
        return (*places, len(found), sum(each.st_size for each in found))

    def bytes(self) -> int:
        """Size of the file, or of all images together.

        Raises:
            OSError: It is gone.
        """
        if self.content is not None:
            return self.content.size
        return sum(path.stat().st_size for path in self.files())

    def sha256(self) -> str:
        """Of the file, or of all images one after the other.

        Raises:
            OSError: It cannot be read.
            StreamRestoreError: As of `Content`.
        """
        if self.content is not None:
            digest = hashlib.sha256()
            with self.content.open() as content:
                _add(content, digest)
            return digest.hexdigest()
        return files_sha256(self.files())


@dataclass(frozen=True, slots=True)
class InputRequest:
    """What the user says of inputs that do not say it themselves."""

    framerate: Fraction | None = None
    """Pictures a second, of images and of raw video."""
    format: str | None = None
    """FFmpeg's name of what a pipe holds; None has FFmpeg find out."""
    size: tuple[int, int] | None = None
    """(height, width) of raw video, in pixels."""
    pixel_format_name: str | None = None
    """Of raw video."""


UNSAID = InputRequest()
"""For inputs that say all themselves."""


def find_opening(path: Path, request: InputRequest = UNSAID) -> Opening:
    """Find out how a named input is opened, without reading it.

    Args:
        path: A regular file, whatever its name, or a pattern such as ``frame_%06d.dpx``.
        request: Says how fast images are shown.

    Raises:
        ConfigError: Images come without a rate, or something is said of a video that it says itself.
        SourceError: There is no such file, it is no regular one or empty; or images are missing.
    """
    _check_raw(request)
    rate = request.framerate
    pattern = None if os.path.exists(path) else parse_pattern(path)
    if pattern is None:
        check_source(path)
        if rate is not None:
            raise ConfigError(
                f"{path} says itself how fast it is shown: leave --framerate out; it is for images and raw pipes"
            )
        return Opening(path)
    images = find_images(path, pattern)
    if rate is None:
        raise ConfigError(f"{path}: images do not say how fast they are shown: give their rate, as in --framerate 24")
    options = {
        "framerate": f"{rate.numerator}/{rate.denominator}",
        "pattern_type": "sequence",
        "start_number": str(images.first),
        "start_number_range": "1",
    }
    return Opening(path, "image2", tuple(options.items()), images)


def pipe_opening(pipe: ReplayedPipe, request: InputRequest) -> Opening:
    """How standard input is opened.

    Args:
        pipe: It.
        request: What it holds; nothing need be said but of raw video.

    Raises:
        ConfigError: Too little is said of raw video, or too much of another.
    """
    rate, size, pixels = request.framerate, request.size, request.pixel_format_name
    if request.format != "rawvideo":
        _check_raw(request)
        if rate is not None:
            raise ConfigError("--framerate is for images and for -f rawvideo: other pipes say it themselves")
        return Opening(PIPE, request.format, pipe=pipe)
    if rate is None or size is None or pixels is None:
        raise ConfigError(
            "raw video says nothing of itself: give --video-size, --input-pix-fmt and --framerate, "
            "such as 1920x1080, yuv420p and 25"
        )
    options = {
        "framerate": f"{rate.numerator}/{rate.denominator}",
        "pixel_format": pixels,
        "video_size": f"{size[1]}x{size[0]}",
    }
    return Opening(PIPE, "rawvideo", tuple(options.items()), pipe=pipe)


def _check_raw(request: InputRequest) -> None:
    if request.size is not None or request.pixel_format_name is not None:
        raise ConfigError("--video-size and --input-pix-fmt are for -f rawvideo from standard input only")


def files_sha256(files: Iterable[Path]) -> str:
    """Of files, one after the other.

    Raises:
        OSError: One cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            _add(file, digest)
    return digest.hexdigest()


def _add(file: BinaryIO | RangeReader, digest: "hashlib._Hash") -> None:
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)


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
