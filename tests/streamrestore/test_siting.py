"""Where chroma sits, read from headers that encoders wrote."""

from pathlib import Path

import pytest

from streamrestore.frame import ChromaLocation
from streamrestore.probing import probe
from tests.clips import Clip, make_clip

ENCODERS = {
    "libx264": {"preset": "ultrafast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}


def written(path: Path, encoder: str, location: str | None) -> Path:
    options = ENCODERS[encoder] | ({} if location is None else {"chroma_sample_location": str(location)})
    return make_clip(path, Clip(pts=range(0, 3003, 1001), size=(96, 128), codec=encoder, options=options))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_every_location_that_h264_and_hevc_can_name(tmp_path: Path, encoder: str, suffix: str) -> None:
    for location in ChromaLocation:
        info = probe(written(tmp_path / f"{location}{suffix}", encoder, location))
        left_unsaid = (encoder, location) == ("libx264", ChromaLocation.LEFT)  # it is what silence means
        assert info.chroma_location == (None if left_unsaid else location)
        assert info.video.chroma_location is location


def test_av1_knows_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")
    for location in (ChromaLocation.LEFT, ChromaLocation.TOP_LEFT):
        assert probe(written(tmp_path / f"{location}.webm", "libsvtav1", location)).chroma_location is location


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_is_not_said_is_left_to_the_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str) -> None:
    monkeypatch.setenv("SVT_LOG", "1")
    info = probe(written(tmp_path / "plain.mp4", encoder, None))
    assert info.chroma_location is None
    assert info.video.chroma_location is ChromaLocation.LEFT


def test_other_codecs_keep_their_own(tmp_path: Path) -> None:
    jpeg = Clip(codec="mjpeg", pix_fmt="yuvj420p", options={})
    mpeg2 = Clip(codec="mpeg2video", options={}, pts=range(0, 3), time_base=Clip().time_base * 1000)
    assert probe(make_clip(tmp_path / "a.mkv", jpeg)).video.chroma_location is ChromaLocation.CENTER
    assert probe(make_clip(tmp_path / "b.mkv", mpeg2)).video.chroma_location is ChromaLocation.LEFT


def test_real_hdr_is_top_left(data_dir: Path) -> None:
    assert probe(data_dir / "video" / "hdr10plus_regular.mkv").chroma_location is ChromaLocation.TOP_LEFT
    assert probe(data_dir / "video" / "hlg10-color-test.mp4").chroma_location is None
