"""The receipt beside an output: what was done, to what, with what, and what was found when it was read back.

Everything in it can be checked again; docs/receipt.md says how. It holds no absolute paths.
"""

import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from streamrestore.encoder import writing_to
from streamrestore.errors import SourceError
from streamrestore.frame import Defect, Stamp
from streamrestore.receipt_parts import (
    CheckMade,
    Counts,
    DeviceUsed,
    OutputFile,
    Part,
    Plan,
    SegmentUsed,
    ShotUsed,
    SourceFile,
    Timings,
    Tool,
    Versions,
    WeightsUsed,
)
from streamrestore.work_folder import write_synced

_FrameLine = Annotated[
    str,
    Field(pattern=r"^-?\d+ \d+ [0-9a-f]{32} [0-9a-f]{32}( passed)?( untouched)?( concealed)?( retimed)?( rescaled)?$"),
]


class Receipt(Part):
    """What was done to make one output."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    tool: Tool
    versions: Versions
    device: DeviceUsed
    source: SourceFile
    output: OutputFile
    weights: tuple[WeightsUsed, ...]
    """In the order in which they were applied."""
    key: str
    """Equal for equal inputs, weights and settings: an output with this key need not be made again."""
    settings: dict[str, JsonValue]
    """What was asked for, from `json_of`."""
    plan: Plan
    shots: tuple[ShotUsed, ...] = ()
    """In order, where what is done was decided shot by shot; they cover all frames."""
    segments: tuple[SegmentUsed, ...]
    counts: Counts
    timings: Timings
    warnings: tuple[str, ...]
    """What was said before work started and on the way."""
    checks: tuple[CheckMade, ...]
    frames: tuple[_FrameLine, ...]
    """A line a frame: pts and duration in the source's time base, MD5 of the source's samples, MD5 of the
    output's, then what is odd about it: passed, untouched, concealed, retimed, rescaled."""

    def stamps(self) -> list[Stamp]:
        """The frames that were written, as they were read."""
        found = list[Stamp]()
        for line in self.frames:
            pts, duration, md5, _, *odd = line.split(" ")
            defects = tuple(defect for defect in Defect if defect.value in odd)
            passed, untouched = "passed" in odd, "untouched" in odd
            found.append(Stamp(int(pts), int(duration), md5, defects, passed=passed, untouched=untouched))
        return found

    def output_frames(self) -> tuple[str, ...]:
        """MD5 of each frame of the output."""
        return tuple(line.split(" ")[3] for line in self.frames)

    def time_base(self) -> Fraction:
        """Seconds a tick of the frames' times."""
        return Fraction(self.source.time_base)


_RECEIPT = TypeAdapter(Receipt)


def json_of(facts: Mapping[str, object]) -> dict[str, JsonValue]:
    """Facts as JSON gives them back: tuples as lists, whatever has no place there as text."""
    return cast(dict[str, JsonValue], json.loads(json.dumps(facts, default=str)))


def frame_lines(stamps: Iterable[Stamp], output_frames: Iterable[str]) -> tuple[str, ...]:
    """A receipt's line for each frame.

    Args:
        stamps: Of the frames that were written.
        output_frames: MD5 of each as it was read back, as many.
    """
    return tuple(
        " ".join([f"{stamp.pts} {stamp.duration} {stamp.md5} {md5}", *_oddities(stamp)])
        for stamp, md5 in zip(stamps, output_frames, strict=True)
    )


def receipt_path(output: Path) -> Path:
    """Where an output's receipt is: ``clip.mp4.receipt.json``, beside it."""
    return output.with_name(f"{output.name}.receipt.json")


def write_receipt(path: Path, receipt: Receipt) -> None:
    """Write a receipt, so that after a crash there is all of it or none.

    Raises:
        OutputError: It cannot be written.
        DiskFullError: There is no space left.
    """
    with writing_to(path):
        write_synced(path, _RECEIPT.dump_json(receipt, indent=1), b"\n")


def read_receipt(path: Path) -> Receipt:
    """Read a receipt back.

    Raises:
        SourceError: There is none, or it is damaged or not one of ours.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"there is no receipt that can be read at {path}: {error.strerror}; name an output of streamrestore "
            "whose receipt lies beside it"
        ) from error
    try:
        return Receipt.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise SourceError(
            f"{path} is damaged, or no receipt that this version of streamrestore reads (schema 1): "
            f"{where}: {first['msg']}"
        ) from error


def receipt_schema() -> Mapping[str, object]:
    """The JSON Schema of receipts."""
    return Receipt.model_json_schema(mode="serialization")


def _oddities(stamp: Stamp) -> list[str]:
    left = [word for word, is_so in (("passed", stamp.passed), ("untouched", stamp.untouched)) if is_so]
    return [*left, *(defect.value for defect in Defect if defect in stamp.defects)]
