"""What is kept of every reference clip? Each goes whole through the pipeline, with a network that changes nothing.

Then its first frames go through the weights of this package. Writes docs/fidelity.md from the
receipts: what was found when each output was read back.
"""

import tempfile
import threading
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from _record import ROOT, data_folder

from pipelines.file import restore_file
from pipelines.outputs import Item
from pipelines.planning import FileOptions, Network, prepare_file
from pipelines.pools import PoolOptions, start_pool
from streamrestore.checks import Verdict
from streamrestore.devices import choose_devices, choose_precision, find_devices
from streamrestore.encoding import AUTOMATIC
from streamrestore.errors import ConfigError, OutputError, SourceError, StreamRestoreError
from streamrestore.probing import probe
from streamrestore.receipt import Receipt, read_receipt, receipt_path
from streamrestore.receipt_parts import CheckMade
from streamrestore.source import Source
from streamrestore.weights import find_weights
from tests.networks import offset_restorer
from tests.pipelines.runs import Notes, options
from workers import RestorerPool, open_pool

FIRST_FRAMES = 8
"""Of each clip that are really restored: it takes long."""

GROUPS = {
    "frames": ("plays", "frames", "frames marked as interlaced"),
    "times": ("frame times", "end of the video"),
    "picture": ("size", "pixel format", "pixel aspect ratio", "display matrix"),
    "colour": ("colour", "chroma location", "mastering display", "content light levels"),
    "streams": ("audio", "subtitle", "attachment", "cover", "data", "video stream"),
    "chapters, tags": ("chapters", "tags"),
}
"""Columns, and how the names of their checks begin."""

HEAD = """# What is kept of each reference clip

Written by `python benchmarks/fidelity.py`: every clip goes whole through the file pipeline with default settings and
a network that changes nothing; the finished file is then decoded, all of it, and compared with its source, property
by property, as after every job. Then its first eight frames go through the weights of this package ("restored"; one
stage of the network), with the same comparison. The clips are research data and not part of the project.

"n of n" counts the properties that were found as they must be. Times are exact in the output's time base; Matroska,
WebM and MPEG-TS count by clocks of their own, to which each time is rounded once: how far is in the table.

"""


def column_of(check: CheckMade) -> str:
    """The column that a check belongs to."""
    return next((column for column, names in GROUPS.items() if check.name.startswith(names)), "picture")


def cell(checks: Iterable[CheckMade]) -> str:
    """What became of the properties of one column."""
    checks = list(checks)
    kept = sum(check.verdict is Verdict.OK for check in checks)
    lost = [check.name for check in checks if check.verdict is Verdict.ANNOUNCED]
    return f"{kept} of {len(checks)}" + (f"; cannot hold: {', '.join(lost)}" if lost else "")


def kept_row(name: str, receipt: Receipt) -> list[str]:
    """The row of a clip that was restored."""
    source, plan = receipt.source, receipt.plan
    columns = {column: cell(check for check in receipt.checks if column_of(check) == column) for column in GROUPS}
    columns["frames"] = f"{len(receipt.frames)}"
    times = next(check for check in receipt.checks if check.name == "frame times")
    columns["times"] = (
        f"within {times.found.split('at most ')[1].removesuffix(' away')}" if "at most" in times.found else "exact"
    )
    return [
        name,
        f"{source.container.split(',')[0]}, {source.codec}, {source.pixel_format}",
        f"{plan.suffix}, {plan.codec}, {plan.pixel_format}",
        *columns.values(),
        "; ".join(receipt.warnings) or "nothing lost",
    ]


def restored_frames(source: Path, pool: RestorerPool, wanted: FileOptions) -> str:
    """How many of the first frames of a clip are restored by the weights of this package, and verified."""
    info = probe(source)
    frames = list(islice(Source(info).frames(), FIRST_FRAMES + 1))
    if len(frames) > FIRST_FRAMES:
        stop = (frames[-2].pts + frames[-1].pts) / 2 * info.time_base - info.container_start
        wanted = replace(wanted, stop_seconds=float(stop))
    job = prepare_file(Item(source, source.with_name(f"first.{source.name}.mkv")), wanted)
    restore_file(job, pool, Notes(), threading.Event())
    counts = read_receipt(receipt_path(job.output)).counts
    return str(counts.restored)


def measure(clip: Path, folder: Path, pool: RestorerPool, real: RestorerPool, wanted: FileOptions) -> list[str]:
    """The row of one clip."""
    source = folder / clip.name / clip.name  # results of clips that differ by their suffix must not meet
    source.parent.mkdir()
    source.symlink_to(clip)
    try:
        job = prepare_file(Item(source, None), options(encoding=AUTOMATIC))
        restore_file(job, pool, Notes(), threading.Event())
        row = kept_row(clip.name, read_receipt(receipt_path(job.output)))
        return [*row[:-1], restored_frames(source, real, wanted), row[-1]]
    except StreamRestoreError as error:
        reason = str(error).replace(f"{source.parent}/", "")
        how = "refused" if isinstance(error, ConfigError | OutputError | SourceError) else "FAILED"
        return [clip.name, "", how, *[""] * (len(GROUPS) + 1), f"{type(error).__name__}: {reason}"]


def main() -> None:
    """Measure every clip and write the document."""
    data = data_folder()
    if data is None:
        raise SystemExit("no reference data: STREAMRESTORE_DATA names its folder")
    rows = [["clip", "source", "output", *GROUPS, "restored", "said to the user"]]
    rows.append(["---"] * len(rows[0]))
    choice = choose_devices("auto", find_devices())
    precision, _ = choose_precision("auto", choice)
    network = Network((find_weights("derain"),), choice.devices[0], precision, stages=1)
    wanted = FileOptions(network, overwrite=True)
    pool, real = open_pool(offset_restorer, workers=0), start_pool(PoolOptions(network, choice, workers=0))
    with tempfile.TemporaryDirectory() as folder:
        for clip in sorted((data / "video").iterdir()):
            rows.append(measure(clip, Path(folder), pool, real, wanted))
            print(" | ".join(rows[-1]), flush=True)
    pool.close()
    real.close()
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    (ROOT / "docs" / "fidelity.md").write_text(f"{HEAD}{table}\n")


if __name__ == "__main__":
    main()
