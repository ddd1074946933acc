"""Which packets belong to a part of a file, at what times, and what becomes of those that cannot be read."""

import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.packet import Packet
from av.stream import Disposition
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.errors import DecodeError
from streamrestore.frame import OnError
from streamrestore.packets import ALL, PacketReader, Part, move, shown_at
from tests.clips import Clip, make_clip
from tests.failing import failing_container

LONG = Clip(pts=range(0, 60 * 1001, 1001), sound="aac")

bases = st.sampled_from([Fraction(1, 90000), Fraction(1, 1000), Fraction(24, 1000), Fraction(1152, 48000)])


@given(
    base=bases,
    ticks=st.integers(0, 10**6),
    shift=st.integers(-(10**6), 10**6),
    video=st.sampled_from([Fraction(1001, 30000), Fraction(1, 25), Fraction(1, 1000)]),
)
def test_a_shift_is_exact_whatever_the_packets_own_ticks(
    base: Fraction, ticks: int, shift: int, video: Fraction
) -> None:
    packet = Packet(b"sound")
    packet.time_base, packet.pts, packet.dts, packet.duration = base, ticks, ticks, 1
    move(packet, shift * video)
    assert packet.pts is not None
    assert packet.pts * packet.time_base == ticks * base + shift * video
    assert packet.dts == packet.pts
    assert packet.duration is not None
    assert packet.duration * packet.time_base == base or shift == 0


def read(path: Path, kind: str, part: Part = ALL) -> list[tuple[float, float, bytes]]:
    """When each packet of the streams of a kind begins and ends, in seconds, and what is in it."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [
            (
                float(shown_at(packet)),
                float(shown_at(packet) + (packet.duration or 0) * packet.time_base),
                bytes(packet),
            )
            for packet in PacketReader(str(path), container, streams, part)
        ]


def test_a_subtitle_that_is_shown_at_the_cut_is_kept_and_begins_there(tmp_path: Path) -> None:
    subtitles = [(0, 100, "over before"), (200, 900, "shown at both cuts"), (550, 100, "within"), (900, 50, "after")]
    path = make_clip(tmp_path / "clip.mkv", replace(LONG, subtitles=subtitles))
    part = Part(Fraction(1, 2), Fraction(4, 5))
    assert read(path, "subtitle", part) == [(0.5, 0.8, b"shown at both cuts"), (0.55, 0.65, b"within")]
    assert [begin for begin, _, _ in read(path, "audio", part)] == [
        begin for begin, _, _ in read(path, "audio") if 0.5 <= begin < 0.8
    ]


def display_set(number: int) -> bytes:
    """A picture of a Blu-ray subtitle: its composition, without objects, and its end."""
    composition = b"\x02\xd0\x01\xe0\x10" + number.to_bytes(2, "big") + b"\x80\0\0\0"
    return b"\x16" + len(composition).to_bytes(2, "big") + composition + b"\x80\0\0"


def test_pictures_of_subtitles_do_not_say_how_long_they_last_and_are_there_from_the_cut_on(tmp_path: Path) -> None:
    path = tmp_path / "clip.mks"
    with av.open(str(path), "w", format="matroska") as output:
        stream = output.add_mux_stream("hdmv_pgs_subtitle", time_base=Fraction(1, 1000))
        output.start_encoding()
        for number, at in enumerate((0, 200, 700, 900)):
            packet = Packet(display_set(number))
            packet.pts = packet.dts = at
            packet.time_base, packet.stream = Fraction(1, 1000), stream
            output.mux(packet)
    found = read(path, "subtitle", Part(Fraction(1, 2), Fraction(4, 5)))
    assert [(begin, data) for begin, _, data in found] == [(0.5, display_set(1)), (0.7, display_set(2))]


def test_cover_art_belongs_to_every_part(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", replace(LONG, cover=True))
    with av.open(str(path)) as container:
        covers = [stream for stream in container.streams if Disposition.attached_pic in stream.disposition]
        (cover,) = PacketReader("clip", container, covers, Part(Fraction(1), Fraction(3, 2)))
        assert shown_at(cover) == 1


def read_over(path: Path, errors: dict[int, Exception], on_error: OnError = "pass") -> tuple[int, int]:
    """How many packets and how many unreadable places are found."""
    with av.open(str(path)) as container:
        failing = failing_container(container, errors)
        reader = PacketReader("film.mkv", failing, list(container.streams), on_error=on_error)
        return len(list(reader)), reader.unreadable


def test_what_cannot_be_read_is_passed_over_and_counted(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", LONG)
    whole, _ = read_over(path, {})
    damage = av.InvalidDataError(1, "damaged")
    assert read_over(path, {4: damage, 5: damage, 9: damage}) == (whole, 2)
    assert read_over(path, {3: av.error.MemoryError(12, "a length of all memory")}) == (whole, 1)
    # Where nothing comes any more, it ends.
    found, unreadable = read_over(path, dict.fromkeys(range(20, 40), damage))
    assert (found, unreadable) == (19, 1)
    with pytest.raises(DecodeError, match=r"film\.mkv: reading stopped: damaged; .* --on-error pass"):
        read_over(path, {4: damage}, "fail")


def test_a_disk_that_fails_is_no_damage(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", LONG)
    with pytest.raises(DecodeError, match=r"film\.mkv: reading stopped: Input/output error; if the disk"):
        read_over(path, {4: OSError(5, "Input/output error")})


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".flv", ".avi"])
def test_times_rise_whatever_the_damage(tmp_path: Path, suffix: str) -> None:
    sound = "mp2" if suffix == ".avi" else "aac"
    data = make_clip(tmp_path / f"clip{suffix}", replace(LONG, sound=sound)).read_bytes()
    damaged = tmp_path / f"damaged{suffix}"
    retimed = 0
    for seed in range(40):
        chance = random.Random(seed)
        broken = bytearray(data)
        for _ in range(20):
            at = chance.randrange(len(data) // 10, len(data) - 200)
            broken[at : at + 100] = chance.randbytes(100)
        damaged.write_bytes(broken)
        with av.open(str(damaged), metadata_errors="surrogateescape") as container:
            reader = PacketReader("clip", container, list(container.streams.audio))
            last: dict[int, int] = {}
            for packet in reader:
                assert packet.dts is not None
                assert packet.dts >= last.get(packet.stream_index, packet.dts)
                last[packet.stream_index] = packet.dts
        retimed += reader.retimed
    assert retimed or suffix != ".ts"
