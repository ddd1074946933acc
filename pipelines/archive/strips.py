"""Before and after, of a few frames of a few clips, to look at before weeks of work."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.archive.context import ArchiveContext
from pipelines.archive.items import ArchiveItem
from pipelines.archive.trial import LEAST_FRAMES, PreparedClip, affordable_part, cut_part, needed_tasks
from streamrestore.encoder import writing_to
from streamrestore.errors import SourceError, StreamRestoreError
from streamrestore.frame import Chunk, Frame, Planes, VideoFormat
from streamrestore.pairs import RGB
from streamrestore.rgb import to_image
from streamrestore.side_by_side import side_by_side, write_png
from streamrestore.source import WHOLE, Trim
from streamrestore.tasks import Task
from workers import RestorerPool

PLACES = (Fraction(1, 6), Fraction(1, 2), Fraction(5, 6))
"""Where a clip is looked at, as parts of its length."""

FRAME_SECONDS = 4.0
"""That a frame may take, about; of larger ones the middle is shown."""

READ_THROUGH_BYTES = 1 << 30
"""To find a place in a clip its packets are read through; larger ones are looked at near their beginning."""

_LOOKED_AT = 9
"""Frames by which is told what a shot needs."""


@dataclass(frozen=True, slots=True)
class Strip:
    """A picture that was written, or why it was not."""

    clip: str
    picture: Path | None
    reason: str | None = None


def write_strip(context: ArchiveContext, item: ArchiveItem, folder: Path) -> Strip:
    """Restore a few frames of a clip, and write each before | after, one above the other.

    Args:
        context: Whose device restores.
        item: The clip.
        folder: Of the pictures; is made.

    Raises:
        OutputError: The picture cannot be written.
        DiskFullError: There is no space left.
        WorkerStartError: The network could not be started.
    """
    network = context.network(item)
    with context.pool(network) as pool:
        try:
            with context.source(item) as path:
                rows = list(_rows(PreparedClip(path, context.options(item), item.suffix), pool, item.size))
        except StreamRestoreError as error:
            return Strip(item.name, None, str(error))
    place = folder / f"{item.stem}.png"
    with writing_to(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    write_png(_above_each_other(rows), place)
    return Strip(item.name, place)


def _rows(clip: PreparedClip, pool: RestorerPool, size: int) -> Iterator[Tensor]:
    video, assessor = clip.info.video, clip.options.network.assessor
    part: VideoFormat | None = None
    for trim in _places(clip, size):
        with clip.source as source:
            frames = list(islice(source.frames(trim), 1 if assessor is None else _LOOKED_AT))
        if not frames:
            continue
        if part is None:
            part = affordable_part(clip, pool, frames, FRAME_SECONDS * LEAST_FRAMES) or video
        tasks = None if assessor is None else needed_tasks(frames, video, assessor)[0]
        yield _before_and_after(clip, pool, frames[:1], part, tasks)
    if part is None:
        raise SourceError(f"no frame of {clip.info.path} is shown: nothing to restore")


def _places(clip: PreparedClip, size: int) -> list[Trim]:
    info = clip.info
    if info.duration_seconds is None or size > READ_THROUGH_BYTES:
        return [WHOLE]
    ticks = int(Fraction(info.duration_seconds) / info.time_base)
    return [Trim(info.start_pts + int(ticks * place), None) for place in PLACES]


def _before_and_after(
    clip: PreparedClip,
    pool: RestorerPool,
    frames: Sequence[Frame],
    part: VideoFormat,
    tasks: tuple[Task, ...] | None,
) -> Tensor:
    planes = cut_part(frames, clip.info.video, part)
    restored = planes
    if tasks != ():
        restored = pool.submit(Chunk(part, clip.patches(part), planes, tasks)).result().planes
    return side_by_side([_picture(planes, part), _picture(restored, part)])


def _picture(planes: Planes, video: VideoFormat) -> Tensor:
    """``[3, H, W]`` uint8 RGB, upright, of the first frame."""
    image = to_image(tuple(plane[0] for plane in planes), video, RGB)
    green, blue, red = image[:3] if len(image) > 2 else image[:1] * 3
    return torch.rot90(torch.from_numpy(np.stack((red, green, blue))), video.quarter_turns, (1, 2))


def _above_each_other(rows: Sequence[Tensor]) -> Tensor:
    """Pictures of one size, with a white line between them."""
    return side_by_side([row.transpose(1, 2) for row in rows]).transpose(1, 2)
