"""Pictures with edges of every direction and size, as sharp as pictures can be."""

import torch
from torch import Tensor


def dead_leaves(height: int, width: int, seed: int = 0, *, leaves: int = 1200) -> Tensor:
    """``[3, height, width]`` float32 in [0, 1]: overlapping discs that cover it, few of them large and many small."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    picture = torch.full((3, height, width), 0.4)
    for _ in range(leaves):
        y, x, size = torch.rand(3, generator=generator).tolist()
        colour = 0.1 + 0.7 * torch.rand(3, 1, generator=generator)
        radius = 4 / (0.02 + 0.98 * size) ** 0.7
        disc = (rows - y * height) ** 2 + (columns - x * width) ** 2 < radius**2
        picture[:, disc] = colour
    return (picture * 255).round() / 255
