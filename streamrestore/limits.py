"""What outputs are known not to hold, and what is therefore lost of a source."""

from collections.abc import Iterator
from dataclasses import dataclass

from streamrestore.encoding import Encoding
from streamrestore.frame import ChromaLocation
from streamrestore.hdr import writes_static_hdr
from streamrestore.messages import codecs_holding, holds
from streamrestore.probing import SourceInfo
from streamrestore.siting import holds_chroma_location

UNTURNED = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
"""The display matrix that changes nothing."""

NOT_THERE = "not there"
"""What checks find of something that was lost."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Something of a source that its output will not have."""

    sentence: str
    """For the user, before work starts."""
    found: tuple[tuple[str, str], ...]
    """What verification will find in its place: names of checks, and what they find. Nothing else is excused."""


@dataclass(frozen=True, slots=True)
class Clock:
    """How one container counts time, as FFmpeg writes it."""

    rounds_times: bool = False
    """Whether it has a clock of its own, to which every time is rounded once."""
    holds_end: bool = True
    """Whether it says how long the last frame is shown."""


CLOCKS = {
    "mp4": Clock(),
    "mov": Clock(),
    "matroska": Clock(rounds_times=True),
    "webm": Clock(rounds_times=True),
    "mpegts": Clock(rounds_times=True, holds_end=False),
}
"""By FFmpeg's name of the muxer."""


def picture_losses(info: SourceInfo, encoding: Encoding) -> Iterator[Loss]:
    """What the restored stream itself will lose.

    Args:
        info: The source.
        encoding: How it is written.
    """
    codec, suffix = encoding.codec, encoding.suffix
    for lost in info.lost_side_data:
        yield Loss(f"{lost} cannot be written again and will be lost", ((lost, NOT_THERE),))
    for riding in info.riding:
        if not holds(codec, riding.kind):
            able = " or ".join(codecs_holding(riding.kind))
            yield Loss(
                f"{codec} cannot hold {riding.name}, so {riding.without}: take the codec {able} to keep it",
                ((riding.name, NOT_THERE),),
            )
    static_hdr = {"mastering display": info.mastering_display, "content light levels": info.content_light}
    if any(static_hdr.values()) and not writes_static_hdr(encoding.encoder):
        yield Loss(
            f"{encoding.encoder} cannot write the HDR10 metadata (mastering display, light levels), so players "
            "guess the brightness: take the codec hevc or av1 to keep it",
            tuple((name, NOT_THERE) for name, value in static_hdr.items() if value),
        )
    location = info.video.chroma_location
    if encoding.pixels.chroma_shift == (1, 1) and not holds_chroma_location(codec, encoding.container, location):
        yield Loss(
            f"{codec} in {suffix} cannot say that chroma sits {location}: players assume the left",
            (("chroma location", ChromaLocation.LEFT.value),),
        )
    if info.display_matrix not in (None, UNTURNED) and encoding.container == "mpegts":
        yield Loss(
            f"{suffix} cannot hold the rotation: the picture will be shown as it is coded",
            (("display matrix", str(UNTURNED)),),
        )
