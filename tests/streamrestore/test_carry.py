"""What is carried: times of packets that a container's own ticks are too coarse for, and what will be lost."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from av.packet import Packet
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.carry_planning import plan_carry
from streamrestore.encoding import EncodingRequest, plan_encoding
from streamrestore.frame import ChromaLocation
from streamrestore.packets import move
from streamrestore.probing import SourceInfo, probe
from tests.clips import make_clip

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


def warnings(info: SourceInfo, codec: str, suffix: str) -> str:
    return "\n".join(plan_carry(info, plan_encoding(info, EncodingRequest(codec=codec), suffix)).warnings)


def test_what_rides_inside_pictures_is_lost_only_with_a_codec_that_has_no_place_for_it(data_dir: Path) -> None:
    hdr10_plus = probe(data_dir / "video" / "hdr10plus_regular.mkv")
    assert warnings(hdr10_plus, "hevc", ".mkv") == ""
    assert warnings(hdr10_plus, "av1", ".mkv") == ""
    lossless = warnings(hdr10_plus, "ffv1", ".mkv")
    assert "ffv1 cannot hold the HDR10+ metadata, so players take it for plain HDR10" in lossless
    assert "take the codec h264 or hevc or av1" in lossless
    assert "ffv1 cannot write the HDR10 metadata" in lossless
    dolby = probe(data_dir / "video" / "sample_edit_list.mp4")
    assert "Dolby Vision" not in warnings(dolby, "hevc", ".mp4")
    assert "av1 cannot hold the Dolby Vision metadata, so players show its plain HDR picture" in warnings(
        dolby, "av1", ".mp4"
    )


def test_a_chroma_location_that_cannot_be_said(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4"))
    odd = replace(info, video=replace(info.video, chroma_location=ChromaLocation.BOTTOM))
    assert warnings(odd, "h264", ".mp4") == ""
    assert "ffv1 in .mkv cannot say that chroma sits bottom: players assume the left" in warnings(
        odd, "ffv1", ".mkv"
    )
    centre = replace(info, video=replace(info.video, chroma_location=ChromaLocation.CENTER))
    assert warnings(centre, "ffv1", ".mkv") == ""
    assert "av1 in .mp4 cannot say" in warnings(centre, "av1", ".mp4")
