"""Write frames to a file the way the pipeline does: in segments, then joined."""

from collections.abc import Iterable
from pathlib import Path

from streamrestore.assembly import FinishedSegment, assemble
from streamrestore.carry import CarryPlan
from streamrestore.encoding import Encoding
from streamrestore.frame import Frame, Stamp
from streamrestore.probing import SourceInfo
from streamrestore.segment_file import open_segment


def write_video(
    path: Path,
    info: SourceInfo,
    encoding: Encoding,
    plan: CarryPlan,
    frames: Iterable[Frame],
    *,
    frames_in_segment: int = 10**9,
    folder: Path | None = None,
) -> None:
    """Write all frames; segment files stay in ``folder``, or beside the output."""
    groups = list[list[Frame]]()
    for number, frame in enumerate(frames):
        if number % frames_in_segment == 0:
            groups.append([])
        groups[-1].append(frame)
    finished = list[FinishedSegment]()
    for number, group in enumerate(groups):
        file = (folder or path.parent) / f"{path.name}.{number}"
        with open_segment(file, info, encoding) as segment:
            for frame in group:
                segment.write(frame.pts, frame.planes)
            order = segment.finish()
        stamps = tuple(Stamp(frame.pts, frame.duration, "") for frame in group)
        finished.append(FinishedSegment(file, stamps, order))
    assemble(path, info, encoding, plan, finished)
