"""Paths of motion during an exposure, and the kernels they draw.

The sharp picture that belongs to a blurred one is the one at the middle of the exposure, as in
GoPro (Nah et al., "Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring",
CVPR 2017, section 2). So the centre of a kernel is where its path is at the middle *in time*,
which is not its centroid. Sizes are pixels, coordinates (y, x).
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from streamrestore.training.draws import uniform

SAMPLES = 97
"""Of a path in one exposure, equally spaced in time: odd, so that one lies in its middle."""


def shake(count: int, exposures: int, generator: Generator) -> Tensor:
    """Paths of a hand-held camera through consecutive exposures.

    The model is that of Boracchi and Foi ("Modeling the Performance of Image Restoration from
    Motion Blur", IEEE TIP 21(8), 2012) and of DeblurGAN (Kupyn et al., CVPR 2018, section 4,
    algorithm 1): a particle with inertia, whose heading wanders by an *anxiety* of its own and
    is now and then thrown back by an impulsive shake. Its steps have a length of their own
    rather than one imposed by normalisation, so the whole path is two cumulative sums.

    Args:
        count: How many paths.
        exposures: How many exposures each of them lasts.
        generator: Where all randomness comes from.

    Returns:
        ``[count, exposures, 97, 2]`` float32 (y, x) at equally spaced times. An exposure begins
        where the one before it ended, and the largest distance from the middle of its exposure
        is 1 on every path.
    """
    steps = exposures * (SAMPLES - 1)
    per_exposure = 1 / (SAMPLES - 1)
    anxiety = 0.2 * 30 ** uniform((count, 1), 0, 1, generator)
    impulses = 3 * uniform((count, 1), 0, 1, generator) ** 3 * per_exposure
    wander = torch.randn((count, steps), generator=generator, device=generator.device) * math.sqrt(per_exposure)
    thrown = uniform((count, steps), 0, 1, generator) < impulses
    recoil = math.pi + uniform((count, steps), -0.5, 0.5, generator)
    start = uniform((count, 1), 0, 2 * math.pi, generator)
    heading = start + (anxiety * wander + thrown * recoil).cumsum(1)

    phase = uniform((count, 1), 0, 2 * math.pi, generator)
    frequency = 2 * math.pi * per_exposure * uniform((count, 1), 0.2, 1.5, generator)
    unsteadiness = uniform((count, 1), 0, 1, generator)
    speed = (unsteadiness * (phase + frequency * torch.arange(steps, device=generator.device)).sin()).exp()

    velocity = speed[..., None] * torch.stack((heading.sin(), heading.cos()), dim=-1)
    position = F.pad(velocity.cumsum(1), (0, 0, 1, 0))
    path = position.unfold(1, SAMPLES, SAMPLES - 1).transpose(2, 3)
    reach = centred(path).norm(dim=-1).amax((1, 2))
    return torch.div(path, reach[:, None, None, None])


def centred(path: Tensor) -> Tensor:
    """``[..., 97, 2]`` paths moved so that each is at (0, 0) in the middle of its exposure."""
    return path - path[..., SAMPLES // 2, None, :]


def camera_shake(extent: Tensor, generator: Generator) -> Tensor:
    """Paths of camera shake around the middle of the exposure.

    Args:
        extent: ``[N]`` twice the largest distance from the middle.
        generator: Where all randomness comes from.

    Returns:
        ``[N, 97, 2]`` (y, x).
    """
    path = shake(len(extent), 1, generator)[:, 0]
    return centred(path) * (extent / 2)[:, None, None]


def linear_motion(extent: Tensor, angle: Tensor) -> Tensor:
    """Straight paths of constant speed.

    Args:
        extent: ``[N]`` lengths.
        angle: ``[N]`` radians from the x axis towards positive y (down).

    Returns:
        ``[N, 97, 2]`` (y, x), zero in the middle.
    """
    time = torch.linspace(-0.5, 0.5, SAMPLES, device=extent.device)
    direction = torch.stack((angle.sin(), angle.cos()), dim=-1)
    return time[:, None] * (extent[:, None] * direction)[:, None]


def kernels(path: Tensor, radius: int) -> Tensor:
    """Point spread functions of paths, each sample shared bilinearly by its four pixels.

    The bilinear share is a product of two triangles, one per axis, so drawing is one product of
    matrices: no scatter, whose order of additions would be random on a GPU.

    Args:
        path: ``[..., K, 2]`` (y, x) with no coordinate beyond ``radius`` in size.
        radius: Pixels of the kernels on each side of their middle.

    Returns:
        ``[..., 2 * radius + 1, 2 * radius + 1]``, at least 0 with sum 1; (0, 0) of a path is the
        middle pixel.
    """
    axis = torch.arange(-radius, radius + 1, device=path.device)
    triangles = (1 - (path[..., None] - axis).abs()).clamp(min=0)
    drawn = triangles[..., 0, :].transpose(-1, -2) @ triangles[..., 1, :]
    return torch.div(drawn, path.shape[-2])
