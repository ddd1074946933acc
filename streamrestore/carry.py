"""Carry everything of a file but its restored video: audio, subtitles, fonts, cover art, chapters, tags.

Packets are copied as they are, at their own times. What the output cannot hold is said before
work starts, by `plan_carry`; nothing is dropped without a word.
"""

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import lcm
from typing import TYPE_CHECKING

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, DataStream, Discard, Stream

from streamrestore.encoding import Encoding
from streamrestore.errors import OutputError
from streamrestore.hdr import writes_static_hdr
from streamrestore.messages import codecs_holding, holds
from streamrestore.probing import AV_ERRORS, TAG_ERRORS, SourceInfo, StreamInfo, open_container, use_only
from streamrestore.siting import holds_chroma_location
from streamrestore.source import WHOLE, Trim

if TYPE_CHECKING:
    from av.container.core import Chapter  # exists only for type checkers

_TS_CODECS = frozenset(
    {"aac", "aac_latm", "ac3", "eac3", "dts", "truehd", "mp2", "mp3", "opus"}
    | {"dvb_subtitle", "dvb_teletext", "mpeg2video", "h264", "hevc"}
)
"""What a transport stream says by name. FFmpeg writes any other as private data that nobody reads."""

_NEGATIVE_TIMES = {"mp4": "video", "mov": "video", "matroska": "all", "webm": "all"}
"""Whose negative times a container cannot hold: an mp4 edit list swallows pictures (sound it skips
rightly), Matroska's clusters count from 0."""

_FIRST_PACKETS = 500
"""How far to look for the first packet of each stream."""

_STALE_TAGS = ("encoder", "duration", "bps", "number_of_frames", "number_of_bytes", "_statistics_")
"""Tags that described the old video stream; compared in lower case, by their beginning."""

_CONTAINER_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands")
"""Tags that described the old container, compared likewise."""


@dataclass(frozen=True, slots=True)
class CarryPlan:
    """What goes along with the restored video, and when."""

    trim: Trim = WHOLE
    shift: int = 0
    """Ticks of the video stream that are added to every time, of all streams alike."""
    copied: tuple[int, ...] = ()
    """Source streams copied packet by packet."""
    attached: tuple[int, ...] = ()
    """Cover art that becomes an attached file."""
    file_clock: int = 1000
    """Ticks a second of the coarsest clock in which the video's times and the start of every other
    stream are exact; mp4 and mov keep starts and lengths by one clock for the whole file."""
    keyed_tags: bool = False
    """Whether mp4 and mov must list the tags by name, since their usual atoms know only some."""
    warnings: tuple[str, ...] = ()
    """What will be lost or moved, for the user to read before work starts."""


def plan_carry(info: SourceInfo, encoding: Encoding, trim: Trim = WHOLE) -> CarryPlan:
    """Find out what of a source the output can hold.

    Args:
        info: The source, which is opened again and read a little way.
        encoding: Says which container is written.
        trim: The part that is restored.

    Raises:
        OutputError: The container cannot hold an audio, subtitle, font or further video stream.
        SourceError: The source cannot be read any more.
    """
    copied: list[int] = []
    attached: list[int] = []
    refused: list[StreamInfo] = []
    warnings = list(_losses(info, encoding))
    with open_container(info.path) as source:
        for other in info.other_streams:
            if other.cover_art and encoding.container == "matroska":
                attached.append(other.index)
            elif _holds(encoding.container, source.streams[other.index]):
                copied.append(other.index)
                if other.kind == "video" and not other.cover_art:
                    warnings.append(f"{other} is copied unrestored: only stream #{info.stream_index} is restored")
            elif _is_rewritten(encoding.container, source, info, other):
                continue
            elif other.kind in ("data", "unknown"):
                warnings.append(f"{other} cannot be written to {encoding.suffix} and will be lost")
            else:
                refused.append(other)
        if refused:
            raise OutputError(
                f"{encoding.suffix} cannot hold {', '.join(map(str, refused))}: name the output .mkv to keep everything"
            )
        tags = _kept_tags(source.metadata, _CONTAINER_TAGS)
        chapters = source.chapters()
        starts = _first_times(source, copied)
    shift = _plan_shift(info, encoding, trim, starts)
    starts = [start + shift * info.time_base for start in (info.start_pts * info.time_base, *starts)]
    if shift > 0 and trim.start_pts is None:
        warnings.append(
            f"{encoding.suffix} cannot hold negative times: "
            f"all streams begin {float(shift * info.time_base):.3f} s later"
        )
    if encoding.container == "mpegts":
        lost = [*tags, *(["chapters"] if chapters else [])]
        warnings += [f"{encoding.suffix} cannot hold {name}, which will be lost" for name in lost]
    clock = lcm(info.time_base.denominator, *(start.denominator for start in starts))
    return CarryPlan(
        trim=trim,
        shift=shift,
        copied=tuple(copied),
        attached=tuple(attached),
        file_clock=clock if clock < 1 << 31 else info.time_base.denominator,
        keyed_tags=encoding.container in ("mp4", "mov") and not _atoms_hold(encoding.container, tags),
        warnings=tuple(warnings),
    )


def _losses(info: SourceInfo, encoding: Encoding) -> Iterator[str]:
    """What the restored stream itself will lose."""
    for lost in info.lost_side_data:
        yield f"{lost} cannot be written again and will be lost"
    for riding in info.riding:
        if not holds(encoding.codec, riding.kind):
            able = " or ".join(codecs_holding(riding.kind))
            yield f"{encoding.codec} cannot hold {riding.name}, so {riding.without}: take the codec {able} to keep it"
    if (info.mastering_display or info.content_light) and not writes_static_hdr(encoding.encoder):
        yield (
            f"{encoding.encoder} cannot write the HDR10 metadata (mastering display, light levels), so players "
            "guess the brightness: take the codec hevc or av1 to keep it"
        )
    location = info.video.chroma_location
    if encoding.pixels.chroma_shift == (1, 1) and not holds_chroma_location(
        encoding.codec, encoding.container, location
    ):
        yield f"{encoding.codec} in {encoding.suffix} cannot say that chroma sits {location}: players assume the left"
    if info.interlaced:
        yield "the video is marked as interlaced: its frames are restored whole, and the mark will be lost"
    if info.display_matrix is not None and encoding.container == "mpegts":
        yield f"{encoding.suffix} cannot hold the rotation: the picture will be shown as it is coded"
    aspect = info.sample_aspect_ratio
    in_container_only = encoding.codec not in ("h264", "hevc") and encoding.container in ("matroska", "webm")
    if aspect not in (None, 1) and in_container_only:
        # FFmpeg's Matroska muxer asks a field of the stream that PyAV cannot set.
        yield f"{encoding.codec} in {encoding.suffix} cannot hold the pixel aspect ratio {aspect}: it will be lost"


def _is_rewritten(container: str, source: InputContainer, info: SourceInfo, other: StreamInfo) -> bool:
    """Whether a data stream only repeats what is carried another way: titles of chapters, a timecode."""
    stream = source.streams[other.index]
    if stream.discard == Discard.all:  # so the demuxer marks the titles that it gives as chapters
        return bool(source.chapters())
    timecode = stream.metadata.get("timecode")
    # As a tag of the video: mp4 and mov make a track of it again, Matroska keeps it so.
    kept = timecode == source.streams[info.stream_index].metadata.get("timecode")
    return kept and timecode is not None and container in ("mp4", "mov", "matroska")


def _holds(container: str, stream: Stream) -> bool:
    """Whether a container can hold a stream, found by writing a header with it alone."""
    codec = None if stream.codec_context is None else stream.codec_context.codec.canonical_name
    if container == "mpegts" and codec not in _TS_CODECS:
        return False
    if isinstance(stream, AttachmentStream):
        return container == "matroska"
    if isinstance(stream, DataStream):
        return False
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except AV_ERRORS:
        return False
    return True


def _atoms_hold(container: str, tags: dict[str, str]) -> bool:
    """Whether mp4's or mov's usual atoms give all tags back, found by writing them to an empty file."""
    memory = io.BytesIO()
    with av.open(memory, "w", format=container, metadata_errors=TAG_ERRORS) as trial:
        trial.add_mux_stream("h264", width=16, height=16)
        trial.metadata.update(tags)
        trial.start_encoding()
    memory.seek(0)
    with av.open(memory, "r", metadata_errors=TAG_ERRORS) as trial_read:
        return trial_read.metadata.keys() >= tags.keys()


def _first_times(source: InputContainer, indices: list[int]) -> list[Fraction]:
    """When the first packet of each stream is shown, in seconds."""
    first: dict[int, Fraction] = {}
    streams = [source.streams[index] for index in indices]
    use_only(source, streams)
    for packet in islice(source.demux(streams) if streams else (), _FIRST_PACKETS):
        if packet.pts is not None:
            first.setdefault(packet.stream_index, packet.pts * packet.time_base)
        if len(first) == len(streams):
            break
    return list(first.values())


def _plan_shift(info: SourceInfo, encoding: Encoding, trim: Trim, others: list[Fraction]) -> int:
    if trim.start_pts is not None:
        return -trim.start_pts
    limited = _NEGATIVE_TIMES.get(encoding.container)
    earliest = Fraction(0) if limited is None else info.start_pts * info.time_base
    # In a Matroska source only sound begins before 0, by a codec delay that the muxer adds again.
    if limited == "all" and not info.container.startswith("matroska"):
        earliest = min([earliest, *others])
    return max(0, -(earliest // info.time_base))


class Carrier:
    """Copies what a plan says into an output, in step with its video. Passive; used by the sink."""

    def __init__(self, source: InputContainer, output: OutputContainer, info: SourceInfo, plan: CarryPlan) -> None:
        """Add streams, chapters and tags; to be made before the output's header is written.

        Args:
            source: The source, opened for nothing else.
            output: Where everything goes.
            info: The source.
            plan: What is copied.
        """
        self._output = output
        streams = [source.streams[index] for index in plan.copied]
        targets: dict[int, Stream] = {}
        for stream in streams:
            target = output.add_stream_from_template(stream, opaque=True)
            target.metadata.update(stream.metadata)
            target.disposition = stream.disposition
            if stream.type != "attachment":  # those are in the header already
                targets[stream.index] = target
        for index in plan.attached:
            _attach_cover(info, index, output)
        output.metadata.update(_kept_tags(source.metadata, _CONTAINER_TAGS))
        output.set_chapters(list(_trimmed_chapters(source, info, plan)))
        self._packets = _trimmed_packets(source, targets, info, plan)
        self._head: Packet[Stream] | None = next(self._packets, None)

    def mux_until(self, seconds: Fraction | None) -> None:
        """Copy the packets that are due, so that memory holds no more than one of them.

        Args:
            seconds: Output time up to which packets are due; None for all that are left.

        Raises:
            av.FFmpegError: Reading or writing failed.
        """
        while self._head is not None:
            if seconds is not None and _seconds(self._head, self._head.dts) > seconds:
                return
            self._output.mux(self._head)
            self._head = next(self._packets, None)


def copy_video_tags(stream: Stream, target: Stream) -> None:
    """Give the restored stream the tags and the disposition of its source."""
    target.metadata.update(_kept_tags(stream.metadata, _STALE_TAGS))
    target.disposition = stream.disposition


def _kept_tags(tags: dict[str, str], stale: tuple[str, ...]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.lower().startswith(stale)}


def _seconds(packet: "Packet[Stream]", ticks: int | None) -> Fraction:
    return (ticks or 0) * packet.time_base


def _trimmed_packets(
    source: InputContainer, targets: dict[int, Stream], info: SourceInfo, plan: CarryPlan
) -> "Iterator[Packet[Stream]]":
    """The packets of the wanted part, bound for their streams in the output."""
    streams = [source.streams[index] for index in targets]
    if not streams:
        return
    use_only(source, streams)
    start, stop = (None if pts is None else pts * info.time_base for pts in (plan.trim.start_pts, plan.trim.stop_pts))
    shift = plan.shift * info.time_base
    if start is not None:
        with suppress(av.FFmpegError):  # not seekable: what comes before is skipped below
            source.seek(int(start * av.time_base))
    running = set(targets)
    for packet in source.demux(streams):
        if packet.size == 0:  # the mark of a stream's end; some real packets have no dts either
            continue
        shown = _seconds(packet, packet.dts if packet.pts is None else packet.pts)
        if stop is not None and shown >= stop:
            running.discard(packet.stream_index)
            if not running:
                return
            continue
        if start is not None and shown < start:
            continue
        packet.dts = packet.pts if packet.dts is None else packet.dts
        _move(packet, shift)
        packet.stream = targets[packet.stream_index]
        yield packet


def _move(packet: "Packet[Stream]", seconds: Fraction) -> None:
    """Shift a packet's times exactly, in a time base that holds both: its own may be coarse, as AVI's are."""
    if not seconds:
        return
    own, base = packet.time_base, Fraction(1, lcm(packet.time_base.denominator, seconds.denominator))
    packet.pts, packet.dts = (
        None if time is None else int((time * own + seconds) / base) for time in (packet.pts, packet.dts)
    )
    packet.duration = int((packet.duration or 0) * own / base)
    packet.time_base = base


def _trimmed_chapters(source: InputContainer, info: SourceInfo, plan: CarryPlan) -> "Iterator[Chapter]":
    start, stop = (None if pts is None else pts * info.time_base for pts in (plan.trim.start_pts, plan.trim.stop_pts))
    for chapter in source.chapters():
        time_base = chapter["time_base"]
        if time_base is None:
            continue
        shift = round(plan.shift * info.time_base / time_base)
        first = chapter["start"] if start is None else max(chapter["start"], round(start / time_base))
        last = chapter["end"] if stop is None else min(chapter["end"], round(stop / time_base))
        if first < last:
            yield {**chapter, "start": first + shift, "end": last + shift}


def _attach_cover(info: SourceInfo, index: int, output: OutputContainer) -> None:
    # The picture comes as the stream's only packet, and must be known before the header is written.
    with open_container(info.path) as source:
        stream = source.streams[index]
        use_only(source, [stream])
        picture = next((packet for packet in source.demux(stream) if packet.size), None)
        if picture is None:
            return
        kind = stream.codec_context.codec.canonical_name.replace("mjpeg", "jpeg")
        name = stream.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
        output.add_attachment(name, stream.metadata.get("mimetype", f"image/{kind}"), bytes(picture))
