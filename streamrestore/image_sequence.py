"""Numbered images in a folder as one video: find them all, or say which one is missing."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streamrestore.errors import SourceError

IMAGE_SUFFIXES = frozenset({".bmp", ".dpx", ".jp2", ".jpeg", ".jpg", ".png", ".tga", ".tif", ".tiff"})
"""What is taken for an image in a folder; a pattern may have any suffix that FFmpeg knows."""

_PLACE = re.compile(r"%(?:0(?P<digits>[1-9]\d?))?d")


@dataclass(frozen=True, slots=True)
class Pattern:
    """The names of numbered images in one folder, such as ``shots/frame_%06d.dpx``."""

    folder: Path
    before: str
    """The number."""
    digits: int
    """Fewest of a number; shorter ones begin with zeros."""
    after: str

    def file(self, number: int) -> Path:
        """The image of a number."""
        return self.folder / f"{self.before}{number:0{self.digits}d}{self.after}"

    def number(self, name: str) -> int | None:
        """The number in a file's name; None if the name is of no image of the pattern."""
        digits = name.removeprefix(self.before).removesuffix(self.after)
        is_number = digits.isascii() and digits.isdecimal() and len(digits) < 10
        return int(digits) if is_number and self.file(int(digits)).name == name else None

    def ffmpeg_name(self) -> str:
        """As FFmpeg's ``image2`` takes it, which would see a pattern in folders too."""
        folder, before, after = (text.replace("%", "%%") for text in (f"{self.folder}", self.before, self.after))
        return f"{folder}/{before}%0{self.digits}d{after}"


@dataclass(frozen=True, slots=True)
class Images:
    """Images whose numbers follow each other without a gap."""

    pattern: Pattern
    first: int
    """Number of the first one."""
    count: int

    def files(self) -> Iterator[Path]:
        """All of them, in order."""
        return map(self.pattern.file, range(self.first, self.first + self.count))


def parse_pattern(path: Path) -> Pattern | None:
    """Read a name with a place for a number, ``%06d`` or ``%d``; None if it has none.

    Only the name is a pattern: in folders a percent sign is one.
    """
    place = _PLACE.search(path.name)
    if place is None:
        return None
    return Pattern(path.parent, path.name[: place.start()], int(place["digits"] or 1), path.name[place.end() :])


def find_images(path: Path, pattern: Pattern) -> Images:
    """Find all images of a pattern.

    Args:
        path: As the user named it.
        pattern: What it says.

    Raises:
        SourceError: There are none, one is empty, or numbers are missing between them.
    """
    try:
        with os.scandir(pattern.folder) as entries:
            found = {
                number: entry.stat().st_size for entry in entries if (number := pattern.number(entry.name)) is not None
            }
    except OSError as error:
        raise SourceError(f"the folder {pattern.folder} cannot be read: {error.strerror}") from error
    if not found:
        raise SourceError(f"there are no images {path}: the first would be such as {pattern.file(1).name}")
    first, last = min(found), max(found)
    if len(found) <= last - first:
        missing = next(number for number in range(first, last) if number not in found)
        raise SourceError(
            f"{pattern.file(missing)} is missing: the images go from {pattern.file(first).name} to "
            f"{pattern.file(last).name}, {last - first + 1 - len(found)} of them are not there; restore it, or number "
            "the images without gaps"
        )
    if empty := [number for number, size in sorted(found.items()) if not size]:
        raise SourceError(f"{pattern.file(empty[0])} is empty, as are {len(empty) - 1} other images of {path}")
    return Images(pattern, first, len(found))


def suggest_pattern(folder: Path) -> str | None:
    """How to name the images in a folder that holds no videos; None if there are none, or of several kinds.

    Raises:
        OSError: The folder cannot be read.
    """
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    numbered = [re.fullmatch(r"(.*?)(\d+)(\.[^.]*)", name) for name in names]
    kinds = {(match[1], len(match[2]), match[3]) for match in numbered if match}
    if not names or None in numbered or len(kinds) != 1:
        return None
    before, digits, after = kinds.pop()
    return f"{before}%0{digits}d{after}"
