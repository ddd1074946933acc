"""Where the records of ended items are: small files in the target's state folder."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

from pydantic import ValidationError

from pipelines.archive.records import DoneRecord, FailedRecord
from pipelines.archive.request import STATE_FOLDER
from streamrestore.errors import SourceError
from streamrestore.locations import Location
from streamrestore.storage import Found, storage_of

R = TypeVar("R", DoneRecord, FailedRecord)

STATES = ("done", "failed")
"""What items end as; folders of their records."""


class Ledger:
    """Records of one target, read and written by any number of processes."""

    def __init__(self, target: Location) -> None:
        """Name the folders; nothing is made yet.

        Raises:
            ConfigError: A package that the target's storage needs is not installed.
        """
        self._target = target
        self._storage = storage_of(target)
        self.state = target.child(STATE_FOLDER)

    def done(self) -> Iterator[DoneRecord]:
        """Records of the items that are done; one that is damaged counts as none.

        Raises:
            StorageError: The storage is out of reach.
        """
        return self._read_all("done", DoneRecord)

    def failed(self) -> Iterator[FailedRecord]:
        """Records of the items in quarantine.

        Raises:
            StorageError: The storage is out of reach.
        """
        return self._read_all("failed", FailedRecord)

    def versions(self, states: Iterable[str] = STATES) -> Iterator[tuple[str, str, str]]:
        """Of each record: its state, its name, and something that changes with its content.

        Args:
            states: That are wanted.

        Raises:
            StorageError: The storage is out of reach.
        """
        for state in states:
            with suppress(SourceError):  # no item has ended like this
                for found in self._storage.walk(self.state.child(state), lambda name: False):
                    if isinstance(found, Found) and found.name.endswith(".json"):
                        yield state, found.name, found.hint

    def content(self, state: str, name: str) -> bytes:
        """A record as it is kept; nothing where it is gone.

        Args:
            state: As `versions` gives it.
            name: As `versions` gives it.
        """
        return self._storage.read(self.state.child(f"{state}/{name}")) or b""

    def find_done(self, item_id: str) -> DoneRecord | None:
        """The record of one item, if it is done.

        Raises:
            StorageError: The storage is out of reach.
        """
        return _parse(DoneRecord, self.content("done", f"{item_id}.json"))

    def is_there(self, record: DoneRecord) -> bool:
        """Whether the output of a record still is what it was, as far as its size tells.

        Raises:
            StorageError: The storage is out of reach.
        """
        found = self._storage.find(self._target.child(record.output))
        return found is not None and found.size == record.bytes

    def sizes(self, outputs: Iterable[str]) -> dict[str, int]:
        """Sizes of outputs in bytes; those that are not there are left out.

        Args:
            outputs: From the target.

        Raises:
            StorageError: The storage is out of reach.
        """
        places = {self._target.child(output).url: output for output in outputs}
        found = self._storage.find_all(map(self._target.child, places.values()))
        return {places[place.url]: each.size for place, each in found if each is not None}

    def keep_done(self, record: DoneRecord) -> None:
        """Keep that an item is done; a record of another request or source is replaced.

        Raises:
            OutputError: It cannot be written.
            DiskFullError: There is no space left.
            StorageError: The storage is out of reach.
        """
        place = self.state.child(f"done/{record.id}.json")
        content = record.model_dump_json(by_alias=True, indent=1).encode()
        if not self._storage.create(place, content):
            before = self.find_done(record.id)
            if before is None or (before.request, before.hint) != (record.request, record.hint):
                self._storage.write(place, content)
        self.release(record.id)

    def keep_failed(self, record: FailedRecord) -> None:
        """Put an item in quarantine.

        Raises:
            OutputError: It cannot be written.
            DiskFullError: There is no space left.
            StorageError: The storage is out of reach.
        """
        place = self.state.child(f"failed/{record.id}.json")
        self._storage.write(place, record.model_dump_json(by_alias=True, indent=1).encode())

    def release(self, item_id: str) -> None:
        """Take an item out of quarantine, if it is there.

        Raises:
            OutputError: The record cannot be deleted.
            StorageError: The storage is out of reach.
        """
        self._storage.delete(self.state.child(f"failed/{item_id}.json"))

    def _read_all(self, wanted: str, kind: type[R]) -> Iterator[R]:
        for state, name, _ in self.versions([wanted]):
            record = _parse(kind, self.content(state, name))
            if record is not None:
                yield record


def _parse(kind: type[R], content: bytes) -> R | None:
    with suppress(ValidationError):
        return kind.model_validate_json(content)
    return None
