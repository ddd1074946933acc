"""Segments of one file through a pool of restorers: read, restored, encoded, each finished as soon as it is over."""

import threading
from collections.abc import Callable, Sequence
from itertools import chain

from pipelines.engine import Progress, build_engine
from pipelines.planning import FileJob
from streamrestore.segments import Segment
from streamrestore.sink import open_sink
from streamrestore.source import Trim
from streamrestore.work_folder import WorkFolder
from workers import RestorerPool


def restore_segments(
    job: FileJob,
    folder: WorkFolder,
    pending: Sequence[Segment],
    pool: RestorerPool,
    report: Callable[[Progress], None],
    stop: threading.Event,
) -> Progress:
    """Restore some segments, each of which is finished in the job's folder as soon as it is over.

    Args:
        job: Whose they are.
        folder: Of the job, opened.
        pending: In order.
        pool: Ready.
        report: Is told how far it is, several times a second.
        stop: Ends it early.

    Raises:
        StoppedError: ``stop`` was set.
        StreamRestoreError: Something failed.
    """
    engine = build_engine(
        pool,
        job.info.video,
        job.patches,
        shots=job.shots,
        cuts=[segment.start_pts for segment in job.segments if segment.start_pts is not None],
        on_error=job.options.on_error,
    )
    with job.source, open_sink(folder, job.info, job.encoding, pending) as sink:
        frames = chain.from_iterable(
            job.source.frames(part, on_error=job.options.on_error) for part in _stretches(pending)
        )
        return engine.run(frames, sink, stop=stop, report=report)


def _stretches(segments: Sequence[Segment]) -> list[Trim]:
    """The parts of the source that segments cover, neighbours joined: each is read in one go."""
    parts = list[Trim]()
    last: int | None = None
    for segment in segments:
        if parts and last == segment.index - 1:
            parts[-1] = Trim(parts[-1].start_pts, segment.stop_pts)
        else:
            parts.append(Trim(segment.start_pts, segment.stop_pts))
        last = segment.index
    return parts
