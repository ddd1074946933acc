"""What an archive run restores: one value for each clip, with all that is asked for of it alone."""

import hashlib
import os
from dataclasses import dataclass
from typing import Literal

from streamrestore.locations import Location
from streamrestore.tasks import Stages, Task

MISSING = "missing"
"""The hint of a source that is not there, or no file."""


@dataclass(frozen=True, slots=True)
class ItemOptions:
    """What a row of a manifest asks for, instead of what the run does; None leaves it to the run."""

    task: tuple[Task, ...] | tuple[Literal["auto"]] | None = None
    """The chain of tasks; ``("auto",)`` gives each shot what it needs."""
    weights: tuple[str, ...] | None = None
    """Names or files, one for each task."""
    strength: float | None = None
    """0 to 1."""
    stages: Stages | None = None
    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    """FFmpeg's name of a pixel format."""
    start: float | None = None
    """In seconds from the beginning of the source."""
    stop: float | None = None
    """In seconds from the beginning of the source."""
    deinterlace: bool | None = None


AS_THE_RUN = ItemOptions()
"""Everything left to the run."""


@dataclass(frozen=True, slots=True)
class ArchiveItem:
    """One clip."""

    id: str
    """Hexadecimal digits, the same in every run and on every machine that calls the source the same."""
    source: Location
    name: str
    """Of the source, for people and records: from the folder that is restored, or what the manifest calls it."""
    size: int
    """Of the source, in bytes; 0 where nobody says."""
    hint: str
    """What the storage says of the source without reading it: another one where its content is another."""
    stem: str
    """Where the output goes, from the target's folder, with slashes; without the suffix that the plan chooses."""
    suffix: str | None = None
    """Of the output, where a manifest says so; the plan may choose no other."""
    options: ItemOptions = AS_THE_RUN


def item_id(name: str) -> str:
    """What an item is called in records and in the names of files.

    Args:
        name: Of its source, and of its output where a manifest names one.
    """
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
