"""Outputs whose frames are their source's own, and all that is needed to verify them."""

from dataclasses import dataclass
from pathlib import Path

from streamrestore.carry import CarryPlan
from streamrestore.carry_planning import plan_carry
from streamrestore.encoding import Encoding, EncodingRequest, plan_encoding
from streamrestore.frame import Stamp, planes_md5
from streamrestore.probing import SourceInfo
from streamrestore.source import open_source, plan_trim
from streamrestore.verification import Verification, compare
from tests.writing import write_video

FFV1 = EncodingRequest(codec="ffv1")
X264 = EncodingRequest(codec="h264", preset="ultrafast")


@dataclass(frozen=True)
class Made:
    """An output, and all that verification needs."""

    path: Path
    info: SourceInfo
    encoding: Encoding
    plan: CarryPlan
    stamps: tuple[Stamp, ...]

    def compare(self, path: Path | None = None) -> Verification:
        return compare(path or self.path, self.info, self.encoding, self.plan, self.stamps)


def make(
    source: Path,
    request: EncodingRequest = X264,
    suffix: str | None = None,
    part: tuple[float | None, float | None] = (None, None),
) -> Made:
    """Write a source's frames again, in segments."""
    with open_source(source) as opened:
        info = opened.info
        encoding = plan_encoding(info, request, suffix)
        trim = plan_trim(info, *part)
        plan = plan_carry(info, encoding, trim)
        frames = list(opened.frames(trim))
    path = source.with_name(f"{source.stem}.out{encoding.suffix}")
    write_video(path, info, encoding, plan, frames, frames_in_segment=5)
    stamps = tuple(Stamp(frame.pts, frame.duration, planes_md5(frame.planes)) for frame in frames)
    return Made(path, info, encoding, plan, stamps)
