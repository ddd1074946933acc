"""Write a pixel aspect ratio into a finished Matroska or WebM file, as mkvpropedit does.

FFmpeg's muxer takes the ratio only from a field that PyAV cannot set, so codecs whose own headers
have no place for it (AV1, VP9, FFV1, ProRes) would lose it. The video track's description grows
into the padding that the muxer leaves after its table of contents; nothing behind it moves.
"""

import os
from fractions import Fraction
from pathlib import Path

from streamrestore.ebml import LONGEST_HEADER, TRACK, TRACKS, VIDEO, Element, joined, new_element, read_header, rebuilt
from streamrestore.errors import SinkError

_SEEK_HEAD, _INFO = 0x114D9B74, 0x1549A966
_SEEK, _SEEK_ID, _SEEK_POSITION = 0x4DBB, 0x53AB, 0x53AC
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xB0, 0xBA
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_VOID = 0xEC

_UNIT_IS_RATIO = 3
"""Display width and height are a ratio, not pixels. Matroska has it, WebM does not."""


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
        data = file.read(LONGEST_HEADER)
        start, header = read_header(data)
        known = [each.id for each in header] == [_SEEK_HEAD, _VOID, _INFO, TRACKS]
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
            + new_element(_VOID, bytes(room - 9) if room >= 9 else bytes(room - 2), 8 if room >= 9 else 1)
            + info.raw
            + described
        )
        file.flush()
        os.fsync(file.fileno())


def _described(tracks: Element, ratio: Fraction) -> bytes | None:
    """The tracks' descriptions, the first video with its ratio; None where there is no video."""
    entries = tracks.children()
    for at, entry in enumerate(entries):
        children = entry.children() if entry.id == TRACK else []
        for place, child in enumerate(children):
            if child.id == VIDEO:
                children[place] = _video(child, ratio)
                entries[at] = rebuilt(entry, joined(children))
                return rebuilt(tracks, joined(entries)).raw
    return None


def _video(video: Element, ratio: Fraction) -> Element:
    children = video.children()
    size = {child.id: int.from_bytes(child.body, "big") for child in children}
    shape = Fraction(size[_PIXEL_WIDTH], size[_PIXEL_HEIGHT]) * ratio
    # In pixels where it must be, near the picture's own: their ratio is exact, and players only look at that.
    scale = 1 if _DISPLAY_UNIT in size else max(1, round(size[_PIXEL_HEIGHT] / shape.denominator))
    display = {_DISPLAY_WIDTH: shape.numerator * scale, _DISPLAY_HEIGHT: shape.denominator * scale}
    if _DISPLAY_UNIT in size:
        display[_DISPLAY_UNIT] = _UNIT_IS_RATIO
    added = [
        new_element(key, value.to_bytes((value.bit_length() + 7) // 8, "big"), 1) for key, value in display.items()
    ]
    kept = [child.raw for child in children if child.id not in display]
    return rebuilt(video, b"".join([*kept, *added]))


def _moved(contents: Element, distance: int) -> bytes:
    """The table of contents, with what comes before the tracks' end that much nearer."""
    entries = contents.children()
    for at, entry in enumerate(entries):
        if entry.id != _SEEK:
            continue
        target, position = entry.children()
        if int.from_bytes(target.body, "big") in (_INFO, TRACKS):
            nearer = int.from_bytes(position.body, "big") - distance
            moved = rebuilt(position, nearer.to_bytes(len(position.body), "big"))
            entries[at] = rebuilt(entry, joined([target, moved]))
    return rebuilt(contents, joined(entries)).raw
