"""Join finished segments and everything that is carried along into the output file.

A frame's time is decided in one line of `_timed_packets`: the source's pts plus the plan's
shift, in the source's time base. The muxer rounds it to its own: mp4 and mov keep it exact,
Matroska counts milliseconds, a transport stream 90 kHz.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from streamrestore.carry import Carried, Carrier, CarryPlan, copy_video_tags
from streamrestore.decoding import demux_through
from streamrestore.encoder import add_video, writing_to
from streamrestore.encoding import Encoding
from streamrestore.errors import SinkError
from streamrestore.frame import Stamp
from streamrestore.matroska_aspect import write_aspect
from streamrestore.messages import MessageKind, SourceMessages, holds, with_messages
from streamrestore.probing import TAG_ERRORS, SourceInfo, open_container, use_only
from streamrestore.segment_file import PacketOrder, close_quietly, header_sha256, segment_packets


@dataclass(frozen=True, slots=True)
class FinishedSegment:
    """A segment file, and what its packets are."""

    path: Path
    stamps: tuple[Stamp, ...]
    """Of its frames, in order of presentation."""
    order: PacketOrder


def assemble(
    path: Path, info: SourceInfo, encoding: Encoding, plan: CarryPlan, segments: Sequence[FinishedSegment]
) -> Carried:
    """Write the output: segments by stream copy, all else from the source.

    Args:
        path: Written exactly there, whatever its suffix; an existing file is overwritten.
        info: The source of the frames and of everything else.
        encoding: What the segments were written with.
        plan: What goes along, from `plan_carry`.
        segments: All of the job's, in order.

    Returns:
        What was wrong with what was copied.

    Raises:
        OutputError: The path cannot be written.
        DiskFullError: There is no space left.
        SinkError: A segment cannot be read, or does not fit the others; or writing failed.
        SourceError: The source cannot be read any more.
    """
    if not segments:
        raise SinkError(f"{path}: there was no frame to write")
    with open_container(info.opening) as source, open_container(info.opening) as pictures, writing_to(path):
        output = av.open(
            f"file:{path}",
            "w",
            format=encoding.container,
            container_options=muxer_options(encoding, plan),
            metadata_errors=TAG_ERRORS,
        )
        try:
            stream = add_video(output, info, encoding)
            if encoding.codec_tag is not None:
                stream.codec_context.codec_tag = encoding.codec_tag
            if info.display_matrix is not None:
                stream.set_display_matrix(info.display_matrix)
            copy_video_tags(source.streams[info.stream_index], stream)
            carrier = Carrier(source, output, info, plan)
            output.start_encoding()
            _check_headers(segments, header_sha256(stream))
            riders = _Riders(pictures, info, encoding, plan, stream.codec_context.extradata)
            for packet in _timed_packets(info, encoding, plan, segments):
                carrier.mux_until((packet.dts or 0) * info.time_base)
                full = riders.board(packet)
                full.stream = stream
                output.mux(full)
            carrier.mux_until(None)
            output.close()
        finally:
            close_quietly(output)
        if info.sample_aspect_ratio is not None and muxer_loses_aspect(encoding):
            write_aspect(path, info.sample_aspect_ratio)
        return carrier.carried()


class _Riders:
    """Puts the messages that ride in the source's pictures into the output's."""

    def __init__(
        self, source: InputContainer, info: SourceInfo, encoding: Encoding, plan: CarryPlan, header: bytes | None
    ) -> None:
        stream = source.streams[info.stream_index]
        assert isinstance(stream, VideoStream)
        use_only(source, [stream])
        if plan.trim.start_pts is not None:
            with suppress(av.FFmpegError):  # not seekable: this reads from the beginning
                source.seek(plan.trim.start_pts, stream=stream)
        self._messages = SourceMessages(demux_through(source, stream), stream)
        self._ambient = info.ambient
        self._codec = encoding.codec
        self._header = header
        self._shift = plan.shift
        # Images carry none, and reading all of them once more would cost as much as restoring took.
        self._needed = info.opening.images is None and any(holds(self._codec, kind) for kind in MessageKind)

    def board(self, packet: "Packet[VideoStream]") -> "Packet[VideoStream] | Packet[Stream]":
        """A packet with the messages of the source's picture of its time."""
        if not self._needed or packet.pts is None:
            return packet
        messages = self._messages.take(packet.pts - self._shift)
        if packet.is_keyframe and self._ambient is not None:
            messages.append(self._ambient)
        held = [message for message in messages if holds(self._codec, message.kind)]
        if not held:
            return packet
        fuller = Packet(with_messages(bytes(packet), held, self._codec, self._header))
        fuller.pts, fuller.dts, fuller.duration = packet.pts, packet.dts, packet.duration
        fuller.time_base, fuller.is_keyframe = packet.time_base, packet.is_keyframe
        return fuller


def muxer_loses_aspect(encoding: Encoding) -> bool:
    """Whether FFmpeg leaves out the pixel aspect ratio, where the codec has no place of its own for it.

    Args:
        encoding: How the video is written.
    """
    return encoding.container in ("matroska", "webm") and encoding.codec not in ("h264", "hevc")


def muxer_options(encoding: Encoding, plan: CarryPlan) -> dict[str, str]:
    """What an output's muxer is told.

    Args:
        encoding: Says which container is written.
        plan: What goes along.
    """
    options = {
        # Without it, Matroska gets random ids: the same job would not give the same bytes.
        "fflags": "+bitexact",
        # Where times must move, the plan says so; a muxer would move them unasked.
        "avoid_negative_ts": "disabled",
    }
    if encoding.container == "mpegts":
        options |= {"mpegts_copyts": "1", "muxdelay": "0", "muxpreload": "0"}
    elif encoding.container in ("mp4", "mov"):
        options["movie_timescale"] = str(plan.file_clock)
        if plan.keyed_tags:
            options["movflags"] = "+use_metadata_tags"
    return options


def _check_headers(segments: Sequence[FinishedSegment], expected: str) -> None:
    for segment in segments:
        if segment.order.header_sha256 != expected:
            raise SinkError(
                f"{segment.path} was written by another encoder than this one and cannot be joined to the rest: "
                "begin again with --restart"
            )


def _timed_packets(
    info: SourceInfo, encoding: Encoding, plan: CarryPlan, segments: Sequence[FinishedSegment]
) -> "Iterator[Packet[VideoStream]]":
    """Every packet of the job with its final times, in decoding order."""
    stamps = [stamp for segment in segments for stamp in segment.stamps]
    decoding = plan_decoding_times(
        [stamp.pts + plan.shift for stamp in stamps], [segment.order.ranks for segment in segments]
    )
    stop = max(stamp.pts + plan.shift + stamp.duration for stamp in stamps)
    start = stamps[0].pts + plan.shift
    number = 0
    for segment in segments:
        packets = segment_packets(segment.path)
        for rank, packet in zip(segment.order.ranks, packets, strict=True):
            stamp = segment.stamps[rank]
            packet.time_base = info.time_base
            packet.pts = stamp.pts + plan.shift
            packet.dts = decoding[number]
            packet.duration = stamp.duration
            number += 1
            if number == len(stamps) and encoding.container in ("mp4", "mov"):
                # They store distances of dts: the last one must fill the track up to its end.
                packet.duration = max(stamp.duration, stop - start - (decoding[-1] - decoding[0]))
            yield packet


def plan_decoding_times(times: Sequence[int], ranks: Sequence[Sequence[int]]) -> list[int]:
    """When each packet is to be decoded: presentation times, delayed by the same number of frames all along.

    Segments' own decoding times cannot be joined: each encoder begins anew, and a short segment
    needs less delay than a long one.

    Args:
        times: When the job's frames are shown, in ticks, rising.
        ranks: `PacketOrder.ranks` of each segment.

    Returns:
        One for each packet in decoding order: rising, and none after its packet's own time.
    """
    delay = max((place - rank for segment in ranks for place, rank in enumerate(segment)), default=0)
    step = times[1] - times[0] if len(times) > 1 else 1
    lead = [times[0] - (delay - place) * step for place in range(min(delay, len(times)))]
    return [*lead, *times[: len(times) - len(lead)]]
