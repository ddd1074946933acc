"""One segment's restored video in a file of its own.

Its packets wait there, with frame numbers in place of times, until all segments of a job are
done and `streamrestore.assembly` gives each packet its exact time.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from streamrestore.encoder import FrameEncoder, add_video, writing_to
from streamrestore.encoding import Encoding
from streamrestore.errors import SinkError
from streamrestore.frame import Planes
from streamrestore.probing import AV_ERRORS, SourceInfo, reason

_FORMATS = {"prores": "mov", "tiff": "mov"}
"""What NUT, which keeps every other codec's packets as they are, has no name for."""


@dataclass(frozen=True, slots=True)
class PacketOrder:
    """What the packets of a finished segment file are."""

    ranks: tuple[int, ...]
    """For each packet, in decoding order: the number of its frame, in order of presentation."""
    header_sha256: str
    """Of the encoder's header, which all segments of a job must share."""


def header_sha256(stream: VideoStream) -> str:
    """Of the header that an opened encoder puts before its packets."""
    return hashlib.sha256(stream.codec_context.extradata or b"").hexdigest()


class SegmentWriter:
    """Encodes the frames of one segment. Passive: one thread at a time."""

    def __init__(self, path: Path, output: OutputContainer, info: SourceInfo, encoding: Encoding) -> None:
        self._path = path
        self._output = output
        stream = add_video(output, info, encoding)
        output.start_encoding()
        self._header = header_sha256(stream)
        self._encoder = FrameEncoder(stream, info, encoding)
        self._first: int | None = None
        self._given = list[int]()
        self._taken = list[int]()

    def write(self, pts: int, planes: Planes) -> None:
        """Encode one frame.

        Args:
            pts: The source frame's, larger than the one before.
            planes: Of the source's format; may be read-only.

        Raises:
            SinkError: Encoding or writing failed.
            DiskFullError: There is no space left.
        """
        with writing_to(self._path):
            self._first = pts if self._first is None else self._first
            self._given.append(pts - self._first)
            self._mux(self._encoder.encode(pts - self._first, planes))

    def finish(self) -> PacketOrder:
        """Write what is still inside the encoder, and close the file.

        Raises:
            SinkError: There was no frame, the encoder lost some, or writing failed.
            DiskFullError: There is no space left.
        """
        with writing_to(self._path):
            if self._given:
                self._mux(self._encoder.flush())
            self._output.close()
        if not self._given or len(self._taken) != len(self._given):
            raise SinkError(f"{self._path}: {len(self._given)} frames became {len(self._taken)} packets")
        # By order, not by value: some encoders round times to a clock of their own.
        rank = {pts: index for index, pts in enumerate(sorted(self._taken))}
        return PacketOrder(tuple(rank[pts] for pts in self._taken), self._header)

    def _mux(self, packets: "list[Packet[VideoStream]]") -> None:
        for packet in packets:
            if packet.pts is None:
                raise SinkError(f"{self._path}: the encoder gave a packet without a time")
            self._taken.append(packet.pts)
            self._output.mux(packet)


@contextmanager
def open_segment(path: Path, info: SourceInfo, encoding: Encoding) -> Iterator[SegmentWriter]:
    """Open a file for the frames of one segment.

    Leaving the context closes the file; only `SegmentWriter.finish` makes it whole.

    Args:
        path: Overwritten.
        info: The source of the frames.
        encoding: How they are written.

    Raises:
        OutputError: The path cannot be written.
        SinkError: The encoder refuses its settings.
    """
    with writing_to(path):
        output = av.open(
            f"file:{path}",
            "w",
            format=_FORMATS.get(encoding.codec, "nut"),
            container_options={"fflags": "+bitexact", "avoid_negative_ts": "disabled"},
        )
    try:
        with writing_to(path):
            writer = SegmentWriter(path, output, info, encoding)
        yield writer
    finally:
        close_quietly(output)


def close_quietly(output: OutputContainer) -> None:
    """Close an output that is finished, or that nobody will read."""
    with suppress(*AV_ERRORS):
        output.close()


def segment_packets(path: Path) -> "Iterator[Packet[VideoStream]]":
    """The packets of a finished segment file, in decoding order; their times mean nothing.

    Raises:
        SinkError: While iterating: the file cannot be read.
    """
    try:
        with av.open(f"file:{path}") as container:
            yield from (packet for packet in container.demux(container.streams.video[0]) if packet.size)
    except AV_ERRORS as error:
        raise SinkError(f"{path} cannot be read back: {reason(error)}") from error
