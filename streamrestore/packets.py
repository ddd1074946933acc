"""Read the packets that belong to a part of a file, whatever state the file is in."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, lcm
from typing import TYPE_CHECKING

from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from streamrestore.decoding import UNREADABLE_IN_A_ROW
from streamrestore.errors import DecodeError
from streamrestore.frame import OnError
from streamrestore.probing import AV_ERRORS, DAMAGE_ERRORS, reason, use_only

if TYPE_CHECKING:
    from streamrestore.source import Trim

_STEP = Fraction(1, 1000)
"""Seconds between packets whose times go back or are missing, until the file's own times are reached
again; no container's clock is coarser."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file, ``[start, stop)`` in seconds; None for its beginning, or its end."""

    start: Fraction | None = None
    stop: Fraction | None = None

    @classmethod
    def of(cls, trim: "Trim", time_base: Fraction) -> "Part":
        """The part that is given in ticks of a stream."""
        return cls(*(None if pts is None else pts * time_base for pts in (trim.start_pts, trim.stop_pts)))


ALL = Part()


class PacketReader:
    """Gives the packets of some streams that belong to a part of a file, once. Passive.

    Those of other parts are read too: a seek leads to a key frame of one stream, and what the others
    show at that time may lie before it. A subtitle that begins before the part is shortened, one that
    does not say how long it is shown is moved to the beginning of the part. Cover art belongs to every
    part. Damage is passed over as FFmpeg's own command does: what cannot be read is left out, times that
    go back or are missing follow the packet before.
    """

    def __init__(
        self,
        name: str,
        container: InputContainer,
        streams: Collection[Stream],
        part: Part = ALL,
        *,
        on_error: OnError = "pass",
    ) -> None:
        """Prepare to read.

        Args:
            name: Of the file, for messages.
            container: Opened for nothing else, and not read from yet.
            streams: Of it, those that are wanted.
            part: The part that is wanted.
            on_error: What is done at a place that cannot be read: ``pass`` counts it, ``fail`` ends there.
        """
        self._name = name
        self._container = container
        self._streams = {stream.index: stream for stream in streams if stream.type != "attachment"}
        self._covers = {
            stream.index for stream in self._streams.values() if Disposition.attached_pic in stream.disposition
        }
        self._part = part
        self._on_error = on_error
        self._last: dict[int, tuple[int, int]] = {}
        """When the last packet of each stream is decoded, and how far from there the next must be, in ticks."""
        self.unreadable = 0
        """Places that could not be read."""
        self.retimed = 0
        """Packets whose times were missing or went back."""

    def __iter__(self) -> "Iterator[Packet[Stream]]":
        """The packets, in the order of the file; each has a dts.

        Raises:
            DecodeError: The disk or the network failed; or, for ``fail``, something cannot be read.
        """
        start, stop = self._part.start, self._part.stop
        running = self._streams.keys() - self._covers
        held: dict[int, Packet[Stream]] = {}
        for packet in self._read():
            index = packet.stream_index
            if index in self._covers:
                if start is not None:
                    _place(packet, start, start)
                yield packet
                continue
            self._repair(packet)
            if self._part == ALL:
                yield packet
                continue
            begin = shown_at(packet)
            end = begin + (packet.duration or 0) * packet.time_base
            is_subtitle = self._streams[index].type == "subtitle"
            if stop is not None and begin >= stop:
                running.discard(index)
                if not running:
                    break
            elif start is not None and begin < start:
                if is_subtitle and begin == end:
                    held[index] = packet
                elif is_subtitle and end > start:
                    _place(packet, start, end if stop is None else min(end, stop))
                    yield packet
            else:
                yield from self._released(held)
                if is_subtitle and stop is not None and end > stop:
                    _place(packet, begin, stop)
                yield packet
        yield from self._released(held)

    def _released(self, held: "dict[int, Packet[Stream]]") -> "Iterator[Packet[Stream]]":
        while held:
            packet = held.pop(next(iter(held)))
            assert self._part.start is not None  # or nothing would be held
            _place(packet, self._part.start, self._part.start)
            yield packet

    def _read(self) -> "Iterator[Packet[Stream]]":
        """All packets of the streams, over places that cannot be read."""
        if not self._streams:
            return
        use_only(self._container, list(self._streams.values()))
        failures = 0
        while failures < UNREADABLE_IN_A_ROW:
            try:
                for packet in self._container.demux(list(self._streams.values())):
                    failures = 0
                    if packet.size:  # an empty one marks a stream's end
                        yield packet
                return
            except IndexError:
                return  # all were read: PyAV stumbles at the end where damage made FFmpeg see one more stream
            except DAMAGE_ERRORS as error:
                if self._on_error == "fail":
                    raise DecodeError(
                        f"{self._name}: reading stopped: {reason(error)}; get an undamaged copy, or restore "
                        "what is there with --on-error pass"
                    ) from error
                self.unreadable += failures == 0
                failures += 1
            except AV_ERRORS as error:
                raise DecodeError(
                    f"{self._name}: reading stopped: {reason(error)}; "
                    "if the disk or the network is well again, run the same command again"
                ) from error

    def _repair(self, packet: "Packet[Stream]") -> None:
        """Have a packet's dts be there, and not before that of the packet before."""
        dts = packet.pts if packet.dts is None else packet.dts
        # Equal ones are common where a clock is coarse, but those made here must not run into the next.
        last, margin = self._last.get(packet.stream_index, (None, 0))
        repaired = dts is None or (last is not None and dts < last + margin)
        step = ceil(_STEP / packet.time_base) if repaired else 0
        if dts is None or repaired:
            dts = 0 if last is None else last + step
            self.retimed += 1
        packet.dts = dts
        packet.pts = dts if packet.pts is None else max(packet.pts, dts)
        self._last[packet.stream_index] = dts, step


def shown_at(packet: "Packet[Stream]") -> Fraction:
    """When a packet is shown, in seconds; else when it is decoded."""
    return ((packet.dts if packet.pts is None else packet.pts) or 0) * packet.time_base


def move(packet: "Packet[Stream]", seconds: Fraction) -> None:
    """Shift a packet's times exactly, in a time base that holds both: its own may be coarse, as AVI's are."""
    if not seconds:
        return
    own, base = packet.time_base, Fraction(1, lcm(packet.time_base.denominator, seconds.denominator))
    packet.pts, packet.dts = (
        None if time is None else int((time * own + seconds) / base) for time in (packet.pts, packet.dts)
    )
    packet.duration = int((packet.duration or 0) * own / base)
    packet.time_base = base


def _place(packet: "Packet[Stream]", begin: Fraction, end: Fraction) -> None:
    """Have a packet shown at other times, exactly."""
    base = Fraction(1, lcm(begin.denominator, end.denominator))
    packet.pts = packet.dts = int(begin / base)
    packet.duration = int((end - begin) / base)
    packet.time_base = base
