"""What a file says of itself: its picture's marks, and what rides inside it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streamrestore import probing
from streamrestore.encoding import EncodingRequest
from streamrestore.errors import UnsupportedError
from streamrestore.frame import ChromaLocation
from streamrestore.hdr import ContentLight
from streamrestore.messages import MessageKind
from streamrestore.probing import choose_video, open_container, probe
from streamrestore.source import open_source
from tests.clips import Clip, make_clip, paint
from tests.outputs import FFV1, make


def test_a_plain_clip_has_no_marks(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "plain.mp4"))
    assert (info.chroma_location, info.mastering_display, info.content_light, info.ambient) == (None,) * 4
    assert (info.riding, info.lost_side_data, info.hdr) == ((), (), False)


def test_chroma_location_only_where_both_axes_are_halved(tmp_path: Path) -> None:
    options = {"preset": "ultrafast", "chroma_sample_location": "topleft"}
    assert probe(make_clip(tmp_path / "a.mp4", Clip(options=options))).chroma_location is ChromaLocation.TOP_LEFT
    assert probe(make_clip(tmp_path / "b.mp4", Clip(options=options, pix_fmt="yuv444p"))).chroma_location is None


def test_hdr_of_real_clips(data_dir: Path) -> None:
    av1 = probe(data_dir / "video" / "sample_with_colr_mdcv_and_clli.mp4")
    assert av1.mastering_display is not None
    assert av1.mastering_display.green == (Fraction(12250, 50000), Fraction(35150, 50000))
    assert [av1.mastering_display.least, av1.mastering_display.greatest] == [0, 1000]
    assert av1.content_light == ContentLight(1100, 180)
    assert av1.riding == ()

    hdr10_plus = probe(data_dir / "video" / "hdr10plus_regular.mkv")
    assert hdr10_plus.hdr
    assert [(riding.kind, riding.name) for riding in hdr10_plus.riding] == [(MessageKind.T35, "the HDR10+ metadata")]

    dolby = probe(data_dir / "video" / "sample_edit_list.mp4")
    assert [riding.kind for riding in dolby.riding] == [MessageKind.DOLBY_VISION, MessageKind.AMBIENT]

    hlg = probe(data_dir / "video" / "hlg10-color-test.mp4")
    assert (hlg.hdr, hlg.tags.transfer, hlg.mastering_display, hlg.riding) == (True, 18, None, ())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_aspect_is_read(tmp_path: Path, suffix: str) -> None:
    info = probe(make_clip(tmp_path / f"wide{suffix}", Clip(aspect=Fraction(16, 11))))
    assert info.sample_aspect_ratio == Fraction(16, 11)


WEBM_ALPHA = {"b": "1M", "auto-alt-ref": "0", "cpu-used": "8", "deadline": "realtime"}


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_the_alpha_of_webm_is_read(tmp_path: Path, codec: str) -> None:
    path = make_clip(tmp_path / "clip.webm", Clip(codec=codec, pix_fmt="yuva420p", options=WEBM_ALPHA))
    with open_source(path) as source:
        assert source.info.video.pixels.alpha
        assert source.info.lost_side_data == ()
        frames = list(source.frames())
    assert [len(frame.planes) for frame in frames] == [4] * 12
    painted = av.VideoFrame(64, 48, "yuva420p")
    paint(painted, 5)
    expected = np.frombuffer(bytes(painted.planes[3]), np.uint8).reshape(48, -1)[:, :64]
    assert np.abs(frames[5].planes[3].astype(int) - expected).mean() < 10
    assert make(path, FFV1).compare().mismatches == ()


def test_alpha_that_no_decoder_reads_is_said_to_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "clip.webm", Clip(codec="libvpx-vp9", pix_fmt="yuva420p", options=WEBM_ALPHA))
    monkeypatch.setattr(probing, "_ALPHA_DECODERS", {"vp9": "no such decoder"})
    made = make(path, EncodingRequest(codec="vp9", preset="8"))
    assert made.plan.warnings == (
        "the alpha channel, which no decoder here reads, cannot be written again and will be lost",
    )
    assert made.compare().mismatches == ()


def test_pictures_that_would_fill_a_machine_are_refused_before_one_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = tmp_path / "huge.y4m"
    huge.write_bytes(b"YUV4MPEG2 W16384 H8192 F25:1 C420jpeg\nFRAME\n" + bytes(1000))
    monkeypatch.setattr(probing, "_first_picture", None)
    with pytest.raises(UnsupportedError, match=r"16384x8192 pixels, 134 million: up to 67 million are restored"):
        probe(huge)
    clip = make_clip(tmp_path / "clip.mp4", Clip(size=(48, 64)))
    monkeypatch.setattr(probing, "MOST_PIXELS", 48 * 64 - 1)
    with pytest.raises(UnsupportedError, match="64x48 pixels"):
        probe(clip)


def test_a_picture_that_is_larger_than_its_container_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "clip.mkv", Clip(size=(48, 64)))
    info = probe(clip)
    with open_container(clip) as container:
        stream = choose_video(container, clip)
        picture = next(container.decode(stream))
        monkeypatch.setattr(probing, "MOST_PIXELS", 48 * 64 - 1)
        with pytest.raises(UnsupportedError, match="64x48"):
            probing.describe(info.opening, container, stream, picture)
