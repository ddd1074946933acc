"""Synthetic rain: what it looks like in numbers, and that a seed decides it."""

import math

import pytest
import torch

from streamrestore.training.rain import HEAVY, LIGHT, add_rain, rain, random_rain, streak


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("flat", [True, False])
def test_a_streak_points_where_its_tilt_says(flat: bool) -> None:
    """The axis of largest variance of a streak's brightness is its direction."""
    tilt = math.radians(25)
    kernel = streak(65, 30, 0.8, tilt, flat=flat)
    assert kernel.max().item() == pytest.approx(1.0, abs=1e-6)
    axis = torch.fft.fftfreq(65) * 65
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    weight = kernel / kernel.sum()
    covariance = torch.tensor(
        [[(weight * y * y).sum(), (weight * y * x).sum()], [(weight * y * x).sum(), (weight * x * x).sum()]]
    )
    direction = torch.linalg.eigh(covariance)[1][:, -1]
    assert abs(math.atan2(direction[1].item(), direction[0].item()) % math.pi - tilt) < math.radians(2)


def test_the_same_seed_gives_the_same_rain() -> None:
    assert torch.equal(rain(64, LIGHT, generator(3)), rain(64, LIGHT, generator(3)))
    assert not torch.equal(rain(64, LIGHT, generator(3)), rain(64, LIGHT, generator(4)))


def test_heavy_rain_covers_more_than_light_rain() -> None:
    """Rain100L adds about 0.02 to 0.04 of brightness on average, Rain100H about 0.1 to 0.25."""
    light = torch.stack([rain(128, LIGHT, generator(seed)) for seed in range(40)]).mean().item()
    heavy = torch.stack([rain(128, HEAVY, generator(seed)) for seed in range(40)]).mean().item()
    assert 0.01 < light < 0.06
    assert 0.08 < heavy < 0.3


def test_rain_only_brightens_and_stays_in_range() -> None:
    clean = torch.rand(3, 64, 64, generator=generator())
    amount = rain(64, HEAVY, generator(1))
    for screen in (True, False):
        rainy = add_rain(clean, amount, screen=screen)
        assert (rainy >= clean - 1e-6).all()
        assert rainy.max() <= 1
    assert (add_rain(clean, amount, screen=True) <= add_rain(clean, amount, screen=False) + 1e-6).all()


def test_some_crops_stay_clean() -> None:
    clean = torch.full((3, 32, 32), 0.5)
    source = generator(5)
    kept = sum(torch.equal(random_rain(clean, source), clean) for _ in range(300))
    assert 5 <= kept <= 50
