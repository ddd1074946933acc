"""Find out what an output will not hold, by writing a short one to memory and reading it back.

What a container makes of languages, marks, tags and chapters depends on so much that no table tells
it. Whatever is not there in the rehearsal is announced, and nothing else is excused later.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from streamrestore.assembly import muxer_options
from streamrestore.carry import CarryPlan, add_streams, copy_video_tags
from streamrestore.checks import Check, Verdict, compare_headers
from streamrestore.encoder import FrameEncoder, add_video
from streamrestore.encoding import Encoding
from streamrestore.errors import OutputError
from streamrestore.limits import NOT_THERE, Loss
from streamrestore.packets import Part
from streamrestore.probing import AV_ERRORS, TAG_ERRORS, SourceInfo, reason
from streamrestore.survey import Survey, survey_headers

_SMALL = (256, 128)
"""Width and height that every encoder takes, in pixels."""

_MOST_NAMED = 3
"""Streams that a sentence lists; more are only counted."""


def rehearse(
    source: InputContainer, first: "Mapping[int, Packet[Stream]]", info: SourceInfo, encoding: Encoding, plan: CarryPlan
) -> Iterator[Loss]:
    """Foretell what files say of themselves, their streams and chapters that will be lost.

    Args:
        source: The source, opened.
        first: A packet of each stream that is copied, by its index; those that come late may be missing.
        info: The source.
        encoding: How the video is written.
        plan: What goes along.

    Raises:
        OutputError: The container cannot hold a stream after all.
    """
    part = Part.of(plan.trim, info.time_base)
    before = survey_headers(source, info.stream_index, part)
    for stream in before.streams:
        stream.packets = int(stream.index in first or stream.kind == "subtitle")
    try:
        after = _perform(source, first, info, encoding, plan)
    except AV_ERRORS as error:
        raise _refusal(encoding, f"what {info.path} has beside its video ({reason(error)})") from error
    found = [made for made in compare_headers(before, after, info, plan) if made.verdict is Verdict.MISMATCH]
    carried = [str(stream) for stream in before.streams if stream.index in (*plan.copied, *plan.attached)]
    if missing := [made.name for made in found if made.found == NOT_THERE and made.name in carried]:
        raise _refusal(encoding, ", ".join(missing))
    if lost := [made for made in found if made.lost]:
        advice = "" if encoding.container == "matroska" else ": name the output .mkv to keep everything"
        kinds = groupby(sorted(lost, key=_kind_of), key=_kind_of)
        words = "; ".join(_words(kind, list(checks)) for kind, checks in kinds)
        yield Loss(f"{encoding.suffix} cannot hold {words}{advice}", tuple((made.name, made.found) for made in lost))


def _refusal(encoding: Encoding, what: str) -> OutputError:
    return OutputError(f"{encoding.suffix} cannot hold {what}: name the output .mkv to keep everything")


def _perform(
    source: InputContainer, first: "Mapping[int, Packet[Stream]]", info: SourceInfo, encoding: Encoding, plan: CarryPlan
) -> Survey:
    """What a reader finds in an output of one black picture and one packet of every other stream.

    Raises:
        av.FFmpegError: It cannot be written, or not be read.
    """
    memory = io.BytesIO()
    width, height = _SMALL
    small = replace(info, video=replace(info.video, width=width, height=height))
    options = muxer_options(encoding, plan)
    with av.open(
        memory, "w", format=encoding.container, container_options=options, metadata_errors=TAG_ERRORS
    ) as output:
        video = add_video(output, small, encoding)
        copy_video_tags(source.streams[info.stream_index], video)
        targets = add_streams(source, output, info, plan)
        output.start_encoding()
        encoder = FrameEncoder(video, small, encoding)
        dtype = np.uint8 if info.video.pixels.depth <= 8 else np.uint16
        black = tuple(np.zeros(shape, dtype) for shape in small.video.plane_shapes())
        for picture in (*encoder.encode(0, black), *encoder.flush()):
            picture.pts = picture.dts = 0  # of a picture that is alone, x265 gives any dts
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


def _kind_of(made: Check) -> str:
    """What a check is about, such as ``tags`` of the file or ``: tags`` of a stream."""
    return "".join(made.name.rpartition(": ")[1:])


def _words(kind: str, checks: list[Check]) -> str:
    """What is lost of one kind, in all streams."""
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
        case "tags":
            return f"the tags {lost}"
        case "tags of chapters":
            return f"the tags of chapters ({lost})"
        case "chapters" if checks[0].found != "none":
            return "where chapters begin"
        case "ends of chapters":
            return "where chapters end"
    return f"the {kind}"
