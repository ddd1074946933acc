"""What is kept of an item when it has ended: a record that it is done, or why it is not.

Records are small files in the target's state folder, and nothing else is true: whatever a run, its index or its
progress line says can be found again from them.
"""

import platform
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pipelines.archive.items import ArchiveItem
from streamrestore.receipt import Receipt


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    id: str
    """Of the item."""
    source: str
    """Its name: from the source folder, or as the manifest has it."""
    hint: str
    """Of the source's content: what its storage says without reading it."""
    request: str
    """A name for what was asked for."""
    ended: AwareDatetime
    host: str


class DoneRecord(_Record):
    """An item's output is there, was verified, and has its receipt."""

    output: str
    """From the target."""
    bytes: int
    sha256: str
    """Of the output."""
    frames: int
    passed: int
    """Frames that could not be restored, and are the source's own."""
    video_seconds: float
    work_seconds: float
    """That its segments took, all together."""
    device: str
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, item: ArchiveItem, request: str, output: str, receipt: Receipt) -> "DoneRecord":
        """What is worth keeping of an item's receipt.

        Args:
            item: It.
            request: A name for what was asked for.
            output: From the target.
            receipt: Of the output.
        """
        stamps = receipt.stamps()
        ticks = stamps[-1].pts + stamps[-1].duration - stamps[0].pts if stamps else 0
        return cls(
            id=item.id,
            source=item.name,
            hint=item.hint,
            request=request,
            ended=datetime.now(UTC),
            host=platform.node(),
            output=output,
            bytes=receipt.output.bytes,
            sha256=receipt.output.sha256,
            frames=len(stamps),
            passed=receipt.counts.passed_through,
            video_seconds=round(float(ticks * receipt.time_base()), 3),
            work_seconds=round(sum(receipt.timings.seconds.values()), 3),
            device=receipt.device.name,
            warnings=receipt.warnings,
        )


class FailedRecord(_Record):
    """An item is in quarantine: it will not be tried again before somebody asks for that."""

    error: str
    """The class of what went wrong."""
    exit_code: int
    """Of the command that restores this item alone."""
    reason: str
    traceback: str
    attempts: int
    command: str
    """Does it again, for whoever wants to see."""
    copied: str | None = None
    """Where the source itself was put in the output's place, from the target; null where it was not."""
