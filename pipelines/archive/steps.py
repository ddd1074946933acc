"""What workers do for one item: plan it, restore its segments one by one, finish it.

A step is sent to a worker and called there with the worker's context. Each can be run again, and twice at once:
what is done already is not done again, and of two the first counts.

::

    PlanItem ----> Planned ----> RestoreSegment, one a segment ----> FinishItem ----> DoneRecord
       |                               (any worker of the kind)          |
       +-- DoneRecord: its output and receipt are there already          +-- Missing: segments to be made again
"""

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath

from pipelines.archive.context import ArchiveContext
from pipelines.archive.items import ArchiveItem
from pipelines.archive.records import DoneRecord
from pipelines.archive.request import options_key
from pipelines.engine import StageLoad
from pipelines.file import join_segments
from pipelines.looking import with_shots
from pipelines.outputs import Item
from pipelines.partial import hold_partial
from pipelines.planning import FileJob, prepare_file, shrink
from pipelines.progress import make_reporter
from pipelines.restoring import restore_segments
from pipelines.shipping import pack, unpack
from streamrestore.errors import DeviceMemoryError, HeldError, OutputError
from streamrestore.locations import OBJECT_STORES
from streamrestore.opening import Opening
from streamrestore.reading_apart import pays
from streamrestore.source import Trim
from streamrestore.work_folder import WorkFolder

HELD_SECONDS = 1.0
"""How often a step that finishes an item asks whether another one still does."""

_NEVER = threading.Event()
"""Nobody stops a step: its worker is ended, and what it had finished stays."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What an item's plan says, for the driver and for the steps that follow."""

    job: bytes
    """As of `pipelines.shipping`."""
    folder: str
    """The name of its work folder, which all its facts make."""
    kind: str
    """Of the worker that planned it; only workers of this kind may go on."""
    output: str
    """From the target."""
    segments: int
    missing: tuple[int, ...]
    """Those that are not finished yet."""
    notes: tuple[str, ...]
    """What its user should read."""
    by_ranges: bool
    """Whether segments are read out of its source where that is, by workers whose machine has no copy."""


@dataclass(frozen=True, slots=True)
class SegmentDone:
    """One segment is finished."""

    index: int
    frames: int
    seconds: float
    load: StageLoad


@dataclass(frozen=True, slots=True)
class Missing:
    """An item cannot be finished: some of its segments are gone."""

    segments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PlanItem:
    """Decide everything about an item, by reading through its packets."""

    item: ArchiveItem
    halvings: int = 0
    """How often its patches are halved, since larger ones did not fit a device."""

    def __call__(self, context: ArchiveContext) -> Planned | DoneRecord:
        """Plan it.

        Raises:
            DeviceMemoryError: There are no smaller patches.
            OutputError: Something else is where its output goes.
            StreamRestoreError: As of `prepare_file`.
        """
        root, options = context.request.root, context.options(self.item)
        stem = root / self.item.stem
        with context.source(self.item) as source:
            asked = None if self.item.suffix is None else stem.with_name(stem.name + self.item.suffix)
            job = prepare_file(Item(source, asked, stem=stem), options)
            output = job.output.relative_to(root).as_posix()
            receipt = context.outbox.find_receipt(job, output)
            if receipt is not None:
                record = DoneRecord.of(self.item, options_key(options), output, receipt)
                context.ledger.keep_done(record)
                context.forget(self.item, job)
                return record
            for _ in range(self.halvings):
                smaller = shrink(job)
                if smaller is None:
                    raise DeviceMemoryError(f"{self.item.name}: even its smallest patches do not fit the device")
                job = smaller
            folder = WorkFolder(job.work_root(), job.facts())
            folder.open()
            job = with_shots(job, folder, None, make_reporter("none", quiet=True), _NEVER)
            if len(job.segments) > 1:
                job.source.locate()
            by_ranges = _is_read_by_ranges(self.item, job)
        done = context.shelf(self.item, folder).indices()
        return Planned(
            job=pack(job),
            folder=folder.path.name,
            kind=context.kind,
            output=output,
            segments=len(job.segments),
            missing=tuple(segment.index for segment in job.segments if segment.index not in done),
            notes=job.notes,
            by_ranges=by_ranges,
        )


@dataclass(frozen=True, slots=True)
class RestoreSegment:
    """Restore one segment: the work of a device."""

    item: ArchiveItem
    planned: Planned
    index: int

    def __call__(self, context: ArchiveContext) -> SegmentDone:
        """Restore it, if nobody has.

        Raises:
            StreamRestoreError: It failed.
        """
        with context.opening(self.item, by_ranges=self.planned.by_ranges) as opening:
            job, folder = unpack(self.planned.job, context.network(self.item), self.planned.folder, opening)
            shelf, load = context.shelf(self.item, folder), StageLoad(0.0, 0.0, 0.0)
            record = shelf.find(self.index)
            if record is None:
                if _find_done(context, self.item, job) is not None:
                    # This was given to a second worker, and the first one was enough.
                    return SegmentDone(self.index, 0, 0.0, load)
                folder.open()
                with context.pool(job.options.network) as pool:
                    segment = [job.segments[self.index]]
                    load = restore_segments(job, folder, segment, pool, lambda progress: None, _NEVER).load
                record = folder.record(self.index)
                shelf.put(self.index)
        if record is None:
            raise OutputError(f"{folder.path}: a segment is gone that was just finished: is the folder still there?")
        return SegmentDone(self.index, len(record.stamps), record.seconds, load)


@dataclass(frozen=True, slots=True)
class FinishItem:
    """Join an item's segments, verify the result, give it its name, and say so."""

    item: ArchiveItem
    planned: Planned
    started: datetime
    """When its first run began."""

    def __call__(self, context: ArchiveContext) -> DoneRecord | Missing:
        """Finish it, or wait for another one who does.

        Raises:
            StreamRestoreError: It failed.
        """
        while True:
            try:
                return self._finish(context)
            except HeldError:
                time.sleep(HELD_SECONDS)

    def _finish(self, context: ArchiveContext) -> DoneRecord | Missing:
        with context.source(self.item) as source:
            job, folder = unpack(self.planned.job, context.network(self.item), self.planned.folder, Opening(source))
            shelf = context.shelf(self.item, folder)
            with hold_partial(job.output) as partial:
                folder.open()
                shelf.take()
                found = folder.records()
                missing = tuple(segment.index for segment in job.segments if segment.index not in found)
                done = _find_done(context, self.item, job) if missing else None
                if done is not None:
                    folder.sweep()
                    return done  # by a run that was faster, and has swept up
                if missing:
                    return Missing(missing)
                receipt, _ = join_segments(job, folder, partial, self.started)
                receipt = context.outbox.publish(self.item, job, self.planned.output, partial, receipt)
                record = DoneRecord.of(self.item, options_key(job.options), self.planned.output, receipt)
                context.ledger.keep_done(record)
                shelf.clear()
                return record


def _is_read_by_ranges(item: ArchiveItem, job: FileJob) -> bool:
    """Whether workers that have no copy of an item's source read their segments out of it where it is."""
    if item.source.scheme not in OBJECT_STORES or len(job.segments) < 2:
        return False
    middle = job.segments[len(job.segments) // 2]
    return pays(job.source, Trim(middle.start_pts, middle.stop_pts))


def _find_done(context: ArchiveContext, item: ArchiveItem, job: FileJob) -> DoneRecord | None:
    """The record of an item that another one has finished meanwhile."""
    done = context.ledger.find_done(item.id)
    if done is None or (done.request, done.hint) != (options_key(job.options), item.hint):
        return None
    return done if context.ledger.is_there(done) else None


@dataclass(frozen=True, slots=True)
class CopySource:
    """Put an item's source where its output would be, since it cannot be restored."""

    item: ArchiveItem

    def __call__(self, context: ArchiveContext) -> str:
        """Copy it, unless something is there already.

        Returns:
            Where it is, from the target.

        Raises:
            OutputError: It cannot be written, or something else is there.
        """
        name = self.item.stem + PurePath(self.item.name).suffix
        with context.source(self.item) as source:
            context.outbox.copy(source, name)
        return name
