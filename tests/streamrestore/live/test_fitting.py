"""A camera that changes its size or format still fills the output, which changes nothing."""

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrestore.frame import ChromaLocation, Matrix, Planes, VideoFormat
from streamrestore.live.fitting import Fitter, black_codes
from streamrestore.samples import pixel_format
from tests.networks import noise_planes
from tests.streamrestore.test_samples import SUPPORTED

FORMATS = sorted({pixel_format(name).name for name in SUPPORTED})


def described(name: str, width: int, height: int, *, full_range: bool = False) -> VideoFormat:
    return VideoFormat(width, height, pixel_format(name), Matrix.BT709, full_range, ChromaLocation.LEFT)


def flat(video: VideoFormat, codes: tuple[int, ...]) -> Planes:
    dtype = np.uint8 if video.pixels.depth == 8 else np.uint16
    shapes = video.plane_shapes()
    return cast(Planes, tuple(np.full(shape, code, dtype) for shape, code in zip(shapes, codes, strict=True)))


def noisy(video: VideoFormat) -> Planes:
    batch = noise_planes(video.plane_shapes(), 1, depth=video.pixels.depth)
    return cast(Planes, tuple(plane[0] for plane in batch))


@pytest.mark.parametrize("name", FORMATS)
def test_a_flat_picture_stays_flat_between_black_bars(name: str) -> None:
    output = described(name, 96, 96)
    step = 1 << (output.pixels.depth - 8)
    codes = tuple(code * step for code in (200, 90, 170, 77))[: len(output.plane_shapes())]
    bars = (*black_codes(output), *([2**output.pixels.depth - 1] if output.pixels.alpha else ()))
    source = replace(output, width=128, height=64)
    fitted = Fitter(output).fit(flat(source, codes), source)
    assert tuple(plane.shape for plane in fitted) == output.plane_shapes()
    for plane, code, bar in zip(fitted, codes, bars, strict=True):
        height = plane.shape[0]
        assert plane.dtype == (np.uint8 if output.pixels.depth == 8 else np.uint16)
        assert (plane[: height // 4] == bar).all()
        assert (plane[height // 4 : -(height // 4)] == code).all()
        assert (plane[-(height // 4) :] == bar).all()


@pytest.mark.parametrize("name", FORMATS)
def test_samples_stay_within_their_depth(name: str) -> None:
    output = described(name, 50, 38)
    source = replace(output, width=37, height=23)
    assert all(plane.max() < 2**output.pixels.depth for plane in Fitter(output).fit(noisy(source), source))


@settings(deadline=None)
@given(
    *[st.integers(1, 70)] * 4,
    st.sampled_from(["yuv420p", "yuv410p", "yuv422p10le", "yuv440p", "gbrap", "gray16le", "ya8"]),
)
def test_every_size_fits_in_every_size(width: int, height: int, its_width: int, its_height: int, name: str) -> None:
    output = described(name, width, height)
    source = replace(output, width=its_width, height=its_height)
    fitted = Fitter(output).fit(noisy(source), source)
    assert tuple(plane.shape for plane in fitted) == output.plane_shapes()


@pytest.mark.parametrize("size", [(320, 180), (100, 300), (640, 480), (1000, 100)])
def test_what_is_round_stays_round_and_in_the_middle(size: tuple[int, int]) -> None:
    width, height = size
    output = described("yuv420p", 320, 240)
    source = replace(output, width=width, height=height)
    radius = min(size) / 3
    rows, columns = np.mgrid[:height, :width]
    disc = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2) < radius
    planes = flat(source, (16, 128, 128))
    planes[0][disc] = 235
    fitted = Fitter(output).fit(planes, source)
    bright = fitted[0] > 125
    down, across = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    assert len(down) == pytest.approx(2 * radius * min(320 / width, 240 / height), abs=3)
    assert len(across) == pytest.approx(len(down), abs=3)
    assert (down[0] + down[-1]) / 2 == pytest.approx(119.5, abs=1.5)
    assert (across[0] + across[-1]) / 2 == pytest.approx(159.5, abs=1.5)
    assert (fitted[1] == 128).all()


@pytest.mark.parametrize("size", [(66, 32), (32, 66)])
def test_light_and_colour_end_at_the_same_place(size: tuple[int, int]) -> None:
    """Also where half of what is left over is odd."""
    output = described("yuv420p", *size)
    source = described("yuv420p", 32, 32)
    luma, chroma, _ = Fitter(output).fit(flat(source, (200, 90, 170)), source)
    assert np.array_equal(np.argwhere(luma == 200)[::2][0], 2 * np.argwhere(chroma == 90)[0])
    assert (luma == 200).sum() == 4 * (chroma == 90).sum() == 32 * 32


def test_a_picture_that_fits_is_left_alone() -> None:
    output = described("yuv420p", 64, 48)
    planes = noisy(output)
    # Chroma sits elsewhere, which is not worth a copy.
    assert Fitter(output).fit(planes, replace(output, chroma_location=ChromaLocation.CENTER)) is planes


def test_other_ranges_matrices_and_depths_become_the_output_s() -> None:
    output = described("yuv420p", 64, 48)
    fitter = Fitter(output)
    full = described("yuv420p", 64, 48, full_range=True)
    assert {int(plane[20, 20]) for plane in fitter.fit(flat(full, (255, 128, 128)), full)} == {235, 128}
    ten_bits = described("yuv422p10le", 128, 96)
    assert [int(plane[20, 20]) for plane in fitter.fit(flat(ten_bits, (800, 400, 600)), ten_bits)] == [200, 100, 150]
    other = replace(output, matrix=Matrix.BT601)
    # Pure red, in BT.601 and in BT.709.
    red = [int(plane[20, 20]) for plane in fitter.fit(flat(other, (82, 90, 240)), other)]
    assert red == pytest.approx([63, 102, 240], abs=2)
    grey = described("gray", 64, 48, full_range=True)
    assert [int(plane[20, 20]) for plane in fitter.fit(flat(grey, (0,)), grey)] == [16, 128, 128]
    green = described("gbrp", 64, 48, full_range=True)
    assert [int(plane[20, 20]) for plane in fitter.fit(flat(green, (255, 0, 0)), green)] == pytest.approx(
        [173, 42, 26], abs=2
    )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("source_name", ["yuv420p", "gbrp", "gray", "yuva444p10le"])
def test_every_format_becomes_every_other(name: str, source_name: str) -> None:
    output = described(name, 64, 64)
    source = described(source_name, 128, 64, full_range=source_name in ("gbrp", "gray"))
    planes = noisy(source)
    kept = [plane.copy() for plane in planes]
    fitted = Fitter(output).fit(planes, source)
    assert tuple(plane.shape for plane in fitted) == output.plane_shapes()
    assert all(plane.max() < 2**output.pixels.depth for plane in fitted)
    assert all(np.array_equal(plane, before) for plane, before in zip(planes, kept, strict=True))


def test_one_fitter_serves_whatever_comes() -> None:
    output = described("yuv420p", 64, 48)
    fitter = Fitter(output)
    for size in [(128, 96), (32, 24), (64, 48), (48, 64), (128, 96)]:
        source = described("yuv420p", *size)
        planes = noisy(source)
        again = Fitter(output).fit(planes, source)
        assert all(np.array_equal(a, b) for a, b in zip(fitter.fit(planes, source), again, strict=True))
