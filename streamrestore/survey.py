"""Read a file through for all that lies beside its restored video: packets, covers, fonts, chapters, tags."""

import hashlib
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.stream import AttachmentStream, Discard, Disposition, Stream

from streamrestore.errors import DecodeError
from streamrestore.probing import AV_ERRORS, open_container, reason, use_only

Kind = Literal["video", "audio", "subtitle", "attachment", "cover", "data"]


@dataclass(slots=True)
class StreamContent:
    """One stream and what was read of it."""

    index: int
    kind: Kind
    codec: str | None
    tags: dict[str, str]
    dispositions: frozenset[str]
    """FFmpeg's names, such as ``forced``."""
    time_base: Fraction
    rewritten: bool
    """Whether it only repeats what is carried another way: the titles of chapters, a timecode."""
    packets: int = 0
    times: "array[int]" = field(default_factory=lambda: array("q"))
    """When each packet is shown, in ticks, as far as it says: 8 bytes a packet are kept, no more."""
    sha256: str = ""
    """Of all packets' payload one after the other, or of the attached file."""

    @property
    def language(self) -> str:
        """As tagged; ``und`` where it is not."""
        return next((value for key, value in self.tags.items() if key.lower() == "language"), "und")

    def __str__(self) -> str:
        """Such as ``audio stream #1``."""
        return f"{self.kind} stream #{self.index}"


@dataclass(frozen=True, slots=True)
class ChapterContent:
    """A chapter, in seconds of the file."""

    start: Fraction
    stop: Fraction
    title: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file holds beside one video stream."""

    tags: dict[str, str]
    video_tags: dict[str, str]
    """Of that stream."""
    video_dispositions: frozenset[str]
    video_end: Fraction | None
    """When its last frame has been shown, in seconds; None where the container does not say."""
    streams: tuple[StreamContent, ...]
    """All others, in the file's order."""
    chapters: tuple[ChapterContent, ...]


def survey(path: Path, video_index: int, *, start: Fraction | None = None, stop: Fraction | None = None) -> Survey:
    """Read a file through, but for one video stream.

    Args:
        path: The file.
        video_index: Of the stream that is left out.
        start: Packets shown before are not counted, in seconds; None counts all.
        stop: Nor are those shown from here on. Cover art is counted whatever its time.

    Raises:
        SourceError: It cannot be read.
        DecodeError: It stopped being readable on the way.
    """
    with open_container(path) as container:
        video = container.streams[video_index]
        has_chapters = bool(container.chapters())
        streams = {
            stream.index: _describe(stream, video, has_chapters=has_chapters)
            for stream in container.streams
            if stream is not video
        }
        try:
            others = [stream for stream in container.streams if stream is not video and stream.type != "attachment"]
            use_only(container, others)
            _read(container.demux(others) if others else (), streams, start, stop)
        except AV_ERRORS as error:
            raise DecodeError(f"{path}: reading stopped: {reason(error)}") from error
        return Survey(
            tags=dict(container.metadata),
            video_tags=dict(video.metadata),
            video_dispositions=_dispositions(video),
            video_end=_end(video),
            streams=tuple(streams.values()),
            chapters=tuple(
                ChapterContent(chapter["start"] * base, chapter["end"] * base, chapter["metadata"].get("title", ""))
                for chapter in container.chapters()
                if (base := chapter["time_base"])
            ),
        )


def _describe(stream: Stream, video: Stream, *, has_chapters: bool) -> StreamContent:
    timecode = stream.metadata.get("timecode")
    titles = has_chapters and stream.discard == Discard.all  # so the demuxer marks those it gives as chapters
    content = StreamContent(
        index=stream.index,
        kind=_kind(stream),
        codec=None if stream.codec_context is None else stream.codec_context.codec.canonical_name,
        tags=dict(stream.metadata),
        dispositions=_dispositions(stream),
        time_base=stream.time_base or Fraction(1),
        rewritten=titles or (timecode is not None and timecode == video.metadata.get("timecode")),
    )
    if isinstance(stream, AttachmentStream):
        content.sha256 = hashlib.sha256(stream.data or b"").hexdigest()
    return content


def _kind(stream: Stream) -> Kind:
    if Disposition.attached_pic in stream.disposition:
        return "cover"
    match stream.type:
        case "video" | "audio" | "subtitle" | "attachment" as kind:
            return kind
    return "data"


def _dispositions(stream: Stream) -> frozenset[str]:
    return frozenset(mark.name for mark in stream.disposition if mark.name)


def _end(video: Stream) -> Fraction | None:
    """As Matroska's tag says it, or mp4 and mov store it."""
    hours, *rest = video.metadata.get("DURATION", "").split(":")
    if len(rest) == 2:  # where there is the tag, FFmpeg may take the duration from the whole file
        return int(hours) * 3600 + int(rest[0]) * 60 + Fraction(rest[1])
    if video.start_time is not None and video.duration is not None and video.time_base:
        return (video.start_time + video.duration) * video.time_base
    return None


def _read(
    packets: "Iterable[Packet[Stream]]",
    streams: Mapping[int, StreamContent],
    start: Fraction | None,
    stop: Fraction | None,
) -> None:
    """Count, time and hash every packet of the wanted part."""
    digests = {index: hashlib.sha256() for index in streams}
    payloads: dict[int, Callable[[Packet[Stream]], bytes]] = {}
    for packet in packets:
        if packet.size == 0:  # the mark of a stream's end
            continue
        content = streams[packet.stream_index]
        ticks = packet.dts if packet.pts is None else packet.pts
        if content.kind != "cover":
            seconds = (ticks or 0) * packet.time_base
            if (start is not None and seconds < start) or (stop is not None and seconds >= stop):
                continue
        if packet.stream_index not in payloads:
            payloads[packet.stream_index] = _unframed(packet.stream)
        content.packets += 1
        if ticks is not None:
            content.times.append(ticks)
        digests[packet.stream_index].update(payloads[packet.stream_index](packet))
    for index, digest in digests.items():
        if streams[index].kind != "attachment":
            streams[index].sha256 = digest.hexdigest()


def _unframed(stream: Stream) -> "Callable[[Packet[Stream]], bytes]":
    """What gives a packet's payload without what containers add or take away: ADTS headers, start codes, headers."""
    codec = None if stream.codec_context is None else stream.codec_context.codec.canonical_name
    if codec == "aac":
        return _without_adts
    if codec in ("h264", "hevc"):
        slices = "1-5" if codec == "h264" else "0-31"
        chain = BitStreamFilterContext(f"{codec}_mp4toannexb,filter_units=pass_types={slices}", stream)
        return lambda packet: b"".join(map(bytes, chain.filter(packet)))
    return bytes


def _without_adts(packet: "Packet[Stream]") -> bytes:
    data = bytes(packet)
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return data
    return data[7 if data[1] & 1 else 9 :]
