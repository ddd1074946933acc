"""Where the finished segments of an item are for all machines: in its work folder, or in remote storage."""

from contextlib import suppress
from typing import Protocol

from pydantic import ValidationError

from streamrestore.errors import SourceError
from streamrestore.locations import Location
from streamrestore.storage import Found, storage_of
from streamrestore.work_folder import SegmentRecord, WorkFolder


class Shelf(Protocol):
    """Segments that were put there by any machine."""

    def indices(self) -> frozenset[int]:
        """Those that are there.

        Raises:
            StorageError: The storage is out of reach.
        """
        ...

    def find(self, index: int) -> SegmentRecord | None:
        """The record of one, if it is there.

        Raises:
            StorageError: The storage is out of reach.
        """
        ...

    def put(self, index: int) -> None:
        """Put one there that was just finished in the work folder.

        Raises:
            OutputError: It cannot be written.
            DiskFullError: There is no space left.
            StorageError: The storage is out of reach.
        """
        ...

    def take(self) -> None:
        """Have all of them in the work folder; one that is damaged is removed.

        Raises:
            DiskFullError: There is no space left.
            StorageError: The storage is out of reach.
        """
        ...

    def clear(self) -> None:
        """Remove all of them, and the work folder."""
        ...


class LocalShelf:
    """The work folder itself, in a file system that all machines share."""

    def __init__(self, folder: WorkFolder) -> None:
        """Use a folder.

        Args:
            folder: Opened.
        """
        self._folder = folder

    def indices(self) -> frozenset[int]:
        """Those that are recorded and whole."""
        return frozenset(self._folder.finished())

    def find(self, index: int) -> SegmentRecord | None:
        """The record of one."""
        return self._folder.record(index)

    def put(self, index: int) -> None:
        """It is there."""

    def take(self) -> None:
        """They are there."""

    def clear(self) -> None:
        """Remove the work folder."""
        self._folder.sweep()


class RemoteShelf:
    """A folder of remote storage: of each segment its record, and the file that the record names.

    A segment's file is put there under a name of its own before its record is created; where a record is there
    already, the segment is another machine's, and the file is deleted again.
    """

    def __init__(self, folder: WorkFolder, place: Location) -> None:
        """Name a folder; nothing is made yet.

        Args:
            folder: Of this machine, opened; segments stay in it only while it is worked with.
            place: For this job alone.
        """
        self._folder = folder
        self._place = place
        self._storage = storage_of(place)

    def indices(self) -> frozenset[int]:
        """Those that are recorded."""
        names = self._names()
        return frozenset(int(name.partition(".")[0]) for name in names if name.endswith(".segment.json"))

    def find(self, index: int) -> SegmentRecord | None:
        """The record of one."""
        return _parse(self._storage.read(self._record(index)))

    def put(self, index: int) -> None:
        """Upload one, and remove it here."""
        record = self._folder.record(index)
        if record is None:
            return
        if record.file:
            self._storage.upload(self._folder.file_of(record), self._place.child(record.file))
        first = self._storage.create(self._record(index), record.model_dump_json(exclude_defaults=True).encode())
        if not first and record.file:
            self._storage.delete(self._place.child(record.file))
        self._folder.forget(record)

    def take(self) -> None:
        """Download those that are not here."""
        here = self._folder.finished()
        for index in sorted(self.indices() - here.keys()):
            record = self.find(index)
            place = None if record is None else self._place.child(record.file)
            found = None if place is None else self._storage.find(place)
            if record is None or (record.file and found is None):
                self._storage.delete(self._record(index))  # so that it is made again
                continue
            if place is not None and found is not None:
                self._storage.download(place, self._folder.file_of(record), found.hint)
            self._folder.adopt(record)

    def clear(self) -> None:
        """Remove all of them, here and there; records first, so that what is left of a kill are files nobody names."""
        for name in sorted(self._names(), key=lambda name: not name.endswith(".json")):
            self._storage.delete(self._place.child(name))
        self._folder.sweep()

    def _record(self, index: int) -> Location:
        return self._place.child(f"{index:05}.segment.json")

    def _names(self) -> list[str]:
        with suppress(SourceError):
            found = self._storage.walk(self._place, lambda name: False)
            return [each.name for each in found if isinstance(each, Found)]
        return []


def clear_remote(place: Location) -> None:
    """Remove all segments of an item from remote storage, whatever their job is.

    Raises:
        StorageError: The storage is out of reach.
    """
    storage = storage_of(place)
    with suppress(SourceError):
        for found in storage.walk(place, lambda name: True):
            if isinstance(found, Found):
                storage.delete(place.child(found.name))


def _parse(content: bytes | None) -> SegmentRecord | None:
    with suppress(ValidationError):
        return None if content is None else SegmentRecord.model_validate_json(content)
    return None
