"""Tell a video that is complete from one that breaks off, or has holes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from streamrestore.decoding import open_video
from streamrestore.probing import AV_ERRORS, SourceInfo, open_container

_FROM_HEADER = frozenset({"mov", "matroska", "avi", "flv", "asf", "mxf"})
"""Containers that say ahead how long they are; of others FFmpeg looks at the end of what is there."""

_SLACK_FRAMES = 0.5
_SLACK_FRAMES_OF_FILE = 1.5
"""By how much headers are rounded: one that says when the video ends, and one that says when all ends."""

_USUAL_RATE = 25
"""Frames a second where nothing is known of it."""

_STEADY_SHARE = 0.9
"""Least share of frames that the next one follows at once, for a longer wait to look like a hole."""


def early_end(info: SourceInfo, end_pts: int) -> str | None:
    """Find out whether a source is shorter than its header says, as files are that were not copied to their end.

    Args:
        info: The source.
        end_pts: When its last decoded frame is over: its pts plus its duration.

    Returns:
        What to tell the user, such as ``clip.mp4 ends at 12.300 s, its header promises 20.000 s``; None
        where all is there, or where the container promises nothing (MPEG streams, raw video).

    Raises:
        SourceError: The file cannot be opened any more.
    """
    if info.container.split(",")[0] not in _FROM_HEADER or info.opening.pipe is not None:
        return None
    end = float(end_pts * info.time_base)
    with open_video(info) as (container, stream):
        frame = float(1 / (info.average_rate or _USUAL_RATE))
        promised, slack = _stream_promise(container, stream), _SLACK_FRAMES * frame
        if promised is None:
            promised, slack = _file_promise(container), _SLACK_FRAMES_OF_FILE * frame
            if promised is not None and end < promised - slack and _last_seconds(info) >= promised - slack:
                return None  # another stream is longer
    if promised is None or end >= promised - slack:
        return None
    return f"{info.path} ends at {end:.3f} s, its header promises {promised:.3f} s: it was cut off, or is damaged"


def find_holes(starts: Sequence[int], durations: Sequence[int]) -> list[tuple[int, int]]:
    """Find where frames seem to be missing without a trace, as where a damaged container dropped packets.

    Args:
        starts: Pts of each frame, in order.
        durations: Of each.

    Returns:
        (end of the frame before, pts of the frame after) of each hole of about a frame or more. None
        where frames come at varying distances: then a wait means nothing.
    """
    waits = sorted(following - pts for pts, following in pairwise(starts))
    # Durations may be guesses of FFmpeg's that are wrong for the whole file.
    for lengths in (durations, [waits[len(waits) // 2]] * len(starts) if waits else []):
        steady = [abs(following - end) * 2 < length for end, following, length in _gaps(starts, lengths)]
        if steady and sum(steady) >= _STEADY_SHARE * len(steady):
            return [
                (end, following)
                for end, following, length in _gaps(starts, lengths)
                if 4 * (following - end) >= 3 * length
            ]
    return []


def _gaps(starts: Sequence[int], lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(end of a frame, pts of the next, length of the frame), for frames that have one.

    Made anew each time it is wanted: for a film, these would be most of what a run holds in memory.
    """
    for (pts, following), length in zip(pairwise(starts), lengths, strict=False):
        if length > 0:
            yield pts + length, following, length


def _stream_promise(container: InputContainer, stream: VideoStream) -> float | None:
    """When the video ends, in seconds, if the header says so."""
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)  # FFmpeg shortens the duration of a file without an index
    if stream.duration is None or stream.time_base is None:
        return None
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base)


def _file_promise(container: InputContainer) -> float | None:
    """When the longest stream ends, in seconds. Such headers count from 0, wherever the first stream begins."""
    return None if container.duration is None else container.duration / av.time_base


def _last_seconds(info: SourceInfo) -> float:
    """When the last packet of any stream is over."""
    last = 0.0
    with open_container(info.opening) as container:
        try:
            for packet in container.demux():
                if packet.pts is not None and packet.time_base:
                    last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except (*AV_ERRORS, IndexError):  # the latter as in `demux`
            return last
    return last
