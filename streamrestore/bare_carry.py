"""What is lost where an output holds pictures and nothing else: numbered images, raw video."""

from streamrestore.carry import CarryPlan
from streamrestore.encoding import Encoding
from streamrestore.limits import NOT_THERE, Loss
from streamrestore.probing import SourceInfo, open_container
from streamrestore.source import WHOLE, Trim
from streamrestore.tags import file_tags

BARE = frozenset({"image2", "yuv4mpegpipe", "rawvideo"})
"""Such containers, by FFmpeg's names of their muxers."""


def plan_bare_carry(info: SourceInfo, encoding: Encoding, trim: Trim = WHOLE) -> CarryPlan:
    """Name everything beside the pictures, which will be lost.

    Args:
        info: The source, which is opened again.
        encoding: Says what is written, which is one of `BARE`.
        trim: The part that is restored.

    Raises:
        SourceError: The source cannot be opened any more.
    """
    with open_container(info.opening) as source:
        tags, chapters = file_tags(source.metadata), source.chapters()
    beside = [str(other) for other in info.other_streams]
    beside += [f"the tags ({', '.join(tags)})"] if tags else []
    beside += ["the chapters"] if chapters else []
    beside += ["the rotation"] if info.display_matrix is not None else []
    if encoding.container == "rawvideo" and info.sample_aspect_ratio not in (None, 1):
        beside.append(f"the pixel aspect ratio {info.sample_aspect_ratio}")
    beside += list(info.lost_side_data)
    beside += [riding.name for riding in info.riding]
    beside += ["the HDR10 metadata"] if info.mastering_display or info.content_light else []
    losses = tuple(
        Loss(f"{encoding.suffix} holds pictures only: {what} will be lost", ((what, NOT_THERE),)) for what in beside
    )
    return CarryPlan(trim=trim, losses=losses)
