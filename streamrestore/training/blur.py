"""Synthetic motion blur: camera shake, linear motion, and motion that differs over the picture.

Blur is the average of what the shutter saw; the sharp picture that belongs to it is the one at
the middle of the exposure, so blurred and clean pictures are aligned.

All sizes are pixels. Every value comes from the generator given, which lives on the pictures'
device; the same generator state gives the same bytes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from streamrestore.training.compression import Compression, compress
from streamrestore.training.draws import coin, uniform
from streamrestore.training.motion import SAMPLES, camera_shake, centred, kernels, linear_motion, shake

MARGIN = 24
"""Context that a crop needs on each side, so that no border is invented."""

MAX_EXTENT = 42.0
"""GoPro's blurs span up to 25 to 40 px; half of this, and one more for rounding, fits `MARGIN`."""

SHARP, SHAKE, LINEAR, LAYERS, VIEWS = range(5)
SHARES = (0.07, 0.45, 0.20, 0.18, 0.10)
"""Of the kinds above, in that order."""

GAMMA = 2.2
"""Of the camera's response in GoPro (Nah et al., CVPR 2017, section 2)."""

LIGHT_SHARE = 0.6
"""Blurred in linear light; the others in their code values, as GoPro's second version was."""

SATURATED = 0.98
"""Where red, green and blue are all above this, the sensor may have clipped any amount of light."""

HIGHLIGHTS_SHARE = 0.3
HIGHLIGHTS_BOOST = (1.5, 7.5)
"""How many times brighter than white such light was."""

NOISY_SHARE, MAX_SIGMA = 0.5, 2 / 255
"""Little noise: a picture that is blurred for its long exposure was seldom short of light."""

COMPRESSED_SHARE, MAX_COMPRESSION = 0.15, 0.35
"""Few pictures, and lightly: what compression leaves behind is not this task's to remove."""


def _extents(count: int, generator: Generator) -> Tensor:
    """``[count]`` spans of motion: half of them below 11 px, a quarter above 24 px."""
    return 1 + (MAX_EXTENT - 1) * uniform((count,), 0, 1, generator).square()


def convolve(pictures: Tensor, kernel: Tensor) -> Tensor:
    """Each picture blurred by its own kernels, where they have all their context.

    By Fourier transform: for crops of 128 px, ten times faster on a CPU than convolving directly.

    Args:
        pictures: ``[N, 3, H + 2 * MARGIN, W + 2 * MARGIN]``.
        kernel: ``[N, M, 2 * MARGIN + 1, 2 * MARGIN + 1]``.

    Returns:
        ``[N, M, 3, H, W]``.
    """
    size = pictures.shape[-2:]
    spectrum = torch.fft.rfft2(pictures)[:, None] * torch.fft.rfft2(kernel, s=size)[:, :, None]
    blurred: Tensor = torch.fft.irfft2(spectrum, s=size)
    return blurred[..., 2 * MARGIN :, 2 * MARGIN :]


def _one_motion(pictures: Tensor, kind: Tensor, generator: Generator) -> Tensor:
    """``[N, 3, H, W]`` moved as a whole; ``kind`` is sharp, shake or linear for each."""
    count = len(pictures)
    extent = _extents(count, generator) * (kind != SHARP)
    straight = linear_motion(extent, uniform((count,), 0, math.pi, generator))
    path = torch.where((kind == LINEAR)[:, None, None], straight, camera_shake(extent, generator))
    return convolve(pictures, kernels(path, MARGIN)[:, None])[:, 0]


def blend_layers(pictures: Tensor, generator: Generator) -> Tensor:
    """Three motions at once, each in its own region: moving things, depth, rolling cameras.

    The results of the kernels are mixed by smooth weights (efficient filter flow, Hirsch et al.,
    CVPR 2010). Steep weights give things that move over a background which moves
    otherwise or stands still; flat ones a blur that changes gradually.

    Args:
        pictures: ``[N, 3, H + 2 * MARGIN, W + 2 * MARGIN]`` light.
        generator: Where all randomness comes from.

    Returns:
        ``[N, 3, H, W]`` light.
    """
    count, layers = len(pictures), 3
    extent = _extents(count, generator)
    own = uniform((count, 1, 1, 1), 0.2, 1, generator)
    size = uniform((count, layers, 1, 1), 0, 1, generator)
    path = camera_shake(extent.repeat_interleave(layers), generator).view(count, layers, SAMPLES, 2)
    blurred = convolve(pictures, kernels(size * (own * path + (1 - own) * path[:, :1]), MARGIN))

    fields = torch.randn((count, layers, 4, 4), generator=generator, device=generator.device)
    steepness = 2 * 15 ** uniform((count, 1, 1, 1), 0, 1, generator)
    weights = F.interpolate(fields, blurred.shape[-2:], mode="bicubic", align_corners=True)
    return ((steepness * weights).softmax(1)[:, :, None] * blurred).sum(1)


def average_views(pictures: Tensor, generator: Generator) -> Tensor:
    """The average of 33 sharp views from a camera that shifts, turns and moves forward.

    As high-speed frames are averaged for GoPro and REDS (Nah et al., CVPRW 2019).

    Args:
        pictures: ``[N, 3, H + 2 * MARGIN, W + 2 * MARGIN]`` light.
        generator: Where all randomness comes from.

    Returns:
        ``[N, 3, H, W]`` light.
    """
    count, _, *padded = pictures.shape
    height, width = (side - 2 * MARGIN for side in padded)
    extent, split = _extents(count, generator), uniform((count,), 0.2, 1, generator)
    shift = camera_shake(extent * (1 - split), generator)
    zoom, turn = (camera_shake(extent * split, generator) / (math.hypot(height, width) / 2)).unbind(-1)

    # grid_sample counts from the middle of the picture, in half widths and half heights.
    rows = (torch.stack((1 - zoom, turn, -shift[..., 1]), -1), torch.stack((-turn, 1 - zoom, -shift[..., 0]), -1))
    views = torch.stack(rows, dim=-2)[:, ::3] / pictures.new_tensor((padded[1] / 2, padded[0] / 2))[:, None]
    x = torch.arange(width, device=pictures.device)[:, None] - (width - 1) / 2
    y = torch.arange(height, device=pictures.device)[:, None, None] - (height - 1) / 2

    total = pictures.new_zeros((count, 3, height, width))
    for view in views[:, :, None, None].unbind(1):
        grid = x * view[..., 0] + y * view[..., 1] + view[..., 2]
        total += F.grid_sample(pictures, grid, mode="bilinear", align_corners=False)
    return total / views.shape[1]


def stretch_highlights(light: Tensor, threshold: Tensor, boost: Tensor) -> Tensor:
    """Light with its clipped parts as bright as they may have been, which leaves streaks when blurred.

    Footage keeps nothing above white; without this step the blur of a lamp would be grey, as Rim
    et al. found ("Realistic Blur Synthesis for Learning Image Deblurring", ECCV 2022).

    Args:
        light: ``[N, 3, H, W]`` in [0, 1].
        threshold: ``[N]`` where clipping may have begun.
        boost: ``[N]`` by how much what is 1 is brightened; 1 changes nothing.
    """
    threshold, boost = threshold[:, None, None, None], boost[:, None, None, None]
    clipped = (light.amin(1, keepdim=True) - threshold).clamp(min=0) / (1 - threshold)
    return light * (1 + (boost - 1) * clipped)


def _expose(clean: Tensor, kind: Tensor, generator: Generator) -> Tensor:
    """``[N, 3, H, W]`` coded pictures in [0, 1], blurred in light (or in code) by their kind of motion."""
    count = len(clean)
    gamma = torch.where(uniform((count,), 0, 1, generator) < LIGHT_SHARE, GAMMA, 1.0)
    bright = (uniform((count,), 0, 1, generator) < HIGHLIGHTS_SHARE) & (kind != SHARP)
    least, most = HIGHLIGHTS_BOOST
    boost = torch.where(bright, least * (most / least) ** uniform((count,), 0, 1, generator), 1.0)
    light = stretch_highlights(clean.pow(gamma[:, None, None, None]), SATURATED**gamma, boost)

    height, width = (side - 2 * MARGIN for side in clean.shape[-2:])
    blurred = light.new_empty((count, 3, height, width))
    whole, layered, seen = kind <= LINEAR, kind == LAYERS, kind == VIEWS
    if whole.any():
        blurred[whole] = _one_motion(light[whole], kind[whole], generator)
    if layered.any():
        blurred[layered] = blend_layers(light[layered], generator)
    if seen.any():
        blurred[seen] = average_views(light[seen], generator)
    return blurred.clamp(0, 1).pow(1 / gamma[:, None, None, None])


def _kinds(count: int, generator: Generator, *, lowest: int) -> Tensor:
    shares = torch.tensor(SHARES, device=generator.device).cumsum(0)
    begin = float(sum(SHARES[:lowest]))
    return torch.bucketize(uniform((count,), begin, 1, generator), shares[:-1], right=True)


def _eight_bits(pictures: Tensor) -> Tensor:
    return (pictures * 255).round().clamp(0, 255) / 255


def random_blur(clean: Tensor, generator: Generator) -> Tensor:
    """Blurred versions of clean crops, as a camera would have recorded them.

    Camera shake (45 %), linear motion (20 %), several motions in one picture (18 %), averaged
    views of a turning camera (10 %), or no motion (7 %). Of all, 60 % are blurred in linear
    light and the others in their code values (both are found in GoPro), 30 % with clipped
    highlights stretched; half get Gaussian noise with a standard deviation of up to 2 of 255 and
    15 % a light compression. Half of the pictures without motion stay as they are: the network
    must leave sharp frames alone.

    Args:
        clean: ``[N, 3, H + 2 * MARGIN, W + 2 * MARGIN]`` float32 sRGB in [0, 1].
        generator: Where all randomness comes from, on the device of ``clean``.

    Returns:
        ``[N, 3, H, W]`` in [0, 1], rounded to 8 bits; its target is the middle of ``clean``.
    """
    count = len(clean)
    kind = _kinds(count, generator, lowest=SHARP)
    blurred = _expose(clean, kind, generator)

    untouched = (kind == SHARP) & coin(count, 0.5, generator)
    strength = uniform((count,), 1 - 1 / NOISY_SHARE, 1, generator).clamp(min=0)
    sigma = torch.where(untouched, 0.0, strength * MAX_SIGMA)
    noise = torch.randn(blurred.shape, generator=generator, device=generator.device)
    recorded = _eight_bits(blurred + sigma[:, None, None, None] * noise)

    compressed = ~untouched & coin(count, COMPRESSED_SHARE, generator)
    amount = uniform((count,), 0, MAX_COMPRESSION, generator)
    video = coin(count, 0.5, generator)
    if compressed.any():
        style = Compression(amount[compressed], video[compressed])
        recorded[compressed] = compress(recorded[compressed], style, generator)
    return recorded


def blur_image(clean: Tensor, generator: Generator) -> Tensor:
    """One whole picture blurred for an evaluation: as in training, but always, and by nothing else.

    Args:
        clean: ``[3, H, W]`` float32 sRGB in [0, 1], both sides longer than ``MARGIN``.
        generator: Where all randomness comes from, on the device of ``clean``.

    Returns:
        ``[3, H, W]`` in [0, 1], rounded to 8 bits; beyond its borders the picture is its reflection.
    """
    padded = F.pad(clean[None], (MARGIN,) * 4, mode="reflect")
    return _eight_bits(_expose(padded, _kinds(1, generator, lowest=SHAKE), generator))[0]


def blur_clip(clean: Tensor, generator: Generator) -> Tensor:
    """A clip from one shaken camera whose shutter never closes: each frame has its part of one path.

    Args:
        clean: ``[T, 3, H, W]`` float32 sRGB in [0, 1], both sides longer than ``MARGIN``.
        generator: Where all randomness comes from, on the device of ``clean``.

    Returns:
        ``[T, 3, H, W]`` in [0, 1], rounded to 8 bits. Blurred in linear light, without noise.
        The frames stay where they are: each is blurred around the middle of its own exposure.
    """
    path = shake(1, len(clean), generator)[0]
    path = centred(path) * _extents(1, generator) / 2
    frames = [
        convolve(F.pad(frame[None].pow(GAMMA), (MARGIN,) * 4, mode="reflect"), kernel[None, None])[0, 0]
        for frame, kernel in zip(clean, kernels(path, MARGIN), strict=True)
    ]
    return _eight_bits(torch.stack(frames).clamp(0, 1).pow(1 / GAMMA))
