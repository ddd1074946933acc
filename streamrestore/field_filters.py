"""FFmpeg's filters for interlaced frames: deinterlace them, or mark them as what they are.

Every filter runs in one thread: restoring is far slower, and the answer cannot depend on the
number of cores.
"""

from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import av
from av.filter import Graph
from av.video.frame import VideoFrame

from streamrestore.errors import ConfigError
from streamrestore.frame import FieldOrder

Filters = Sequence[tuple[str, str]]
"""(name, options) of each, in FFmpeg's words, first to last."""

_CLOCK = Fraction(1, 1000)
"""A graph insists on a time base; frames keep their own."""


class FilterChain:
    """Filters one after the other, for frames of one size and pixel format. Passive; one per thread."""

    def __init__(self, like: VideoFrame, filters: Filters) -> None:
        """Open the filters.

        Args:
            like: A frame of the size and pixel format of all that will be pushed.
            filters: What to open.
        """
        self._graph = Graph()
        self._graph.threads = 1
        source = self._graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=_CLOCK)
        nodes = [self._graph.add(name, options) for name, options in filters]
        self._graph.link_nodes(source, *nodes, self._graph.add("buffersink")).configure()

    def push(self, frame: VideoFrame | None) -> list[VideoFrame]:
        """Give a frame, or None after the last; take those that are done."""
        self._graph.vpush(frame)
        done = list[VideoFrame]()
        while True:
            try:
                done.append(self._graph.vpull())
            except (av.BlockingIOError, av.EOFError):
                return done


class FieldMarker:
    """Marks frames as interlaced; encoders look at each frame, not only at their options. Passive."""

    def __init__(self, order: FieldOrder) -> None:
        self._filters = [("setparams", f"field_mode={order.value}")]
        self._chain: FilterChain | None = None

    def mark(self, frame: VideoFrame) -> VideoFrame:
        """The frame with its marks, sharing its samples.

        Args:
            frame: Of the size and pixel format of all others, with its time.
        """
        self._chain = self._chain or FilterChain(frame, self._filters)
        (marked,) = self._chain.push(frame)
        marked.time_base, marked.duration = frame.time_base, frame.duration
        return marked


class Deinterlacer:
    """One progressive frame for each interlaced one, by FFmpeg's bwdif. Passive.

    A frame is computed from itself and its two neighbours, so each comes out when its successor
    went in; whoever begins amid a stream gives one frame more on either side. It keeps the lines
    of the field that is shown first, and the frame's time.
    """

    def __init__(self, order: FieldOrder) -> None:
        """Open nothing yet.

        Args:
            order: Which field comes first in time; the frames' own flags are not asked.
        """
        self._filters = _bwdif(order)
        self._chain: FilterChain | None = None
        self._held = deque[VideoFrame]()

    def push(self, frame: VideoFrame) -> list[VideoFrame]:
        """Give the next frame in order of presentation; take what is done, at most two frames.

        Where the size or the pixel format changes, a new sequence begins.

        Raises:
            ConfigError: bwdif does not take the pixel format.
        """
        ended = list[VideoFrame]()
        if self._held and not _alike(frame, self._held[-1]):
            ended = self.flush()
        if self._chain is None:
            check_deinterlacer(frame.format.name)
            self._chain = FilterChain(frame, self._filters)
        self._held.append(frame)
        return ended + self._timed(self._chain.push(frame))

    def flush(self) -> list[VideoFrame]:
        """Take the last frame, if there was any; a new sequence may follow."""
        chain, self._chain = self._chain, None
        return self._timed(chain.push(None)) if chain else []

    def _timed(self, done: list[VideoFrame]) -> list[VideoFrame]:
        """Give results the times of what they were made from, which bwdif counts in another time base."""
        for frame in done:
            source = self._held.popleft()
            frame.pts, frame.duration = source.pts, source.duration
            if source.time_base is not None:  # decoded frames may have none
                frame.time_base = source.time_base
        return done


def check_deinterlacer(pixel_format_name: str) -> None:
    """Find out whether bwdif takes frames of a pixel format.

    Raises:
        ConfigError: It does not.
    """
    if not _deinterlaces(pixel_format_name):
        raise ConfigError(
            f"bwdif cannot deinterlace {pixel_format_name}: convert the video first to planar YUV, RGB or grey, "
            "such as yuv420p or yuv422p10le, or leave --deinterlace out to restore its fields one by one"
        )


@cache
def _deinterlaces(pixel_format_name: str) -> bool:
    """Whether what comes out has the format of what goes in; FFmpeg would convert it unasked."""
    frame = VideoFrame(16, 16, pixel_format_name)
    frame.pts = 0
    chain = FilterChain(frame, _bwdif(FieldOrder.TOP))
    (done,) = chain.push(frame) + chain.push(None)
    return done.format.name == pixel_format_name


def _bwdif(order: FieldOrder) -> Filters:
    return (("bwdif", f"mode=send_frame:parity={order.value}:deint=all"),)


def _alike(one: VideoFrame, other: VideoFrame) -> bool:
    return (one.width, one.height, one.format.name) == (other.width, other.height, other.format.name)
