"""A pool whose steps end as a script says, in any order, and records in memory: all of a run but the work."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipelines.archive.items import ArchiveItem, ItemOptions, item_id
from pipelines.archive.records import DoneRecord, FailedRecord
from pipelines.archive.steps import CopySource, FinishItem, Missing, PlanItem, Planned, RestoreSegment, SegmentDone
from pipelines.engine import StageLoad
from streamrestore.errors import WorkerLostError
from streamrestore.locations import Location
from workers.archive import Lane, Step, StepPoolState, WorkerInfo
from workers.archive.futures import StepFuture

KIND = "kind"

MOST_LOOKS = 20_000
"""After so many looks at the pool a run is taken to hang."""

WORKER = WorkerInfo(1, "host", "", (), KIND)


@dataclass(frozen=True)
class Request:
    """What the driver itself needs of an `ArchiveRequest`."""

    target: Location = field(default_factory=lambda: Location("/", "/"))
    overwrite: bool = False
    source: Location | None = None

    def keys(self, options: ItemOptions) -> frozenset[str]:
        return frozenset({"request"})


def make_item(number: int, size: int = 0) -> ArchiveItem:
    name = f"clip {number}.mkv"
    return ArchiveItem(item_id(name), Location(f"/in/{name}", f"/in/{name}"), name, size, "hint", f"clip {number}")


@dataclass
class Script:
    """What becomes of an item's steps."""

    segments: int = 1
    errors: dict[str, list[BaseException]] = field(default_factory=dict)
    """By what a step is called; each is raised once, in order, and then all is well."""
    vanishing: list[int] = field(default_factory=list)
    """Segments that are gone when the item is finished first, each once."""

    def fail(self, step: str) -> None:
        """Raise what is next for a step."""
        if self.errors.get(step):
            raise self.errors[step].pop(0)


@dataclass
class Books:
    """What is on the disk: records and segments. Outlives runs."""

    scripts: dict[str, Script]
    """By item."""
    request: Request = Request()
    records: dict[str, DoneRecord] = field(default_factory=dict)
    quarantine: dict[str, FailedRecord] = field(default_factory=dict)
    segments: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    finished: Counter[str] = field(default_factory=Counter)
    """How often an item was finished."""

    # As the ledger has it

    def done(self) -> Iterator[DoneRecord]:
        return iter(tuple(self.records.values()))

    def failed(self) -> Iterator[FailedRecord]:
        return iter(tuple(self.quarantine.values()))

    def sizes(self, outputs: Iterable[str]) -> dict[str, int]:
        return {record.output: record.bytes for record in self.records.values()}

    def keep_failed(self, record: FailedRecord) -> None:
        self.quarantine[record.id] = record

    def release(self, each: str) -> None:
        self.quarantine.pop(each, None)

    # As the steps do it

    def run(self, step: Any) -> object:  # noqa: ANN401 - any step
        item = step.item
        script = self.scripts[item.id]
        match step:
            case PlanItem():
                script.fail("plan")
                if item.id in self.records:
                    return self.records[item.id]
                missing = tuple(index for index in range(script.segments) if index not in self.segments[item.id])
                return Planned(
                    b"", "folder", KIND, f"{item.stem}.mkv", script.segments, missing, ("a note",), by_ranges=False
                )
            case RestoreSegment(index=index):
                script.fail("segment")
                self.segments[item.id].add(index)
                return SegmentDone(index, 10, 0.1, StageLoad(0.1, 0.2, 0.3))
            case FinishItem():
                script.fail("finish")
                gone, script.vanishing = {index for index in script.vanishing if index < script.segments}, []
                self.segments[item.id] -= gone
                missing = tuple(index for index in range(script.segments) if index not in self.segments[item.id])
                if missing:
                    return Missing(missing)
                self.finished[item.id] += 1
                self.records[item.id] = self.record(item)
                self.release(item.id)
                return self.records[item.id]
            case CopySource():
                script.fail("copy")
                return item.name
        raise AssertionError(step)

    def record(self, item: ArchiveItem) -> DoneRecord:
        return DoneRecord(
            id=item.id,
            source=item.name,
            hint=item.hint,
            request=min(self.request.keys(item.options)),
            ended=datetime.now(UTC),
            host="host",
            output=f"{item.stem}.mkv",
            bytes=1,
            sha256="",
            frames=10,
            passed=0,
            video_seconds=1.0,
            work_seconds=1.0,
            device="device",
            warnings=(),
        )


class ScriptedPool:
    """Ends some steps each time that somebody looks; a `StepPool`."""

    def __init__(self, books: Books, chance: random.Random, workers: int = 2, lost_after: int | None = None) -> None:
        """Have done nothing.

        Args:
            books: What steps change.
            chance: Decides which steps end next, and how.
            workers: How many steps at once.
            lost_after: Steps, after which no worker is left.
        """
        self._books = books
        self._chance = chance
        self._workers = workers
        self._left = lost_after
        self._queued = list[tuple[Step, StepFuture]]()
        self._busy = list[tuple[Step, StepFuture]]()
        self._looks = 0
        self._error = WorkerLostError("no worker is left")

    @property
    def lost(self) -> bool:
        return self._left == 0

    def submit(
        self,
        step: Step,
        lane: Lane,
        *,
        seconds: float | None = None,
        kind: str | None = None,
        group: str | None = None,
    ) -> "Future[Any]":
        future = StepFuture()
        if self.lost:
            future.fail(self._error)
        else:
            self._queued.append((step, future))
        return future

    def workers(self) -> tuple[WorkerInfo, ...]:
        return (WORKER,) * self._workers

    def state(self) -> StepPoolState:
        self._looks += 1
        assert self._looks < MOST_LOOKS, f"the run does not end: {self._queued} {self._busy}"
        if not self.lost:
            self._go_on()
        workers = 0 if self.lost else self._workers
        return StepPoolState(workers, 2, 0, len(self._busy), len(self._queued), 0, 0, 1, self.lost)

    def first_ready(self, timeout_seconds: float) -> WorkerInfo:
        return WORKER

    def close(self) -> None:
        for _, future in (*self._queued, *self._busy):
            future.abandon()

    def _go_on(self) -> None:
        while self._queued and len(self._busy) < self._workers:
            step, future = self._queued.pop(0)
            if future.begin():
                self._busy.append((step, future))
        if not self._busy:
            return
        step, future = self._busy.pop(self._chance.randrange(len(self._busy)))
        if self._chance.random() < 0.1:  # its worker died
            future.wait_again()
            self._queued.insert(0, (step, future))
            return
        if self._left is not None:
            self._left -= 1
            if self.lost:
                for _, each in ((step, future), *self._busy, *self._queued):
                    each.fail(self._error)
                return
        try:
            result = self._books.run(step)
        except Exception as error:  # noqa: BLE001 - raised by the future
            future.fail(error)
        else:
            future.settle(result)


def check_accounts(books: Books, items: Sequence[ArchiveItem], again: Iterable[str] = ()) -> None:
    """Every item is done or in quarantine, and was finished once; those that are named may have been again."""
    assert not books.records.keys() & books.quarantine.keys()
    assert books.records.keys() | books.quarantine.keys() == {item.id for item in items}
    assert all(count == 1 for each, count in books.finished.items() if each not in again)
