"""Flawed pictures: what is said of them is so."""

import pytest
import torch
from torch import Tensor

from streamrestore.training.blur import MARGIN, blur_image
from streamrestore.training.flaws import NOISE_RANGE, RAIN_RANGE, random_flaws, sharpness_left
from streamrestore.training.noise import gaussian_blur
from tests.scenes import dead_leaves

SIDE = 64


def scenes(count: int) -> Tensor:
    padded = SIDE + 2 * MARGIN
    large = dead_leaves(2 * padded, 2 * padded)
    offsets = torch.randint(padded, (count, 2), generator=torch.Generator().manual_seed(0)).tolist()
    return torch.stack([large[:, top : top + padded, left : left + padded] for top, left in offsets])


def test_the_same_seed_gives_the_same_flaws() -> None:
    clean = scenes(6)
    first, same, other = (random_flaws(clean, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not torch.equal(first.pictures, other.pictures)


def test_pictures_are_like_footage() -> None:
    clean = scenes(16)
    kept = clean.clone()
    flawed = random_flaws(clean, torch.Generator().manual_seed(3))
    assert torch.equal(clean, kept)
    assert flawed.pictures.shape == (16, 3, SIDE, SIDE)
    codes = flawed.pictures * 255
    assert (codes - codes.round()).abs().max() < 1e-3
    assert 0 <= flawed.pictures.min() <= flawed.pictures.max() <= 1


def test_flaws_occur_together_and_most_answers_are_known() -> None:
    generator = torch.Generator().manual_seed(4)
    batches = [random_flaws(scenes(48), generator) for _ in range(6)]
    present, known = (torch.cat([batch[field] for batch in batches]) for field in (1, 2))
    assert not (present * (1 - known)).any()
    sure = present[known.all(1)].long()
    combinations = (sure * torch.tensor([1, 2, 4])).sum(1)
    assert set(combinations.tolist()) >= set(range(7))
    assert 0.55 < (combinations == 0).float().mean() < 0.7
    assert known.mean() > 0.8


def test_noise_that_is_told_is_there() -> None:
    """Flat pictures show what was laid over them."""
    grey = torch.full((120, 3, SIDE + 2 * MARGIN, SIDE + 2 * MARGIN), 0.5)
    flawed = random_flaws(grey, torch.Generator().manual_seed(5))
    rain, noise, _ = flawed.present.bool().T
    deviation = flawed.pictures.std((2, 3)).mean(1)
    sure = flawed.known.bool().all(1)
    assert deviation[noise & ~rain & sure].min() > 0.5 * NOISE_RANGE[1]
    assert deviation[rain & ~noise & sure].min() > 0.5 * RAIN_RANGE[1]
    # Snow, which is no flaw, falls in some of the others.
    assert deviation[~noise & ~rain & sure].median() < NOISE_RANGE[0]


def test_sharpness_is_lost_by_blur_in_any_direction() -> None:
    scene = scenes(1)
    assert sharpness_left(scene, scene).item() == pytest.approx(1)
    shaken = torch.stack([blur_image(scene[0], torch.Generator().manual_seed(seed)) for seed in range(6)])
    assert (sharpness_left(scene.expand_as(shaken), shaken) < 0.95).all()
    streaked = scene.unfold(3, 9, 1).mean(-1)
    assert sharpness_left(scene[..., 4:-4], streaked) < 0.3


def test_gaussian_blur_has_the_sigma_of_each_picture() -> None:
    point = torch.zeros(2, 1, 41, 41)
    point[..., 20, 20] = 1
    spread = gaussian_blur(point, torch.tensor([1.0, 3.0])).sum(2)[:, 0]
    position = torch.arange(41) - 20.0
    assert (spread * position**2).sum(1).sqrt().tolist() == pytest.approx([1, 3], rel=0.02)
