"""A copy of a target's records in SQLite on this machine: so that only those are read that are new.

It is a cache. Where it is lost, damaged or of another version it is made anew from the records.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pipelines.archive.ledger import Ledger
from pipelines.archive.records import DoneRecord, FailedRecord
from streamrestore.identity import key_of
from streamrestore.weights import cache_folder

_VERSION = 2

R = TypeVar("R", DoneRecord, FailedRecord)


class Index:
    """The records of one target. For one thread."""

    def __init__(self, ledger: Ledger, path: Path | None = None) -> None:
        """Name the database; nothing is opened yet.

        Args:
            ledger: The records.
            path: Of the database; by default in this user's cache.
        """
        self._ledger = ledger
        self.path = path or cache_folder().parent / "archives" / f"{key_of({'state': ledger.state.url})[:16]}.sqlite"

    def refresh(self) -> int:
        """Read the records that are new or changed, and forget those that are gone; gives how many were read."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self.path)) as database, database:
                return self._refresh(database)
        except sqlite3.DatabaseError:
            self.path.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.path)) as database, database:
            return self._refresh(database)

    def rebuild(self) -> int:
        """Make it anew; gives the number of records."""
        self.path.unlink(missing_ok=True)
        return self.refresh()

    def done(self) -> list[DoneRecord]:
        """Items that are done, by the names of their sources; damaged records are left out.

        An item may also be in quarantine, for another request or another content: the newer record counts.
        """
        return _newer(_valid(DoneRecord, self._select("done")), _valid(FailedRecord, self._select("failed")))

    def failed(self) -> list[FailedRecord]:
        """Items in quarantine, in the same way."""
        return _newer(_valid(FailedRecord, self._select("failed")), _valid(DoneRecord, self._select("done")))

    def _refresh(self, database: sqlite3.Connection) -> int:
        if database.execute("PRAGMA user_version").fetchone() != (_VERSION,):
            database.execute("DROP TABLE IF EXISTS records")
            database.execute(
                "CREATE TABLE records (state TEXT, name TEXT, version TEXT, content BLOB, PRIMARY KEY (state, name))"
            )
            database.execute(f"PRAGMA user_version = {_VERSION}")
        rows = database.execute("SELECT state, name, version FROM records")
        known = {(state, name): version for state, name, version in rows}
        found = {(state, name): version for state, name, version in self._ledger.versions()}
        database.executemany("DELETE FROM records WHERE state = ? AND name = ?", list(known.keys() - found.keys()))
        new = [(*key, version) for key, version in found.items() if known.get(key) != version]
        database.executemany(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)",
            ((state, name, version, self._ledger.content(state, name)) for state, name, version in new),
        )
        return len(new)

    def _select(self, state: str) -> list[bytes]:
        with closing(sqlite3.connect(self.path)) as database:
            rows = database.execute("SELECT content FROM records WHERE state = ?", (state,))
            return [content for (content,) in rows]


def _newer(records: Iterable[R], others: Iterable[DoneRecord | FailedRecord]) -> list[R]:
    """Records of which there is no newer one of the same item, by the names of their sources."""
    ended = {other.id: other.ended for other in others}
    newer = (record for record in records if record.id not in ended or record.ended > ended[record.id])
    return sorted(newer, key=lambda record: record.source)


def _valid(kind: type[R], contents: Iterable[bytes]) -> Iterator[R]:
    for content in contents:
        with suppress(ValidationError):
            yield kind.model_validate_json(content)
