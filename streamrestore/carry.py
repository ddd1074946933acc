"""Carry everything of a file but its restored video: audio, subtitles, fonts, cover art, chapters, tags.

Packets are copied as they are, at their own times.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from streamrestore.frame import OnError
from streamrestore.limits import Loss
from streamrestore.packets import PacketReader, Part, move
from streamrestore.probing import SourceInfo, open_container, use_only
from streamrestore.source import WHOLE, Trim
from streamrestore.tags import COUNTS, OF_ENCODER, cover_tags, lasting_file_tags, lasting_stream_tags

if TYPE_CHECKING:
    from av.container.core import Chapter  # exists only for type checkers


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
    tags: tuple[tuple[str, str], ...] = ()
    """Written to the file after the source's own."""
    on_error: OnError = "pass"
    """What is done where the source cannot be read."""
    losses: tuple[Loss, ...] = ()
    """What the output will not have; all that verification excuses."""
    notes: tuple[str, ...] = ()
    """What else the user should read before work starts."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What will be lost or moved, for the user to read before work starts."""
        return (*(loss.sentence for loss in self.losses), *self.notes)


@dataclass(frozen=True, slots=True)
class Carried:
    """What was wrong with the streams that were copied."""

    unreadable: int = 0
    """Places of the source that could not be read."""
    retimed: int = 0
    """Packets whose times were missing or went back, and were found anew."""


class Carrier:
    """Copies what a plan says into an output, in step with its video. Passive; used by the assembly."""

    def __init__(self, source: InputContainer, output: OutputContainer, info: SourceInfo, plan: CarryPlan) -> None:
        """Add streams, chapters and tags; to be made before the output's header is written.

        Args:
            source: The source, opened for nothing else.
            output: Where everything goes.
            info: The source.
            plan: What is copied.
        """
        self._output = output
        self._targets = add_streams(source, output, info, plan)
        part = Part.of(plan.trim, info.time_base)
        streams = [source.streams[index] for index in self._targets]
        self._reader = PacketReader(str(info.path), source, streams, part, on_error=plan.on_error)
        self._packets = self._bound_packets(plan.shift * info.time_base)
        self._head: Packet[Stream] | None = next(self._packets, None)

    def carried(self) -> Carried:
        """What was wrong so far."""
        return Carried(self._reader.unreadable, self._reader.retimed)

    def mux_until(self, seconds: Fraction | None) -> None:
        """Copy the packets that are due, so that memory holds no more than one of them.

        Args:
            seconds: Output time up to which packets are due; None for all that are left.

        Raises:
            DecodeError: The source cannot be read any more.
            av.FFmpegError: Writing failed.
        """
        while self._head is not None:
            if seconds is not None and (self._head.dts or 0) * self._head.time_base > seconds:
                return
            self._output.mux(self._head)
            self._head = next(self._packets, None)

    def _bound_packets(self, shift: Fraction) -> "Iterator[Packet[Stream]]":
        """The packets of the wanted part, at their times in the output and bound for their streams there."""
        for packet in self._reader:
            move(packet, shift)
            packet.stream = self._targets[packet.stream_index]
            yield packet


def add_streams(
    source: InputContainer, output: OutputContainer, info: SourceInfo, plan: CarryPlan
) -> dict[int, Stream]:
    """Prepare an output whose header is not written yet for all that goes along.

    Args:
        source: The source, opened.
        output: Gets streams, attached files, chapters and tags.
        info: The source.
        plan: What is copied.

    Returns:
        The streams that are to get packets, by those of the source.
    """
    targets = dict[int, Stream]()
    for index in plan.copied:
        stream = source.streams[index]
        target = output.add_stream_from_template(stream, opaque=True)
        stale = () if plan.trim == WHOLE else COUNTS
        target.metadata.update(lasting_stream_tags(stream.metadata, output.format.name, stale=stale))
        target.disposition = stream.disposition
        if stream.type != "attachment":  # those are in the header already
            targets[index] = target
    for index in plan.attached:
        _attach_cover(info, index, output)
    output.metadata.update(lasting_file_tags(source.metadata) | dict(plan.tags))
    chapters = list(_placed_chapters(source, info, plan))
    if output.format.name in ("mp4", "mov"):  # which forget chapters without any title
        chapters = [{**chapter, "metadata": {"title": "", **chapter["metadata"]}} for chapter in chapters]
    output.set_chapters(chapters)
    return targets


def copy_video_tags(stream: Stream, target: Stream) -> None:
    """Give the restored stream the tags and the disposition of its source."""
    stale = (*COUNTS, *OF_ENCODER)
    target.metadata.update(lasting_stream_tags(stream.metadata, target.container.format.name, stale=stale))
    target.disposition = stream.disposition


def _placed_chapters(source: InputContainer, info: SourceInfo, plan: CarryPlan) -> "Iterator[Chapter]":
    part, shift = Part.of(plan.trim, info.time_base), plan.shift * info.time_base
    for chapter in source.chapters():
        base = chapter["time_base"]
        if base is None:
            continue
        start = max(chapter["start"], round(-shift / base) if part.start is None else round(part.start / base))
        end = chapter["end"] if part.stop is None else min(chapter["end"], round(part.stop / base))
        if start < end:
            yield {**chapter, "start": start + round(shift / base), "end": end + round(shift / base)}


def _attach_cover(info: SourceInfo, index: int, output: OutputContainer) -> None:
    # The picture comes as the stream's only packet, and must be known before the header is written.
    with open_container(info.opening) as source:
        stream = source.streams[index]
        use_only(source, [stream])
        picture = next((packet for packet in source.demux(stream) if packet.size), None)
        if picture is None:
            return
        kind = stream.codec_context.codec.canonical_name.replace("mjpeg", "jpeg")
        name = stream.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
        target = output.add_attachment(name, stream.metadata.get("mimetype", f"image/{kind}"), bytes(picture))
        target.metadata.update(cover_tags(stream.metadata))
