"""From standard input, to standard output, or both: one pass, in which nothing is kept to go on from.

A pipe has no second reading and no name, so there are no segments and no receipt; a file made of a
pipe is still verified and appears by one rename. Pictures go through a pipe from its first frame on;
what else comes from standard input is named, and left behind.
"""

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.arguments import parse_pipe_format
from pipelines.engine import Progress, build_engine
from pipelines.hardware import Decoding, with_nvenc
from pipelines.looking import describe_shots, look
from pipelines.outputs import Item, check_output
from pipelines.partial import commit, hold_partial
from pipelines.planning import FileOptions, plan_job_carry, plan_job_decoding, plan_job_fields, plan_job_patches
from pipelines.progress import Finished, Reporter, StopAware
from streamrestore.assembly import muxer_loses_aspect
from streamrestore.carry import CarryPlan
from streamrestore.encoder import check_encoder
from streamrestore.encoding import Encoding, plan_encoding
from streamrestore.errors import ConfigError, StreamRestoreError, VerificationError
from streamrestore.frame import Stamp
from streamrestore.interlacing import FieldPlan
from streamrestore.opening import PIPE, find_opening, pipe_opening
from streamrestore.patches import PatchPlan
from streamrestore.pipes import PipeWriter, ReplayedPipe
from streamrestore.places import PIPES, image_pattern
from streamrestore.probing import SourceInfo, probe
from streamrestore.receipt_parts import Counts
from streamrestore.shots import Shot
from streamrestore.source import Source, Trim, plan_trim
from streamrestore.stream_sink import open_stream_sink
from streamrestore.verification import compare_frames
from workers import RestorerPool

_STDIN, _STDOUT, _STDERR = 0, 1, 2


def take_stdout() -> int:
    """Hand standard output to a video alone: whatever else is printed from now on goes to standard error.

    Returns:
        The descriptor that the video is written to.

    Raises:
        ConfigError: It is a terminal.
    """
    if os.isatty(_STDOUT):
        raise ConfigError("-o - would write a video to the terminal: pipe it into a program, or name a file")
    sys.stdout.flush()
    descriptor = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    return descriptor


def plan_pipes(
    items: Sequence[Item], pipe_format: str | None, input_format: str | None
) -> tuple[str | None, str | None]:
    """What standard input holds, and what standard output is to hold; None for both where they are not used.

    Args:
        items: What is restored.
        pipe_format: ``-f``: of both pipes.
        input_format: ``--input-format``: of standard input, where it is another.

    Raises:
        ConfigError: A format is given, but there is no pipe; or standard output has none.
    """
    comes = any(item.source == PIPE for item in items)
    goes = any(item.output == PIPE for item in items)
    asked, asked_of_input = (
        parse_pipe_format(option, text, PIPES)
        for option, text in (("-f", pipe_format), ("--input-format", input_format))
    )
    if asked is not None and not (comes or goes):
        raise ConfigError("-f is for pipes: files say by their names what they are")
    if asked_of_input is not None and not comes:
        raise ConfigError("--input-format is for standard input: files say themselves what they are")
    if goes and asked is None:
        raise ConfigError(f"-o - does not say what to write: give -f with one of {', '.join(PIPES)}")
    return (asked_of_input or asked) if comes else None, asked if goes else None


@dataclass(frozen=True, slots=True)
class PipeJob:
    """One pass with everything decided; nothing was written yet."""

    info: SourceInfo
    fields: FieldPlan
    decoding: Decoding
    output: Path
    """A file, or `PIPE`."""
    options: FileOptions
    trim: Trim
    encoding: Encoding
    carry: CarryPlan
    patches: PatchPlan
    notes: tuple[str, ...]
    """What the user should read before work starts."""
    shots: tuple[Shot, ...] = ()
    """What each shot is given, once it was looked at; none where every frame is given the whole chain."""

    def source(self) -> Source:
        """Its pictures, not opened yet."""
        return Source(self.info, deinterlace=self.fields.deinterlace, nvdec=self.decoding.nvdec)


def prepare_pipe(item: Item, options: FileOptions, stop: threading.Event) -> PipeJob:
    """Look at the beginning of the input and decide everything about its restoration.

    Args:
        item: Of which the source or the output is `PIPE`, or both.
        options: What was asked for.
        stop: Ends the wait for standard input.

    Raises:
        ConfigError: What was asked for does not fit.
        SourceError: The input cannot be read, or not be restored without loss.
        OutputError: The output cannot be written, or cannot hold what the input has.
        StoppedError: The user asked to stop while nothing came.
    """
    with ExitStack() as stack:
        if item.source == PIPE:
            if options.network.assessor is not None:
                raise ConfigError(
                    "-t auto looks through the whole video before it restores the first frame, and what comes from "
                    "standard input can be read only once: put it into a file, or name the tasks, such as -t denoise"
                )
            if sys.stdin is None or os.isatty(_STDIN):
                raise ConfigError("there is nothing on standard input: pipe a video into it, or name a file")
            pipe = ReplayedPipe(_STDIN, stop)
            stack.callback(pipe.release)
            opening = pipe_opening(pipe, options.input)
        else:
            opening = find_opening(item.source, options.input)
        job = _plan(item, probe(opening), options)
        stack.pop_all()  # `restore_pipe` needs what was kept
        return job


def _plan(item: Item, info: SourceInfo, options: FileOptions) -> PipeJob:
    output = item.output
    assert output is not None
    notes = list[str]()
    if item.source == PIPE:
        notes = [f"{other} is not taken from a pipe and will be lost" for other in info.other_streams]
        # To jump to a place that the header promises would read up to it.
        info = replace(info, other_streams=(), duration_seconds=None)
    info, fields = plan_job_fields(info, options)
    trim = plan_trim(info, options.start_seconds, options.stop_seconds)
    decoding = plan_job_decoding(info, fields, options)
    encoding = _plan_encoding(info, output, options, fields)
    if output != PIPE:
        check_output(item.source, output, overwrite=options.overwrite)
    check_encoder(info, encoding)
    carry = plan_job_carry(info, encoding, trim, options)
    if encoding.container == "matroska" and output == PIPE and muxer_loses_aspect(encoding):
        aspect = info.sample_aspect_ratio
        if aspect not in (None, 1):
            notes.append(
                f"{encoding.codec} in {encoding.suffix} cannot say the pixel aspect ratio {aspect}: it is lost"
            )
    return PipeJob(
        info=info,
        fields=fields,
        decoding=decoding,
        output=output,
        options=options,
        trim=trim,
        encoding=encoding,
        carry=carry,
        patches=plan_job_patches(info, options.network, options.patch),
        notes=(*fields.notes, *decoding.notes, *encoding.notes, *notes, *carry.warnings),
    )


def _plan_encoding(info: SourceInfo, output: Path, options: FileOptions, fields: FieldPlan) -> Encoding:
    request, pipe, suffix = options.encoding, None, None
    if output == PIPE:
        assert options.pipe is not None
        pipe = options.pipe.format
    elif image_pattern(output):
        raise ConfigError(f"images cannot be made of a pipe: write a file, such as {output.parent / 'video.mkv'}")
    else:
        suffix = output.suffix
    encoding = plan_encoding(info, request, suffix, field_order=fields.flags, pipe=pipe)
    return with_nvenc(info, encoding, request, options.hwaccel, options.network.device, pipe=pipe)


def restore_pipe(job: PipeJob, pool: RestorerPool, reporter: Reporter, stop: threading.Event) -> Finished:
    """Restore in one pass; a file appears complete, verified and by one rename, or not at all.

    Raises:
        StoppedError: ``stop`` was set before the last frame.
        StreamRestoreError: Something failed.
    """
    if (assessor := job.options.network.assessor) is not None:
        frames, on_error = job.info.estimated_frames, job.options.on_error
        source = job.source()
        job = replace(job, shots=look(source, job.trim, assessor, frames, reporter, stop, on_error=on_error))
    reporter.begin(job.info.path, job.output, job.info.estimated_frames)
    for note in (*job.notes, *describe_shots(job.shots, job.info)):
        reporter.note(f"{job.info.path}: {note}")
    with ExitStack() as stack:
        if job.output == PIPE:
            assert job.options.pipe is not None
            progress, stamps = _restore(job, PipeWriter(job.options.pipe.descriptor, stop), pool, reporter, stop)
        else:
            partial = stack.enter_context(hold_partial(job.output))
            progress, stamps = _restore(job, partial, pool, reporter, stop)
            _verify(job, partial, stamps)
            commit(partial, job.output)
    return Finished(job.info.path, job.output, progress, untouched=Counts.of(stamps).untouched)


def _restore(
    job: PipeJob, target: Path | PipeWriter, pool: RestorerPool, reporter: Reporter, stop: threading.Event
) -> tuple[Progress, list[Stamp]]:
    engine = build_engine(pool, job.info.video, job.patches, shots=job.shots, on_error=job.options.on_error)
    pipe = job.info.opening.pipe
    with job.source() as source:
        try:
            with open_stream_sink(target, job.info, job.encoding, job.carry) as sink:
                if pipe is not None:
                    pipe.forget()
                frames = source.frames(job.trim, on_error=job.options.on_error)
                progress = engine.run(frames, sink, stop=stop, report=StopAware(reporter, stop))
        finally:
            if pipe is not None:
                pipe.release()
    return progress, sink.stamps


def _verify(job: PipeJob, partial: Path, stamps: list[Stamp]) -> None:
    """Decode the file, and compare its frames with those that were written.

    Raises:
        VerificationError: They are others.
    """
    try:
        found = probe(partial, 0)
    except StreamRestoreError as error:
        raise VerificationError(f"{partial} cannot be read back: {error}") from error
    compared = compare_frames(found, job.encoding, stamps, job.info.time_base, job.carry.shift)
    if compared.mismatches:
        raise VerificationError(f"{partial} is not what was written: {'; '.join(map(str, compared.mismatches))}")
