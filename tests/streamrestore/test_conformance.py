"""What a network leaves alone comes out bit for bit; what it changes is right to half a code value.

In every pixel format that can be restored, with every matrix, range, place of chroma, turn, and
as frames or fields, through the real restorer.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, product
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import streamrestore.restorer
from streamrestore.devices import Precision
from streamrestore.frame import ChromaLocation, Chunk, Matrix, PixelFormat, Planes, VideoFormat
from streamrestore.patches import plan_patches
from streamrestore.restorer import Restorer, RestorerSettings
from streamrestore.samples import pixel_format
from tests import h273
from tests.networks import tiny_model
from tests.streamrestore.test_samples import SUPPORTED

CPU = RestorerSettings("cpu", Precision.FP32)
FORMATS = sorted({pixel_format(name) for name in SUPPORTED}, key=lambda pixels: pixels.name)

MIX = ((0.80, 0.15, 0.00), (0.05, 0.70, 0.10), (0.00, 0.20, 0.75))
OFFSET = (0.04, -0.03, 0.11)


class KnownChange(nn.Module):
    """Mixes the three channels of each pixel and adds to them: a network whose result can be computed."""

    def forward(self, images: Tensor, stages: int) -> tuple[Tensor, ...]:
        mixed = torch.einsum("ij,njhw->nihw", torch.tensor(MIX), images)
        return (mixed + torch.tensor(OFFSET).view(1, 3, 1, 1),)

    def use_local_pooling(self, crop: int | None) -> None:
        assert crop is None


def known_change(rgb: h273.Samples) -> h273.Samples:
    """The same in float64."""
    result: h273.Samples = h273.mixed(np.array(MIX), rgb) + np.array(OFFSET)[:, None, None]
    return result


@pytest.fixture(scope="module")
def identity() -> Restorer:
    return Restorer([tiny_model(scale=0)], CPU)


@pytest.fixture(scope="module")
def changer() -> Iterator[Restorer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamrestore.restorer, "build_network", lambda _: KnownChange())
        yield Restorer([tiny_model()], CPU)


def meanings(pixels: PixelFormat) -> list[VideoFormat]:
    """Every meaning that samples of a pixel format may have."""
    matrices = list(Matrix) if pixels.model == "yuv" else [Matrix.BT709]
    locations = list(ChromaLocation) if pixels.chroma_shift != (0, 0) else [ChromaLocation.LEFT]
    turns = count()
    return [
        VideoFormat(20, 16, pixels, matrix, full_range, location, quarter_turns=next(turns) % 4, fields=fields)
        for matrix, full_range, location, fields in product(matrices, (False, True), locations, (False, True))
    ]


def samples(video: VideoFormat, seed: int) -> Planes:
    """Two frames: any code value at all, illegal ones too; and the extreme ones, beside each other."""
    generator = np.random.default_rng(seed)
    depth = video.pixels.depth
    dtype = np.uint8 if depth == 8 else np.uint16
    extremes = np.array([0, 1, 2**depth - 2, 2**depth - 1, 2 ** (depth - 1), 16 << (depth - 8), 235 << (depth - 8)])
    planes = [
        np.stack([generator.integers(0, 2**depth, shape), generator.choice(extremes, shape)]).astype(dtype)
        for shape in video.plane_shapes()
    ]
    return cast(Planes, tuple(planes))


def restore(restorer: Restorer, video: VideoFormat, planes: Planes, *, patch: int = 24) -> Planes:
    plan = plan_patches(video.picture.upright_size, crop=32, batch_pixels=1, frames=2, patch=patch, margin=4)
    return restorer.restore(Chunk(video, plan, planes)).planes


@pytest.mark.parametrize("pixels", FORMATS, ids=lambda pixels: pixels.name)
def test_what_is_left_alone_comes_out_bit_for_bit(pixels: PixelFormat, identity: Restorer) -> None:
    # The network takes its time, and what it leaves alone is zero in every matrix: a few meanings, all different.
    every = meanings(pixels)
    for seed, video in enumerate(every[:: max(1, len(every) // 5)]):
        planes = samples(video, seed)
        for before, after in zip(planes, restore(identity, video, planes), strict=True):
            assert np.array_equal(before, after)
            assert before.dtype == after.dtype


@settings(max_examples=40, deadline=None)
@given(
    pixels=st.sampled_from(FORMATS),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    matrix=st.sampled_from(list(Matrix)),
    location=st.sampled_from(list(ChromaLocation)),
    full_range=st.booleans(),
    turns=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_what_is_left_alone_comes_out_at_every_size(
    identity: Restorer,
    pixels: PixelFormat,
    size: tuple[int, int],
    matrix: Matrix,
    location: ChromaLocation,
    full_range: bool,
    turns: int,
    seed: int,
) -> None:
    video = VideoFormat(*size, pixels, matrix, full_range, location, turns)
    video = replace(video, fields=video.divisible)
    planes = samples(video, seed)
    assert all(map(np.array_equal, planes, restore(identity, video, planes)))


@pytest.mark.parametrize("pixels", FORMATS, ids=lambda pixels: pixels.name)
def test_what_is_changed_is_right_to_half_a_code_value(pixels: PixelFormat, changer: Restorer) -> None:
    # Sums in float32 are good to about 2^-22 of the whole range.
    tolerance = 0.5 + 2.0 ** (pixels.depth - 22)
    for seed, video in enumerate(meanings(pixels)):
        planes = samples(video, seed)
        changed = restore(changer, video, planes)
        for frame in range(2):
            exact = h273.restored(tuple(plane[frame] for plane in planes), video, known_change)
            for after, wanted in zip(changed, exact, strict=True):
                assert np.abs(after[frame] - wanted).max() <= tolerance, video
        if pixels.alpha:
            assert np.array_equal(changed[-1], planes[-1])
        assert not np.array_equal(changed[0], planes[0])
