"""Cut H.264's and HEVC's coded pictures into NAL units, and the messages (SEI) among them.

Pure functions of bytes, which never fail however damaged those are. ITU-T H.264 and H.265,
sections 7.3.1 and 7.3.2, annexes B and D.
"""

import re
from collections.abc import Iterator, Sequence

SEI = {"h264": 6, "hevc": 39}
"""The NAL units that hold messages ahead of a picture."""

SEI_T35 = 4
"""The message of user data registered by ITU-T T.35."""

_HEADER_BYTES = {"h264": 1, "hevc": 2}


def length_size(codec: str, header: bytes | None) -> int:
    """Bytes of the length before each NAL unit; 0 where start codes part them.

    Args:
        codec: h264 or hevc.
        header: The stream's extradata.
    """
    at = 4 if codec == "h264" else 21
    if not header or header[0] != 1 or len(header) <= at:
        return 0
    return (header[at] & 3) + 1


def split(packet: bytes, length_size: int) -> list[bytes]:
    """The NAL units of a coded picture.

    Args:
        packet: One access unit.
        length_size: As the function of this name gives it.
    """
    if not length_size:
        return [unit for part in packet.split(b"\0\0\1")[1:] if (unit := part.rstrip(b"\0"))]
    units = []
    at = 0
    while at + length_size < len(packet):
        start = at + length_size
        at = start + int.from_bytes(packet[at:start], "big")
        units.append(packet[start:at])
    return units


def join(units: Sequence[bytes], length_size: int) -> bytes:
    """A coded picture of NAL units: the inverse of `split`.

    Args:
        units: In order.
        length_size: Bytes of the length before each; 0 for start codes.
    """
    return b"".join((len(unit).to_bytes(length_size, "big") if length_size else b"\0\0\0\1") + unit for unit in units)


def unit_type(unit: bytes, codec: str) -> int | None:
    """What a NAL unit is; None if it is cut short.

    Args:
        unit: With its header.
        codec: h264 or hevc.
    """
    if len(unit) <= _HEADER_BYTES[codec]:
        return None
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def is_slice(unit: bytes, codec: str) -> bool:
    """Whether a NAL unit holds a part of the picture itself.

    Args:
        unit: With its header.
        codec: h264 or hevc.
    """
    kind = unit_type(unit, codec)
    return kind is not None and (1 <= kind <= 5 if codec == "h264" else kind < 32)


def sei_payloads(unit: bytes, codec: str) -> Iterator[tuple[int, bytes]]:
    """The messages in a NAL unit of the kind `SEI`: the type of each, and its payload.

    Args:
        unit: With its header.
        codec: h264 or hevc.
    """
    data = unescaped(unit[_HEADER_BYTES[codec] :])
    at = 0
    while at + 2 <= len(data):
        numbers = []
        for _ in ("type", "size"):
            number = 0
            while data[at : at + 1] == b"\xff":
                number, at = number + 255, at + 1
            numbers.append(number + (data[at] if at < len(data) else 0))
            at += 1
        kind, size = numbers
        if at + size > len(data):
            return
        yield kind, data[at : at + size]
        at += size


def sei(kind: int, payload: bytes, codec: str, like: bytes) -> bytes:
    """A NAL unit that holds one message.

    Args:
        kind: The message's type.
        payload: Its content.
        codec: h264 or hevc.
        like: A NAL unit of the same picture, whose layer and sublayer it belongs to.
    """
    header = bytes([SEI["h264"]]) if codec == "h264" else bytes([SEI["hevc"] << 1 | like[0] & 1, like[1]])
    return header + escaped(_number(kind) + _number(len(payload)) + payload + b"\x80")


def _number(value: int) -> bytes:
    return b"\xff" * (value // 255) + bytes([value % 255])


def unescaped(data: bytes) -> bytes:
    """Content of a NAL unit without the bytes that keep it from looking like a start code."""
    return data.replace(b"\0\0\3", b"\0\0")


def escaped(data: bytes) -> bytes:
    """The inverse of `unescaped`."""
    return re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\0\0\3", data)
