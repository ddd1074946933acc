"""Where reading can begin amid a file, and how to make sure that a seek has led there.

Containers' indexes lie or are missing, seeks land elsewhere, and after a seek some demuxers give
other times, durations or pieces of packets than before. So nothing of it is trusted: the packets
are read through once, and what comes after a seek must be what was seen then.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from streamrestore.decoding import VideoPacket, demux, open_video
from streamrestore.probing import AV_ERRORS, SourceInfo

PROOF = 2
"""Intervals between key frames that must be decoded without trouble before what follows is taken to
be what reading from the beginning gives. One is too few: what is concealed in the second is
patched with pictures of the first."""

_WARM_UP_PACKETS = 32
"""Least packets before a wanted frame. What a decoder cannot fill in shows what its buffer held before."""


@dataclass(frozen=True, slots=True)
class Landmark:
    """A key frame."""

    packets_before: int
    pts: int
    dts: int | None
    size: int
    fingerprint: int
    """Of the packets from the landmark before up to here."""


class Fingerprint:
    """Tells packets from others by time, duration and size."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, packet: VideoPacket) -> None:
        """Take in the next packet. Not its dts, which Matroska's demuxer guesses otherwise after a seek."""
        # Numbers alone: their hash is the same in every process, that of None is not.
        self.value = hash((self.value, packet.pts or 0, packet.duration or 0, packet.size, packet.is_discard))


class LandmarkFinder:
    """Finds landmarks among packets, which come in the order of the file."""

    def __init__(self) -> None:
        """Before the first packet."""
        self._found: list[Landmark] | None = []
        """None once times were seen not to tell where frames are."""
        self._fingerprint = Fingerprint()
        self._count = 0
        self._latest: int | None = None

    def add(self, packet: VideoPacket) -> None:
        """Take in the next packet."""
        if self._found is None:
            return
        if packet.pts is None or not (packet.is_discard or self._follows(packet, packet.pts, self._found)):
            self._found = None
            return
        self._fingerprint.add(packet)
        self._count += 1

    def _follows(self, packet: VideoPacket, pts: int, found: list[Landmark]) -> bool:
        """Whether a packet's time comes after those before the last key frames."""
        if packet.is_keyframe:
            if self._latest is not None and pts <= self._latest:
                return False
            found.append(Landmark(self._count, pts, packet.dts, packet.size, self._fingerprint.value))
            self._fingerprint = Fingerprint()
        elif len(found) > 1 and pts <= found[-2].pts:
            return False
        self._latest = pts if self._latest is None else max(self._latest, pts)
        return True

    def landmarks(self) -> tuple[Landmark, ...]:
        """The key frames so far, in order; none where a packet had no time, or where the times between two key frames
        overlap with those between others, so that a time does not tell where its frame is.
        """
        return tuple(self._found or ())


def find_landmarks(info: SourceInfo) -> tuple[Landmark, ...]:
    """Read through a source's packets.

    Returns:
        As of `LandmarkFinder.landmarks`.

    Raises:
        SourceError: The file cannot be opened any more.
    """
    finder = LandmarkFinder()
    with open_video(info) as (container, stream), suppress(*AV_ERRORS):  # whoever reads will meet the same place
        for packet in demux(container, stream):
            finder.add(packet)
    return finder.landmarks()


def plan_start(landmarks: Sequence[Landmark], pts: int) -> int | None:
    """Where to begin reading, to be sure of all frames from some time on.

    Args:
        landmarks: Of the source.
        pts: The first time that is wanted.

    Returns:
        The index of a landmark that is followed by `PROOF` others not after ``pts``; None if only the
        beginning of the file will do.
    """
    wanted = sum(landmark.pts <= pts for landmark in landmarks) - 1
    for start in range(wanted - PROOF, 0, -1):
        if landmarks[wanted].packets_before - landmarks[start].packets_before >= _WARM_UP_PACKETS:
            return start
    return None
