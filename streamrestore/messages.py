"""What rides inside coded pictures, captions, HDR10+, Dolby Vision: taken out of packets, put into others.

Decoders give these messages away with each frame, but PyAV cannot hand them to an encoder. So they
go from the source's packets to the output's, by the time at which their picture is shown, byte for
byte; encoders and frames know nothing of them.

Pure functions of bytes, but for `SourceMessages`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from av.packet import Packet
from av.video.stream import VideoStream

from streamrestore import nal, obus


class MessageKind(Enum):
    """How a message is written."""

    T35 = "user data registered by ITU-T T.35"
    """Closed captions, active format description, HDR10+, HDR Vivid; from the country code on."""
    AMBIENT = "ambient viewing environment"
    """The payload of that SEI message."""
    DOLBY_VISION = "Dolby Vision RPU"
    """A whole NAL unit."""


_ATSC = b"\xb5\x00\x31"
"""Country and provider, which MPEG-2 (ATSC A/53 part 4) leaves out."""
_MPEG2_USER_DATA = re.compile(rb"\x00\x00\x01\xb2((?:GA94|DTG1).*?)(?=\x00\x00\x01|\Z)", re.DOTALL)

_MOST_WAITING = 256
"""Pictures whose messages are kept for later; no codec shows one so long after its turn."""

_SEI_TYPES = {MessageKind.T35: nal.SEI_T35, MessageKind.AMBIENT: 148}

_RPU, _ENHANCEMENT = 62, 63
"""NAL units that HEVC leaves unspecified and Dolby Vision uses."""

_SOURCES = frozenset({"mpeg2video", "av1", "h264", "hevc"})
"""Codecs whose messages are known here, by FFmpeg's names."""

_HOLDS = {
    "h264": frozenset({MessageKind.T35, MessageKind.AMBIENT}),
    "hevc": frozenset(MessageKind),
    "av1": frozenset({MessageKind.T35}),
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message, as it stands in the stream but for the frame around it."""

    kind: MessageKind
    payload: bytes


def holds(codec: str, kind: MessageKind) -> bool:
    """Whether a codec has a place for such messages.

    Args:
        codec: FFmpeg's name of the format.
        kind: Of the message.
    """
    return kind in _HOLDS.get(codec, frozenset())


def codecs_holding(kind: MessageKind) -> tuple[str, ...]:
    """The codecs, by FFmpeg's names, that `holds` is true of.

    Args:
        kind: Of the message.
    """
    return tuple(codec for codec in _HOLDS if holds(codec, kind))


def messages_in(packet: bytes, codec: str, header: bytes | None) -> list[Message]:
    """Take the messages out of a coded picture.

    Args:
        packet: One access unit, however damaged.
        codec: FFmpeg's name of its format; one that is unknown here has no messages.
        header: The stream's extradata, which says how its packets are cut.
    """
    if codec == "mpeg2video":
        return [Message(MessageKind.T35, _ATSC + data) for data in _MPEG2_USER_DATA.findall(packet)]
    if codec == "av1":
        return [Message(MessageKind.T35, payload) for payload in obus.t35_payloads(packet)]
    if codec not in _SOURCES:
        return []
    found = list[Message]()
    two_layers = False
    for unit in nal.split(packet, nal.length_size(codec, header)):
        kind = nal.unit_type(unit, codec)
        if kind == nal.SEI[codec]:
            payloads = nal.sei_payloads(unit, codec)
            found += [Message(MessageKind.T35, payload) for sei, payload in payloads if sei == nal.SEI_T35]
        elif (codec, kind) == ("hevc", _RPU):
            found.append(Message(MessageKind.DOLBY_VISION, unit))
        elif (codec, kind) == ("hevc", _ENHANCEMENT):
            two_layers = True
    if two_layers:
        # Such RPUs combine two layers of pictures, of which only the first is restored.
        return [message for message in found if message.kind is not MessageKind.DOLBY_VISION]
    return found


def with_messages(packet: bytes, messages: Sequence[Message], codec: str, header: bytes | None) -> bytes:
    """Put messages into a coded picture.

    Args:
        packet: One access unit.
        messages: Of kinds that the codec holds.
        codec: FFmpeg's name of its format: h264, hevc or av1.
        header: The stream's extradata, which says how its packets are cut.

    Returns:
        The access unit with the messages where decoders look for them: ahead of its first slice,
        an RPU at its end.
    """
    if codec == "av1":
        return obus.with_t35(packet, [message.payload for message in messages])
    length_size = nal.length_size(codec, header)
    units = nal.split(packet, length_size)
    first = next((at for at, unit in enumerate(units) if nal.is_slice(unit, codec)), len(units))
    like = units[first] if first < len(units) else b"\0\1"
    ahead = [
        nal.sei(_SEI_TYPES[message.kind], message.payload, codec, like)
        for message in messages
        if message.kind in _SEI_TYPES
    ]
    behind = [message.payload for message in messages if message.kind is MessageKind.DOLBY_VISION]
    return nal.join([*units[:first], *ahead, *units[first:], *behind], length_size)


class SourceMessages:
    """The messages of a source's video stream, by time. Passive; reads ahead only as far as it must."""

    def __init__(self, packets: "Iterator[Packet[VideoStream]]", stream: VideoStream) -> None:
        """Take packets when they are needed.

        Args:
            packets: The video's, in decoding order.
            stream: The video.
        """
        self._codec = stream.codec_context.codec.canonical_name
        # Of other codecs nothing would be found, and the whole file be read for it.
        self._packets = packets if self._codec in _SOURCES else iter(())
        self._header = stream.codec_context.extradata
        self._waiting: dict[int, list[Message]] = {}
        self._read_up_to: int | None = None
        self.untimed = 0
        """Messages so far of pictures whose packet does not say when they are shown: they cannot be placed."""

    def take(self, pts: int) -> list[Message]:
        """The messages of the picture shown at a time, once.

        Args:
            pts: In the stream's time base. Calls come in the order in which pictures are decoded.

        Raises:
            av.FFmpegError: Reading failed.
        """
        # A packet is never decoded after it is shown, so beyond this none can follow for that time.
        while pts not in self._waiting and (self._read_up_to is None or self._read_up_to <= pts):
            packet = next(self._packets, None)
            if packet is None:
                break
            if not packet.size:
                continue
            found = messages_in(bytes(packet), self._codec, self._header)
            if packet.pts is None:
                self.untimed += len(found)
            else:
                self._waiting.setdefault(packet.pts, []).extend(found)
                while len(self._waiting) > _MOST_WAITING:  # nobody asks for pictures that are not shown
                    del self._waiting[next(iter(self._waiting))]
            if packet.dts is not None:
                self._read_up_to = packet.dts
        return self._waiting.pop(pts, [])
