"""Synthetic blur: kernels where they belong, light that adds up, and a seed that decides it all."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from streamrestore.training.blur import (
    GAMMA,
    MARGIN,
    MAX_EXTENT,
    average_views,
    blend_layers,
    blur_clip,
    blur_image,
    convolve,
    random_blur,
    stretch_highlights,
)
from streamrestore.training.motion import camera_shake, kernels

Motion = Callable[[Tensor, Generator], Tensor]


def generator(seed: int = 0, device: str = "cpu") -> Generator:
    return Generator(device).manual_seed(seed)


def pictures(count: int, size: int, seed: int = 0) -> Tensor:
    """``[count, 3, size, size]`` of noise in 8 bits, with the margin around ``size - 2 * MARGIN``."""
    return torch.randint(256, (count, 3, size, size), generator=generator(seed)) / 255


def core(padded: Tensor) -> Tensor:
    return padded[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def is_8_bits(picture: Tensor) -> bool:
    codes = picture * 255
    return bool((codes - codes.round()).abs().max() < 1e-4) and bool(picture.min() >= 0) and bool(picture.max() <= 1)


def test_a_point_of_light_shows_the_kernel() -> None:
    kernel = kernels(camera_shake(torch.tensor([5.0, 20.0, MAX_EXTENT]), generator()), MARGIN)
    points = torch.zeros(3, 3, 4 * MARGIN + 1, 4 * MARGIN + 1)
    points[..., 2 * MARGIN, 2 * MARGIN] = 1
    shown = convolve(points, kernel[:, None])[:, 0]
    assert torch.allclose(shown, kernel[:, None].expand_as(shown), atol=1e-6)


def test_a_convolution_reads_the_margin_and_invents_no_border() -> None:
    """It agrees with torch's own, which has no padding here either."""
    padded = pictures(2, 2 * MARGIN + 20)
    kernel = kernels(camera_shake(torch.full((2,), MAX_EXTENT), generator()), MARGIN)
    turned = kernel.flip(-1, -2)[:, None]
    expected = F.conv2d(padded.transpose(0, 1), turned, groups=2).transpose(0, 1)
    assert torch.allclose(convolve(padded, kernel[:, None])[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("motion", [blend_layers, average_views])
def test_moving_light_neither_adds_nor_loses_any(motion: Motion) -> None:
    """An even picture stays even up to its edges: the margin is as wide as the largest motion."""
    even = torch.full((40, 3, 2 * MARGIN + 16, 2 * MARGIN + 24), 0.7)
    moved = motion(even, generator())
    assert moved.shape == (40, 3, 16, 24)
    assert torch.allclose(moved, core(even), atol=1e-5)


@pytest.mark.parametrize("motion", [blend_layers, average_views])
def test_motion_differs_over_the_picture(motion: Motion) -> None:
    """The value of a ramp is a place, so its change is how far the light came on average."""
    side = 2 * MARGIN + 64
    ramp = torch.arange(float(side)).expand(60, 3, side, side)
    shift = (motion(ramp, generator()) - core(ramp))[:, 0]
    assert shift.abs().max() <= MAX_EXTENT / 2 + 0.01
    spread = shift.amax((1, 2)) - shift.amin((1, 2))
    assert (spread > 0.5).float().mean() > 0.2


@pytest.mark.parametrize("motion", [blend_layers, average_views])
def test_what_hardly_moves_stays_in_place(motion: Motion, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a pixel to one side would go unseen in a large blur, and ruin a small one."""
    monkeypatch.setattr("streamrestore.training.blur.MAX_EXTENT", 1.0)
    side = 2 * MARGIN + 16
    rows = torch.arange(float(side))[:, None].expand(100, 3, side, side)
    for ramp in (rows, rows.transpose(-1, -2)):
        shift = motion(ramp, generator()) - core(ramp)
        assert shift.abs().max() <= 0.51
        assert shift.mean().abs() < 0.1


def test_a_turning_camera_moves_the_corners_of_its_picture_most() -> None:
    side = 2 * MARGIN + 64
    ramp = torch.arange(float(side)).expand(200, 3, side, side)
    moved = (average_views(ramp, generator()) - core(ramp))[:, 0]
    middle = moved[:, 32:33, 32:33]
    turned = (moved - middle).abs().mean(0)
    assert turned[0, 0] > 2 * turned[16, 16] > 0


def test_a_fine_checkerboard_becomes_half_its_light_or_half_its_code() -> None:
    """Half of the light of code 0.9 is code 0.657, half of the code is 0.45; 60 % are blurred in light."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    board = ((rows + columns) % 2 * 0.9).expand(3, -1, -1)
    source = generator()
    blurred = [blur_image(board, source) for _ in range(200)]
    means = torch.stack([code.mean() for code in blurred if code.std() < 0.04])
    assert len(means) > 60
    in_light = (means - 0.9 * 0.5 ** (1 / GAMMA)).abs() < 0.003
    in_code = (means - 0.45).abs() < 0.003
    assert (in_light | in_code).all()
    assert 0.45 < in_light.float().mean() < 0.75


def test_a_clip_is_blurred_in_linear_light() -> None:
    """Light of a grey line spreads over its row and still sums to one pixel's."""
    line = torch.zeros(1, 3, 65, 65)
    line[..., 32] = 0.8
    for seed in range(5):
        row = blur_clip(line, generator(seed))[0, 0, 32]
        assert row.pow(GAMMA).sum().item() == pytest.approx(0.8**GAMMA, abs=0.02)


def test_only_clipped_white_is_stretched() -> None:
    light = torch.tensor([0.5, 0.97, 1.0])[None, None, None].repeat(2, 3, 1, 1)
    light[1, 0] = 0.3
    stretched = stretch_highlights(light, torch.full((2,), 0.98), torch.full((2,), 5.0))
    assert stretched[0, :, 0].allclose(torch.tensor([0.5, 0.97, 5.0]))
    assert torch.equal(stretched[1], light[1]), "a saturated colour is not an overexposed lamp"
    assert torch.equal(stretch_highlights(light, torch.full((2,), 0.98), torch.ones(2)), light)


def test_stretched_highlights_leave_streaks() -> None:
    """A small lamp that moves is brighter in some pictures than its own light, spread, could be."""
    lamp = torch.zeros(3, 97, 97)
    lamp[:, 47:50, 47:50] = 1
    source = generator()
    light = torch.stack([blur_image(lamp, source)[0].pow(GAMMA).sum() for _ in range(80)])
    assert (light > 1.5 * 9).float().mean() > 0.1


@pytest.mark.parametrize("value", [0.0, 77 / 255, 1.0])
def test_even_pictures_stay_as_they_are(value: float) -> None:
    even, source = torch.full((3, 40, 56), value), generator()
    for _ in range(20):
        assert torch.equal(blur_image(even, source), even)


def test_the_seed_decides_every_byte(device: str) -> None:
    clean = pictures(8, 2 * MARGIN + 32).to(device)
    image, clip = clean[0], clean[:3]
    for degrade, given in ((random_blur, clean), (blur_image, image), (blur_clip, clip)):
        first = degrade(given, generator(3, device))
        assert first.device == given.device
        assert torch.equal(first, degrade(given, generator(3, device)))
        assert not torch.equal(first, degrade(given, generator(4, device)))


def test_results_are_pictures_of_8_bits_and_the_size_promised() -> None:
    clean = pictures(40, 2 * MARGIN + 24)
    blurred = random_blur(clean, generator())
    assert blurred.shape == (40, 3, 24, 24)
    assert blurred.dtype == torch.float32
    assert is_8_bits(blurred)
    image = blur_image(clean[0, :, :40, :51], generator())
    assert image.shape == (3, 40, 51)
    assert is_8_bits(image)
    clip = blur_clip(clean[:4], generator())
    assert clip.shape == clean[:4].shape
    assert is_8_bits(clip)


def test_one_picture_of_a_batch_is_a_batch_too() -> None:
    source = generator()
    for _ in range(30):
        assert random_blur(pictures(1, 2 * MARGIN + 8), source).shape == (1, 3, 8, 8)


def test_each_picture_of_a_batch_is_blurred_in_its_own_way() -> None:
    same = pictures(1, 2 * MARGIN + 32).expand(16, -1, -1, -1)
    blurred = random_blur(same, generator())
    blurry = [picture for picture in blurred if not torch.equal(picture, core(same)[0])]
    assert len(blurry) >= 12
    assert not any(torch.equal(blurry[i], blurry[j]) for i in range(len(blurry)) for j in range(i))


def test_a_few_pictures_stay_sharp() -> None:
    """7 % do not move; of these half are untouched, and some of the others happen to get no noise."""
    clean = pictures(2000, 2 * MARGIN + 6)
    kept = (random_blur(clean, generator()) == core(clean)).all(-1).all(-1).all(-1)
    assert 0.035 < kept.float().mean() < 0.06


def test_a_picture_for_an_evaluation_is_always_blurred() -> None:
    clean, source = pictures(1, 32)[0], generator()
    assert not any(torch.equal(blur_image(clean, source), clean) for _ in range(150))


def test_small_blurs_are_common_and_large_ones_exist() -> None:
    """How far the light of a point gets, in the larger of the two directions."""
    point = torch.zeros(3, 2 * MARGIN + 1, 2 * MARGIN + 1)
    point[:, MARGIN, MARGIN] = 1
    source, reaches = generator(), []
    for _ in range(200):
        lit = (blur_image(point, source)[0] > 0).nonzero() - MARGIN
        reaches.append(lit.abs().max().item())
    reach = torch.tensor(reaches).float()
    assert reach.max() <= MAX_EXTENT / 2 + 1
    assert (reach <= 4).float().mean() > 0.25
    assert (reach >= 10).float().mean() > 0.1


def test_a_still_scene_is_blurred_otherwise_in_each_frame_and_stays_in_place() -> None:
    """The kernels' middles in time lie on the point itself, so every frame has light there."""
    still = torch.zeros(6, 3, 65, 65)
    still[..., 32, 32] = 1
    blurred = blur_clip(still, generator(1))
    assert (blurred[:, :, 32, 32] > 0).all()
    assert not any(torch.equal(blurred[t], blurred[t + 1]) for t in range(5))
