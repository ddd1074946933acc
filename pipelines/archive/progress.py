"""How an archive run is shown: a live line, plain lines, JSON lines, or nothing."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from pipelines.archive.records import DoneRecord, FailedRecord
from pipelines.archive.steps import SegmentDone
from pipelines.engine import StageLoad
from pipelines.progress import describe_load
from pipelines.reporting import Manner, Pace, Silent, choose_manner, say_json

_PLAIN_SECONDS = 10.0
"""Time between two plain lines: a log should stay readable."""

_JSON_SECONDS = 1.0
"""Time between two JSON lines."""

_RECENT = 0.1
"""Weight of the newest segment in what is said of the stages' loads."""


@dataclass(slots=True)
class ArchiveProgress:
    """Where a run stands."""

    items: int = 0
    done: int = 0
    """Of these, by this run or before."""
    done_before: int = 0
    failed: int = 0
    """In quarantine, since this run or before."""
    failed_before: int = 0
    segments: int = 0
    """Of the items that were planned."""
    segments_done: int = 0
    frames: int = 0
    """Restored by this run."""
    bytes: int = 0
    """Of all sources."""
    bytes_ended: float = 0.0
    """Of these, what is done or in quarantine."""
    bytes_restored: float = 0.0
    """Of these, by this run; for the time that is left."""
    load: StageLoad = field(default_factory=lambda: StageLoad(0.0, 0.0, 0.0))
    """Of the workers that restore, over the last segments."""
    workers: int = 0
    began: float = field(default_factory=time.monotonic)

    def count_segment(self, segment: SegmentDone, source_bytes: float) -> None:
        """Take in a segment that this run restored.

        Args:
            segment: It.
            source_bytes: Its share of the source.
        """
        weight = _RECENT if self.frames else 1.0
        self.segments_done += 1
        self.frames += segment.frames
        self.bytes_ended += source_bytes
        self.bytes_restored += source_bytes
        before, now = self.load, segment.load
        self.load = StageLoad(
            before.decode + weight * (now.decode - before.decode),
            before.restore + weight * (now.restore - before.restore),
            before.encode + weight * (now.encode - before.encode),
        )

    @property
    def elapsed_seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.began

    @property
    def frames_per_second(self) -> float:
        """Of all workers together, on average."""
        return self.frames / max(self.elapsed_seconds, 1e-3)

    @property
    def seconds_left(self) -> float | None:
        """At the average rate so far, by bytes of the sources; None before there is a rate."""
        if not self.bytes_restored:
            return None
        return max(0.0, self.bytes - self.bytes_ended) * self.elapsed_seconds / self.bytes_restored

    def words(self) -> str:
        """One line for people."""
        parts = [f"{self.done}/{self.items} items"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        parts.append(f"{self.segments_done}/{self.segments} segments")
        parts.append(f"{self.frames_per_second:.1f} frames/s on {self.workers} worker{'s' * (self.workers != 1)}")
        if (left := self.seconds_left) is not None:
            parts.append(f"eta {describe_seconds(left)}")
        if self.frames:
            parts.append(describe_load(self.load))
        return "  ".join(parts)

    def fields(self) -> dict[str, float | int | str | None]:
        """For programs."""
        left = self.seconds_left
        return {
            "items": self.items,
            "done": self.done,
            "failed": self.failed,
            "segments": self.segments,
            "segments_done": self.segments_done,
            "frames": self.frames,
            "frames_per_second": round(self.frames_per_second, 2),
            "eta_seconds": None if left is None else round(left),
            "workers": self.workers,
            "bottleneck": self.load.bottleneck() if self.frames else None,
        }


def describe_fields(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """What `ArchiveProgress.fields` gave, for people: items, done, failed, segments, frames/s, time left, workers.

    Args:
        fields: Empty where a run ended before it knew them.
    """
    if not fields:
        return ()
    left = fields["eta_seconds"]
    return (
        *(str(fields[name]) for name in ("items", "done", "failed")),
        f"{fields['segments_done']}/{fields['segments']}",
        f"{fields['frames_per_second']:.1f}",
        describe_seconds(left) if left else "",
        str(fields["workers"]),
    )


def clips_are(number: int) -> str:
    """``1 clip is`` or ``2 clips are``."""
    return "1 clip is" if number == 1 else f"{number} clips are"


def describe_seconds(seconds: float) -> str:
    """``42 s``, ``3:05 min`` or ``12:30 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02} h"


class ArchiveReporter(Protocol):
    """Shows what happens to the items. Used as a context manager around the run."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, progress: ArchiveProgress) -> None:
        """All items are known, and which of them have ended before."""
        ...

    def update(self, progress: ArchiveProgress) -> None:
        """Called a few times a second."""
        ...

    def done(self, record: DoneRecord) -> None:
        """An item is done."""
        ...

    def failed(self, record: FailedRecord) -> None:
        """An item is in quarantine."""
        ...

    def note(self, message: str) -> None:
        """Something the user should know."""
        ...


class _Quiet(Silent):
    """Errors only."""

    def begin(self, progress: ArchiveProgress) -> None:
        pass

    def update(self, progress: ArchiveProgress) -> None:
        pass

    def done(self, record: DoneRecord) -> None:
        pass

    def failed(self, record: FailedRecord) -> None:
        self._blame("failed", record.source, record.reason)


class _Plain(_Quiet):
    """A line every few seconds on stderr, a line an item on stdout; right for logs."""

    def __init__(self) -> None:
        super().__init__()
        self._out = Console(highlight=False, soft_wrap=True)
        self._pace = Pace()

    def begin(self, progress: ArchiveProgress) -> None:
        before = f", {progress.done_before} of them done before" if progress.done_before else ""
        failed = f", {progress.failed_before} in quarantine" if progress.failed_before else ""
        self.note(f"{progress.items} items{before}{failed}")

    def update(self, progress: ArchiveProgress) -> None:
        if self._pace.due(_PLAIN_SECONDS):
            self._errors.print(progress.words(), markup=False)

    def done(self, record: DoneRecord) -> None:
        passed = f", {record.passed} passed on as they came" if record.passed else ""
        self._out.print(f"done: {record.output}: {record.frames} frames{passed}", markup=False)

    def note(self, message: str) -> None:
        self._errors.print(message, markup=False)


class _Live(_Plain):
    """One line that is drawn again and again, for a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = RichProgress(
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.description}", markup=False),
            console=self._errors,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, progress: ArchiveProgress) -> None:
        super().begin(progress)
        self._task = self._bar.add_task("starting", total=max(1, progress.bytes))

    def update(self, progress: ArchiveProgress) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=progress.bytes_ended, description=progress.words())


class _Json(_Quiet):
    """One JSON object a line on stdout, for programs; ``event`` says what it is."""

    def __init__(self) -> None:
        super().__init__()
        self._pace = Pace()

    def begin(self, progress: ArchiveProgress) -> None:
        say_json("begin", **progress.fields())

    def update(self, progress: ArchiveProgress) -> None:
        if self._pace.due(_JSON_SECONDS):
            say_json("progress", **progress.fields())

    def done(self, record: DoneRecord) -> None:
        say_json("done", source=record.source, output=record.output, frames=record.frames)

    def failed(self, record: FailedRecord) -> None:
        say_json("failed", source=record.source, error=record.reason)
        super().failed(record)

    def note(self, message: str) -> None:
        say_json("note", message=message)


def make_archive_reporter(mode: str, *, quiet: bool) -> ArchiveReporter:
    """The reporter for ``auto`` (live on a terminal, else plain), ``plain``, ``json`` or ``none``."""
    reporters: dict[Manner, Callable[[], ArchiveReporter]] = {
        "quiet": _Quiet,
        "json": _Json,
        "live": _Live,
        "plain": _Plain,
    }
    return reporters[choose_manner(mode, quiet=quiet)]()
