"""What a finished job has to say for itself: its receipt, and what its user must be told."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipelines.planning import FileJob, request_key
from streamrestore.carry import Carried
from streamrestore.endings import early_end, find_holes
from streamrestore.frame import Stamp
from streamrestore.probing import SourceInfo
from streamrestore.receipt import Receipt, frame_lines, json_of
from streamrestore.receipt_parts import (
    CheckMade,
    Counts,
    DeviceUsed,
    OutputFile,
    Plan,
    SegmentUsed,
    ShotUsed,
    SourceFile,
    Timings,
    Tool,
    Versions,
    WeightsUsed,
)
from streamrestore.verification import Verification
from streamrestore.work_folder import SegmentRecord


def issue_receipt(
    job: FileJob,
    records: Sequence[SegmentRecord],
    found: Verification,
    started: datetime,
    warnings: Sequence[str],
    partial: Path,
) -> Receipt:
    """Write down what was done.

    Args:
        job: What was planned.
        records: Of all its segments, in order.
        found: What was seen when the output was read back.
        started: When this run began.
        warnings: What came up on the way.
        partial: Where the output is now.

    Raises:
        SourceError: The source cannot be read any more.
        OutputError: The output cannot be read.
    """
    network = job.options.network
    stamps = [stamp for record in records for stamp in record.stamps]
    return Receipt(
        tool=Tool.here(),
        versions=Versions.here(),
        device=DeviceUsed.of(network.device, network.precision),
        source=SourceFile.of(job.info, job.output),
        output=OutputFile.of(partial, job.output.name),
        weights=tuple(map(WeightsUsed.of, network.models)),
        key=request_key(job.identity, job.options),
        settings=json_of(job.options.facts()),
        plan=Plan.of(job.encoding, job.carry, job.patches, job.decoding.decoder),
        shots=tuple(map(ShotUsed.of, job.shots)),
        segments=tuple(map(SegmentUsed.of, records)),
        counts=Counts.of(stamps),
        timings=Timings(
            started=started, finished=datetime.now(UTC), seconds={"segments": sum(record.seconds for record in records)}
        ),
        warnings=(*job.notes, *warnings),
        checks=tuple(map(CheckMade.of, found.checks)),
        frames=frame_lines(stamps, found.frames),
    )


def describe_damage(info: SourceInfo, stamps: Sequence[Stamp], carried: Carried, *, whole: bool) -> tuple[str, ...]:
    """What was wrong with the source, in words; nothing if nothing was.

    Args:
        info: The source.
        stamps: Of all frames, in order.
        carried: What was wrong with the other streams.
        whole: Whether it was read to its end.
    """
    return (*_of_frames(info, stamps, whole=whole), *_of_other_streams(carried))


def _of_frames(info: SourceInfo, stamps: Sequence[Stamp], *, whole: bool) -> Iterator[str]:
    counts = Counts.of(stamps)
    if whole and (early := early_end(info, stamps[-1].pts + stamps[-1].duration)):
        yield early
    if counts.lost_packets:
        yield (
            f"{counts.lost_packets} packets of the source gave no picture: their frames are missing, "
            "all others have their own times"
        )
    if holes := find_holes([stamp.pts for stamp in stamps], [stamp.duration for stamp in stamps]):
        first = float(holes[0][0] * info.time_base)
        yield f"frames seem to be missing from the source in {len(holes)} places, the first at {first:.3f} s"
    if counts.concealed:
        yield f"{counts.concealed} frames of the source are damaged; the decoder filled in what was missing"
    if counts.retimed:
        yield f"{counts.retimed} frames had no time, or one that did not follow: they were given the next that fits"
    if counts.rescaled:
        yield f"{counts.rescaled} frames had another size or pixel format and were converted to that of the first"
    if counts.passed_through:
        yield f"{counts.passed_through} frames could not be restored and were passed on as they came"


def _of_other_streams(carried: Carried) -> Iterator[str]:
    if carried.unreadable:
        yield f"{carried.unreadable} places of the other streams could not be read: what was there is missing"
    if carried.retimed:
        yield f"{carried.retimed} packets of the other streams had no time, or one that went back: it was found anew"
