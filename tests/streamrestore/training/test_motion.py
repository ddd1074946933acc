"""Paths of motion and their kernels: where they begin, how far they go, what they weigh."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from streamrestore.training.motion import SAMPLES, camera_shake, centred, kernels, linear_motion, shake

RADIUS = 24


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def pixels() -> Tensor:
    """``[49, 49, 2]`` (y, x) of a kernel's pixels."""
    axis = torch.arange(-RADIUS, RADIUS + 1.0)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), extent=st.floats(0, 2 * RADIUS))
def test_a_kernel_is_a_distribution_around_the_mean_of_its_path(seed: int, extent: float) -> None:
    paths = camera_shake(torch.full((3,), extent), generator(seed))
    drawn = kernels(paths, RADIUS)
    assert drawn.shape == (3, 2 * RADIUS + 1, 2 * RADIUS + 1)
    assert drawn.min() >= 0
    assert torch.allclose(drawn.sum((1, 2)), torch.ones(3), atol=1e-5)
    centroids = (drawn[..., None] * pixels()).sum((1, 2))
    assert torch.allclose(centroids, paths.mean(1), atol=1e-3)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), extent=st.floats(0.5, 100))
def test_shake_goes_half_its_extent_from_the_middle_of_the_exposure(seed: int, extent: float) -> None:
    paths = camera_shake(torch.full((4,), extent), generator(seed))
    assert (paths[:, SAMPLES // 2] == 0).all()
    assert torch.allclose(paths.norm(dim=-1).amax(1), torch.full((4,), extent / 2), rtol=1e-4)


def test_the_middle_in_time_is_the_middle_of_the_kernel() -> None:
    """A camera that rests and then jumps: half of the light stays where the target is."""
    path = torch.zeros(1, SAMPLES, 2)
    path[0, SAMPLES // 2 + 1 :, 1] = 10
    drawn = kernels(path, RADIUS)[0]
    assert drawn[RADIUS, RADIUS].item() == pytest.approx(0.5, abs=0.01)
    assert drawn[RADIUS, RADIUS + 10].item() == pytest.approx(0.5, abs=0.01)


def test_each_path_is_its_own() -> None:
    paths = camera_shake(torch.full((8,), 20.0), generator())
    assert all((paths[i] - paths[j]).abs().max() > 0.1 for i in range(8) for j in range(i))


def test_some_shakes_are_nearly_straight_and_some_turn_back() -> None:
    """A straight path ends as far from its beginning as it is wide; one thrown back does not."""
    paths = camera_shake(torch.full((400,), 2.0), generator())
    spans = (paths[:, -1] - paths[:, 0]).norm(dim=-1) / 2
    assert (spans > 0.8).float().mean() > 0.25
    assert (spans < 0.5).float().mean() > 0.1


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), exposures=st.integers(1, 6))
def test_an_exposure_begins_where_the_last_one_ended(seed: int, exposures: int) -> None:
    paths = shake(2, exposures, generator(seed))
    assert paths.shape == (2, exposures, SAMPLES, 2)
    assert torch.equal(paths[:, :-1, -1], paths[:, 1:, 0])
    reach = centred(paths).norm(dim=-1).amax((1, 2))
    assert torch.allclose(reach, torch.ones(2), rtol=1e-4)


def test_horizontal_motion_of_length_10_covers_11_pixels_of_one_row() -> None:
    drawn = kernels(linear_motion(torch.tensor([10.0]), torch.tensor([0.0])), RADIUS)[0]
    row = drawn[RADIUS]
    assert row.sum().item() == pytest.approx(1, abs=1e-5)
    assert row.nonzero().flatten().tolist() == list(range(RADIUS - 5, RADIUS + 6))
    assert torch.allclose(row[RADIUS - 4 : RADIUS + 5], torch.full((9,), 0.1), atol=0.01)
    assert torch.allclose(row, row.flip(0), atol=1e-6)


@pytest.mark.parametrize("degrees", [0, 30, 90, 135])
@pytest.mark.parametrize("length", [6.0, 20.0, 40.0])
def test_linear_motion_has_its_length_and_angle(length: float, degrees: float) -> None:
    """Of a line drawn bilinearly: variance along it is L²/12 and the triangle's, across it the triangle's."""
    angle = math.radians(degrees)
    drawn = kernels(linear_motion(torch.tensor([length]), torch.tensor([angle])), RADIUS)[0]
    along = pixels() @ torch.tensor([math.sin(angle), math.cos(angle)])
    across = pixels() @ torch.tensor([math.cos(angle), -math.sin(angle)])
    assert (drawn * along.square()).sum().item() == pytest.approx(length**2 / 12, rel=0.05, abs=0.4)
    assert (drawn * across.square()).sum().item() < 0.4
    assert (drawn * along).sum().item() == pytest.approx(0, abs=1e-3)


def test_no_motion_is_one_pixel() -> None:
    drawn = kernels(linear_motion(torch.tensor([0.0]), torch.tensor([1.0])), RADIUS)[0]
    assert drawn[RADIUS, RADIUS].item() == pytest.approx(1, abs=1e-6)
