"""Where chroma sits, read from headers that encoders wrote."""

from pathlib import Path

import pytest

from streamrestore.frame import ChromaLocation
from streamrestore.probing import probe
from streamrestore.siting import matroska_chroma_location, y4m_chroma_location
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
        # It is what silence means; Matroska says it for the codec.
        left_unsaid = (encoder, location) == ("libx264", ChromaLocation.LEFT) and suffix != ".mkv"
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


@pytest.mark.parametrize("location", ["left", "center", "topleft", "top"])
def test_matroska_says_it_for_codecs_that_cannot(tmp_path: Path, location: str) -> None:
    options = {"chroma_sample_location": location}
    path = make_clip(tmp_path / "a.mkv", Clip(codec="ffv1", options=options, attachment=b"font"))
    assert probe(path).chroma_location is ChromaLocation(location)
    assert matroska_chroma_location(path.read_bytes(), 1) is None
    for damage in (b"", b"\x1a\x45\xdf\xa3", path.read_bytes()[:300], bytes(64)):
        assert matroska_chroma_location(damage, 0) is None


def test_yuv4mpeg_says_it_in_its_first_line(tmp_path: Path) -> None:
    words = {"C420jpeg": "center", "C420": "center", "C420mpeg2": "left", "C420paldv": "topleft", "Ip": "center"}
    for word, location in words.items():
        path = tmp_path / f"{word}.y4m"
        path.write_bytes(f"YUV4MPEG2 W16 H16 F25:1 {word}\nFRAME\n".encode() + bytes(384))
        assert probe(path).chroma_location is ChromaLocation(location)
    assert y4m_chroma_location(b"YUV4MPEG2 W16 H16 C420p10 XYSCSS=420P10\n") is None


def test_real_hdr_is_top_left(data_dir: Path) -> None:
    assert probe(data_dir / "video" / "hdr10plus_regular.mkv").chroma_location is ChromaLocation.TOP_LEFT
    assert probe(data_dir / "video" / "hlg10-color-test.mp4").chroma_location is None
