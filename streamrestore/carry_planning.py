"""Decide what goes along with restored video, and find out what of it the output cannot hold.

What a container makes of languages, marks, tags and chapters depends on so much that no table tells
it. So a short output is written to memory and read back: whatever is not there is announced.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import groupby, islice
from math import lcm

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import AttachmentStream, DataStream, Discard, Stream

from streamrestore.assembly import muxer_options
from streamrestore.carry import CarryPlan, add_streams, copy_video_tags
from streamrestore.checks import Check, Verdict, compare_headers
from streamrestore.encoder import FrameEncoder, add_video
from streamrestore.encoding import Encoding
from streamrestore.errors import OutputError
from streamrestore.frame import OnError
from streamrestore.limits import NOT_THERE, Loss, picture_losses
from streamrestore.packets import PacketReader, Part, shown_at
from streamrestore.probing import AV_ERRORS, TAG_ERRORS, SourceInfo, StreamInfo, open_container, reason
from streamrestore.restoration_tag import plan_restoration_tag
from streamrestore.source import WHOLE, Trim
from streamrestore.survey import Survey, survey_headers
from streamrestore.tags import file_tags, lasting_file_tags

_TS_CODECS = frozenset(
    {"aac", "aac_latm", "ac3", "eac3", "dts", "truehd", "mp2", "mp3", "opus"}
    | {"dvb_subtitle", "dvb_teletext", "mpeg2video", "h264", "hevc"}
)
"""What a transport stream says by name. FFmpeg writes any other as private data that nobody reads."""

_NEGATIVE_TIMES = {"mp4": "video", "mov": "video", "matroska": "all", "webm": "all"}
"""Whose negative times a container cannot hold: an mp4 edit list swallows pictures (sound it skips
rightly), Matroska's clusters count from 0."""

_FIRST_PACKETS = 5000
"""How far to look for the first packet of each stream."""

_SMALL = (256, 128)
"""Width and height that every encoder takes, in pixels."""

_MOST_NAMED = 3
"""Streams that a sentence lists; more are only counted."""


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
        starts = [shown_at(packet) for packet in first.values()]
        shift = _plan_shift(info, encoding, trim, starts)
        starts = [start + shift * info.time_base for start in (info.start_pts * info.time_base, *starts)]
        clock = lcm(info.time_base.denominator, *(start.denominator for start in starts))
        tags = dict(source.metadata)
        keyed = encoding.container in ("mp4", "mov") and not _atoms_hold(encoding.container, tags)
        plan = CarryPlan(
            trim=trim,
            shift=shift,
            copied=tuple(copied),
            attached=tuple(attached),
            file_clock=clock if clock < 1 << 31 else info.time_base.denominator,
            keyed_tags=keyed,
            tags=plan_restoration_tag(restoration, encoding.container, tags, keyed=keyed) if restoration else (),
            on_error=on_error,
            notes=tuple(_notes(info, encoding, trim, copied, shift)),
        )
        before = survey_headers(source, info.stream_index, Part.of(trim, info.time_base))
        try:
            after = _rehearse(source, first, info, encoding, plan)
        except AV_ERRORS as error:
            raise OutputError(
                f"{encoding.suffix} cannot hold what {info.path} has beside its video ({reason(error)}): "
                "name the output .mkv to keep everything"
            ) from error
    for stream in before.streams:
        stream.packets = int(stream.index in first or stream.kind == "subtitle")
    found = [
        made for made in compare_headers(before, after, info, plan) if made.verdict is Verdict.MISMATCH and made.lost
    ]
    losses = (*picture_losses(info, encoding), *_stream_losses(left_out, encoding), *_header_losses(found, encoding))
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


# --- What is lost


def _stream_losses(left_out: list[StreamInfo], encoding: Encoding) -> Iterator[Loss]:
    for other in left_out:
        kind = "cover" if other.cover_art else "data" if other.kind == "unknown" else other.kind
        yield Loss(
            f"{other} cannot be written to {encoding.suffix} and will be lost",
            ((f"{kind} stream #{other.index}", NOT_THERE),),
        )


def _header_losses(found: list[Check], encoding: Encoding) -> Iterator[Loss]:
    """All that was not found in the rehearsal, in one sentence."""
    if not found:
        return
    kinds = sorted(found, key=_kind_of)
    words = [_words(kind, list(checks)) for kind, checks in groupby(kinds, key=_kind_of)]
    advice = "" if encoding.container == "matroska" else ": name the output .mkv to keep it"
    yield Loss(
        f"{encoding.suffix} cannot hold {'; '.join(words)}{advice}", tuple((made.name, made.found) for made in found)
    )


def _kind_of(made: Check) -> str:
    """What it is about, such as ``tags`` of the file or ``: tags`` of a stream."""
    return "".join(made.name.rpartition(": ")[1:])


def _words(kind: str, checks: list[Check]) -> str:
    subjects = [made.name.removesuffix(kind) for made in checks]
    streams = f"{len(subjects)} streams" if len(subjects) > _MOST_NAMED else " and ".join(subjects)
    lost = ", ".join(dict.fromkeys(part for made in checks for part in made.lost))
    match kind:
        case ": language":
            return f"the language of {streams} ({lost})"
        case ": dispositions":
            return f"the marks of {streams} ({lost})"
        case ": tags":
            return f"the tags of {streams} ({lost})"
        case "tags" | "tags of chapters":
            return f"the {kind} ({lost})"
        case "chapters" if checks[0].found != "none":
            return "when chapters begin"
        case "ends of chapters":
            return "when chapters end"
    return f"the {kind}"


def _rehearse(
    source: InputContainer, first: "Mapping[int, Packet[Stream]]", info: SourceInfo, encoding: Encoding, plan: CarryPlan
) -> Survey:
    """What a reader finds in an output of one black picture and the first packet of every other stream.

    Raises:
        av.FFmpegError: It cannot be written, or not be read.
    """
    memory = io.BytesIO()
    width, height = _SMALL
    small = replace(info, video=replace(info.video, width=width, height=height))
    with av.open(
        memory,
        "w",
        format=encoding.container,
        container_options=muxer_options(encoding, plan),
        metadata_errors=TAG_ERRORS,
    ) as output:
        video = add_video(output, small, encoding)
        copy_video_tags(source.streams[info.stream_index], video)
        targets = add_streams(source, output, info, plan)
        output.start_encoding()
        encoder = FrameEncoder(video, small, encoding)
        dtype = np.uint8 if info.video.pixels.depth <= 8 else np.uint16
        black = tuple(np.zeros(shape, dtype) for shape in small.video.plane_shapes())
        for picture in (*encoder.encode(0, black), *encoder.flush()):
            output.mux(picture)
        for index, target in targets.items():
            # Where a subtitle comes late, muxers take anything for one.
            packet = first.get(index) or (Packet(b"\0\0") if target.type == "subtitle" else None)
            if packet is not None:
                packet.pts = packet.dts = 0
                packet.time_base = packet.time_base or info.time_base
                packet.stream = target
                output.mux(packet)
    memory.seek(0)
    with av.open(memory, "r", format=encoding.container, metadata_errors=TAG_ERRORS) as result:
        return survey_headers(result, 0)


# --- What goes along, and when


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


def _plan_shift(info: SourceInfo, encoding: Encoding, trim: Trim, others: list[Fraction]) -> int:
    if trim.start_pts is not None:
        return -trim.start_pts
    limited = _NEGATIVE_TIMES.get(encoding.container)
    earliest = Fraction(0) if limited is None else info.start_pts * info.time_base
    # In a Matroska source only sound begins before 0, by a codec delay that the muxer adds again.
    if limited == "all" and not info.container.startswith("matroska"):
        earliest = min([earliest, *others])
    return max(0, -(earliest // info.time_base))
