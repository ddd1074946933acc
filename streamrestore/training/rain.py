"""Synthetic rain: oriented streaks of many lengths, widths and brightnesses, added to clean images.

A rain layer is sparse bright points convolved with one streak, as in the data sets of Yang et
al. ("Deep Joint Rain Detection and Removal", CVPR 2017, arXiv:1609.07769): soft, thin streaks
for light rain, longer flat-profiled ones for heavy rain. The convolution is circular, so a
layer has no edges to care for, and every value comes from the generator given.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True, slots=True)
class RainStyle:
    """Ranges that one image's rain is drawn from; lengths and widths are pixels."""

    layers: tuple[int, int]
    length: tuple[float, float]
    width: tuple[float, float]
    """Standard deviation across a soft streak, or half the width of a flat one."""
    brightness: tuple[float, float]
    coverage: tuple[float, float]
    """Mean brightness that one layer adds to the image, in [0, 1]."""
    flat: bool
    """Streaks with a box profile, as in Rain100H, instead of a Gaussian one."""


LIGHT = RainStyle((1, 3), (8, 45), (0.4, 1.4), (0.15, 0.8), (0.004, 0.03), flat=False)
HEAVY = RainStyle((2, 5), (20, 90), (0.5, 1.5), (0.15, 0.5), (0.02, 0.07), flat=True)

MAX_TILT_DEGREES = 40
"""Rain falls within this angle of the vertical."""


def _uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def streak(size: int, length: float, width: float, tilt: float, *, flat: bool) -> Tensor:
    """One streak around the origin of a circular ``[size, size]`` map, its peak 1.

    Args:
        size: Side of the map, in pixels.
        length: Of the streak, in pixels.
        width: Standard deviation across it (soft), or half its width (flat), in pixels.
        tilt: Angle from the vertical, in radians.
        flat: A box profile instead of a Gaussian one.
    """
    axis = torch.fft.fftfreq(size) * size
    y, x = axis[:, None], axis[None, :]
    along = y * math.cos(tilt) + x * math.sin(tilt)
    across = x * math.cos(tilt) - y * math.sin(tilt)
    if flat:
        profile, taper = (width + 0.5 - across.abs()).clamp(0, 1), (length / 2 + 0.5 - along.abs()).clamp(0, 1)
    else:
        profile, taper = torch.exp(-0.5 * (across / width) ** 2), (1 - (2 * along / length) ** 2).clamp(min=0)
    return torch.mul(profile, taper)


def rain_layer(size: int, style: RainStyle, tilt: float, generator: Generator) -> Tensor:
    """One layer of rain: ``[size, size]`` brightness to add, at least 0."""
    length = _uniform(*style.length, generator)
    width = _uniform(*style.width, generator)
    kernel = streak(size, length, width, tilt, flat=style.flat)
    brightest = _uniform(*style.brightness, generator)
    mean = _uniform(*style.coverage, generator)
    mean_brightness = brightest * (0.9 if style.flat else 0.6)
    density = mean / (mean_brightness * kernel.sum().item())
    points = torch.rand(size, size, generator=generator) < density
    spread = 0.2 if style.flat else 0.8
    brightness = brightest * (1 - spread * torch.rand(size, size, generator=generator))
    seeds = torch.where(points, brightness, torch.zeros(()))
    layer = torch.fft.irfft2(torch.fft.rfft2(seeds) * torch.fft.rfft2(kernel), s=(size, size))
    return torch.clamp(layer, min=0)


def rain(size: int, style: RainStyle, generator: Generator) -> Tensor:
    """Rain for one image: ``[size, size]`` brightness, layers falling in nearly one direction."""
    tilt = math.radians(_uniform(-MAX_TILT_DEGREES, MAX_TILT_DEGREES, generator))
    layers = round(_uniform(*style.layers, generator))
    total = torch.zeros(size, size)
    for _ in range(layers):
        jitter = math.radians(_uniform(-4, 4, generator))
        total += rain_layer(size, style, tilt + jitter, generator)
    return total


def add_rain(clean: Tensor, amount: Tensor, *, screen: bool) -> Tensor:
    """Lay rain over an image.

    Args:
        clean: ``[3, H, W]`` float32 RGB in [0, 1].
        amount: ``[H, W]`` brightness of the rain, at least 0.
        screen: Light adds up less where the image is bright (``b + r * (1 - b)``), as glare
            does; otherwise plain addition, as in Rain100L and Rain100H.

    Returns:
        ``[3, H, W]`` in [0, 1].
    """
    light = amount * (1 - clean) if screen else amount.expand_as(clean)
    return (clean + light).clamp(0, 1)


def random_rain(clean: Tensor, generator: Generator) -> Tensor:
    """A rainy version of a square clean image: mostly light rain, some heavy, some none.

    Images without rain teach the network to leave a clean frame alone.

    Args:
        clean: ``[3, S, S]`` float32 RGB in [0, 1].
        generator: Where all randomness comes from.

    Returns:
        ``[3, S, S]`` in [0, 1], rounded to 8 bits as footage is.
    """
    size = clean.shape[-1]
    kind = _uniform(0, 1, generator)
    if kind < 0.06:
        return clean
    style = LIGHT if kind < 0.92 else HEAVY
    screen = _uniform(0, 1, generator) < 0.25
    rainy = add_rain(clean, rain(size, style, generator), screen=screen)
    return (rainy * 255).round() / 255
