"""Grids, fences, blinds and wires to train on: thin straight lines that belong to the scene.

A network that has seen rain only over landscapes takes every thin line for a streak, and removes
the fence. Photographs seldom show lattices, so some are laid over clean pictures, before any
rain falls and to stay there.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from streamrestore.training.draws import coin, uniform

SHARE = 0.15
"""Of the pictures; the others stay as they are."""

CROSSED_SHARE = 0.6
"""Of the lattices: with lines in two directions."""

PERIOD = (5.0, 24.0)
"""From line to line, in pixels."""

HALF_WIDTH = (0.2, 1.6)
"""Of a line, in pixels."""

OPACITY = (0.4, 1.0)

TINT = 0.15
"""Largest difference of a colour from grey: what is colourful is no rain anyway."""


def random_lattices(clean: Tensor, generator: Generator) -> Tensor:
    """Lay lattices over parts of some pictures.

    Args:
        clean: ``[N, 3, H, W]`` float32 RGB in [0, 1].
        generator: Where all randomness comes from; on the device of ``clean``.

    Returns:
        ``[N, 3, H, W]`` in [0, 1].
    """
    count, _, height, width = clean.shape
    chosen = coin(count, SHARE, generator)
    first = uniform((count,), 0, math.pi, generator)
    second = first + math.pi / 2 + uniform((count,), -0.3, 0.3, generator)
    lines = torch.maximum(
        _lines(first, (height, width), generator),
        _lines(second, (height, width), generator) * coin(count, CROSSED_SHARE, generator)[:, None, None],
    )
    field = torch.randn((count, 1, 3, 3), generator=generator, device=clean.device)
    where = (20 * F.interpolate(field, (height, width), mode="bicubic", align_corners=True) + 10).sigmoid()
    tint = uniform((count, 3, 1, 1), -TINT, TINT, generator)
    colour = (uniform((count, 1, 1, 1), 0, 1, generator) + tint).clamp(0, 1)
    opacity = uniform((count,), *OPACITY, generator) * chosen
    return clean + (opacity[:, None, None] * lines)[:, None] * where * (colour - clean)


def _lines(angle: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """``[N, H, W]``: how much of each pixel parallel lines at this angle, ``[N]``, cover."""
    count = len(angle)
    period, half_width, phase = (
        uniform((count, 1, 1), low, high, generator) for low, high in (PERIOD, HALF_WIDTH, (0.0, 1.0))
    )
    y = torch.arange(size[0], device=angle.device)[:, None]
    x = torch.arange(size[1], device=angle.device)
    across = x * angle.cos()[:, None, None] + y * angle.sin()[:, None, None]
    distance = ((across / period + phase) % 1 - 0.5).abs() * period
    return (half_width + 0.5 - distance).clamp(0, 1)
