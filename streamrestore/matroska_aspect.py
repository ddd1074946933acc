"""Write a pixel aspect ratio into a finished Matroska or WebM file, as mkvpropedit does.

FFmpeg's muxer takes the ratio only from a field that PyAV cannot set, so codecs whose own headers
have no place for it (AV1, VP9, FFV1, ProRes) would lose it. The video track's description grows
into the padding that the muxer leaves after its table of contents; nothing behind it moves.
"""

import os
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from streamrestore.errors import SinkError

_SEGMENT, _SEEK_HEAD, _INFO, _TRACKS = 0x18538067, 0x114D9B74, 0x1549A966, 0x1654AE6B
_SEEK, _SEEK_ID, _SEEK_POSITION = 0x4DBB, 0x53AB, 0x53AC
_TRACK, _VIDEO, _PIXEL_WIDTH, _PIXEL_HEIGHT = 0xAE, 0xE0, 0xB0, 0xBA
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_VOID, _CRC = 0xEC, 0xBF

_UNIT_IS_RATIO = 3
"""Display width and height are a ratio, not pixels. Matroska has it, WebM does not."""

_LONGEST_HEADER = 1 << 22
"""Bytes up to the end of the tracks' descriptions; far more than any takes."""


@dataclass(frozen=True, slots=True)
class _Element:
    """One EBML element, as it was read."""

    id: int
    raw: bytes
    """All of it."""
    body: bytes

    def children(self) -> list["_Element"]:
        return _elements(self.body)


def write_aspect(path: Path, ratio: Fraction) -> None:
    """Give the first video track of a finished file its pixel aspect ratio, in place.

    Args:
        path: A Matroska or WebM file as FFmpeg writes it, closed.
        ratio: Width of a pixel by its height.

    Raises:
        OSError: The file cannot be read or written.
        SinkError: Its header is not as FFmpeg writes it, or has no room.
    """
    with path.open("r+b") as file:
        data = file.read(_LONGEST_HEADER)
        start, header = _header(data)
        known = [element.id for element in header] == [_SEEK_HEAD, _VOID, _INFO, _TRACKS]
        described = _described(header[-1], ratio) if known else None
        if described is None:
            raise SinkError(f"{path}: the pixel aspect ratio {ratio} cannot be written: its header is an unknown one")
        contents, padding, info, tracks = header
        room = len(padding.raw) - (len(described) - len(tracks.raw))
        if room < 2:
            raise SinkError(f"{path}: the pixel aspect ratio {ratio} cannot be written: its header has no room")
        file.seek(start)
        file.write(
            _moved(contents, len(padding.raw) - room)
            + _element(_VOID, bytes(room - 9) if room >= 9 else bytes(room - 2), 8 if room >= 9 else 1)
            + info.raw
            + described
        )
        file.flush()
        os.fsync(file.fileno())


def _header(data: bytes) -> tuple[int, list[_Element]]:
    """Where the segment's content begins, and its first elements up to the tracks."""
    at = 0
    while at < len(data):
        element_id, body, stop = _read_head(data, at)
        if element_id == _SEGMENT:
            found = list[_Element]()
            at = body
            while at < len(data) and (not found or found[-1].id != _TRACKS):
                child_id, child_body, stop = _read_head(data, at)
                found.append(_Element(child_id, data[at:stop], data[child_body:stop]))
                at = stop
            return body, found
        at = stop
    return 0, []


def _described(tracks: _Element, ratio: Fraction) -> bytes | None:
    """The tracks' descriptions, the first video with its ratio; None where there is no video."""
    entries = tracks.children()
    for at, entry in enumerate(entries):
        children = entry.children() if entry.id == _TRACK else []
        for place, child in enumerate(children):
            if child.id == _VIDEO:
                children[place] = _video(child, ratio)
                entries[at] = _rebuilt(entry, _joined(children))
                return _rebuilt(tracks, _joined(entries)).raw
    return None


def _video(video: _Element, ratio: Fraction) -> _Element:
    children = video.children()
    size = {child.id: int.from_bytes(child.body, "big") for child in children}
    shape = Fraction(size[_PIXEL_WIDTH], size[_PIXEL_HEIGHT]) * ratio
    # In pixels where it must be, near the picture's own: their ratio is exact, and players only look at that.
    scale = 1 if _DISPLAY_UNIT in size else max(1, round(size[_PIXEL_HEIGHT] / shape.denominator))
    display = {_DISPLAY_WIDTH: shape.numerator * scale, _DISPLAY_HEIGHT: shape.denominator * scale}
    if _DISPLAY_UNIT in size:
        display[_DISPLAY_UNIT] = _UNIT_IS_RATIO
    added = [_element(key, value.to_bytes((value.bit_length() + 7) // 8, "big"), 1) for key, value in display.items()]
    kept = [child.raw for child in children if child.id not in display]
    return _rebuilt(video, b"".join([*kept, *added]))


def _moved(contents: _Element, distance: int) -> bytes:
    """The table of contents, with what comes before the tracks' end that much nearer."""
    entries = contents.children()
    for at, entry in enumerate(entries):
        if entry.id != _SEEK:
            continue
        target, position = entry.children()
        if int.from_bytes(target.body, "big") in (_INFO, _TRACKS):
            nearer = int.from_bytes(position.body, "big") - distance
            moved = _rebuilt(position, nearer.to_bytes(len(position.body), "big"))
            entries[at] = _rebuilt(entry, _joined([target, moved]))
    return _rebuilt(contents, _joined(entries)).raw


# --- EBML, RFC 8794


def _elements(data: bytes) -> list[_Element]:
    found = []
    at = 0
    while at < len(data):
        element_id, body, stop = _read_head(data, at)
        found.append(_Element(element_id, data[at:stop], data[body:stop]))
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


def _element(element_id: int, body: bytes, size_bytes: int) -> bytes:
    """An element, its size in at least so many bytes."""
    while len(body) >= (1 << 7 * size_bytes) - 1:
        size_bytes += 1
    size = len(body) | 1 << 7 * size_bytes
    return element_id.to_bytes((element_id.bit_length() + 7) // 8, "big") + size.to_bytes(size_bytes, "big") + body


def _rebuilt(element: _Element, body: bytes) -> _Element:
    """The element with another body, its size written as long as before where it fits."""
    size_bytes = len(element.raw) - len(element.body) - (element.id.bit_length() + 7) // 8
    return _Element(element.id, _element(element.id, body, size_bytes), body)


def _joined(children: list[_Element]) -> bytes:
    """A body of children; a checksum, which comes first where there is one, is made anew."""
    if children[0].id != _CRC:
        return b"".join(child.raw for child in children)
    body = b"".join(child.raw for child in children[1:])
    return _element(_CRC, zlib.crc32(body).to_bytes(4, "little"), 1) + body
