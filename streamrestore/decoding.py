"""Decode packets one by one, and account for each: it gave a picture, or it was lost."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, cast

import av
from av.container import Flags, InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamrestore.errors import SourceError
from streamrestore.ffv1 import SliceChecksums
from streamrestore.nvdec import open_nvdec
from streamrestore.probing import DAMAGE_ERRORS, SourceInfo, open_container, picture_decoder, use_only

VideoPacket: TypeAlias = "Packet[VideoStream]"  # only generic in PyAV's stubs

_SLICED = frozenset({"ffv1", "prores"})
"""Codecs whose slices know nothing of each other, so that threads cannot change a picture."""

_DEEP = frozenset({"h264", "hevc"})
"""Codecs in which pictures may be shown long after they are decoded."""

UNREADABLE_IN_A_ROW = 8
"""Places that the demuxer may fail to read, one after the other, until the file counts as ended."""

_LARGEST_GROWTH = 16
"""How many times as large as the first picture another may be. Damaged headers ask for any size."""

_LEAST_LIMIT = 1 << 24
"""Pixels that a picture may have in any case: small ones have margins as large as themselves."""


@contextmanager
def open_video(info: SourceInfo) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a source to read the packets of its video stream alone.

    Raises:
        SourceError: It cannot be opened any more, or has another stream there.
    """
    with open_container(info.opening) as container:
        stream = next((video for video in container.streams.video if video.index == info.stream_index), None)
        if stream is None or stream.codec_context is None:
            raise SourceError(f"{info.path} was replaced: its stream #{info.stream_index} is no video any more")
        use_only(container, [stream])
        if container.format.name == "avi" and stream.codec_context.codec.canonical_name in _DEEP:
            # AVI stores no pts. Those that FFmpeg makes up, which PyAV asks it to do, are wrong here.
            container.flags &= ~cast(int, Flags.gen_pts.value)
        yield container, stream


def demux(container: InputContainer, stream: VideoStream) -> Iterator[VideoPacket]:
    """A stream's packets from where the container stands, but for empty ones, which end a decoder.

    Raises:
        av.FFmpegError: The next one cannot be read; the one after it may be.
    """
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except IndexError:
        return  # all were read: PyAV stumbles at the end where damage made FFmpeg see one more stream


def demux_through(
    container: InputContainer, stream: VideoStream, on_gap: Callable[[], None] = lambda: None
) -> Iterator[VideoPacket]:
    """As `demux`, passing over places that cannot be read, up to a point; each is told of."""
    failures = 0
    while failures < UNREADABLE_IN_A_ROW:
        try:
            for packet in demux(container, stream):
                failures = 0
                yield packet
            return
        except DAMAGE_ERRORS:
            if failures == 0:
                on_gap()
            failures += 1


@dataclass(frozen=True, slots=True)
class Picture:
    """What the decoder gave, in order of presentation."""

    image: VideoFrame
    concealed: bool
    """Whether the decoder says that it is damaged."""
    lost: int
    """Packets that should have given a picture since the one before, and did not."""


class PacketDecoder:
    """Turns a stream's packets into pictures. Passive; one per thread.

    A packet that the decoder refuses is skipped, as FFmpeg's own command does.

    Pictures are matched with packets by their time: every packet that is neither marked as discarded nor
    holds a hidden frame gives one picture with its pts, in each of FFmpeg's decoders. What comes before
    the first key frame is not expected to.
    """

    def __init__(self, stream: VideoStream, gpu: int | None = None) -> None:
        """Prepare a decoder.

        Args:
            stream: Of an open container; not decoded from yet.
            gpu: The one that decodes, as torch counts them; None decodes in software. What is damaged within a
                picture a GPU does not tell.

        Raises:
            ConfigError: The GPU's decoder cannot be had.
        """
        self._decoder = context = picture_decoder(stream) if gpu is None else open_nvdec(stream, gpu)
        self._codec = context.codec.canonical_name
        # Not as many threads as there are cores: how a decoder conceals damage then depends on which
        # thread is ahead. H.264, HEVC, MPEG-4, VP9 and others gave other pictures each time.
        context.thread_type = "SLICE" if self._codec in _SLICED else "NONE"
        context.thread_count = 0 if self._codec in _SLICED else 1
        if area := context.width * context.height:
            context.options = {"max_pixels": str(max(_LARGEST_GROWTH * area, _LEAST_LIMIT))}
        self._count = 0
        self._first_key: int | None = None
        self._waiting: dict[int, int] = {}
        """Times of the packets whose pictures are still to come, by their number."""
        self._refused = set[int]()
        self._checksums = SliceChecksums()
        self._untold = deque[int]()
        """Decoding times of packets that do not say when they are shown: in order, pictures take those."""
        self._broken = False
        """Whether something was refused that would not be shown, but what follows may refer to."""
        self.pictures = 0
        """How many were given."""
        self.lost = 0
        """Packets without a picture since the last one that was given."""

    @property
    def reorder_depth(self) -> int:
        """How many pictures may be held back for those that are shown before them, as far as that is known yet."""
        return self._decoder.reorder_depth

    def decode(self, packet: "VideoPacket | None") -> list[Picture]:
        """Decode one packet that is not empty; None at the end gives the pictures that are left."""
        if packet is not None:
            self._expect(packet)
        try:
            images = self._decoder.decode(packet)
        except av.FFmpegError:
            self._refuse(packet)
            images = []
        pictures = [self._account(image) for image in images]
        self.pictures += len(pictures)
        if packet is None:
            self.lost += len(self._waiting) + len(self._untold)
        return pictures

    def _expect(self, packet: VideoPacket) -> None:
        self._count += 1
        if packet.pts is None:
            if packet.dts is not None:
                self._untold.append(packet.dts)
            return
        if self._first_key is None and packet.is_keyframe:
            self._first_key = packet.pts
        if self._first_key is None or packet.pts < self._first_key or packet.is_discard:
            return
        if _is_shown(packet, self._codec):
            self._waiting[self._count] = packet.pts
            if self._codec == "ffv1" and self._checksums.is_damaged(bytes(packet)):
                self._refused.add(self._count)  # the decoder conceals it without a word

    def _refuse(self, packet: "VideoPacket | None") -> None:
        if packet is not None and self._count in self._waiting:
            self._refused.add(self._count)
        elif packet is not None and packet.pts is None:
            self.lost += 1
            if packet.dts is not None:
                self._untold.pop()
        else:
            self._broken = True

    def _account(self, image: VideoFrame) -> Picture:
        if image.pts is None and self._untold:
            image.pts = self._untold.popleft()
        number = next((number for number, pts in self._waiting.items() if pts == image.pts), None)
        damaged = image.is_corrupt or self._broken or number in self._refused
        lost, self.lost, self._broken = self.lost, 0, False
        if number is not None:
            # Those decoded before and shown before would have come by now.
            late = [other for other, pts in self._waiting.items() if other < number and pts < self._waiting[number]]
            for other in (number, *late):
                del self._waiting[other]
                self._refused.discard(other)
            lost += len(late)
            if self._codec == "h264" and image.interlaced_frame and number + 1 not in self._refused:
                # May be the second field of this picture, which MPEG transport streams pack on its own.
                self._waiting.pop(number + 1, None)
        return Picture(image, damaged, lost)


def _is_shown(packet: VideoPacket, codec: str) -> bool:
    """Whether a packet holds a picture to show; VP8 and VP9 also have hidden ones, for reference only."""
    if codec not in ("vp8", "vp9"):
        return True
    data = bytes(packet)
    if codec == "vp8":
        return bool(data[0] & 0x10)
    if data[-1] & 0xE0 == 0xC0:  # the index of a superframe, which ends with a shown frame
        return True
    header = data[0] << (1 if data[0] & 0x30 == 0x30 else 0)  # profile 3 has one bit more
    return bool(header & 0x08 or header & 0x02)
