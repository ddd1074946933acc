"""Decide what goes along with restored video, and when; say what will be lost."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from math import lcm

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import AttachmentStream, DataStream, Discard, Disposition, Stream

from streamrestore.carry import CarryPlan
from streamrestore.encoding import Encoding
from streamrestore.errors import OutputError
from streamrestore.frame import OnError
from streamrestore.limits import NOT_THERE, Loss, picture_losses
from streamrestore.packets import PacketReader, shown_at
from streamrestore.probing import AV_ERRORS, TAG_ERRORS, SourceInfo, StreamInfo, open_container
from streamrestore.rehearsal import rehearse
from streamrestore.restoration_tag import plan_restoration_tag
from streamrestore.source import WHOLE, Trim
from streamrestore.tags import file_tags, lasting_file_tags

_TS_CODECS = frozenset(
    {"aac", "aac_latm", "ac3", "eac3", "dts", "truehd", "mp2", "mp3", "opus"}
    | {"dvb_subtitle", "dvb_teletext", "mpeg2video", "h264", "hevc"}
)
"""What a transport stream says by name. FFmpeg writes any other as private data that nobody reads."""

_NEGATIVE_TIMES = {"mp4": "video", "mov": "video", "matroska": "all", "webm": "all", "nut": "all"}
"""Whose negative times a container cannot hold: an mp4 edit list swallows pictures (sound it skips
rightly), Matroska's clusters count from 0."""

_FIRST_PACKETS = 5000
"""How far to look for the first packet of each stream."""


def plan_carry(
    info: SourceInfo,
    encoding: Encoding,
    trim: Trim = WHOLE,
    *,
    on_error: OnError = "pass",
    restoration: str | None = None,
) -> CarryPlan:
    """Find out what of a source the output can hold.

    Args:
        info: The source, which is opened again and read a little way.
        encoding: How the video is written, and into which container.
        trim: The part that is restored.
        on_error: What is done where the source cannot be read: ``pass`` counts it, ``fail`` ends there.
        restoration: From `restoration_words`, for a tag; None writes none.

    Raises:
        OutputError: The container cannot hold an audio, subtitle, font or further video stream.
        SourceError: The source cannot be read any more.
    """
    with open_container(info.opening) as source:
        copied, attached, left_out = _sort_streams(source, info, encoding)
        first = _first_packets(source, info, copied)
        shift = _plan_shift(info, encoding, trim, [shown_at(packet) for packet in first.values()])
        tags = dict(source.metadata)
        keyed = _needs_keyed_tags(source, encoding, copied)
        plan = CarryPlan(
            trim=trim,
            shift=shift,
            copied=tuple(copied),
            attached=tuple(attached),
            file_clock=_plan_clock(info, trim, shift, list(first.values())),
            keyed_tags=keyed,
            tags=plan_restoration_tag(restoration, encoding.container, tags, keyed=keyed) if restoration else (),
            on_error=on_error,
            notes=tuple(_notes(info, encoding, trim, copied, shift)),
        )
        losses = (
            *picture_losses(info, encoding),
            *_stream_losses(left_out, encoding),
            *rehearse(source, first, info, encoding, plan),
        )
    return replace(plan, losses=losses)


def _sort_streams(
    source: InputContainer, info: SourceInfo, encoding: Encoding
) -> tuple[list[int], list[int], list[StreamInfo]]:
    """Streams to be copied, covers to be attached, and what is left out.

    Raises:
        OutputError: A container that holds everything should be named instead.
    """
    copied, attached = list[int](), list[int]()
    left_out = list[StreamInfo]()
    for other in info.other_streams:
        if other.cover_art and encoding.container == "matroska":
            attached.append(other.index)
        elif _holds(encoding.container, source.streams[other.index]):
            copied.append(other.index)
        elif not _is_rewritten(encoding.container, source, info, other):
            left_out.append(other)
    refused = [other for other in left_out if other.kind not in ("data", "unknown")]
    if refused and encoding.container != "matroska":
        raise OutputError(
            f"{encoding.suffix} cannot hold {', '.join(map(str, refused))}: name the output .mkv to keep everything"
        )
    return copied, attached, left_out


def _notes(info: SourceInfo, encoding: Encoding, trim: Trim, copied: list[int], shift: int) -> Iterator[str]:
    for other in info.other_streams:
        if other.index in copied and other.kind == "video" and not other.cover_art:
            yield f"{other} is copied unrestored: only stream #{info.stream_index} is restored"
    if shift > 0 and trim.start_pts is None:
        yield (
            f"{encoding.suffix} cannot hold negative times: "
            f"all streams begin {float(shift * info.time_base):.3f} s later"
        )


def _stream_losses(left_out: list[StreamInfo], encoding: Encoding) -> Iterator[Loss]:
    if left_out:
        names = " and ".join(map(str, left_out))
        yield Loss(
            f"{names} cannot be written to {encoding.suffix} and will be lost",
            tuple((f"{_survey_kind(other)} stream #{other.index}", NOT_THERE) for other in left_out),
        )


def _survey_kind(other: StreamInfo) -> str:
    """What a survey calls such a stream."""
    return "cover" if other.cover_art else "data" if other.kind == "unknown" else other.kind


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


def _needs_keyed_tags(source: InputContainer, encoding: Encoding, copied: list[int]) -> bool:
    """Whether an mp4 or mov must list its tags by name. Beside such a list there is no place for cover art."""
    if encoding.container not in ("mp4", "mov"):
        return False
    covers = any(Disposition.attached_pic in source.streams[index].disposition for index in copied)
    return not covers and not _atoms_hold(encoding.container, source.metadata)


def _atoms_hold(container: str, tags: Mapping[str, str]) -> bool:
    """Whether mp4's or mov's usual atoms give all tags back, found by writing them to an empty file."""
    memory = io.BytesIO()
    with av.open(memory, "w", format=container, metadata_errors=TAG_ERRORS) as trial:
        trial.add_mux_stream("h264", width=16, height=16)
        trial.metadata.update(lasting_file_tags(tags))
        trial.start_encoding()
    memory.seek(0)
    with av.open(memory, "r", metadata_errors=TAG_ERRORS) as trial_read:
        return file_tags(trial_read.metadata).items() >= file_tags(tags).items()


def _first_packets(source: InputContainer, info: SourceInfo, indices: list[int]) -> "dict[int, Packet[Stream]]":
    """The first packet of each stream, by its index; those that come late are missing."""
    first = dict[int, "Packet[Stream]"]()
    streams = [source.streams[index] for index in indices]
    awaited = {stream.index for stream in streams if stream.type != "attachment"}
    for packet in islice(PacketReader(str(info.path), source, streams), _FIRST_PACKETS):
        first.setdefault(packet.stream_index, packet)
        if first.keys() == awaited:
            break
    return first


def _plan_clock(info: SourceInfo, trim: Trim, shift: int, first: "list[Packet[Stream]]") -> int:
    """Ticks a second in which the starts of all streams are exact."""
    if trim.start_pts is None:
        starts = [(start + shift * info.time_base).denominator for start in map(shown_at, first)]
    else:  # what comes first then is not known yet
        starts = [packet.time_base.denominator for packet in first]
    clock = lcm(info.time_base.denominator, *starts)
    return clock if clock < 1 << 31 else info.time_base.denominator


def _plan_shift(info: SourceInfo, encoding: Encoding, trim: Trim, others: list[Fraction]) -> int:
    if trim.start_pts is not None:
        return -trim.start_pts
    limited = _NEGATIVE_TIMES.get(encoding.container)
    earliest = Fraction(0) if limited is None else info.start_pts * info.time_base
    # In a Matroska source only sound begins before 0, by a codec delay that the muxer adds again.
    if limited == "all" and not info.container.startswith("matroska"):
        earliest = min([earliest, *others])
    return max(0, -(earliest // info.time_base))
