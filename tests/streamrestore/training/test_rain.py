"""Synthetic rain: what it looks like in numbers, and that a seed decides it."""

import math

import pytest
import torch

from streamrestore.training.rain import HEAVY, LIGHT, Layer, RainStyle, add_mist, add_rain, rain, rain_clip, random_rain


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer(*, tilt_degrees: float, flat: bool = False) -> Layer:
    values = (30.0, 0.8, math.radians(tilt_degrees), flat, 0.5, 0.5, 0.02)
    return Layer(*(torch.tensor([value]) for value in values))


@pytest.mark.parametrize("flat", [True, False])
def test_a_streak_points_where_its_tilt_says(flat: bool) -> None:
    """The axis of largest variance of a streak's brightness is its direction."""
    streak = layer(tilt_degrees=25, flat=flat).streaks((65, 97))[0]
    assert streak.max().item() == pytest.approx(1.0, abs=1e-6)
    y, x = torch.meshgrid(torch.fft.fftfreq(65) * 65, torch.fft.fftfreq(97) * 97, indexing="ij")
    weight = streak / streak.sum()
    covariance = torch.tensor(
        [[(weight * y * y).sum(), (weight * y * x).sum()], [(weight * y * x).sum(), (weight * x * x).sum()]]
    )
    direction = torch.linalg.eigh(covariance)[1][:, -1]
    turned = math.atan2(direction[1].item(), direction[0].item()) % math.pi
    assert abs(turned - math.radians(25)) < math.radians(2)


def test_the_same_seed_gives_the_same_rain() -> None:
    clean = torch.rand(4, 3, 32, 40, generator=generator())
    first, same, other = (random_rain(clean, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_heavy_rain_covers_more_than_light_rain() -> None:
    """Rain100L adds about 0.02 to 0.04 of brightness on average, Rain100H about 0.1 to 0.25."""
    light, heavy = (rain([style] * 40, (96, 96), generator()).mean((1, 2)) for style in (LIGHT, HEAVY))
    assert 0.01 < light.mean() < 0.06
    assert 0.1 < heavy.mean() < 0.3
    assert light.std() > 0.005  # each picture has rain of its own
    assert heavy.std() > 0.03


def test_rain_only_brightens_and_stays_in_range() -> None:
    clean = torch.rand(2, 3, 64, 64, generator=generator())
    amount = rain([HEAVY, LIGHT], (64, 64), generator(1))
    added, screened = (add_rain(clean, amount, screen=screen) for screen in (False, True))
    for rainy in (added, screened):
        assert (rainy >= clean - 1e-6).all()
        assert rainy.max() <= 1
    assert (screened <= added + 1e-6).all()
    mixed = add_rain(clean, amount, screen=torch.tensor([True, False]))
    assert torch.equal(mixed, torch.stack([screened[0], added[1]]))


def test_mist_takes_contrast_and_no_more_than_it_should() -> None:
    clean = torch.rand(2, 3, 32, 32, generator=generator())
    none, some = add_mist(clean, torch.tensor([0.0, 0.3]), generator())
    assert torch.equal(none, clean[0])
    assert 0.7 * clean[1].std() < some.std() < clean[1].std()


def test_some_crops_stay_clean() -> None:
    clean = torch.full((300, 3, 32, 32), 128 / 255)
    kept = (random_rain(clean, generator(5)) == clean).all(3).all(2).all(1)
    assert 5 <= kept.sum() <= 40


def test_drops_fall_from_frame_to_frame() -> None:
    """Each frame shows the rain of the frame before, moved down by its layers' ways."""
    style = RainStyle((1, 1), (20, 20), (0.6, 0.6), (0.5, 0.5), 0.5, (0.02, 0.02), 0, flat=False)
    clip = rain_clip(torch.zeros(3, 3, 200, 160), style, generator(2))
    moved = []
    for before, after in zip(clip[:-1, 0], clip[1:, 0], strict=True):
        spectrum = torch.fft.fft2(after) * torch.fft.fft2(before).conj()
        peak = int(torch.fft.ifft2(spectrum).real.argmax())
        moved.append((peak // 160, (peak % 160 + 80) % 160 - 80))
    for down, right in moved:
        assert math.hypot(down, right) == pytest.approx(40, abs=1.5)  # two streaks: the shutter is open half the time
        assert abs(math.degrees(math.atan2(right, down))) <= 41
