"""How progress is shown: a live line, plain lines, JSON lines, or nothing."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from pipelines.engine import Progress, StageLoad
from pipelines.reporting import Manner, Pace, Silent, choose_manner, say_json

_PLAIN_SECONDS = 5.0
"""Time between two plain lines: a log should stay readable."""

_JSON_SECONDS = 0.5
"""Time between two JSON lines."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of one file, for people and for machines."""

    source: Path
    output: Path
    progress: Progress
    """Where it stood at its end."""
    frames_before: int = 0
    """Frames that an earlier run had restored already."""
    untouched: int = 0
    """Frames, of this run or an earlier one, that needed no restoring."""


class Reporter(Protocol):
    """Shows what happens to each file. Used as a context manager around all of them."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def look(self, source: Path, frames: int | None) -> None:
        """A file is looked through before it begins; ``frames`` is the expected number, if it is known."""
        ...

    def begin(self, source: Path, output: Path, frames: int | None) -> None:
        """A file begins; ``frames`` is the expected number, if it is known."""
        ...

    def update(self, progress: Progress) -> None:
        """Called several times a second while a file is looked through or restored."""
        ...

    def finish(self, finished: Finished) -> None:
        """A file is done."""
        ...

    def fail(self, source: Path, message: str) -> None:
        """A file failed."""
        ...

    def note(self, message: str) -> None:
        """Something the user should know: a warning, or a stop on its way."""
        ...


class StopAware:
    """Passes progress on, and says once that a stop request was heard."""

    def __init__(self, reporter: Reporter, stop: threading.Event) -> None:
        self._reporter = reporter
        self._stop = stop
        self._told = False

    def __call__(self, progress: Progress) -> None:
        """Take in where the video stands."""
        self._reporter.update(progress)
        if self._stop.is_set() and not self._told:
            self._told = True
            self._reporter.note("stopping after the frames in flight; Ctrl-C again stops at once")


def describe_progress(progress: Progress) -> str:
    """The stages' loads, once there is something to say."""
    return describe_load(progress.load) if progress.frames else "the first frames are on their way"


def describe_load(load: StageLoad) -> str:
    """``decode 12 % · restore 96 % · encode 41 %``: the largest is the bottleneck."""
    return f"decode {load.decode:.0%} · restore {load.restore:.0%} · encode {load.encode:.0%}".replace("%", " %")


def describe_finished(finished: Finished) -> str:
    """One line for people."""
    end = finished.progress
    frames = f"{end.frames} {'frame' if end.frames == 1 else 'frames'}"
    if finished.frames_before:
        frames += f" (and {finished.frames_before} before)"
    if finished.untouched == end.frames + finished.frames_before:
        frames += ", none of which needed restoring,"
    elif finished.untouched:
        frames += f", {finished.untouched} of which needed no restoring,"
    return (
        f"{finished.output}: {frames} in {end.elapsed_seconds:.1f} s, {end.frames_per_second():.2f} fps "
        f"({end.load.bottleneck()} is the bottleneck: {describe_load(end.load)})"
    )


class _Quiet(Silent):
    """Errors only."""

    def look(self, source: Path, frames: int | None) -> None:
        pass

    def begin(self, source: Path, output: Path, frames: int | None) -> None:
        pass

    def update(self, progress: Progress) -> None:
        pass

    def finish(self, finished: Finished) -> None:
        pass

    def fail(self, source: Path, message: str) -> None:
        self._blame("error", str(source), message)


class _Paced(_Quiet):
    """Says something of a file now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._pace = Pace(clock)
        self._frames: int | None = None
        self._looking = False

    def look(self, source: Path, frames: int | None) -> None:
        self._frames, self._looking = frames, True
        self._pace.start()

    def begin(self, source: Path, output: Path, frames: int | None) -> None:
        self._frames, self._looking = frames, False
        self._pace.start()

    def _describe(self, progress: Progress) -> str:
        return "looking" if self._looking else describe_progress(progress)


class _Plain(_Paced):
    """A line every few seconds on stderr, the result on stdout; right for logs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._out = Console(highlight=False, soft_wrap=True)

    def look(self, source: Path, frames: int | None) -> None:
        super().look(source, frames)
        self.note(f"{source}: looking at the footage")

    def update(self, progress: Progress) -> None:
        if not self._pace.due(_PLAIN_SECONDS):
            return
        count = f"{progress.frames}/{self._frames}" if self._frames else f"{progress.frames}"
        left = progress.seconds_left(self._frames)
        ahead = "" if left is None else f"eta {left:.0f} s  "
        rate = progress.frames_per_second()
        self._errors.print(f"{count} frames  {rate:.2f} fps  {ahead}{self._describe(progress)}", markup=False)

    def finish(self, finished: Finished) -> None:
        self._out.print(describe_finished(finished), markup=False)

    def note(self, message: str) -> None:
        self._errors.print(message, markup=False)


class _Live(_Plain):
    """One line that is drawn again and again, for a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._task: TaskID | None = None
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f}/{task.fields[frames]} frames"),
            TextColumn("{task.fields[rate]:.2f} fps"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[load]}"),
            console=self._errors,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def look(self, source: Path, frames: int | None) -> None:
        super().look(source, frames)
        self._start_task(source, frames)

    def begin(self, source: Path, output: Path, frames: int | None) -> None:
        super().begin(source, output, frames)
        self._start_task(source, frames)

    def update(self, progress: Progress) -> None:
        if self._task is not None:
            rate = progress.frames_per_second()
            load = self._describe(progress)
            self._bar.update(self._task, completed=progress.frames, rate=rate, load=load)

    def finish(self, finished: Finished) -> None:
        self._end_task()
        super().finish(finished)

    def fail(self, source: Path, message: str) -> None:
        self._end_task()
        super().fail(source, message)

    def _start_task(self, source: Path, frames: int | None) -> None:
        self._end_task()
        shown = str(frames) if frames else "?"
        self._task = self._bar.add_task(source.name, total=frames, frames=shown, rate=0.0, load="starting")

    def _end_task(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None


class _Json(_Paced):
    """One JSON object a line on stdout, for programs; ``event`` says what it is."""

    def look(self, source: Path, frames: int | None) -> None:
        super().look(source, frames)
        say_json("look", source=str(source), frames_total=frames)

    def begin(self, source: Path, output: Path, frames: int | None) -> None:
        super().begin(source, output, frames)
        say_json("begin", source=str(source), output=str(output), frames_total=frames)

    def update(self, progress: Progress) -> None:
        if not self._pace.due(_JSON_SECONDS):
            return
        left = progress.seconds_left(self._frames)
        say_json(
            "looking" if self._looking else "progress",
            frames=progress.frames,
            frames_total=self._frames,
            fps=round(progress.frames_per_second(), 3),
            eta_seconds=None if left is None else round(left, 1),
            **_load_fields(progress.load),
        )

    def finish(self, finished: Finished) -> None:
        say_json(
            "done",
            source=str(finished.source),
            output=str(finished.output),
            frames=finished.progress.frames,
            frames_before=finished.frames_before,
            untouched=finished.untouched,
            elapsed_seconds=round(finished.progress.elapsed_seconds, 3),
            **_load_fields(finished.progress.load),
        )

    def fail(self, source: Path, message: str) -> None:
        say_json("failed", source=str(source), error=message)
        super().fail(source, message)

    def note(self, message: str) -> None:
        say_json("note", message=message)


def _load_fields(load: StageLoad) -> dict[str, str | float]:
    return {
        "decode": round(load.decode, 3),
        "restore": round(load.restore, 3),
        "encode": round(load.encode, 3),
        "bottleneck": load.bottleneck(),
    }


def make_reporter(mode: str, *, quiet: bool) -> Reporter:
    """The reporter for ``auto`` (live on a terminal, else plain), ``plain``, ``json`` or ``none``."""
    reporters: dict[Manner, Callable[[], Reporter]] = {"quiet": _Quiet, "json": _Json, "live": _Live, "plain": _Plain}
    return reporters[choose_manner(mode, quiet=quiet)]()
