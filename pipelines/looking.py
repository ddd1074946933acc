"""Look through a video before it is restored, and decide shot by shot what it needs.

The decision depends on the frames and the assessor alone. It is kept in the job's work folder, so a job that goes
on does not look again.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipelines.engine import Progress, StageLoad
from pipelines.planning import FileJob
from pipelines.progress import Reporter
from streamrestore.assessor import TASKS_IN_ORDER, ShotAssessor
from streamrestore.errors import StoppedError
from streamrestore.frame import Frame, OnError
from streamrestore.probing import SourceInfo
from streamrestore.shots import Shot, find_shots
from streamrestore.source import Source, Trim
from streamrestore.work_folder import WorkFolder

_SHOWN = 12
"""Shots that are named one by one on a console."""

_REPORT_SECONDS = 0.1

_LOAD = StageLoad(decode=1.0, restore=0.0, encode=0.0)


def with_shots(
    job: FileJob, folder: WorkFolder, frames: int | None, reporter: Reporter, stop: threading.Event
) -> FileJob:
    """The job with what each shot needs, where that is to be decided: as an earlier run found it, or by looking.

    Args:
        job: Whose source may be read.
        folder: Of the job, opened.
        frames: How many are expected, if that is known.
        reporter: Is told how far it is.
        stop: Ends it.

    Raises:
        StoppedError: ``stop`` was set.
        SourceError: The source cannot be read.
        OutputError: The work folder cannot be written.
        DiskFullError: There is no space left.
    """
    assessor = job.options.network.assessor
    if assessor is None:
        return job
    shots = folder.shots()
    if shots is None:
        shots = job.shots or look(job.source, job.trim, assessor, frames, reporter, stop, on_error=job.options.on_error)
        folder.keep_shots(shots)
    return replace(job, shots=shots)


def look(
    source: Source,
    trim: Trim,
    assessor: ShotAssessor,
    frames: int | None,
    reporter: Reporter,
    stop: threading.Event,
    *,
    on_error: OnError,
) -> tuple[Shot, ...]:
    """Decode a video, or a part of it, and find its shots and what each one needs.

    Raises:
        StoppedError: ``stop`` was set.
        SourceError: The source cannot be read, as of `Source.frames`.
    """
    reporter.look(source.info.path, frames)
    with source:
        seen = _reported(source.frames(trim, on_error=on_error), reporter, stop)
        return tuple(find_shots(seen, source.info.video, assessor))


def _reported(frames: Iterator[Frame], reporter: Reporter, stop: threading.Event) -> Iterator[Frame]:
    began = said = time.monotonic()
    for frame in frames:
        if stop.is_set():
            raise StoppedError("stopped while looking at the footage")
        yield frame
        now = time.monotonic()
        if now - said >= _REPORT_SECONDS:
            said = now
            reporter.update(Progress(frame.index + 1, now - began, _LOAD))


def describe_shots(shots: Sequence[Shot], info: SourceInfo) -> Iterator[str]:
    """What was decided, in a few lines; nothing where there are no shots.

    Args:
        shots: In order.
        info: Of their source.
    """
    if not shots:
        return
    clean = sum(not shot.tasks for shot in shots)
    if clean == len(shots):
        yield f"nothing needs restoring: {_count(len(shots))}, all clean; the video is only encoded again"
    else:
        counts = Counter(task for shot in shots for task in shot.tasks)
        needs = [f"{task} in {counts[task]}" for task in TASKS_IN_ORDER if task in counts]
        rest = [f"nothing to be done in {clean}"] if clean else []
        yield f"{_count(len(shots))}: {', '.join([*needs, *rest])}"
    for number, shot in enumerate(shots[:_SHOWN], 1):
        yield f"shot {number}, {_describe(shot, info)}"
    if len(shots) > _SHOWN:
        yield f"and {_count(len(shots) - _SHOWN, 'more ')}"


def _count(number: int, which: str = "") -> str:
    return f"{number} {which}shot{'s' * (number != 1)}"


def _describe(shot: Shot, info: SourceInfo) -> str:
    first, last = (float(pts * info.time_base - info.container_start) for pts in (shot.start_pts, shot.stop_pts))
    found = shot.assessment
    evidence = f"rain {found.rain:.0%}, noise {found.noise:.0%}, blur {found.blur:.0%}".replace("%", " %")
    return f"{first:.3f} to {last:.3f} s: {', '.join(shot.tasks) or 'nothing to be done'} ({evidence})"
