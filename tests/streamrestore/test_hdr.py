"""HDR10's static metadata: read from a frame, told to encoders, found again in what they write."""

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.hdr import (
    ContentLight,
    MasteringDisplay,
    ambient_message,
    parse_mastering_display,
    static_hdr_options,
    writes_static_hdr,
)
from streamrestore.messages import MessageKind
from streamrestore.probing import probe
from tests.clips import Clip, make_clip

P3_D65 = MasteringDisplay(
    red=(Fraction(34000, 50000), Fraction(16000, 50000)),
    green=(Fraction(13250, 50000), Fraction(34500, 50000)),
    blue=(Fraction(7500, 50000), Fraction(3000, 50000)),
    white=(Fraction(15635, 50000), Fraction(16450, 50000)),
    least=Fraction(50, 10000),
    greatest=Fraction(1000),
)
LIGHT = ContentLight(1000, 400)
ENCODERS = {
    "libx264": {"preset": "ultrafast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}


def written(path: Path, encoder: str, display: MasteringDisplay | None, light: ContentLight | None) -> Path:
    options = dict(ENCODERS[encoder])
    for key, value in static_hdr_options(encoder, display, light).items():
        options[key] = f"{options[key]}:{value}" if key in options else value
    clip = Clip(pts=range(0, 4004, 1001), size=(96, 128), pix_fmt="yuv420p10le", codec=encoder, options=options)
    return make_clip(path, replace(clip, colour=(1, 9, 9, 16)))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(("display", "light"), [(P3_D65, LIGHT), (P3_D65, None), (None, LIGHT)])
def test_what_encoders_are_told_comes_back(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoder: str,
    display: MasteringDisplay | None,
    light: ContentLight | None,
) -> None:
    monkeypatch.setenv("SVT_LOG", "1")
    info = probe(written(tmp_path / "hdr.mp4", encoder, display, light))
    found = info.mastering_display
    assert (found and found.sei_units()) == (display and display.sei_units())
    assert info.content_light == light


def test_hdr10_of_a_real_clip_is_kept(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")
    for name in ("sample_with_colr_mdcv_and_clli.mp4", "hdr10plus_regular.mkv"):
        source = probe(data_dir / "video" / name)
        assert source.mastering_display is not None
        assert source.content_light is not None
        for encoder in ENCODERS:
            kept = probe(written(tmp_path / f"{encoder}.mkv", encoder, source.mastering_display, source.content_light))
            assert kept.mastering_display is not None
            assert kept.mastering_display.sei_units() == source.mastering_display.sei_units()
            assert kept.content_light == source.content_light


@given(st.lists(st.integers(0, 50_000), min_size=8, max_size=8), st.integers(0, 10**5), st.integers(1, 10**8))
def test_a_display_in_sei_units_survives_the_text_of_every_encoder(points: list[int], least: int, most: int) -> None:
    x_y = [Fraction(point, 50_000) for point in points]
    red, green, blue, white = zip(x_y[::2], x_y[1::2], strict=True)
    display = MasteringDisplay(red, green, blue, white, Fraction(least, 10_000), Fraction(most, 10_000))
    assert display.sei_units() == (*points, least, most)
    text = static_hdr_options("libsvtav1", display, None)["svtav1-params"]
    numbers = [Fraction(word) for word in text.partition("=")[2].replace(")", ",").replace("(", ",").split(",")[1::3]]
    assert round(numbers[0] * 50_000) == points[2]  # green comes first


def test_numbers_that_were_not_given_are_zero() -> None:
    data = struct.pack("=22i", *([1, 0] * 8), 1, 2, 1000, 1, 0, 1)
    display = parse_mastering_display(data)
    assert [*display.red, *display.white] == [0] * 4
    assert [display.least, display.greatest] == [Fraction(1, 2), 1000]


def test_encoders_that_cannot_be_told() -> None:
    assert [writes_static_hdr(name) for name in ("libx265", "libvpx-vp9", "ffv1", "prores_ks", "hevc_nvenc")] == [
        True,
        *[False] * 4,
    ]
    assert static_hdr_options("libx265", None, None) == {}


def test_the_room_becomes_a_message(data_dir: Path) -> None:
    info = probe(data_dir / "video" / "sample_edit_list.mp4")
    assert info.ambient is not None
    assert info.ambient.kind is MessageKind.AMBIENT
    assert info.ambient.payload == bytes.fromhex("002fe9a03d134042")  # the bytes of the file's own amve box
    assert ambient_message(b"".join(n.to_bytes(4, "little") for n in (314, 1, 3127, 10000, 329, 1000))).payload == (
        (3_140_000).to_bytes(4, "big") + (15635).to_bytes(2, "big") + (16450).to_bytes(2, "big")
    )
