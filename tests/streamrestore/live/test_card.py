"""The card shows the last picture, dimmed, and says that there is no signal; in every format of pixels."""

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from streamrestore.frame import ChromaLocation, Matrix, Planes, VideoFormat
from streamrestore.live.card import BANNER_FILE, no_signal_card
from streamrestore.live.fitting import black_codes
from streamrestore.samples import pixel_format
from tests.networks import noise_planes
from tests.streamrestore.test_samples import SUPPORTED

FORMATS = sorted({pixel_format(name).name for name in SUPPORTED})


def described(
    name: str, width: int = 96, height: int = 96, *, full_range: bool = False, quarter_turns: int = 0
) -> VideoFormat:
    return VideoFormat(
        width, height, pixel_format(name), Matrix.BT709, full_range, ChromaLocation.LEFT, quarter_turns=quarter_turns
    )


def flat(video: VideoFormat, share: float) -> Planes:
    """A picture of one colour: so far on the way from the smallest to the largest code."""
    dtype = np.uint8 if video.pixels.depth == 8 else np.uint16
    code = round(share * (2**video.pixels.depth - 1))
    return cast(Planes, tuple(np.full(shape, code, dtype) for shape in video.plane_shapes()))


def words(card: Planes, video: VideoFormat) -> NDArray[np.bool_]:
    """Where the first plane is bright."""
    span = 2**video.pixels.depth - 1 if video.full_range else 219 << (video.pixels.depth - 8)
    return (card[0].astype(float) - black_codes(video)[0]) / span > 0.5


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_the_picture_is_dimmed_and_the_words_are_there(name: str, full_range: bool) -> None:
    video = described(name, full_range=full_range)
    planes = flat(video, 0.9)
    card = no_signal_card(planes, video)
    colours = len(black_codes(video))
    for plane, before, black in zip(card, planes, black_codes(video), strict=False):
        assert plane.shape == before.shape
        assert plane.dtype == before.dtype
        assert int(plane[0, 0]) == pytest.approx(black + (int(before[0, 0]) - black) / 3, abs=0.51)
    bright = words(card, video)
    assert 0.05 < bright[36:60, 20:76].mean() < 0.5
    outside = bright.copy()
    outside[36:60, 20:76] = False
    assert not outside.any()
    if video.pixels.model == "yuv":
        middle = tuple(length // 2 for length in card[1].shape)
        assert all(plane[middle] == 1 << (video.pixels.depth - 1) for plane in card[1:3])
    if video.pixels.model == "rgb":
        assert np.array_equal(card[0], card[1])
    assert len(card) == len(planes)
    for alpha, before in zip(card[colours:], planes[colours:], strict=True):
        assert np.array_equal(alpha, before)


@pytest.mark.parametrize("name", FORMATS)
def test_black_stays_black_and_the_frame_what_it_is(name: str) -> None:
    video = described(name)
    batch = noise_planes(video.plane_shapes(), 1, depth=video.pixels.depth)
    planes = cast(Planes, tuple(plane[0] for plane in batch))
    for plane, black in zip(planes, black_codes(video), strict=False):
        plane[0] = black
    kept = tuple(plane.copy() for plane in planes)
    for plane in planes:
        plane.flags.writeable = False
    card = no_signal_card(planes, video)
    assert all((plane[0] == black).all() for plane, black in zip(card, black_codes(video), strict=False))
    assert all(np.array_equal(plane, before) for plane, before in zip(planes, kept, strict=True))
    assert all(plane.max() < 2**video.pixels.depth for plane in card)


@pytest.mark.parametrize(
    "size", [(96, 96), (640, 360), (1280, 720), (3840, 2160), (853, 481), (1080, 1920), (2000, 64)]
)
def test_the_words_are_in_the_middle_at_every_size(size: tuple[int, int]) -> None:
    width, height = size
    video = described("yuv420p", width, height)
    bright = words(no_signal_card(flat(video, 0.5), video), video)
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    assert abs((rows[0] + rows[-1]) / 2 - height / 2) <= 0.02 * height + 3
    assert abs((columns[0] + columns[-1]) / 2 - width / 2) <= 0.02 * width + 3
    assert 0.45 * width < columns[-1] - columns[0] < 0.6 * width or height < width / 10
    assert len(rows) < 0.5 * height
    assert bright.sum() > 0.2 * len(rows) * len(columns)


@pytest.mark.parametrize("turns", range(4))
def test_the_words_are_upright_as_shown(turns: int) -> None:
    upright = described("gray", 320, 240)
    expected = words(no_signal_card(flat(upright, 0.5), upright), upright)
    width, height = (240, 320) if turns % 2 else (320, 240)
    stored = described("gray", width, height, quarter_turns=turns)
    assert stored.upright_size == (240, 320)
    shown = np.rot90(words(no_signal_card(flat(stored, 0.5), stored), stored), turns)
    rows, columns = np.flatnonzero(expected.any(axis=1)), np.flatnonzero(expected.any(axis=0))
    there = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    assert np.array_equal(
        shown[there[0][0] : there[0][-1] + 1, there[1][0] : there[1][-1] + 1],
        expected[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1],
    )


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (16, 16), (48, 30)])
@pytest.mark.parametrize("name", ["yuv420p", "yuv410p", "gbrp", "gray"])
def test_a_picture_too_small_for_words_is_dimmed_alone(name: str, size: tuple[int, int]) -> None:
    video = described(name, *size)
    card = no_signal_card(flat(video, 0.9), video)
    assert all((plane == plane[0, 0]).all() for plane in card)


def test_the_banner_is_small_and_grey() -> None:
    assert BANNER_FILE.stat().st_size < 20_000
    # Of a PNG, bytes 24 and 25 are its depth and its type of colour, which is 0 for grey.
    assert BANNER_FILE.read_bytes()[24:26] == bytes((8, 0))
