"""What a path's publisher sent lately, for players that come in; and whether it began with a key frame. H.264 alone."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.live.faults import HEADER_BYTES, ends_picture

KEPT_SECONDS = 5.0
IDR = 5
"""A unit that is a slice of a key frame."""

Place = tuple[int, bool]
"""A track, and whether it is its RTCP."""


@dataclass
class _Picture:
    """Packets of all tracks, from a picture's first one to the next one's."""

    begun: float
    packets: list[tuple[Place, bytes]] = field(default_factory=list)
    key: bool = False
    whole: bool = False


class Kept:
    """Of one publisher. Passive."""

    def __init__(self) -> None:
        self._pictures: deque[_Picture] = deque()
        self.began_with_key: bool | None = None
        """None before its first picture is there as a whole."""

    def add(self, place: Place, data: bytes, *, video: bool) -> None:
        """Keep a packet.

        Args:
            place: What it is of.
            data: As players get it.
            video: Whether it is a part of a picture.
        """
        now = time.monotonic()
        if video and (not self._pictures or self._pictures[-1].whole):
            self._pictures.append(_Picture(now))
        if not self._pictures:
            return  # sound before the first picture
        picture = self._pictures[-1]
        picture.packets.append((place, data))
        if video:
            picture.key = picture.key or IDR in unit_types(data)
            picture.whole = ends_picture(data)
            if picture.whole and self.began_with_key is None:
                self.began_with_key = picture.key
        while self._pictures[0].begun < now - KEPT_SECONDS:
            self._pictures.popleft()

    def since(self, seconds: float) -> Iterator[tuple[Place, bytes]]:
        """Packets of the last so many seconds, from the first key frame in them on."""
        now, keyed = time.monotonic(), False
        for picture in self._pictures:
            keyed = keyed or (picture.key and picture.begun >= now - seconds)
            if keyed:
                yield from picture.packets


def unit_types(packet: bytes) -> list[int]:
    """The types of H.264's units that an RTP packet holds, or holds a part of."""
    payload = packet[HEADER_BYTES:] + bytes(2)
    match payload[0] & 31:
        case 24:  # several of them
            types, place = list[int](), 1
            while place + 2 < len(payload):
                types.append(payload[place + 2] & 31)
                place += 2 + int.from_bytes(payload[place : place + 2])
            return types
        case 28:  # a part of one
            return [payload[1] & 31]
        case other:
            return [other]
