"""Take restored frames in order and keep them, segment by segment, in a job's work folder."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from streamrestore.encoding import Encoding
from streamrestore.frame import Planes, Stamp
from streamrestore.probing import SourceInfo
from streamrestore.segment_file import PacketOrder, SegmentWriter, open_segment
from streamrestore.segments import Segment
from streamrestore.work_folder import WorkFolder


class SegmentSink:
    """Writes the frames of some segments, each of which is finished as soon as it is over.

    Passive: one thread at a time.
    """

    def __init__(self, folder: WorkFolder, info: SourceInfo, encoding: Encoding, segments: Sequence[Segment]) -> None:
        self._folder = folder
        self._info = info
        self._encoding = encoding
        self._left = list(segments)
        self._stamps = list[Stamp]()
        self._began = 0.0
        self._stack = ExitStack()
        self._part: Path | None = None
        self._writer: SegmentWriter | None = None

    def write(self, stamp: Stamp, planes: Planes) -> None:
        """Encode one frame.

        Args:
            stamp: Of the frame; it lies in one of the segments, and after the frame before.
            planes: Of the source's format; may be read-only.

        Raises:
            SinkError: Encoding or writing failed.
            DiskFullError: There is no space left.
        """
        while (stop := self._left[0].stop_pts) is not None and stamp.pts >= stop:
            self._finish_segment()
        if self._writer is None:
            self._began = time.monotonic()
            self._part = self._stack.enter_context(self._folder.part(self._left[0].index))
            self._writer = self._stack.enter_context(open_segment(self._part, self._info, self._encoding))
        self._writer.write(stamp.pts, planes)
        self._stamps.append(stamp)

    def finish(self) -> None:
        """Finish the segments that are left, after the last frame.

        Raises:
            SinkError, DiskFullError: As `write`.
        """
        while self._left:
            self._finish_segment()

    def abandon(self) -> None:
        """Close and remove the segment that is being written; may be called twice."""
        self._stack.close()

    def _finish_segment(self) -> None:
        order = self._writer.finish() if self._writer else PacketOrder((), "")
        seconds = time.monotonic() - self._began if self._writer else 0.0
        self._folder.commit(self._part, self._left[0].index, order, self._stamps, seconds)
        self._stack.close()
        self._left.pop(0)
        self._stamps, self._part, self._writer = [], None, None


@contextmanager
def open_sink(
    folder: WorkFolder, info: SourceInfo, encoding: Encoding, segments: Sequence[Segment]
) -> Iterator[SegmentSink]:
    """Open a place for the frames of some segments.

    Leaving the context finishes them all; leaving it by an exception keeps those that are
    finished and removes what there is of the next.

    Args:
        folder: Of the job, opened.
        info: The source of the frames.
        encoding: How they are written.
        segments: Where the frames will lie, in order.
    """
    sink = SegmentSink(folder, info, encoding, segments)
    try:
        yield sink
        sink.finish()
    finally:
        sink.abandon()
