"""Check the checksums of FFV1's slices: FFmpeg's decoder hides a damaged slice and tells nobody but its log.

RFC 9043, sections 4.8 (slice footer) and 4.9.3 (slice_crc_parity).
"""

import zlib
from collections.abc import Iterator

_FOOTER_BYTES = 8
"""Of a slice with a checksum: its size in 3 bytes, a status, the checksum in 4."""

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class SliceChecksums:
    """Tells which pictures of a stream are damaged. Passive.

    That there are checksums is known from the first one that is right: chance would have it once in
    four thousand million slices. If there are none nothing can be told.
    """

    def __init__(self) -> None:
        self._there = False

    def is_damaged(self, packet: bytes) -> bool:
        """Whether a checksum in a picture is wrong, or its slices cannot be told apart.

        Args:
            packet: One picture, as it was coded. In order of the stream.
        """
        slices = list(_slices(packet))
        right = [_remainder(each) == 0 for each in slices]
        # A stretch of zeros looks like empty slices, all of them right.
        self._there = self._there or any(
            sound and len(each) > _FOOTER_BYTES for sound, each in zip(right, slices, strict=True)
        )
        return self._there and not all(right)


def _slices(packet: bytes) -> Iterator[bytes]:
    """The slices, as their footers tell their sizes, from the last one on; what is left, if they lead nowhere."""
    stop = len(packet)
    while stop > 0:
        size = int.from_bytes(packet[max(0, stop - _FOOTER_BYTES) : max(0, stop - _FOOTER_BYTES + 3)], "big")
        start = max(0, stop - size - _FOOTER_BYTES)
        yield packet[start:stop]
        stop = start


def _remainder(data: bytes) -> int:
    """CRC-32 with the most significant bit first, from 0; zlib's begins with the least, and from all ones.

    It is 0 over a slice and its checksum.
    """
    return zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
