"""Check the checksums of FFV1's slices: FFmpeg's decoder hides a damaged slice and tells nobody but its log.

RFC 9043, sections 4.8 (slice footer) and 4.9.3 (slice_crc_parity).
"""

import zlib

_FOOTER_BYTES = 8
"""Of a slice with a checksum: its size in 3 bytes, a status, the checksum in 4."""

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def has_damaged_slice(packet: bytes) -> bool:
    """Whether a checksum in a picture is wrong.

    Args:
        packet: One picture, as it was coded. If its slices have no checksums nothing can be told.
    """
    # Over a slice and its checksum the remainder is 0.
    wrong = [_remainder(each) != 0 for each in _slices(packet)]
    # All of several: drafts of version 4 begin from another value than 0.
    return any(wrong) and (len(wrong) == 1 or not all(wrong))


def _slices(packet: bytes) -> list[bytes]:
    """The slices, as their footers tell their sizes from the last one on; none if those lead nowhere."""
    found = list[bytes]()
    stop = len(packet)
    while stop >= _FOOTER_BYTES:
        size = int.from_bytes(packet[stop - _FOOTER_BYTES : stop - _FOOTER_BYTES + 3], "big")
        start = stop - size - _FOOTER_BYTES
        if start < 0:
            break
        found.append(packet[start:stop])
        stop = start
    return found if stop == 0 else []


def _remainder(data: bytes) -> int:
    """CRC-32 with the most significant bit first, from 0; zlib's begins with the least, and from all ones."""
    return zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
