"""Colour against the exact matrices of H.273, in every layout, range and depth."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamrestore.color import add_residual, to_rgb
from streamrestore.frame import ChromaLocation, Matrix, PixelFormat, VideoFormat

# (K_R, K_B) as ITU-R BT.601-7, BT.709-6, BT.2020-2, FCC 73.682 and SMPTE ST 240 print them.
WEIGHTS = {
    Matrix.BT601: (Fraction(299, 1000), Fraction(114, 1000)),
    Matrix.BT709: (Fraction(2126, 10000), Fraction(722, 10000)),
    Matrix.BT2020_NCL: (Fraction(2627, 10000), Fraction(593, 10000)),
    Matrix.FCC: (Fraction(30, 100), Fraction(11, 100)),
    Matrix.SMPTE240M: (Fraction(212, 1000), Fraction(87, 1000)),
}
SHIFTS = [(0, 0), (0, 1), (1, 1), (0, 2), (1, 0)]


def yuv(
    depth: int = 8,
    shift: tuple[int, int] = (0, 0),
    matrix: Matrix = Matrix.BT709,
    *,
    full: bool = False,
    location: ChromaLocation = ChromaLocation.LEFT,
    size: tuple[int, int] = (18, 26),
) -> VideoFormat:
    return VideoFormat(size[1], size[0], PixelFormat("test", "yuv", depth, shift), matrix, full, location)


def random_planes(video: VideoFormat, seed: int = 0, frames: int = 2) -> tuple[Tensor, ...]:
    generator = np.random.default_rng(seed)
    dtype = np.uint8 if video.pixels.depth == 8 else np.uint16
    shapes = video.plane_shapes() if video.pixels.model != "rgb" else [(video.height, video.width)] * 3
    return tuple(
        torch.from_numpy(generator.integers(0, 2**video.pixels.depth, (frames, *shape)).astype(dtype))
        for shape in shapes
    )


def equal(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return all(np.array_equal(x.numpy(), y.numpy()) for x, y in zip(a, b, strict=True))


formats = st.builds(
    yuv,
    depth=st.sampled_from([8, 9, 10, 12, 16]),
    shift=st.sampled_from(SHIFTS),
    matrix=st.sampled_from(list(Matrix)),
    full=st.booleans(),
    location=st.sampled_from(list(ChromaLocation)),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)


@settings(max_examples=60, deadline=None)
@given(video=formats, seed=st.integers(0, 1000), strength=st.sampled_from([0.0, 0.5, 1.0]))
def test_no_change_gives_the_source_bit_for_bit(video: VideoFormat, seed: int, strength: float) -> None:
    planes = random_planes(video, seed)
    residual = torch.zeros(2, 3, video.height, video.width)
    assert equal(add_residual(planes, residual, video, strength=strength), planes)


@pytest.mark.parametrize("model", ["rgb", "grey"])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("depth", [8, 10, 16])
def test_rgb_and_grey_are_kept_bit_for_bit(model: str, full: bool, depth: int) -> None:
    pixels = PixelFormat("gbrp" if model == "rgb" else "gray", "rgb" if model == "rgb" else "grey", depth)
    video = VideoFormat(9, 7, pixels, Matrix.BT709, full, ChromaLocation.LEFT)
    planes = random_planes(video)
    rgb = to_rgb(planes, video)
    assert rgb.shape == (2, 3, 7, 9)
    assert equal(add_residual(planes, torch.zeros_like(rgb), video), planes)


@pytest.mark.parametrize("matrix", list(Matrix))
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("depth", [8, 10, 12])
def test_to_rgb_follows_the_exact_matrix(matrix: Matrix, full: bool, depth: int) -> None:
    k_r, k_b = WEIGHTS[matrix]
    k_g = 1 - k_r - k_b
    step = 2 ** (depth - 8)
    colours = [(r, g, b) for r in range(3) for g in range(3) for b in range(3)]
    codes, expected = [], []
    for colour in colours:
        r, g, b = (Fraction(part, 2) for part in colour)
        y = k_r * r + k_g * g + k_b * b
        cb, cr = (b - y) / (2 * (1 - k_b)), (r - y) / (2 * (1 - k_r))
        if full:
            top = 2**depth - 1
            code = (y * top, cb * top + 2 ** (depth - 1), cr * top + 2 ** (depth - 1))
        else:
            code = ((219 * y + 16) * step, (224 * cb + 128) * step, (224 * cr + 128) * step)
        codes.append([min(2**depth - 1, round(part)) for part in code])
        expected.append([float(r), float(g), float(b)])
    dtype = np.uint8 if depth == 8 else np.uint16
    planes = tuple(torch.from_numpy(np.array(codes, dtype)[:, i].reshape(1, 1, -1).copy()) for i in range(3))
    rgb = to_rgb(planes, yuv(depth, matrix=matrix, full=full, size=(1, len(colours))))
    exact = torch.tensor(expected).T.reshape(1, 3, 1, -1)
    # Each sample was rounded to a code value: at most half a code in Y, and in chroma up to its weight.
    assert (rgb - exact).abs().max() < 2.0 / (219 * step)


@settings(max_examples=60, deadline=None)
@given(video=formats, change=st.tuples(*[st.floats(-0.2, 0.2)] * 3), strength=st.sampled_from([0.25, 1.0]))
def test_a_known_change_is_right_to_half_a_code(
    video: VideoFormat, change: tuple[float, float, float], strength: float
) -> None:
    depth = video.pixels.depth
    top, step = 2**depth - 1, 2 ** (depth - 8)
    k_r, k_b = map(float, WEIGHTS[video.matrix])
    r, g, b = (part * strength for part in change)
    y = k_r * r + (1 - k_r - k_b) * g + k_b * b
    scale_y, scale_c = (top, top) if video.full_range else (219 * step, 224 * step)
    deltas = (y * scale_y, (b - y) / (2 * (1 - k_b)) * scale_c, (r - y) / (2 * (1 - k_r)) * scale_c)
    planes = random_planes(video)
    residual = torch.tensor(change).view(1, 3, 1, 1).expand(2, 3, video.height, video.width)
    changed = add_residual(planes, residual, video, strength=strength)
    for before, after, delta in zip(planes, changed, deltas, strict=True):
        exact = np.clip(before.numpy().astype(np.float64) + delta, 0, top)
        assert np.abs(after.numpy().astype(np.float64) - exact).max() <= 0.5 + 1e-6 * top


@pytest.mark.parametrize(
    ("location", "position"),
    [
        (ChromaLocation.LEFT, (0.5, 0.0)),
        (ChromaLocation.CENTER, (0.5, 0.5)),
        (ChromaLocation.TOP_LEFT, (0.0, 0.0)),
        (ChromaLocation.TOP, (0.0, 0.5)),
        (ChromaLocation.BOTTOM_LEFT, (1.0, 0.0)),
        (ChromaLocation.BOTTOM, (1.0, 0.5)),
    ],
)
def test_chroma_sits_where_its_location_says(location: ChromaLocation, position: tuple[float, float]) -> None:
    """A ramp over the picture, sampled at the chroma sites, comes back as that ramp, and its change goes back there."""
    video = yuv(16, (1, 1), full=True, location=location, size=(32, 32))
    down, right = position
    rows = (np.arange(16) * 2 + down)[:, None]
    columns = (np.arange(16) * 2 + right)[None, :]
    ramp = 32768 + 200 * (rows + 2 * columns - 48)
    grey = np.full((1, 32, 32), 32768, np.uint16)
    planes = tuple(map(torch.from_numpy, (grey, ramp[None].astype(np.uint16), grey[:, ::2, ::2].copy())))
    blue = to_rgb(planes, video)[0, 2].numpy()
    inner = slice(4, 28)
    y, x = np.mgrid[inner, inner]
    exact = 32768 / 65535 + 2 * (1 - 0.0722) * (200 * (y + 2 * x - 48) - 0.0) / 65535
    assert np.abs(blue[inner, inner] - exact).max() < 1e-4

    full_y, full_x = np.mgrid[:32, :32]
    change = torch.zeros(1, 3, 32, 32)
    change[0, 2] = torch.from_numpy((full_y + 2 * full_x - 48) / 1000)
    flat = (planes[0], planes[2], planes[2])
    cb = add_residual(flat, change, video)[1][0].numpy().astype(np.float64)
    wanted = 32768 + 65535 * 0.5 * (rows + 2 * columns - 48) / 1000
    assert np.abs(cb - wanted)[2:14, 2:14].max() <= 1.0


def test_results_stay_within_the_code_values() -> None:
    video = yuv(10, (1, 1))
    planes = random_planes(video)
    high = add_residual(planes, torch.ones(2, 3, 18, 26), video)
    assert max(int(plane.numpy().max()) for plane in high) == 1023
    low = add_residual(planes, -torch.ones(2, 3, 18, 26), video)
    assert min(int(plane.numpy().min()) for plane in low) == 0
