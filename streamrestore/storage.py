"""Read and write whole files, wherever they are: one way for folders, another one for object stores."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from streamrestore.errors import OutputError, SourceError
from streamrestore.locations import Location

_ADVICE = "run the same command again when it is complete"


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a tree."""

    name: str
    """From the folder that was searched, with slashes."""
    size: int
    """In bytes; 0 where nobody says."""
    hint: str
    """What tells its content from another one, without reading it: size and time, or what a server says.

    Empty for a name of which there is no file: a link to nothing, a pipe, a device.
    """


@dataclass(frozen=True, slots=True)
class Unread:
    """A folder that could not be looked into."""

    name: str
    """From the folder that was searched, with slashes."""
    reason: str


class Storage(Protocol):
    """What can be done with files. Passive; may be used by several threads.

    All of it raises `StorageError` where trying again later may help.
    """

    def find(self, location: Location) -> Found | None:
        """What is known of one file; None if there is none.

        Raises:
            SourceError: It may not be looked at.
        """
        ...

    def find_all(self, locations: Iterable[Location]) -> Iterator[tuple[Location, Found | None]]:
        """What is known of many files, in no particular order; of those that may not be looked at nothing."""
        ...

    def walk(
        self, folder: Location, enters: Callable[[str], bool], skip: Location | None = None
    ) -> Iterator[Found | Unread]:
        """Every file in a folder and its folders, in no particular order; links are followed, but not in circles.

        Args:
            folder: It.
            enters: Whether a folder, by its name from this one, is looked into.
            skip: A folder that is left out.

        Raises:
            SourceError: There is no such folder, or it cannot be read.
        """
        ...

    def holds_any(self, folder: Location) -> bool:
        """Whether there is a folder, and anything in it; costs the same for any number.

        Raises:
            SourceError: It may not be looked at, or cannot be.
        """
        ...

    def read(self, location: Location) -> bytes | None:
        """A small file; None if there is none.

        Raises:
            SourceError: It cannot be read.
        """
        ...

    def write(self, location: Location, content: bytes) -> None:
        """Write a small file, so that there is the old one or the new one, whatever happens.

        Raises:
            OutputError: It cannot be written.
            DiskFullError: There is no space left.
        """
        ...

    def create(self, location: Location, content: bytes) -> bool:
        """Write a small file as `write` does, unless it is there already.

        Returns:
            Whether it was not. Of several writers at once one is told so, or those who write the same.

        Raises:
            OutputError: It cannot be written.
            DiskFullError: There is no space left.
        """
        ...

    def upload(self, file: Path, location: Location) -> None:
        """Put a whole file there; it appears when it is complete.

        Raises:
            OutputError: It cannot be written.
            DiskFullError: There is no space left.
        """
        ...

    def download(self, location: Location, file: Path, hint: str) -> None:
        """Have a file here, complete and on the disk before it has its name.

        Args:
            location: Where it is.
            file: What it is called here.
            hint: What was known of it; it is still that when this ends.

        Raises:
            SourceError: It is gone, was replaced, or may not be read.
            OutputError: It cannot be written.
            DiskFullError: There is no space left.
        """
        ...

    def delete(self, location: Location) -> None:
        """Delete a file, if there is one.

        Raises:
            OutputError: It cannot be deleted.
        """
        ...


def storage_of(location: Location) -> Storage:
    """What is used to reach a location.

    Raises:
        ConfigError: A package that its storage needs is not installed.
    """
    if location.is_local:
        from streamrestore.local_storage import LocalStorage

        return LocalStorage()
    from streamrestore.remote_storage import RemoteStorage

    return RemoteStorage(location.scheme)


def find_all(locations: Iterable[Location]) -> dict[str, Found]:
    """What is known of many files, by URL; those that are not there, or may not be looked at, are left out.

    Raises:
        ConfigError: A package that their storage needs is not installed.
        StorageError: Storage is out of reach.
    """
    schemes = defaultdict[str, list[Location]](list)
    for location in locations:
        schemes[location.scheme].append(location)
    return {
        location.url: found
        for members in schemes.values()
        for location, found in storage_of(members[0]).find_all(members)
        if found is not None
    }


def check_unchanged(found: Found | None, location: Location, hint: str) -> Found:
    """Make sure that a file is what was known of it.

    Raises:
        SourceError: It is gone, or another one.
    """
    if found is None:
        raise SourceError(f"{location} is gone since it was listed: {_ADVICE}")
    if found.hint != hint:
        raise replaced(location)
    return found


def replaced(location: Location) -> SourceError:
    """What is raised where a file is another one than was listed."""
    return SourceError(f"{location} was replaced, or its content changed, since it was listed: {_ADVICE}")


def check_creating(folder: Location) -> None:
    """Make sure that storage creates a file only where there is none; records of several runs depend on it.

    Raises:
        OutputError: It does not, or nothing can be written there.
        StorageError: It is out of reach.
    """
    storage, probe = storage_of(folder), folder.child(f"probe-{uuid4().hex}")
    try:
        if not storage.create(probe, b"first") or storage.create(probe, b"second") or storage.read(probe) != b"first":
            raise OutputError(
                f"the storage of {folder} overwrites files that it was asked only to create: take one that heeds "
                "If-None-Match, such as S3 or MinIO"
            )
    finally:
        storage.delete(probe)
