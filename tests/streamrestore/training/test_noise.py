"""Synthetic noise: its statistics against theory, and that a seed decides it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamrestore.training.compression import Compression
from streamrestore.training.noise import (
    CLEAN_SHARE,
    COMPRESSED_SHARES,
    GAUSSIAN_SHARE,
    MAX_SIGMA,
    Noise,
    Sensor,
    add_noise,
    demosaic,
    draw_noise,
    draw_sensor,
    gaussian_noise,
    noise_clip,
    random_noise,
    sensor_noise,
)


def generator(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def grey(count: int, level: float = 0.5, size: int = 64) -> Tensor:
    return torch.full((count, 3, size, size), level)


def photo(count: int, height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    """Smooth colours between black and white, in 8 bits."""
    coarse = torch.rand(count, 3, 5, 5, generator=generator(seed))
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)
    return (image * 255).round() / 255


def plain_sensor(count: int, shot: float = 0.0, read: float = 0.0) -> Sensor:
    """A camera that sees the display's own colours, every one in every pixel."""
    return Sensor(
        shot=torch.full((count,), shot),
        read=torch.full((count,), read),
        gains=torch.ones(count, 3),
        mixing=torch.eye(3).repeat(count, 1, 1),
        contrast=torch.zeros(count, dtype=torch.bool),
        demosaiced=torch.zeros(count, dtype=torch.bool),
        corner=torch.zeros(count, 2, dtype=torch.int64),
        smoothing=torch.zeros(count, 2),
    )


def only_gaussian(sigma: Tensor) -> Noise:
    no = torch.zeros(len(sigma), dtype=torch.bool)
    return Noise(sigma, no, plain_sensor(len(sigma)), no, Compression(torch.zeros(len(sigma)), no))


def linear(srgb: Tensor) -> Tensor:
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def neighbours(noise: Tensor, distance: int = 1) -> float:
    """Correlation of values with those ``distance`` pixels to the right."""
    left, right = noise[..., :-distance].flatten(), noise[..., distance:].flatten()
    return torch.corrcoef(torch.stack((left, right)))[0, 1].item()


def is_8_bit(image: Tensor) -> bool:
    return bool(image.min() >= 0 and image.max() <= 1 and torch.equal((image * 255).round() / 255, image))


def test_gaussian_noise_has_the_sigma_of_each_picture() -> None:
    sigma = torch.tensor([0.0, 5.0, 25.0, 50.0]) / 255
    noise = gaussian_noise(grey(4), sigma, generator()) - 0.5
    assert noise.std(dim=(1, 2, 3)).tolist() == pytest.approx(sigma.tolist(), rel=0.03)
    assert noise.mean(dim=(1, 2, 3)).abs().max() < 0.01
    assert abs(neighbours(noise[2])) < 0.03


def test_rounding_and_clipping_leave_the_usual_sigma() -> None:
    """Mid grey is 5 sigma away from black and white, so sigma 25 must stay what it is."""
    noisy = add_noise(grey(1), only_gaussian(torch.tensor([25 / 255])), generator())
    assert is_8_bit(noisy)
    assert (noisy - 0.5).std().item() * 255 == pytest.approx(25, rel=0.03)


def test_black_stays_in_range() -> None:
    noisy = add_noise(grey(1, level=0.0), only_gaussian(torch.tensor([25 / 255])), generator())
    assert is_8_bit(noisy)
    assert (noisy == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


@settings(max_examples=25, deadline=None)
@given(level=st.floats(0.4, 0.8), shot=st.floats(1e-4, 3e-3), read=st.floats(1e-7, 1e-4), seed=st.integers(0, 99))
def test_shot_noise_grows_with_the_light(level: float, shot: float, read: float, seed: int) -> None:
    """In linear light the variance is shot * signal + read, at every brightness."""
    clean = grey(1, level)
    noisy = sensor_noise(clean, plain_sensor(1, shot, read), generator(seed))
    expected = shot * linear(clean).mean().item() + read
    assert (linear(noisy) - linear(clean)).var().item() == pytest.approx(expected, rel=0.1)


def test_white_balance_and_colour_matrix_carry_the_noise_along() -> None:
    """A covariance of s^2 I becomes M s^2 M^T, with M the colour matrix times the gains."""
    read, gains = 1e-5, torch.tensor([2.0, 1.0, 1.5])
    mixing = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.05, 0.25, 0.7]])
    sensor = plain_sensor(1, read=read)._replace(gains=gains[None], mixing=mixing[None])
    clean = grey(1, size=128)
    noise = (linear(sensor_noise(clean, sensor, generator())) - linear(clean))[0].flatten(1)
    matrix = torch.linalg.inv(mixing) * gains
    torch.testing.assert_close(torch.cov(noise) / read, matrix @ matrix.T, rtol=0.05, atol=0.1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_camera_without_noise_gives_the_picture_back(seed: int) -> None:
    """Whatever its colours, curve, pattern and smoothing: nothing but noise may be learnt."""
    sensor = draw_sensor(4, generator(seed))._replace(shot=torch.zeros(4), read=torch.zeros(4))
    clean = photo(4, 24, 30, seed)
    assert (sensor_noise(clean, sensor, generator()) - clean).abs().max() < 0.1 / 255


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("column", [0, 1])
def test_demosaicing_keeps_the_pixels_own_colour_and_flat_colours(row: int, column: int) -> None:
    corner = torch.tensor([[row, column]])
    flat = torch.tensor([0.2, 0.5, 0.8])[None, :, None, None].expand(1, 3, 6, 7)
    torch.testing.assert_close(demosaic(flat, corner), flat)
    image = photo(1, 6, 7)
    out = demosaic(image, corner)
    torch.testing.assert_close(out[:, 0, row::2, column::2], image[:, 0, row::2, column::2])
    torch.testing.assert_close(out[:, 1, row::2, 1 - column :: 2], image[:, 1, row::2, 1 - column :: 2])
    torch.testing.assert_close(out[:, 2, 1 - row :: 2, 1 - column :: 2], image[:, 2, 1 - row :: 2, 1 - column :: 2])


def test_demosaiced_noise_is_correlated_and_raw_noise_is_not() -> None:
    sensor = plain_sensor(2, shot=1e-3)._replace(demosaiced=torch.tensor([False, True]))
    noise = sensor_noise(grey(2), sensor, generator()) - 0.5
    assert abs(neighbours(noise[0])) < 0.03
    assert neighbours(noise[1]) > 0.3


def test_smoothed_colour_noise_is_blotchy() -> None:
    """Chroma smoothed over 2 px stays correlated over 3 px; luma that was not smoothed does not."""
    sensor = plain_sensor(1, shot=1e-3)._replace(smoothing=torch.tensor([[0.0, 2.0]]))
    noise = sensor_noise(grey(1), sensor, generator()) - 0.5
    luma = noise.mean(dim=1, keepdim=True)
    assert abs(neighbours(luma, 3)) < 0.05
    assert neighbours(noise - luma, 3) > 0.4


def test_the_same_seed_gives_the_same_noise(device: str) -> None:
    clean = photo(12).to(device)
    first, second, other = (random_noise(clean, generator(seed, device)) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.device == clean.device


def test_the_global_seed_is_neither_used_nor_moved() -> None:
    state = torch.random.get_rng_state()
    random_noise(photo(8), generator())
    assert torch.equal(torch.random.get_rng_state(), state)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(0, 6), height=st.integers(2, 40), width=st.integers(2, 40), seed=st.integers(0, 10_000))
def test_noisy_pictures_are_pictures(count: int, height: int, width: int, seed: int) -> None:
    clean = torch.rand(count, 3, height, width, generator=generator(seed))
    noisy = random_noise(clean, generator(seed))
    assert noisy.shape == clean.shape
    assert noisy.dtype == clean.dtype
    assert count == 0 or is_8_bit(noisy)


def test_pictures_of_a_batch_have_their_own_noise() -> None:
    spread = (random_noise(grey(32), generator()) - 0.5).std(dim=(1, 2, 3))
    assert len(set(spread.tolist())) >= 28  # some stay clean
    assert spread.min() < 0.01
    assert spread.max() > 0.1


def test_kinds_of_noise_come_in_their_shares() -> None:
    noise = draw_noise(20_000, generator())
    clean = (noise.sigma == 0) & ~noise.sensed
    gaussian = ~clean & ~noise.sensed

    def share(which: Tensor) -> float:
        return which.float().mean().item()

    assert share(clean) == pytest.approx(CLEAN_SHARE, abs=0.01)
    assert share(gaussian) == pytest.approx(GAUSSIAN_SHARE, abs=0.015)
    for kind, expected in zip((clean, gaussian, noise.sensed), COMPRESSED_SHARES, strict=True):
        assert share(noise.compressed[kind]) == pytest.approx(expected, abs=0.05)
    assert noise.compression.strength[clean].max() < noise.compression.strength[gaussian].max() / 3
    middle = ((noise.sigma - 25 / 255).abs() < 5 / 255)[gaussian]
    strongest = (noise.sigma > MAX_SIGMA - 10 / 255)[gaussian]
    assert share(middle) > 2 * share(strongest) > 0.1
    assert noise.sigma.max() <= MAX_SIGMA


def test_clean_pictures_stay_bit_exact() -> None:
    clean = photo(200, 16, 16)
    kept = sum(torch.equal(a, b) for a, b in zip(random_noise(clean, generator()), clean, strict=True))
    expected = 200 * CLEAN_SHARE * (1 - COMPRESSED_SHARES[0])
    assert expected / 3 < kept < expected * 3


@pytest.mark.parametrize("sensed", [False, True])
def test_a_clip_has_one_camera_and_new_noise_in_every_frame(sensed: bool) -> None:
    seeds = [s for s in range(40) if is_uncompressed(draw_noise(1, generator(s)), sensed)]
    assert len(seeds) >= 3
    for seed in seeds:
        clip = grey(6, size=96)
        noise = noise_clip(clip, generator(seed)) - 0.5
        spread = noise.std(dim=(1, 2, 3))
        assert spread.max() < 1.2 * spread.min()  # smoothed noise has few independent values
        assert torch.equal(noise_clip(clip, generator(seed)) - 0.5, noise)
        frames = torch.corrcoef(noise.flatten(1)) - torch.eye(6)
        assert frames.abs().max() < 0.1


def is_uncompressed(noise: Noise, sensed: bool) -> bool:
    visible = noise.sensor.shot.item() > 1e-3 if sensed else noise.sigma.item() > 0.02
    return visible and bool(noise.sensed) == sensed and not noise.compressed


def test_clips_differ_in_strength() -> None:
    spread = {round((noise_clip(grey(1), generator(seed)) - 0.5).std().item(), 3) for seed in range(20)}
    assert len(spread) > 10
