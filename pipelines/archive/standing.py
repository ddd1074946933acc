"""Which items of an archive have ended before, as a run finds it when it begins; nothing is written."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from pipelines.archive.items import ArchiveItem
from pipelines.archive.ledger import Ledger
from pipelines.archive.request import ArchiveRequest
from pipelines.exit_codes import ExitCode


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the items of a run stand."""

    done: int
    """With a result that answers the same request."""
    failed: int
    """In quarantine."""
    pending: tuple[ArchiveItem, ...]
    """All others, in their order."""
    overruled: tuple[str, ...]
    """Ids of those that are done, and in quarantine for what is not asked for now."""
    bytes: int
    """Of the sources of all items."""

    @property
    def items(self) -> int:
        """How many there are."""
        return self.done + self.failed + len(self.pending)


class _Record(NamedTuple):
    """What matters of a record: thousands of them are held at once."""

    hint: str
    request: str
    output: str = ""
    bytes: int = 0
    exit_code: int = 0


def find_standing(items: Iterable[ArchiveItem], request: ArchiveRequest) -> Standing:
    """Compare items with the records of the target.

    Raises:
        StorageError: The target's storage is out of reach.
        ConfigError: A package that it needs is not installed.
    """
    ledger, keys_of = Ledger(request.target), cache(request.keys)
    done = {each.id: _Record(each.hint, each.request, each.output, each.bytes) for each in ledger.done()}
    failed = {each.id: _Record(each.hint, each.request, exit_code=each.exit_code) for each in ledger.failed()}
    sizes = ledger.sizes(record.output for record in done.values())

    def answers(item: ArchiveItem, record: _Record | None) -> bool:
        """Whether a record is of what an item is now, and of what is asked for now."""
        return record is not None and record.hint == item.hint and record.request in keys_of(item.options)

    ended_well, ended_badly, size = 0, 0, 0
    pending, overruled = list[ArchiveItem](), list[str]()
    for item in items:
        size += item.size
        # It may have both: an earlier result, and why there is none of what the source is now.
        well, badly = done.get(item.id), failed.get(item.id)
        if well is not None and answers(item, well) and sizes.get(well.output) == well.bytes:
            ended_well += 1
            if badly is not None:
                overruled.append(item.id)
        elif badly is not None and answers(item, badly) and not _may_be_overwritten(badly, request):
            ended_badly += 1
        else:
            pending.append(item)
    return Standing(ended_well, ended_badly, tuple(pending), tuple(overruled), size)


def _may_be_overwritten(record: _Record, request: ArchiveRequest) -> bool:
    """Whether all that was in the way of an item is a file that may now go."""
    return request.overwrite and record.exit_code == ExitCode.OUTPUT
