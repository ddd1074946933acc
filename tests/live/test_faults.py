"""Tests of what the relay does to packets."""

import random
import struct

import pytest

from tests.live.faults import SENDER_REPORT, Clocks, Faults, Track, corrupted, shifted, ticks_of, tracks_of
from tests.live.rtsp import without_sprop

SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=No Name
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0LADdoFCWhAAAADAEAAAAyjxQqoAAAAAQ==; profile-level-id=42C00D
a=control:streamid=0
m=audio 0 RTP/AVP 97
a=rtpmap:97 MPEG4-GENERIC/48000/1
a=control:streamid=1
"""
VIDEO, SOUND = Track("video", 90_000, "streamid=0"), Track("audio", 48_000, "streamid=1")


def rtp(ticks: int, payload: bytes = bytes(100)) -> bytes:
    return struct.pack(">BBHII", 0x80, 96, 7, ticks, 1) + payload


def test_tracks_of_an_sdp() -> None:
    assert tracks_of(SDP) == (VIDEO, SOUND)


def test_parameter_sets_are_hidden_and_nothing_else() -> None:
    line = "a=fmtp:96 packetization-mode=1; profile-level-id=42C00D"
    assert without_sprop(SDP.encode()).decode().splitlines()[6] == line
    hevc = b"a=fmtp:96 sprop-vps=QAE=; sprop-sps=QgE=; sprop-pps=RAE=\r\na=control:streamid=0\r\n"
    assert b"sprop" not in without_sprop(hevc)
    assert without_sprop(hevc).endswith(b"\r\na=control:streamid=0\r\n")


def test_a_clock_that_jumps_stays_ahead_in_each_tracks_own_ticks() -> None:
    clocks, faults = Clocks(), Faults(clock_seconds=-10.0)
    for number, track in enumerate((VIDEO, SOUND)):
        assert clocks.offset(number, track, faults, 12345, 0.0) == -10 * track.clock_rate


@pytest.mark.parametrize("track", [VIDEO, SOUND])
def test_a_clock_wraps_when_it_was_told_to_and_not_again(track: Track) -> None:
    clocks, faults = Clocks(), Faults(wraps_at=105.0)
    first = rtp(4_000_000)
    assert clocks.offset(0, track, faults, None, 99.0) == 0, "a sender report before it says nothing of the clock"
    offset = clocks.offset(0, track, faults, ticks_of(first), 100.0)
    for seconds in (4.0, 5.0, 6.0):
        later = rtp(4_000_000 + round(seconds * track.clock_rate))
        assert clocks.offset(0, track, faults, ticks_of(later), 100.0 + seconds) == offset
        expected = round((seconds - 5) * track.clock_rate) % 2**32
        assert ticks_of(shifted(later, False, offset, 0.0)) == expected


def test_a_sender_report_is_shifted_like_its_packets() -> None:
    report = struct.pack(">BBHIQI", 0x80, SENDER_REPORT, 6, 1, 1000 << 32, 2**32 - 1) + bytes(8)
    assert struct.unpack_from(">QI", shifted(report, True, 2, -10.0), 8) == (990 << 32, 1)
    goodbye = struct.pack(">BBHI", 0x81, 203, 1, 1)
    assert shifted(goodbye, True, 2, -10.0) == goodbye


def test_corruption_spares_headers() -> None:
    packet = rtp(1, bytes(range(50)))
    wrong = corrupted(packet, random.Random(1))
    assert len(wrong) == len(packet)
    assert wrong[:14] == packet[:14]
    assert sum(a != b for a, b in zip(wrong, packet, strict=True)) == 4
    assert corrupted(packet[:14], random.Random(1)) == packet[:14]
