"""How an input is opened: a file by its name, numbered images by their pattern, a pipe by what comes of it."""

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from streamrestore.errors import ConfigError, SourceError
from streamrestore.image_sequence import Images, find_images, images_sha256, parse_pattern
from streamrestore.replay import Replay
from streamrestore.work_folder import sha256_of

PIPE = Path("-")
"""What standard input and standard output are called."""


@dataclass(frozen=True, slots=True)
class Opening:
    """An input, and all that must be known to open it, again and again in the same way."""

    path: Path
    """As it is named: a file, a pattern of images, or `PIPE`."""
    format: str | None = None
    """FFmpeg's name of the demuxer; None has FFmpeg find out."""
    options: tuple[tuple[str, str], ...] = ()
    """For the demuxer."""
    images: Images | None = None
    """Where the path is a pattern."""
    pipe: Replay | None = None
    """Where it is a pipe."""

    def __str__(self) -> str:
        return str(self.path)

    def stat(self) -> tuple[int, ...]:
        """What is another where the input was replaced, or grew.

        Raises:
            OSError: It is gone.
        """
        if self.pipe is not None:
            return ()
        if self.images is not None:
            sizes = [path.stat().st_size for path in self.images.files()]
            return len(sizes), sum(sizes)
        found = self.path.stat()
        return found.st_dev, found.st_ino, found.st_size

    def bytes(self) -> int:
        """Size of the file, or of all images together.

        Raises:
            OSError: It is gone.
        """
        return self.stat()[-1]

    def sha256(self) -> str:
        """Of the file, or of all images one after the other.

        Raises:
            OSError: It cannot be read.
        """
        return sha256_of(self.path) if self.images is None else images_sha256(self.images)


def find_opening(path: Path, framerate: Fraction | None = None) -> Opening:
    """Find out how a named input is opened, without reading it.

    Args:
        path: A regular file, whatever its name, or a pattern such as ``frame_%06d.dpx``.
        framerate: Images a second.

    Raises:
        ConfigError: Images come without a rate, or a video with one.
        SourceError: There is no such file, it is no regular one or empty; or images are missing.
    """
    pattern = None if os.path.exists(path) else parse_pattern(path)
    if pattern is None:
        check_source(path)
        if framerate is not None:
            raise ConfigError(f"{path} says itself how fast it is shown: leave --framerate out, it is for images")
        return Opening(path)
    images = find_images(path, pattern)
    if framerate is None:
        raise ConfigError(
            f"{path}: images do not say how fast they are shown: give their rate, such as --framerate 24"
        )
    options = {
        "framerate": f"{framerate.numerator}/{framerate.denominator}",
        "pattern_type": "sequence",
        "start_number": str(images.first),
        "start_number_range": "1",
    }
    return Opening(path, "image2", tuple(options.items()), images)


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
