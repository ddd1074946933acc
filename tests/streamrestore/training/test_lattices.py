"""Lattices: on some pictures, straight and regular, and the same in a picture and in its target."""

import torch
from torch import Generator

from streamrestore.training.data import CropSampler, Degradation, Example
from streamrestore.training.lattices import PERIOD, SHARE, random_lattices

GREY = torch.full((400, 3, 64, 64), 0.5)


def laid(seed: int = 0) -> torch.Tensor:
    return random_lattices(GREY, Generator().manual_seed(seed))


def test_some_pictures_get_one_and_the_others_stay() -> None:
    changed = ((laid() - GREY).abs().amax((1, 2, 3)) > 0.05).float().mean().item()
    assert 0.6 * SHARE < changed < 1.3 * SHARE
    assert laid().amin() >= 0
    assert laid().amax() <= 1


def test_the_same_state_gives_the_same() -> None:
    assert torch.equal(laid(), laid())
    assert not torch.equal(laid(), laid(1))


def test_lines_repeat() -> None:
    """The spectrum of a lattice has its peak at the distance of its lines."""
    difference = (laid() - GREY).abs().sum(1)
    spectrum = torch.fft.fft2(difference[difference.amax((1, 2)) > 0.3]).abs()
    spectrum[:, 0, 0] = 0
    frequency = torch.fft.fftfreq(64)
    radius = (frequency[:, None] ** 2 + frequency**2).sqrt()
    near = spectrum.where((radius > 0.9 / PERIOD[1]) & (radius < 1.1 / PERIOD[0]), 0)
    assert (near.amax((1, 2)) > 0.1 * difference.sum((1, 2))[difference.amax((1, 2)) > 0.3]).float().mean() > 0.8


def test_they_belong_to_the_scene() -> None:
    """What is restored must keep them: they are in the target as in the input."""
    example = Example(torch.full((3, 80, 80), 128, dtype=torch.uint8))
    degradation = Degradation(lambda scene, _: scene, prepare=random_lattices)
    degraded, target = CropSampler([example], 64, degradation, 0, torch.device("cpu")).batch(100)
    assert torch.equal(degraded, target)
    assert (target - 128 / 255).abs().amax() > 0.3
