"""Cut a video into segments: stretches of it that are restored, written and kept on their own.

Pure. Segments are half-open ranges of pts, so that where one ends the next begins whatever is
decoded in between; they are cut at key frames where there are any near, since reading can begin
there at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from streamrestore.devices import DeviceKind

SEGMENT_SECONDS = 10
"""Most video in one segment."""

SEGMENT_FRAMES = 300
"""Most frames in one segment."""

_FEWEST_FRAMES = 24
"""Of a planned segment, however heavy the work: each begins with a key frame, which costs bits."""

_SEGMENT_WORK = 30
"""Seconds of work in one segment, at the rates below: about what a kill may cost."""

_RATES: dict[DeviceKind, float] = {"cuda": 1.5e14, "mps": 3e12, "cpu": 2e11}
"""Floating-point operations a second that kinds of device are taken to reach. Constants, since a
job's plan must not depend on what was measured."""


class ShownTime(NamedTuple):
    """When one packet's picture is shown."""

    pts: int
    key: bool
    """Whether decoding can begin there."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of video: the frames with ``start_pts <= pts < stop_pts``."""

    index: int
    start_pts: int | None
    """In ticks of the source's video stream; None for all that comes before the next segment."""
    stop_pts: int | None
    """None for all that is left."""


def frames_in_segment(flops_per_frame: float, device: DeviceKind) -> int:
    """How many frames a segment may have, so that losing one costs little work.

    Args:
        flops_per_frame: Floating-point operations of the network for one frame.
        device: What it runs on.
    """
    affordable = int(_SEGMENT_WORK * _RATES[device] / max(flops_per_frame, 1.0))
    return max(_FEWEST_FRAMES, min(SEGMENT_FRAMES, affordable))


def plan_segments(
    times: Sequence[ShownTime],
    time_base: Fraction,
    *,
    most_frames: int = SEGMENT_FRAMES,
    start_pts: int | None = None,
    stop_pts: int | None = None,
) -> tuple[Segment, ...]:
    """Cut a video, or a part of it.

    Args:
        times: Of its packets in order of presentation; a hint, as packets need not all be shown.
        time_base: Seconds a tick.
        most_frames: Of a segment.
        start_pts: First tick of the wanted part; None from the beginning.
        stop_pts: One past its last tick; None to the end.

    Returns:
        Segments that cover the part without gap or overlap, at least one. A segment that grows
        too long ends at the last key frame in its second half, else where it must.
    """
    wanted = [
        time
        for time in times
        if (start_pts is None or time.pts >= start_pts) and (stop_pts is None or time.pts < stop_pts)
    ]
    most_ticks = SEGMENT_SECONDS / time_base
    cuts = list[int]()
    first, key = 0, 0
    for index, time in enumerate(wanted):
        if time.key:
            key = index
        while index - first >= most_frames or time.pts - wanted[first].pts >= most_ticks:
            # A key frame near the last cut would leave a stub.
            first = key if 2 * (key - first) > index - first else index
            cuts.append(wanted[first].pts)
    edges = [start_pts, *cuts, stop_pts]
    return tuple(Segment(index, *edge) for index, edge in enumerate(pairwise(edges)))
