"""One file to one file: restored segment by segment, joined, verified, then renamed into place.

Whatever ends a run, finished segments stay, and the same command goes on from there.
"""

import threading
from datetime import UTC, datetime
from pathlib import Path

from pipelines.looking import describe_shots, with_shots
from pipelines.partial import commit, hold_partial, waiting_receipt
from pipelines.planning import FileJob, shrink
from pipelines.progress import Finished, Reporter, StopAware
from pipelines.receipts import describe_damage, issue_receipt
from pipelines.restoring import restore_segments
from pipelines.signals import stopping_at_once
from pipelines.spreading import FileWorkers, SpreadPool
from streamrestore.assembly import FinishedSegment, assemble
from streamrestore.carry import Carried
from streamrestore.errors import DeviceMemoryError, DiskFullError, OutputError, SourceError, StreamRestoreError
from streamrestore.identity import identify_file
from streamrestore.image_output import assemble_images, image_numbers, verify_images
from streamrestore.receipt import Receipt, write_receipt
from streamrestore.verification import verify
from streamrestore.work_folder import OtherJob, SegmentRecord, WorkFolder


def restore_file(job: FileJob, pool: FileWorkers, reporter: Reporter, stop: threading.Event) -> Finished:
    """Restore one file; its output appears complete, by one rename, or not at all.

    If one patch does not fit the device's memory the file begins again with smaller patches,
    so that every frame is restored under one plan.

    Raises:
        StoppedError: ``stop`` was set before the last frame.
        StreamRestoreError: Something failed.
    """
    with hold_partial(job.output) as partial:
        while True:
            folder = WorkFolder(job.work_root(), job.facts())
            if job.options.restart:
                folder.sweep()
            folder.open()
            try:
                job = with_shots(job, folder, _expected_frames(job), reporter, stop)
                return _restore(job, folder, pool, reporter, stop, partial)
            except (StreamRestoreError, KeyboardInterrupt) as error:
                smaller = shrink(job) if isinstance(error, DeviceMemoryError) else None
                if smaller is None:
                    _tell_what_is_kept(job, folder, reporter)
                    if isinstance(error, DiskFullError):
                        _tell_what_is_needed(job, folder, reporter)
                    raise
                folder.sweep()  # no other run would finish this plan either
                job = smaller
                height, width = job.patches.patch
                reporter.note(f"{job.info.path}: {error}: beginning again with patches of {width}x{height} px")


def _restore(
    job: FileJob,
    folder: WorkFolder,
    pool: FileWorkers,
    reporter: Reporter,
    stop: threading.Event,
    partial: Path,
) -> Finished:
    started = datetime.now(UTC)
    with stopping_at_once(stop):
        done = folder.finished()
    _begin(job, folder, done, reporter)
    pending = [segment for segment in job.segments if segment.index not in done]
    report = StopAware(reporter, stop)
    if isinstance(pool, SpreadPool):
        progress = pool.restore_segments(job, folder, pending, report, stop)
    else:
        progress = restore_segments(job, folder, pending, pool, report, stop)
    receipt, warnings = _finish(job, folder, partial, started, stop)
    for warning in warnings:
        reporter.note(f"{job.output}: {warning}")
    if not job.options.keep:
        folder.sweep()
    return Finished(
        job.info.path,
        job.output,
        progress,
        frames_before=sum(len(record.stamps) for record in done.values()),
        untouched=receipt.counts.untouched,
    )


def _finish(
    job: FileJob, folder: WorkFolder, partial: Path, started: datetime, stop: threading.Event
) -> tuple[Receipt, tuple[str, ...]]:
    """As `join_segments` and `publish`, unless the user asks to stop before the latter."""
    with stopping_at_once(stop):
        receipt, warnings = join_segments(job, folder, partial, started)
    publish(job, partial, receipt)
    return receipt, warnings


def publish(job: FileJob, partial: Path, receipt: Receipt) -> None:
    """Write the receipt, then give the output its name.

    Args:
        job: Of the output.
        partial: What `join_segments` has written.
        receipt: Of it.

    Raises:
        OutputError: One of them cannot be written.
        DiskFullError: There is no space left.
    """
    write_receipt(waiting_receipt(partial, job.output), receipt)
    commit(partial, job.output)


def join_segments(
    job: FileJob, folder: WorkFolder, partial: Path, started: datetime
) -> tuple[Receipt, tuple[str, ...]]:
    """Join the segments and compare the result with the source.

    Args:
        job: All of whose segments are finished.
        folder: Where they are.
        partial: Is written.
        started: When the job began.

    Returns:
        The receipt, and what came up on the way.

    Raises:
        StreamRestoreError: A segment is missing, something cannot be read or written, or the result is not what
            its source says it must be.
    """
    found = folder.records()
    records = [found[segment.index] for segment in job.segments if segment.index in found]
    if len(records) < len(job.segments):
        raise OutputError(
            f"{folder.path}: finished segments are gone from there: is the folder still there? "
            "The same command makes them again"
        )
    stamps = [stamp for record in records for stamp in record.stamps]
    if not stamps:
        folder.sweep()
        raise SourceError(f"no frame of {job.info.path} is shown{_describe_part(job)}: nothing to restore")
    segments = [
        FinishedSegment(folder.file_of(record), record.stamps, record.order) for record in records if record.stamps
    ]
    _check_source(job)
    carried = Carried()
    if job.encoding.container == "image2":
        assemble_images(partial, image_numbers(job.info, stamps), segments)
        verification = verify_images(partial, job.info, job.encoding, job.carry, stamps)
    else:
        carried = assemble(partial, job.info, job.encoding, job.carry, segments)
        verification = verify(partial, job.info, job.encoding, job.carry, stamps)
    warnings = describe_damage(job.info, stamps, carried, whole=job.trim.stop_pts is None)
    receipt = issue_receipt(job, records, verification, started, warnings, partial)
    _check_source(job)
    return receipt, warnings


def _check_source(job: FileJob) -> None:
    """Make sure that what is copied from the source, and what is said of it, belongs to the frames."""
    if identify_file(job.info.opening) != job.identity:
        raise SourceError(
            f"{job.info.path} was replaced, or its content changed, since it was opened: put back what it was, "
            "or run the same command again to restore what it is now"
        )


def _describe_part(job: FileJob) -> str:
    start, stop = job.options.start_seconds, job.options.stop_seconds
    return "" if start is stop is None else f" from {start or 0:g} s to {'its end' if stop is None else f'{stop:g} s'}"


def _begin(job: FileJob, folder: WorkFolder, done: dict[int, SegmentRecord], reporter: Reporter) -> None:
    """Say what is going to happen."""
    expected = _expected_frames(job)
    ready = sum(len(record.stamps) for record in done.values())
    reporter.begin(job.info.path, job.output, None if expected is None else max(0, expected - ready))
    for note in (*job.notes, *describe_shots(job.shots, job.info)):
        reporter.note(f"{job.info.path}: {note}")
    if done:
        reporter.note(
            f"{job.info.path}: going on from an earlier run: {len(done)} of {len(job.segments)} segments "
            f"({ready} frames) are done"
        )
    else:
        for other in folder.others():
            reporter.note(f"{job.info.path}: {_describe_other(other, job)}")


def _describe_other(other: OtherJob, job: FileJob) -> str:
    return (
        f"an earlier run that did not end was another job ({'; '.join(other.differences(job.facts()))}): its "
        f"{other.segments} finished segments stay in {other.path}, this run begins anew"
    )


def _tell_what_is_kept(job: FileJob, folder: WorkFolder, reporter: Reporter) -> None:
    kept = folder.count()
    if kept:
        reporter.note(
            f"{job.info.path}: {kept} of {len(job.segments)} segments are done and kept in {folder.path}; "
            "the same command goes on from there"
        )
    elif job.shots:
        reporter.note(
            f"{job.info.path}: what its shots need is kept in {folder.path}; the same command goes on from there"
        )
    else:
        folder.sweep()


def _tell_what_is_needed(job: FileJob, folder: WorkFolder, reporter: Reporter) -> None:
    if sizes := [record.bytes for record in folder.records().values()]:
        whole = sum(sizes) / len(sizes) * len(job.segments) / 1e6
        reporter.note(
            f"{job.info.path}: still to be written are about {whole - sum(sizes) / 1e6:.1f} MB of segments to "
            f"{folder.path.parent.parent}, and then {whole:.1f} MB and all that is copied to {job.output.parent}"
        )


def _expected_frames(job: FileJob) -> int | None:
    """For the progress line only: headers may count packets that are never shown."""
    if job.shots:
        return sum(shot.frames for shot in job.shots)
    info, start, stop = job.info, job.options.start_seconds, job.options.stop_seconds
    if start is None and stop is None:
        return info.estimated_frames
    if info.duration_seconds is None or info.average_rate is None:
        return None
    return round((min(stop or info.duration_seconds, info.duration_seconds) - (start or 0)) * info.average_rate)
