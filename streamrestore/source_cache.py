"""Copies of remote files on this machine's disk, each there once and for as long as there is room.

::

    CACHE/
        lock             held for a moment by whoever looks for an entry, or for room
        5f0c…/           one file, as it was when it was listed
            use          its size; locked, shared, by all who use the entry or wait for it
            fill         locked by who downloads it
            file/        complete where it is there; or a download, under another name

All locks end with their processes, so that one that is killed keeps nobody waiting, and what it left is known by
nobody holding it. What is in use is never deleted: the limit gives way to that.
"""

import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from streamrestore.encoder import writing_to
from streamrestore.errors import DiskFullError
from streamrestore.locations import Location
from streamrestore.storage import storage_of

_LONGEST_NAME = 200
"""Bytes of a copy's name: storage may know longer ones than file systems do."""

log = logging.getLogger(__name__)


class SourceCache:
    """A folder of copies, shared by all processes of a machine. May be used by several threads."""

    def __init__(self, root: Path, limit_bytes: int) -> None:
        """Name a folder; nothing is made yet.

        Args:
            root: On a disk of this machine, for nothing else.
            limit_bytes: Beyond which copies that nobody uses are deleted, those first that were not for longest.
        """
        self._root = root
        self._limit = limit_bytes

    @contextmanager
    def fetch(self, location: Location, hint: str, size: int = 0) -> Iterator[Path]:
        """A file of this machine with a source's content, for as long as this is open.

        What is local is used where it is. Of several who ask at once one downloads, and the others wait.

        Args:
            location: Of the source.
            hint: What was known of its content.
            size: In bytes; 0 where it is not known.

        Raises:
            SourceError: It is gone, was replaced, or may not be read.
            StorageError: Its storage is out of reach.
            OutputError: The cache cannot be written.
            DiskFullError: There is no space left, also without all that nobody uses.
        """
        if location.is_local:
            yield location.path
            return
        entry, file = self._place(location, hint)
        with self._using(entry, size):
            if not file.exists():
                self._fill(file, location, hint)
            yield file

    @contextmanager
    def find(self, location: Location, hint: str) -> Iterator[Path | None]:
        """A copy of a remote file for as long as this is open, if there is one, or if one is being downloaded now.

        Args:
            location: Of the source.
            hint: What was known of its content.

        Raises:
            SourceError, StorageError, OutputError, DiskFullError: As `fetch`.
        """
        entry, file = self._place(location, hint)
        if not entry.exists():
            yield None
            return
        with self._using(entry, 0):
            if not file.exists() and _is_filled(entry):
                self._fill(file, location, hint)
            yield file if file.exists() else None

    def _place(self, location: Location, hint: str) -> tuple[Path, Path]:
        """An entry, and the file in it."""
        entry = self._root / hashlib.sha256(f"{location.url}\0{hint}".encode()).hexdigest()[:32]
        return entry, entry / "file" / _file_name(location)

    def clear(self) -> int:
        """Delete all copies that nobody uses.

        Returns:
            How many bytes were deleted.

        Raises:
            OutputError: The cache cannot be written.
        """
        with self._looking(), writing_to(self._root):
            return self._make_room(0)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Hold the lock of the whole cache."""
        with writing_to(self._root):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _using(self, entry: Path, size: int) -> Iterator[None]:
        """Keep an entry from being deleted; makes it, and room for it, where there is none."""
        with self._looking(), writing_to(entry):
            if not entry.exists():
                self._make_room(self._limit - size)
            (entry / "file").mkdir(parents=True, exist_ok=True)
            use = os.open(entry / "use", os.O_RDWR | os.O_CREAT, 0o600)
            # Nobody has it for himself but who deletes entries, which takes the lock that is held here.
            fcntl.flock(use, fcntl.LOCK_SH)
        try:
            with writing_to(entry):
                if size:
                    os.pwrite(use, str(size).encode(), 0)
                os.utime(use)
            yield
        finally:
            os.close(use)

    def _fill(self, file: Path, location: Location, hint: str) -> None:
        """Download a file, unless another one does."""
        with writing_to(file):
            fill = os.open(file.parent.with_name("fill"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fill, fcntl.LOCK_EX)
            if file.exists():
                return
            for leftover in file.parent.iterdir():
                leftover.unlink()
            try:
                storage_of(location).download(location, file, hint)
            except DiskFullError:
                if not self.clear():
                    raise
                storage_of(location).download(location, file, hint)
        finally:
            os.close(fill)

    def _make_room(self, wanted_bytes: int) -> int:
        """Delete entries that nobody uses: broken ones, then the oldest ones until few enough bytes are left.

        Returns:
            How many bytes were deleted.
        """
        entries = sorted(
            (entry for path in self._root.iterdir() if (entry := _look_at(path))), key=lambda each: each.used
        )
        total, deleted = sum(entry.bytes for entry in entries), 0
        for entry in entries:
            if (not entry.complete or total - deleted > wanted_bytes) and _delete(entry.path):
                deleted += entry.bytes
                log.info("%s is deleted from the cache: %d bytes", entry.path, entry.bytes)
        return deleted


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    bytes: int
    """That it has, or will have."""
    used: float
    complete: bool


def _look_at(path: Path) -> _Entry | None:
    with suppress(OSError, ValueError):
        files = list((path / "file").iterdir())
        complete = any(not _is_leftover(file) for file in files)
        there = sum(file.stat().st_size for file in files)
        return _Entry(path, max(there, int((path / "use").read_bytes() or 0)), (path / "use").stat().st_mtime, complete)
    return _Entry(path, 0, 0.0, complete=False) if path.is_dir() else None


def _is_filled(entry: Path) -> bool:
    """Whether somebody is downloading the file of an entry."""
    try:
        fill = os.open(entry / "fill", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fill, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fill)
    return False


def _is_leftover(file: Path) -> bool:
    return file.suffix == ".part"


def _delete(entry: Path) -> bool:
    """Delete an entry, unless somebody uses it."""
    try:
        use = os.open(entry / "use", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return False
    try:
        fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(entry)
    except OSError:  # in use, or not ours: what is left of it is found next time
        return False
    finally:
        os.close(use)
    return True


def _file_name(location: Location) -> str:
    """A name for a copy: the source's own, since its suffix says what it is."""
    name = location.name.replace("\0", "_").lstrip(".") or "source"
    stem, dot, suffix = name.rpartition(".")
    if len(suffix.encode()) > _LONGEST_NAME // 4 or not stem:
        stem, dot, suffix = name, "", ""
    room = _LONGEST_NAME - len(suffix.encode())
    return f"{stem.encode()[:room].decode(errors='ignore')}{dot}{suffix}"
