"""Find out all that a file holds beside its restored video: packets, covers, fonts, chapters, tags."""

import hashlib
from array import array
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Literal

from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Discard, Disposition, Stream

from streamrestore.errors import DecodeError
from streamrestore.frame import OnError
from streamrestore.opening import Opening
from streamrestore.packets import ALL, PacketReader, Part
from streamrestore.probing import AV_ERRORS, open_container, reason
from streamrestore.tags import cover_tags, file_tags, language, stream_tags

Kind = Literal["video", "audio", "subtitle", "attachment", "cover", "data"]


@dataclass(slots=True)
class StreamContent:
    """One stream and what was read of it."""

    index: int
    kind: Kind
    codec: str | None
    """FFmpeg's name; one for all layers of MPEG audio."""
    language: str
    """As tagged; ``und`` where it is not."""
    tags: dict[str, str]
    """In one spelling for all containers, as all tags here."""
    dispositions: frozenset[str]
    """FFmpeg's names, such as ``forced``; ``default`` only where another stream of the kind is not."""
    time_base: Fraction
    """Seconds a tick of `times`."""
    rewritten: bool
    """Whether it only repeats what is carried another way: the titles of chapters, a timecode."""
    packets: int = 0
    times: "array[int]" = field(default_factory=lambda: array("q"))
    """When each packet is shown, in ticks: 8 bytes a packet are kept, no more."""
    sha256: str = ""
    """Of all packets' payload one after the other, or of the attached file."""

    def __str__(self) -> str:
        """Such as ``audio stream #1``."""
        return f"{self.kind} stream #{self.index}"


@dataclass(frozen=True, slots=True)
class ChapterContent:
    """A chapter, in seconds of the file."""

    start: Fraction
    stop: Fraction
    title: str
    tags: dict[str, str]
    """All but the title."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file holds beside one video stream."""

    tags: dict[str, str]
    """Of the file, as found."""
    video: StreamContent
    """That stream, of which no packet is read."""
    video_end: Fraction | None
    """When its last frame has been shown, in seconds; None where the container does not say."""
    streams: tuple[StreamContent, ...]
    """All others, in the file's order."""
    chapters: tuple[ChapterContent, ...]


def survey(source: Path | Opening, video_index: int, part: Part = ALL, *, on_error: OnError = "pass") -> Survey:
    """Read a file through, but for one video stream.

    Args:
        source: The file, or how another input is opened.
        video_index: Of the stream that is left out.
        part: Which packets are counted, as `PacketReader` chooses them.
        on_error: Whether to pass over what cannot be read.

    Raises:
        SourceError: It cannot be read.
        DecodeError: It stopped being readable on the way.
    """
    with open_container(source) as container:
        found = survey_headers(container, video_index, part)
        streams = {stream.index: stream for stream in found.streams}
        wanted = [container.streams[index] for index in streams]
        try:
            _read(PacketReader(str(source), container, wanted, part, on_error=on_error), streams)
        except AV_ERRORS as error:
            raise DecodeError(f"{source}: reading stopped: {reason(error)}") from error
    return found


def survey_headers(container: InputContainer, video_index: int, part: Part = ALL) -> Survey:
    """What a file says of itself before its packets are read.

    Args:
        container: The file, opened.
        video_index: Of the stream that is told apart.
        part: Which packets would be counted.
    """
    video = container.streams[video_index]
    chapters = container.chapters()
    streams = [_describe(stream, video, part, has_chapters=bool(chapters)) for stream in container.streams]
    _forget_repetitions(streams, container.metadata)
    return Survey(
        tags=dict(container.metadata),
        video=streams.pop(video_index),
        video_end=_end(video),
        streams=tuple(streams),
        chapters=tuple(
            ChapterContent(
                start=chapter["start"] * base,
                stop=chapter["end"] * base,
                title=chapter["metadata"].get("title", ""),
                tags=stream_tags({key: text for key, text in chapter["metadata"].items() if key != "title"}),
            )
            for chapter in chapters
            if (base := chapter["time_base"])
        ),
    )


def _describe(stream: Stream, video: Stream, part: Part, *, has_chapters: bool) -> StreamContent:
    timecode = stream.metadata.get("timecode")
    titles = has_chapters and stream.discard == Discard.all  # so the demuxer marks those it gives as chapters
    bounds = [bound.denominator for bound in (part.start, part.stop) if bound is not None]
    content = StreamContent(
        index=stream.index,
        kind=_kind(stream),
        codec=_codec(stream),
        language=language(stream.metadata),
        tags=cover_tags(stream.metadata) if _kind(stream) == "cover" else stream_tags(stream.metadata),
        dispositions=_dispositions(stream),
        # Fine enough for packets that are moved to the beginning of the part.
        time_base=Fraction(1, lcm((stream.time_base or Fraction(1)).denominator, *bounds)),
        rewritten=titles or (timecode is not None and timecode == video.metadata.get("timecode")),
    )
    if isinstance(stream, AttachmentStream):
        content.sha256 = hashlib.sha256(stream.data or b"").hexdigest()
    return content


def _forget_repetitions(streams: Collection[StreamContent], tags: Mapping[str, str]) -> None:
    """Take away what streams say of themselves that says nothing."""
    made = file_tags(tags).get("creation_time")
    for stream in streams:
        if stream.tags.get("creation_time") == made:
            stream.tags.pop("creation_time", None)
    for kind in {stream.kind for stream in streams}:
        alike = [stream for stream in streams if stream.kind == kind]
        if all("default" in stream.dispositions for stream in alike):  # as mp4 has it of any that is alone
            for stream in alike:
                stream.dispositions -= {"default"}


def _kind(stream: Stream) -> Kind:
    if Disposition.attached_pic in stream.disposition:
        return "cover"
    match stream.type:
        case "video" | "audio" | "subtitle" | "attachment" as kind:
            return kind
    return "data"


def _codec(stream: Stream) -> str | None:
    codec = None if stream.codec_context is None else stream.codec_context.codec.canonical_name
    # Which layer of MPEG audio it is, mp4 leaves to the packets.
    return "mp3" if codec in ("mp1", "mp2") else codec


def _dispositions(stream: Stream) -> frozenset[str]:
    marks = {mark.name for mark in stream.disposition if mark.name}
    # Some demuxers say it twice.
    marks -= {"captions"} if "hearing_impaired" in marks else set()
    marks -= {"descriptions"} if "visual_impaired" in marks else set()
    return frozenset(marks)


def _end(video: Stream) -> Fraction | None:
    """As Matroska's tag says it, or mp4 and mov store it."""
    hours, *rest = video.metadata.get("DURATION", "").split(":")
    if len(rest) == 2:  # where there is the tag, FFmpeg may take the duration from the whole file
        return int(hours) * 3600 + int(rest[0]) * 60 + Fraction(rest[1])
    if video.start_time is not None and video.duration is not None and video.time_base:
        return (video.start_time + video.duration) * video.time_base
    return None


def _read(packets: PacketReader, streams: Mapping[int, StreamContent]) -> None:
    """Count, time and hash every packet."""
    digests = {index: hashlib.sha256() for index in streams}
    payloads: dict[int, Callable[[Packet[Stream]], bytes]] = {}
    for packet in packets:
        content = streams[packet.stream_index]
        if packet.stream_index not in payloads:
            payloads[packet.stream_index] = _unframed(packet.stream)
        content.packets += 1
        content.times.append(int((packet.pts or 0) * packet.time_base / content.time_base))
        digests[packet.stream_index].update(payloads[packet.stream_index](packet))
    for index, digest in digests.items():
        if streams[index].kind != "attachment":
            streams[index].sha256 = digest.hexdigest()


def _unframed(stream: Stream) -> "Callable[[Packet[Stream]], bytes]":
    """What gives a packet's payload without what containers add or take away: ADTS headers, start codes, headers."""
    codec = _codec(stream)
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
