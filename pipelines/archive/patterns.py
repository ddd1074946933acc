"""Which names of a tree are searched for: all of them, or those that a glob describes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

ANY_FOLDERS = "**"
"""Stands for any number of folders, or none."""

_WILD = "*?["


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A relative name with wildcards, part by part; what begins with a dot is matched by no wildcard."""

    parts: tuple[str, ...]

    def matches(self, name: str) -> bool:
        """Whether a file's name, relative and with slashes, is meant."""
        return len(self.parts) in self._after(name.split("/"))

    def may_hold(self, folder: str) -> bool:
        """Whether names that are meant may be in a folder, or deeper."""
        return any(place < len(self.parts) for place in self._after(folder.split("/")))

    def _after(self, names: Sequence[str]) -> set[int]:
        """Which parts may come next when names were met."""
        places = self._skip({0})
        for name in names:
            places = self._skip(place for old in places if (place := self._step(old, name)) is not None)
        return places

    def _step(self, place: int, name: str) -> int | None:
        if place == len(self.parts):
            return None
        part = self.parts[place]
        if name.startswith(".") and not part.startswith("."):
            return None
        if part == ANY_FOLDERS:
            return place
        return place + 1 if fnmatchcase(name, part) else None

    def _skip(self, places: Iterable[int]) -> set[int]:
        """Folders of any number may be none."""
        reached = set[int]()
        for place in places:
            reached.add(place)
            while place < len(self.parts) and self.parts[place] == ANY_FOLDERS:
                place += 1
                reached.add(place)
        return reached


EVERYTHING = NamePattern((ANY_FOLDERS, "*"))
"""All files of a tree that are not hidden."""


def has_wildcards(text: str) -> bool:
    """Whether a text is a glob."""
    return any(sign in text for sign in _WILD)


def split_glob(text: str) -> tuple[str, NamePattern]:
    """A glob as the folder before its first wildcard, and what is searched for in it.

    ``/footage/**/*.mp4`` becomes ``/footage`` and ``**/*.mp4``.
    """
    parts = text.split("/")
    first = next(place for place, part in enumerate(parts) if has_wildcards(part))
    pattern = tuple("**" if part == ANY_FOLDERS else part for part in parts[first:] if part not in ("", "."))
    if pattern[-1] == ANY_FOLDERS:
        pattern = (*pattern, "*")
    return "/".join(parts[:first]) or ("/" if text.startswith("/") else "."), NamePattern(pattern)
