"""What the restored stream itself will lose, by its codec and container."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from streamrestore.encoding import EncodingRequest, plan_encoding
from streamrestore.frame import ChromaLocation
from streamrestore.limits import picture_losses
from streamrestore.probing import SourceInfo, probe
from tests.clips import INFO, make_clip


def warnings(info: SourceInfo, codec: str, suffix: str) -> str:
    losses = picture_losses(info, plan_encoding(info, EncodingRequest(codec=codec), suffix))
    return "\n".join(loss.sentence for loss in losses)


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
    assert "ffv1 in .mkv cannot say that chroma sits bottom: players assume the left" in warnings(odd, "ffv1", ".mkv")
    centre = replace(info, video=replace(info.video, chroma_location=ChromaLocation.CENTER))
    assert warnings(centre, "ffv1", ".mkv") == ""
    assert "av1 in .mp4 cannot say" in warnings(centre, "av1", ".mp4")


@pytest.mark.parametrize(("codec", "suffix"), [("ffv1", ".mkv"), ("av1", ".mkv"), ("vp9", ".webm"), ("h264", ".ts")])
def test_a_pixel_aspect_ratio_is_never_lost(codec: str, suffix: str) -> None:
    assert warnings(replace(INFO, sample_aspect_ratio=Fraction(4, 3)), codec, suffix) == ""


def test_a_rotation_is_lost_in_a_transport_stream_only() -> None:
    turned = replace(INFO, display_matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
    assert ".ts cannot hold the rotation" in warnings(turned, "h264", ".ts")
    assert warnings(turned, "h264", ".mov") == ""
    unturned = replace(INFO, display_matrix=(65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))
    assert warnings(unturned, "h264", ".ts") == ""
