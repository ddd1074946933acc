"""Cut AV1's coded pictures into units (OBU), for the user data registered by ITU-T T.35 among them.

Pure functions of bytes, which never fail however damaged those are. AV1 specification, sections
5.3 and 5.8.
"""

from collections.abc import Iterable, Iterator

_METADATA, _FRAME_HEADER, _FRAME = 5, 3, 6
_HAS_EXTENSION, _HAS_SIZE = 4, 2
_ITUT_T35 = 4
_END = b"\x80"
"""The bit that ends a unit's content, and the byte it takes where the content is whole bytes."""


def t35_payloads(packet: bytes) -> Iterator[bytes]:
    """The messages in a temporal unit, from their country code on.

    Args:
        packet: One temporal unit.
    """
    for unit in _units(packet):
        if _unit_type(unit) != _METADATA:
            continue
        at = _header_bytes(unit)
        if unit[0] & _HAS_SIZE:
            _, at = _read_number(unit, at)
        kind, at = _read_number(unit, at)
        if kind == _ITUT_T35:
            yield unit[at:].rstrip(b"\0")[: -len(_END)]


def with_t35(packet: bytes, payloads: Iterable[bytes]) -> bytes:
    """A temporal unit with messages ahead of its first frame.

    Args:
        packet: One temporal unit.
        payloads: From their country code on.
    """
    units = _units(packet)
    first = next((at for at, unit in enumerate(units) if _unit_type(unit) in (_FRAME_HEADER, _FRAME)), len(units))
    contents = [_number(_ITUT_T35) + payload + _END for payload in payloads]
    added = [bytes([_METADATA << 3 | _HAS_SIZE]) + _number(len(content)) + content for content in contents]
    return b"".join([*units[:first], *added, *units[first:]])


def _units(packet: bytes) -> list[bytes]:
    units = []
    at = 0
    while at < len(packet):
        start, at = at, at + _header_bytes(packet[at : at + 1])
        if packet[start] & _HAS_SIZE:
            size, at = _read_number(packet, at)
            at += size
        else:
            at = len(packet)
        units.append(packet[start:at])
    return units


def _unit_type(unit: bytes) -> int:
    return unit[0] >> 3 & 15


def _header_bytes(unit: bytes) -> int:
    return 2 if unit[0] & _HAS_EXTENSION else 1


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    """A number (leb128), and where it ends."""
    value = 0
    for shift in range(0, 56, 7):
        byte = data[at] if at < len(data) else 0
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            break
    return value, at


def _number(value: int) -> bytes:
    if value < 128:
        return bytes([value])
    return bytes([value & 127 | 128]) + _number(value >> 7)
