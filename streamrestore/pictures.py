"""A video's pictures in order, each with its time and in the stream's one format, whatever state the file is in."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import dropwhile

import av
from av.container import InputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from streamrestore.decoding import PacketDecoder, Picture, VideoPacket, demux, demux_through, open_video
from streamrestore.errors import ConfigError, DecodeError
from streamrestore.frame import Defect
from streamrestore.landmarks import Fingerprint, Landmark
from streamrestore.nvdec import Nvdec
from streamrestore.probing import AV_ERRORS, SourceInfo
from streamrestore.timing import plan_time

_TROUBLE = frozenset({Defect.CONCEALED, Defect.RETIMED})
"""Defects that may look otherwise where reading began elsewhere."""


class _UnprovenError(Exception):
    """What comes might not be what reading from the first packet gives."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on its way to become a `Frame`."""

    image: VideoFrame
    """Of the size of all others, in the source's pixel format or its planar twin. Its pts is set."""
    pts: int
    defects: tuple[Defect, ...]
    lost: int

    @property
    def end_pts(self) -> int:
        """When it is over."""
        return self.pts + self.image.duration


def read_pictures(info: SourceInfo, landmarks: Sequence[Landmark] = (), nvdec: Nvdec | None = None) -> Iterator[Shown]:
    """Read a source's pictures from the first on, or the same ones from amid the file.

    Args:
        info: The source.
        landmarks: Some that follow each other, for reading to begin at the first; none for all pictures.
        nvdec: What decodes, as long as nothing is seen to be wrong; None decodes in software.

    Returns:
        Pictures at least from the last landmark on. What they are does not depend on the landmarks: as
        soon as anything is damaged, since a decoder patches damage with what it decoded at any time
        before, decoding begins again at the first packet, in software.

    Raises:
        SourceError: While iterating: the file is gone.
        DecodeError: While iterating: no packet gave a picture.
        av.FFmpegError: While iterating: it cannot be read.
    """
    reached: int | None = None
    if landmarks or nvdec is not None:
        for shown in _sound_pictures(info, landmarks, nvdec):
            if shown is None:
                break
            reached = shown.pts
            yield shown
        else:
            return
    for shown in _all_pictures(info):
        if reached is None or shown.pts > reached:
            yield shown


def read_images(info: SourceInfo, start_pts: int) -> Iterator[Shown]:
    """Read the pictures of numbered images from one of them on: each stands for itself.

    Args:
        info: The source.
        start_pts: Of the first one that is wanted.

    Raises:
        SourceError, DecodeError, av.FFmpegError: As `read_pictures`.
    """
    return _all_pictures(info, start_pts)


def are_found_amid(info: SourceInfo, landmarks: Sequence[Landmark], stop_pts: int | None) -> bool:
    """Read the packets that `read_pictures` would, and decode none.

    Args:
        info: The source.
        landmarks: Some that follow each other.
        stop_pts: Where reading ends; None at the last packet.

    Returns:
        Whether a seek leads to the landmarks.

    Raises:
        SourceError: The file is gone.
    """
    with open_video(info) as (container, stream), suppress(_UnprovenError, *AV_ERRORS):
        _seek(container, stream, landmarks[0])
        reached = False
        for packet in _proven_packets(demux(container, stream), landmarks):
            reached = reached or packet.pts == landmarks[-1].pts
            if stop_pts is not None and packet.pts is not None and packet.pts >= stop_pts:
                break
        return reached
    return False


def _all_pictures(info: SourceInfo, start_pts: int | None = None) -> Iterator[Shown]:
    with open_video(info) as (container, stream):
        if start_pts is not None:
            container.seek(start_pts, stream=stream)
        decoder = PacketDecoder(stream)
        shown = _shown(info, decoder, _decoded(decoder, _packets(container, stream, decoder)))
        yield from _held_back(shown, decoder)
        if not decoder.pictures:
            raise DecodeError(f"{info.path}: none of its {decoder.lost} video packets can be decoded")


def _sound_pictures(info: SourceInfo, landmarks: Sequence[Landmark], nvdec: Nvdec | None) -> Iterator[Shown | None]:
    """Pictures from the last landmark on, read from the first; None, and no more, where they might be others.

    What lies between the landmarks is compared and judged, but not given. Without landmarks, pictures from the
    first packet on.
    """
    arrived = not landmarks
    # A GPU that was there before and is gone: software gives the same pictures.
    with open_video(info) as (container, stream), suppress(_UnprovenError, ConfigError):
        decoder = PacketDecoder(stream, None if nvdec is None else nvdec.gpu)
        packets = _packets(container, stream, decoder)
        if landmarks:
            with suppress(av.FFmpegError):  # then it stands at the first packet, and will come to the landmark
                _seek(container, stream, landmarks[0])
            packets = _proven_packets(packets, landmarks)
        decoded = _decoded(decoder, packets)
        if landmarks:
            # What is shown before the first landmark may refer to what was not read.
            decoded = dropwhile(lambda picture: picture.image.pts != landmarks[0].pts, decoded)
        shown = _shown(info, decoder, decoded, nvdec)
        for picture in _held_back(_judged(shown, amid=bool(landmarks), steady=nvdec is not None), decoder):
            arrived = arrived or picture.pts >= landmarks[-1].pts
            if arrived:
                yield picture
        if arrived and decoder.pictures:
            return
    yield None


def _judged(shown: Iterator[Shown], *, amid: bool, steady: bool) -> Iterator[Shown]:
    """Pictures until one is damaged, or the first only said to be a key frame.

    Args:
        shown: They.
        amid: Whether the first ought to be a key frame.
        steady: Whether none may be of another format, size or range than the first.

    Raises:
        _UnprovenError: So it is.
    """
    first: Shown | None = None
    for picture in shown:
        if picture.lost or not _TROUBLE.isdisjoint(picture.defects):
            raise _UnprovenError
        if first is None and amid and picture.image.pict_type != PictureType.I:
            raise _UnprovenError
        first = first or picture
        other_range = picture.image.color_range != first.image.color_range
        if steady and (other_range or Defect.RESCALED in picture.defects):
            raise _UnprovenError
        yield picture


def _held_back(shown: Iterator[Shown], decoder: PacketDecoder) -> Iterator[Shown]:
    """Pictures once it is known that nothing they may refer to is damaged, though it is shown after them.

    From the first packet on that would not matter. But what a decoder leaves out of a damaged picture shows what
    was in its buffer before, and which buffer that is depends on how many are held.
    """
    held = deque[Shown]()
    for picture in shown:
        held.append(picture)
        while len(held) > 1 + decoder.reorder_depth:
            yield held.popleft()
    yield from held


def _shown(
    info: SourceInfo, decoder: PacketDecoder, decoded: Iterator[Picture], nvdec: Nvdec | None = None
) -> Iterator[Shown]:
    """Give each picture its time and format; one is held back, for the time of the next and what is lost after it."""
    tick = _steady_step(info)
    format_name = info.pixel_format_name if nvdec is None else nvdec.pixel_format_name
    reformatter = VideoReformatter()
    held = next(decoded, None)
    last: int | None = None
    step = tick
    while held is not None:
        following = next(decoded, None)
        own = held.image.pts
        pts = plan_time(own, following.image.pts if following else None, last, step)
        image = _conform(held.image, info, format_name, reformatter)
        image.pts = pts
        found = {
            Defect.CONCEALED: held.concealed,
            Defect.RETIMED: pts != own,
            Defect.RESCALED: image is not held.image,
        }
        lost = held.lost + (0 if following else decoder.lost)
        yield Shown(image, pts, tuple(defect for defect, present in found.items() if present), lost)
        last, step = pts, held.image.duration if held.image.duration > 0 else tick
        held = following


def _steady_step(info: SourceInfo) -> int:
    """Ticks from one picture to the next at the average rate."""
    return max(1, round(1 / (info.average_rate * info.time_base))) if info.average_rate else 1


def _conform(image: VideoFrame, info: SourceInfo, format_name: str, reformatter: VideoReformatter) -> VideoFrame:
    """The picture itself, or a copy of the size and in the planes of the others."""
    video = info.video
    if (image.width, image.height, image.format.name) == (video.width, video.height, format_name):
        return image
    full = image.color_range == ColorRange.JPEG or image.format.name.startswith("yuvj")
    return reformatter.reformat(
        image,
        width=video.width,
        height=video.height,
        format=video.pixels.name,
        # Exact in every build of swscale, which has other short cuts on other processors.
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG if video.full_range else ColorRange.MPEG,
        threads=1,
    )


def _decoded(decoder: PacketDecoder, packets: Iterable[VideoPacket]) -> Iterator[Picture]:
    for packet in packets:
        yield from decoder.decode(packet)
    yield from decoder.decode(None)


def _seek(container: InputContainer, stream: VideoStream, landmark: Landmark) -> None:
    container.seek(landmark.pts if landmark.dts is None else landmark.dts, stream=stream)


def _packets(container: InputContainer, stream: VideoStream, decoder: PacketDecoder) -> Iterator[VideoPacket]:
    """Packets from where the container stands, over places that cannot be read."""

    def count() -> None:
        decoder.lost += 1

    return demux_through(container, stream, count)


def _proven_packets(packets: Iterator[VideoPacket], landmarks: Sequence[Landmark]) -> Iterator[VideoPacket]:
    """Packets from the first landmark on, as long as they are those that were found between them.

    Raises:
        _UnprovenError: They are not.
    """
    coming = deque(landmarks)
    fingerprint = Fingerprint()
    for packet in packets:
        if coming and packet.is_keyframe and not packet.is_discard:
            begun = len(coming) < len(landmarks)
            if (packet.pts, packet.size) == (coming[0].pts, coming[0].size):
                if begun and fingerprint.value != coming[0].fingerprint:
                    raise _UnprovenError
                coming.popleft()
                fingerprint = Fingerprint()
            elif begun or (packet.pts is not None and packet.pts > coming[0].pts):
                raise _UnprovenError
        fingerprint.add(packet)
        if len(coming) < len(landmarks):
            yield packet
