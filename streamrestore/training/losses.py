"""The paper's training loss: Charbonnier plus an edge term, at every stage (section 3)."""

import torch
from kornia.filters import filter2d_separable
from torch import Tensor

EDGE_WEIGHT = 0.05
"""Weight of the edge term (equation 2 of arXiv:2102.02808)."""

CHARBONNIER_EPSILON = 1e-3
"""Below this difference the loss turns from linear to quadratic (equation 3)."""

_TAPS = (0.05, 0.25, 0.4, 0.25, 0.05)


def charbonnier(a: Tensor, b: Tensor) -> Tensor:
    """Mean of ``sqrt((a - b)^2 + epsilon^2)``, a scalar (equation 3)."""
    return torch.sqrt((a - b) ** 2 + CHARBONNIER_EPSILON**2).mean()


def _blur(image: Tensor) -> Tensor:
    taps = torch.tensor([_TAPS], dtype=image.dtype, device=image.device)
    blurred: Tensor = filter2d_separable(image, taps, taps, border_type="replicate")
    return blurred


def laplacian(image: Tensor) -> Tensor:
    """What one level of a Laplacian pyramid keeps of ``[N, C, H, W]``: its edges (equation 4)."""
    kept = torch.zeros_like(image)
    kept[..., ::2, ::2] = 4 * _blur(image)[..., ::2, ::2]
    return image - _blur(kept)


def restoration_loss(stages: tuple[Tensor, ...], target: Tensor) -> Tensor:
    """The paper's loss over every stage's image (equation 2).

    Args:
        stages: Each stage's ``[N, 3, H, W]`` image, not clamped.
        target: ``[N, 3, H, W]`` clean image in [0, 1].

    Returns:
        A scalar, computed in float32.
    """
    target = target.float()
    edges = laplacian(target)
    loss = torch.zeros((), device=target.device)
    for stage in stages:
        image = stage.float()
        loss = loss + charbonnier(image, target) + EDGE_WEIGHT * charbonnier(laplacian(image), edges)
    return loss
