"""How close a picture is to what it should be: PSNR and SSIM as the field takes them, and flicker.

Pictures are uint8 tensors of any number of channels, on any device: ``[3, H, W]`` RGB for
deblurring and denoising, ``[1, H, W]`` luma for deraining. All is computed in float64: in
float32 the variances of flat regions cancel, and SSIM is wrong from the fourth decimal on.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

HIGHEST_DB = 100.0
"""PSNR of equal pictures, and the most of any: theirs is infinite, and so would be every mean with them."""

SSIM_WINDOW = 11
"""Side of the Gaussian window in pixels; a smaller picture has no SSIM."""

STILL_CODES = 3
"""What a pixel must change by in the target, in codes of luma, to be taken for moving."""

STILL_REACH = 2
"""A pixel this near to a moving one, in pixels along each axis, is taken for moving too."""

_SIGMA = 1.5
_PEAK = 255.0


def luma(picture: Tensor) -> Tensor:
    """Y of BT.601 in studio range, rounded to 8 bits, on which deraining is measured.

    Args:
        picture: ``[3, H, W]`` uint8 RGB.

    Returns:
        ``[1, H, W]`` uint8 in [16, 235].
    """
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=picture.device) / _PEAK
    return torch.round(16 + (weights[:, None, None] * picture).sum(0, keepdim=True)).to(torch.uint8)


def psnr(picture: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, over all samples; at most `HIGHEST_DB`.

    Args:
        picture: ``[C, H, W]`` uint8.
        target: Of the same shape.
    """
    error = (picture.double() - target.double()).square().mean().item()
    return min(HIGHEST_DB, 10 * math.log10(_PEAK**2 / error)) if error else HIGHEST_DB


def ssim(picture: Tensor, target: Tensor) -> float:
    """Mean structural similarity: of each channel alone, where the whole window lies in the picture.

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
    TIP 2004, section III: Gaussian window of 11x11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03.

    Args:
        picture: ``[C, H, W]`` uint8, both sides at least `SSIM_WINDOW` pixels.
        target: Of the same shape.

    Returns:
        At most 1, which is that of equal pictures.
    """
    one, other = picture.double(), target.double()
    mean, other_mean = _weighted(one), _weighted(other)
    product = mean * other_mean
    squares = mean.square() + other_mean.square()
    # Both variances appear only in their sum.
    variances = _weighted(one.square() + other.square()) - squares
    covariance = _weighted(one * other) - product
    c1, c2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    similarity = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return similarity.mean().item()


def _weighted(samples: Tensor) -> Tensor:
    """Mean of each window under SSIM's weights: ``[C, H, W]`` to ``[C, H - 10, W - 10]``."""
    weights = [math.exp((place - SSIM_WINDOW // 2) ** 2 / (-2 * _SIGMA**2)) for place in range(SSIM_WINDOW)]
    for axis in (-2, -1):
        length = samples.shape[axis] - SSIM_WINDOW + 1
        total = torch.zeros_like(samples.narrow(axis, 0, length))
        for place, weight in enumerate(weights):
            # `unfold` and a product would copy every sample eleven times over.
            total.add_(samples.narrow(axis, place, length), alpha=weight / sum(weights))
        samples = total
    return samples


def change(before: Tensor, now: Tensor) -> Tensor:
    """How much luma changed from one frame to the next, in codes.

    Args:
        before: ``[1, H, W]`` uint8, as `luma` gives it.
        now: The frame after it.

    Returns:
        ``[1, H, W]`` float64, at least 0.
    """
    return (now.double() - before.double()).abs()


def still(changed: Tensor) -> Tensor:
    """Where nothing moved: what flickers there should not.

    Args:
        changed: ``[1, H, W]``, the `change` of the target.

    Returns:
        ``[1, H, W]`` bool: True where it is below `STILL_CODES` everywhere within `STILL_REACH`.
    """
    side = 2 * STILL_REACH + 1
    return F.max_pool2d(changed, side, stride=1, padding=STILL_REACH) < STILL_CODES
