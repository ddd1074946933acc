"""A file that is read where it is, in other storage, as an input that can be opened again and again."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from streamrestore.locations import Location
from streamrestore.ranges import RangeReader
from streamrestore.storage import check_unchanged, storage_of


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file in other storage, as it was when it was listed; read in ranges."""

    location: Location
    hint: str
    """What was known of its content."""
    size: int
    """In bytes."""

    def open(self) -> AbstractContextManager[RangeReader]:
        """The file, for reading; of a replaced one nothing is read.

        Raises:
            SourceError: It is gone, was replaced, or may not be read; also while reading.
            StorageError: Its storage is out of reach; also while reading, and at the end where it was before.
        """
        # Not before it is needed: it imports fsspec.
        from streamrestore.remote_storage import RemoteStorage

        return RemoteStorage(self.location.scheme).open(self.location, self.hint)

    def check(self) -> None:
        """Make sure that it is still what it was.

        Raises:
            SourceError: It is gone, was replaced, or may not be read.
            StorageError: Its storage is out of reach.
        """
        check_unchanged(storage_of(self.location).find(self.location), self.location, self.hint)
