"""Files of this computer, and of what is mounted on it."""

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from streamrestore.arriving import arriving
from streamrestore.encoder import writing_to
from streamrestore.errors import SourceError
from streamrestore.locations import Location
from streamrestore.storage import Found, Unread, check_unchanged
from streamrestore.work_folder import write_last, write_once

_CHUNK_BYTES = 1 << 20


class LocalStorage:
    """As `Storage` says."""

    def find(self, location: Location) -> Found | None:
        """What is known of one file; of what is no regular file nothing."""
        try:
            return _found(location.name, os.stat(location.url))
        except OSError as error:
            if isinstance(error, PermissionError):
                raise SourceError(f"{location} may not be looked at: {error.strerror}") from error
            return None

    def find_all(self, locations: Iterable[Location]) -> Iterator[tuple[Location, Found | None]]:
        """What is known of many files."""
        for location in locations:
            try:
                yield location, _found(location.name, os.stat(location.url))
            except OSError:
                yield location, None

    def walk(
        self, folder: Location, enters: Callable[[str], bool], skip: Location | None = None
    ) -> Iterator[Found | Unread]:
        """Every file in a folder and its folders."""
        root = _identity(folder.path)
        if root is None:
            raise SourceError(
                f"{folder} is no folder: name one, a glob, a manifest, or a URL such as s3://bucket/folder"
            )
        left_out = None if skip is None else _identity(skip.path)
        waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", (root,))]
        while waiting:
            name, above = waiting.pop()
            try:
                entries = sorted(os.scandir(folder.path / name), key=lambda entry: entry.name)
            except OSError as error:
                if not name:
                    raise SourceError(f"the folder {folder} cannot be read: {error.strerror}") from error
                yield Unread(name, error.strerror or str(error))
                continue
            for entry in entries:
                inside = f"{name}/{entry.name}" if name else entry.name
                if _is_folder(entry):
                    identity = _identity(Path(entry.path))
                    if identity is not None and identity != left_out and identity not in above and enters(inside):
                        waiting.append((inside, (*above, identity)))
                else:
                    yield _look_at(entry, inside)

    def holds_any(self, folder: Location) -> bool:
        """Whether there is a folder, and anything in it."""
        try:
            with os.scandir(folder.path) as entries:
                return next(entries, None) is not None
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SourceError(f"{folder} cannot be read: {error.strerror}") from error

    def read(self, location: Location) -> bytes | None:
        """A small file."""
        try:
            return location.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceError(f"{location} cannot be read: {error.strerror}") from error

    def write(self, location: Location, content: bytes) -> None:
        """Write a small file, so that there is the old one or the new one."""
        with writing_to(location.path):
            location.path.parent.mkdir(parents=True, exist_ok=True)
            write_last(location.path, content)

    def create(self, location: Location, content: bytes) -> bool:
        """Write a small file, unless it is there already."""
        with writing_to(location.path):
            location.path.parent.mkdir(parents=True, exist_ok=True)
            return write_once(location.path, content)

    def upload(self, file: Path, location: Location) -> None:
        """Put a whole file there."""
        with writing_to(location.path):
            location.path.parent.mkdir(parents=True, exist_ok=True)
        with arriving(location.path) as part, writing_to(part):
            shutil.copyfile(file, part)

    def download(self, location: Location, file: Path, hint: str) -> None:
        """Have a file here."""
        with arriving(file) as part:
            try:
                content = location.path.open("rb")
            except OSError as error:
                raise SourceError(f"{location} cannot be read: {error.strerror}") from error
            with content, writing_to(file), part.open("wb") as copy:
                shutil.copyfileobj(content, copy, _CHUNK_BYTES)
            check_unchanged(self.find(location), location, hint)

    def delete(self, location: Location) -> None:
        """Delete a file, if there is one."""
        with writing_to(location.path):
            location.path.unlink(missing_ok=True)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from all others; None if it is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def _look_at(entry: "os.DirEntry[str]", name: str) -> Found:
    """What is known of something that is no folder; a file that is not there, or none, is found all the same."""
    try:
        return _found(name, entry.stat()) or Found(name, 0, "")
    except OSError:
        return Found(name, 0, "")


def _found(name: str, status: os.stat_result) -> Found | None:
    if not stat.S_ISREG(status.st_mode):
        return None
    return Found(name, status.st_size, f"{status.st_size}-{status.st_mtime_ns}")
