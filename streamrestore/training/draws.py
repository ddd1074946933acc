"""Random values that degradations are drawn with, each from the generator given and on its device."""

import torch
from torch import Generator, Tensor


def uniform(shape: tuple[int, ...], low: float | Tensor, high: float | Tensor, generator: Generator) -> Tensor:
    """Float32 values between ``low`` and ``high``, which may be tensors that broadcast to the shape."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def coin(count: int, share: float, generator: Generator) -> Tensor:
    """``[count]`` bool, each true with a chance of ``share``."""
    return uniform((count,), 0, 1, generator) < share
