"""One file to one file: everything is decided first, then restored, then renamed into place."""

import errno
import logging
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.engine import FrameEngine, Progress
from pipelines.outputs import Item, check_output, default_output, hold_partial
from pipelines.progress import Finished, Reporter
from streamrestore.carry import CarryPlan, plan_carry
from streamrestore.checkpoint import Task
from streamrestore.devices import DeviceKind, batch_pixels
from streamrestore.encoding import AUTOMATIC, Encoding, EncodingRequest, plan_encoding
from streamrestore.errors import ConfigError, DeviceMemoryError, DiskFullError, OutputError, PatchSizeError
from streamrestore.patches import PatchPlan, plan_patches
from streamrestore.probing import SourceInfo
from streamrestore.sink import check_encoder, open_sink
from streamrestore.source import Source, Trim, open_source, plan_trim
from workers import RestorerPool, frames_in_chunk, plan_window

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileOptions:
    """What was asked for, the same for every file of a run."""

    tasks: tuple[Task, ...]
    """The chain, for the output's name."""
    crop: int
    """Side of the training crops, the smallest of the chain, in pixels."""
    device: DeviceKind
    patch: int | None = None
    """Side of the largest patch in pixels; None decides."""
    whole_frames: bool = False
    """Restore frames in one piece where ``patch`` does not say otherwise."""
    encoding: EncodingRequest = AUTOMATIC
    start_seconds: float | None = None
    stop_seconds: float | None = None
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class FileJob:
    """One file with everything decided; nothing was written yet."""

    source: Source
    output: Path
    trim: Trim
    encoding: Encoding
    carry: CarryPlan
    plan: PatchPlan
    may_shrink: bool
    """Whether smaller patches may be taken if memory runs out."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should read before work starts."""
        return (*self.encoding.notes, *self.carry.warnings)


def prepare_file(item: Item, options: FileOptions) -> FileJob:
    """Open the input and decide everything about its restoration.

    Raises:
        ConfigError: What was asked for does not fit this file.
        SourceError: The input cannot be read, or not be restored without loss.
        OutputError: The output exists, cannot be written, or cannot hold what the input has.
    """
    source = open_source(item.source)
    info = source.info
    trim = plan_trim(info, options.start_seconds, options.stop_seconds)
    if info.duration_seconds is not None and (options.start_seconds or 0) >= info.duration_seconds:
        raise ConfigError(
            f"--ss {options.start_seconds:g} is at or after the end of {item.source}, "
            f"which lasts {info.duration_seconds:.3f} s"
        )
    encoding = plan_encoding(info, options.encoding, item.output.suffix if item.output else None)
    output = item.output or default_output(item.source, options.tasks, encoding.suffix, item.folder)
    check_output(item.source, output, overwrite=options.overwrite)
    check_encoder(info, encoding)
    carry = plan_carry(info, encoding, trim)
    plan = _plan(info, options, patch=options.patch, whole=options.whole_frames and options.patch is None)
    settings = " ".join(f"{key}={value}" for key, value in encoding.options)
    log.info("%s: %s %s into %s", item.source, encoding.encoder, settings, encoding.container)
    height, width = plan.patch
    log.info(
        "%s: %d patches of %dx%d px a frame, %d a batch", item.source, len(plan.spans()), width, height, plan.batch
    )
    return FileJob(source, output, trim, encoding, carry, plan, may_shrink=options.patch is None)


def restore_file(
    job: FileJob, options: FileOptions, pool: RestorerPool, reporter: Reporter, stop: threading.Event
) -> Finished:
    """Restore one file; its output appears complete, by one rename, or not at all.

    If one patch does not fit the device's memory the file begins again with smaller patches,
    so that every frame is restored under one plan.

    Raises:
        StoppedError: ``stop`` was set; nothing is left of the output.
        StreamRestoreError: Something failed; nothing is left of the output.
    """
    reporter.begin(job.source.info.path, job.output, _expected_frames(job.source.info, options))
    for note in job.notes:
        reporter.note(f"{job.source.info.path}: {note}")
    with hold_partial(job.output) as partial:
        while True:
            try:
                progress = _restore(job, pool, reporter, stop, partial)
                break
            except DeviceMemoryError as error:
                job = _shrunk(job, options, error)
                height, width = job.plan.patch
                reporter.note(f"{job.source.info.path}: {error}: beginning again with patches of {width}x{height} px")
        _commit(partial, job.output)
    return Finished(job.source.info.path, job.output, progress)


def _plan(info: SourceInfo, options: FileOptions, *, patch: int | None, whole: bool) -> PatchPlan:
    return plan_patches(
        info.video.upright_size,
        crop=options.crop,
        batch_pixels=batch_pixels(options.device),
        frames=frames_in_chunk(info.video.frame_bytes()),
        patch=patch,
        whole=whole,
    )


def _shrunk(job: FileJob, options: FileOptions, error: DeviceMemoryError) -> FileJob:
    """The job with patches half as large; raises the error where there are none."""
    if not job.may_shrink:
        raise error
    try:
        plan = _plan(job.source.info, options, patch=max(job.plan.patch) // 2, whole=False)
    except PatchSizeError:
        raise error from None
    if plan.patch == job.plan.patch:
        raise error
    return replace(job, plan=plan)


def _restore(job: FileJob, pool: RestorerPool, reporter: Reporter, stop: threading.Event, partial: Path) -> Progress:
    video = job.source.info.video
    window = plan_window(max(1, pool.state().workers), video.frame_bytes(), pool.budget_bytes)
    engine = FrameEngine(pool, video, job.plan, frames_per_chunk=window.frames_per_chunk, window=window.chunks)
    with job.source, open_sink(partial, job.source.info, job.encoding, job.carry) as sink:
        return engine.run(job.source.frames(job.trim), sink, stop=stop, report=reporter.update)


def _expected_frames(info: SourceInfo, options: FileOptions) -> int | None:
    """For the progress line only: headers may count packets that are never shown."""
    if options.start_seconds is None and options.stop_seconds is None:
        return info.estimated_frames
    if info.duration_seconds is None or info.average_rate is None:
        return None
    stop = min(options.stop_seconds or info.duration_seconds, info.duration_seconds)
    return round((stop - (options.start_seconds or 0)) * info.average_rate)


def _commit(partial: Path, output: Path) -> None:
    """Make the output appear under its name, complete and on the disk."""
    try:
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(output)
        folder = os.open(output.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"there is no space left for {output}: free some, or choose another place") from error
        raise OutputError(f"{output} cannot be put in place: {error.strerror}; is its folder still there?") from error
