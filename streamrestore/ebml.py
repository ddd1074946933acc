"""Read and write the elements of Matroska files: EBML, RFC 8794."""

import zlib
from dataclasses import dataclass

SEGMENT, TRACKS = 0x18538067, 0x1654AE6B
TRACK, VIDEO = 0xAE, 0xE0
_CRC = 0xBF

LONGEST_HEADER = 1 << 22
"""Bytes up to the end of the tracks' descriptions; far more than any takes."""


@dataclass(frozen=True, slots=True)
class Element:
    """One EBML element, as it was read."""

    id: int
    raw: bytes
    """All of it."""
    body: bytes

    def children(self) -> list["Element"]:
        """The elements that its body is made of."""
        return read_elements(self.body)


def read_header(data: bytes) -> tuple[int, list[Element]]:
    """Where the segment's content begins, and its first elements up to the tracks."""
    at = 0
    while at < len(data):
        element_id, body, stop = _read_head(data, at)
        if element_id == SEGMENT:
            found = list[Element]()
            at = body
            while at < len(data) and (not found or found[-1].id != TRACKS):
                child_id, child_body, stop = _read_head(data, at)
                found.append(Element(child_id, data[at:stop], data[child_body:stop]))
                at = stop
            return body, found
        at = stop
    return 0, []


def read_elements(data: bytes) -> list[Element]:
    """The elements that some bytes are made of."""
    found = []
    at = 0
    while at < len(data):
        element_id, body, stop = _read_head(data, at)
        found.append(Element(element_id, data[at:stop], data[body:stop]))
        at = stop
    return found


def _read_head(data: bytes, at: int) -> tuple[int, int, int]:
    """An element's id, where its body begins and where it ends."""
    id_bytes = _number_bytes(data, at)
    size_bytes = _number_bytes(data, at + id_bytes)
    body = at + id_bytes + size_bytes
    size = int.from_bytes(data[at + id_bytes : body], "big") & ((1 << 7 * size_bytes) - 1)
    return int.from_bytes(data[at : at + id_bytes], "big"), body, body + size


def _number_bytes(data: bytes, at: int) -> int:
    return 9 - (data[at] if at < len(data) else 0).bit_length()


def new_element(element_id: int, body: bytes, size_bytes: int) -> bytes:
    """An element, its size in at least so many bytes."""
    while len(body) >= (1 << 7 * size_bytes) - 1:
        size_bytes += 1
    size = len(body) | 1 << 7 * size_bytes
    return element_id.to_bytes((element_id.bit_length() + 7) // 8, "big") + size.to_bytes(size_bytes, "big") + body


def rebuilt(element: Element, body: bytes) -> Element:
    """The element with another body, its size written as long as before where it fits."""
    size_bytes = len(element.raw) - len(element.body) - (element.id.bit_length() + 7) // 8
    return Element(element.id, new_element(element.id, body, size_bytes), body)


def joined(children: list[Element]) -> bytes:
    """A body of children; a checksum, which comes first where there is one, is made anew."""
    if children[0].id != _CRC:
        return b"".join(child.raw for child in children)
    body = b"".join(child.raw for child in children[1:])
    return new_element(_CRC, zlib.crc32(body).to_bytes(4, "little"), 1) + body
