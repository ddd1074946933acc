"""What the relay does wrong with one path's packets, decided without any socket."""

import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

SENDER_REPORT = 200
"""RTCP's packet type."""
HEADER_BYTES = 12
"""Of RTP."""


@dataclass(frozen=True)
class Faults:
    """What is wrong; as it comes, nothing. Times are those of `time.monotonic`."""

    stalled_until: float = 0.0
    """Packets vanish; all else goes on."""
    frozen_until: float = 0.0
    """Nothing is read or answered."""
    unanswered_until: float = 0.0
    """A connection whose first request comes before is never answered, not even later."""
    drop: float = 0.0
    """The share of media packets that vanish."""
    corrupt: float = 0.0
    """The share of media packets in which four bytes are wrong."""
    muted: tuple[int, ...] = ()
    """Tracks that are silent, counted as in the SDP."""
    clock_seconds: float = 0.0
    """How far the camera's clock, RTP's and RTCP's alike, is ahead of what it was."""
    wraps_at: float | None = None
    """When the 32 bits of each track's RTP clock run over; the clock jumps once to get there."""
    play_bytes_per_second: float | None = None
    """How fast each player is served; None is as fast as it reads."""
    publish_bytes_per_second: float | None = None
    """How fast a publisher is read; 0 is not at all."""
    session_timeout_seconds: int = 60
    """Told to clients, which must send something in time."""
    redirected_to: str | None = None
    """The path that players are sent to instead."""
    without_sprop: bool = False
    """Hide the parameter sets from players: they have to wait for those within the stream."""
    burst_seconds: float = 0.0
    """How much of the past players get first, all at once."""


@dataclass(frozen=True)
class Track:
    """A media description of an SDP."""

    kind: str
    """``video`` or ``audio``."""
    clock_rate: int
    """RTP's ticks a second."""
    control: str
    """The last part of its URL."""


@dataclass
class Clocks:
    """What a path's RTP clocks were set forward by, to run over when they should; and what was done so far."""

    offsets: dict[int, int] = field(default_factory=dict)
    """By track, in ticks."""
    wrapping_at: dict[int, float] = field(default_factory=dict)
    """By track, the last wrap that its offset was made for."""

    def offset(self, number: int, track: Track, faults: Faults, ticks: int | None, now: float) -> int:
        """What to add to a track's clock.

        Args:
            number: The track.
            track: Its description.
            faults: What should be wrong.
            ticks: What the clock shows now; None where the packet is not of that time.
            now: The time.
        """
        wraps_at = faults.wraps_at
        if wraps_at is not None and ticks is not None and self.wrapping_at.get(number) != wraps_at:
            self.wrapping_at[number] = wraps_at
            self.offsets[number] = -ticks - round((wraps_at - now) * track.clock_rate)
        return self.offsets.get(number, 0) + round(faults.clock_seconds * track.clock_rate)


def shifted(packet: bytes, rtcp: bool, ticks: int, seconds: float) -> bytes:
    """A packet whose clock shows another time.

    Args:
        packet: RTP or RTCP.
        rtcp: Which.
        ticks: Added to the RTP time.
        seconds: Added to the wall-clock time of a sender report.
    """
    if not rtcp:
        (was,) = struct.unpack_from(">I", packet, 4)
        return packet[:4] + struct.pack(">I", (was + ticks) % 2**32) + packet[8:]
    if packet[1] != SENDER_REPORT:
        return packet
    wall, was = struct.unpack_from(">QI", packet, 8)  # 32.32 bits of seconds, then RTP's time
    wall = (wall + round(seconds * 2**32)) % 2**64
    return packet[:8] + struct.pack(">QI", wall, (was + ticks) % 2**32) + packet[20:]


def corrupted(packet: bytes, chance: random.Random) -> bytes:
    """A packet with four wrong bytes behind its headers; one without so much behind them stays."""
    first = HEADER_BYTES + 2  # what kind of NAL unit, or part of one, it is: without that, it would just be dropped
    wrong = bytearray(packet)
    for place in chance.sample(range(first, len(packet)), min(4, len(packet) - first)):
        wrong[place] ^= 0xFF
    return bytes(wrong)


def ticks_of(packet: bytes) -> int:
    """The time of an RTP packet."""
    (ticks,) = struct.unpack_from(">I", packet, 4)
    return int(ticks)


def ends_picture(packet: bytes) -> bool:
    """Whether an RTP packet of a video track is a picture's last."""
    return bool(packet[1] & 0x80)


def tracks_of(sdp: str) -> tuple[Track, ...]:
    """The tracks of an SDP, in order."""
    tracks = list[Track]()
    for part in sdp.split("\nm=")[1:]:
        lines = [line.strip() for line in part.splitlines()]
        attributes: Mapping[str, str] = dict(
            line.removeprefix("a=").split(":", 1) for line in lines if line.startswith("a=") and ":" in line
        )
        rate = int(attributes.get("rtpmap", "0 any/90000").split("/")[1])
        tracks.append(Track(lines[0].split()[0], rate, attributes.get("control", "").rsplit("/", 1)[-1]))
    return tuple(tracks)
