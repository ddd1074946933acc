"""Synthetic noise: Gaussian, and a camera's from its sensor to its compressed pictures.

Sensor noise is made where it arises, in the raw signal, and led through what a camera does to
it, as in Brooks et al., "Unprocessing Images for Learned Raw Denoising" (CVPR 2019,
arXiv:1811.11127): demosaicing, white balance, colour matrix and tone curve make it coarse,
coloured and dependent on brightness. Only the noise takes that way; the picture itself is
unprocessed and developed without loss, so that nothing but noise is there to be removed.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from streamrestore.training.compression import Compression, compress
from streamrestore.training.draws import coin, uniform

CLEAN_SHARE = 0.06
GAUSSIAN_SHARE = 0.49
"""Sensor noise has what is left."""

COMPRESSED_SHARES = (0.3, 0.08, 0.5)
"""Of the clean, the Gaussian and the sensor's pictures."""

VIDEO_SHARE = 0.4
"""Of what is compressed; the rest is JPEG."""

LIGHT_COMPRESSION = 0.25
"""Greatest strength for pictures without noise, which mostly must learn to stay as they are."""

MAX_SIGMA = 50 / 255
"""Of Gaussian noise."""

SHOT_NOISE = (1e-4, 1.2e-2)
"""Variance per signal of the raw values in [0, 1] (Brooks et al., section 3.1)."""

READ_SLOPE, READ_OFFSET, READ_SPREAD = 2.18, 1.2, 0.26
"""log(read variance) = slope * log(shot) + offset, and its deviation (Brooks et al., section 3.1)."""

COLOUR_GAINS = (1.2, 2.4)
"""White balance of red and blue against green; wider than Brooks et al. (1.5 to 2.4), for lamps."""

COLOUR_PURITY = (0.6, 0.9)
"""How much of a camera's colour is the display's own; the rest is its neighbours'. The colour
matrix is the inverse: its rows have sums of absolute values of 1.2 to 3.2, which is by how much
it can make noise grow."""

DEMOSAICED_SHARE = 0.7
LUMA_SMOOTHING = (0.0, 0.9)
CHROMA_SMOOTHING = (0.0, 2.5)
"""Standard deviations, in pixels, of a camera's own smoothing: cameras fight noise in colour far
more than in brightness, and what stays is blotches. Real noise is correlated over a few pixels
(Lee et al., AP-BSN, CVPR 2022, arXiv:2203.11799, section 3)."""


class Sensor(NamedTuple):
    """The cameras that took N pictures; float32 unless said."""

    shot: Tensor
    """``[N]`` variance of the noise per raw signal in [0, 1]."""
    read: Tensor
    """``[N]`` variance of the noise without light."""
    gains: Tensor
    """``[N, 3]`` white balance, the green one 1."""
    mixing: Tensor
    """``[N, 3, 3]`` display's linear RGB to camera's; rows sum to 1."""
    contrast: Tensor
    """``[N]`` bool: an S-shaped tone curve lies over the sRGB curve."""
    demosaiced: Tensor
    """``[N]`` bool: each pixel measured one colour, the others were interpolated."""
    corner: Tensor
    """``[N, 2]`` int64: row and column, 0 or 1, of the first red pixel of the Bayer pattern."""
    smoothing: Tensor
    """``[N, 2]`` standard deviation of the smoothing of luma and of chroma noise, in pixels."""


class Noise(NamedTuple):
    """The noise of N pictures, as far as it stays from frame to frame."""

    sigma: Tensor
    """``[N]`` standard deviation of Gaussian noise in [0, 1]; float32."""
    sensed: Tensor
    """``[N]`` bool: sensor noise instead of Gaussian."""
    sensor: Sensor
    compressed: Tensor
    """``[N]`` bool: compressed afterwards."""
    compression: Compression

    def at(self, index: Tensor) -> "Noise":
        """The noise of the pictures with these numbers."""
        sensor = Sensor(*(field[index] for field in self.sensor))
        compression = Compression(*(field[index] for field in self.compression))
        return Noise(self.sigma[index], self.sensed[index], sensor, self.compressed[index], compression)


def random_noise(clean: Tensor, generator: Generator) -> Tensor:
    """Noisy versions of clean pictures, each with noise of its own kind and strength.

    About half get Gaussian noise, most others sensor noise, half of that compressed; a few stay
    clean, since a network must leave clean frames alone.

    Args:
        clean: ``[N, 3, H, W]`` float32 sRGB in [0, 1].
        generator: Where all randomness comes from; on the device of ``clean``.

    Returns:
        ``[N, 3, H, W]`` in [0, 1], rounded to 8 bits.
    """
    return add_noise(clean, draw_noise(len(clean), generator), generator)


def noise_clip(clean: Tensor, generator: Generator) -> Tensor:
    """A noisy version of one clip: one camera or sigma, other noise in every frame.

    Args:
        clean: ``[T, 3, H, W]`` float32 sRGB in [0, 1], the frames of one shot.
        generator: Where all randomness comes from; on the device of ``clean``.

    Returns:
        ``[T, 3, H, W]`` in [0, 1], rounded to 8 bits.
    """
    every_frame = torch.zeros(len(clean), dtype=torch.int64, device=clean.device)
    return add_noise(clean, draw_noise(1, generator).at(every_frame), generator)


def draw_noise(count: int, generator: Generator) -> Noise:
    """Kinds and strengths of noise for ``count`` pictures, on the generator's device."""
    kind = uniform((count,), 0, 1, generator)
    clean, sensed = kind < CLEAN_SHARE, kind >= CLEAN_SHARE + GAUSSIAN_SHARE
    # Uniform for one half and triangular for the other: the middle, where noise is usually
    # measured, comes three times as often as the greatest sigma.
    one, two, half = uniform((3, count), 0, 1, generator)
    sigma = MAX_SIGMA * torch.where(half < 0.5, one, (one + two) / 2)
    share = torch.where(sensed, COMPRESSED_SHARES[2], torch.where(clean, COMPRESSED_SHARES[0], COMPRESSED_SHARES[1]))
    strength = uniform((count,), 0, 1, generator) * torch.where(clean, LIGHT_COMPRESSION, 1.0)
    video = coin(count, VIDEO_SHARE, generator)
    return Noise(
        sigma=torch.where(clean, 0.0, sigma),
        sensed=sensed,
        sensor=draw_sensor(count, generator),
        compressed=uniform((count,), 0, 1, generator) < share,
        compression=Compression(strength, video),
    )


def draw_sensor(count: int, generator: Generator) -> Sensor:
    """Cameras and exposures for ``count`` pictures, on the generator's device."""
    device = generator.device
    log_shot = uniform((count,), math.log(SHOT_NOISE[0]), math.log(SHOT_NOISE[1]), generator)
    spread = READ_SPREAD * torch.randn(count, generator=generator, device=device)
    gains = uniform((count, 3), *COLOUR_GAINS, generator)
    gains[:, 1] = 1
    purity, share = uniform((count, 3), *COLOUR_PURITY, generator), uniform((count, 3), 0, 1, generator)
    demosaiced = coin(count, DEMOSAICED_SHARE, generator)
    luma, chroma = uniform((count,), *LUMA_SMOOTHING, generator), uniform((count,), *CHROMA_SMOOTHING, generator)
    return Sensor(
        shot=log_shot.exp(),
        read=(READ_SLOPE * log_shot + READ_OFFSET + spread).exp(),
        gains=gains,
        mixing=_mixing(purity, share),
        contrast=coin(count, 0.5, generator),
        demosaiced=demosaiced,
        corner=torch.randint(2, (count, 2), generator=generator, device=device),
        smoothing=torch.stack((luma, chroma), dim=1) * demosaiced[:, None],
    )


def add_noise(clean: Tensor, noise: Noise, generator: Generator) -> Tensor:
    """Lay noise over pictures, and compress those that say so.

    The result is clipped and rounded, Gaussian noise too, since footage comes in 8 bits. The
    usual figures are measured on noise that is neither; rounding adds 0.08 to a variance of 625,
    and what clipping takes away lies beyond black and white, where no target can be.

    Args:
        clean: ``[N, 3, H, W]`` float32 sRGB in [0, 1].
        noise: For the N pictures.
        generator: Draws every pixel's noise; on the device of ``clean``.

    Returns:
        ``[N, 3, H, W]`` in [0, 1], rounded to 8 bits.
    """
    noisy = torch.empty_like(clean)
    gaussian, sensed, compressed = (
        chosen.nonzero().squeeze(1) for chosen in (~noise.sensed, noise.sensed, noise.compressed)
    )
    noisy[gaussian] = gaussian_noise(clean[gaussian], noise.sigma[gaussian], generator)
    noisy[sensed] = sensor_noise(clean[sensed], noise.at(sensed).sensor, generator)
    noisy = (noisy.clamp(0, 1) * 255).round() / 255
    noisy[compressed] = compress(noisy[compressed], noise.at(compressed).compression, generator)
    return noisy


def gaussian_noise(clean: Tensor, sigma: Tensor, generator: Generator) -> Tensor:
    """Independent Gaussian noise on every value.

    Args:
        clean: ``[N, 3, H, W]`` float32.
        sigma: ``[N]`` standard deviation, in the same units.
        generator: On the same device.

    Returns:
        ``[N, 3, H, W]``, neither clipped nor rounded.
    """
    return clean + sigma[:, None, None, None] * _normal_like(clean, generator)


def sensor_noise(clean: Tensor, sensor: Sensor, generator: Generator) -> Tensor:
    """Noise of photons and electronics, developed as a camera develops it.

    Poisson and read noise are one Gaussian whose variance grows with the signal (Foi et al.,
    "Practical Poissonian-Gaussian Noise Modeling and Fitting", IEEE TIP 17(10), 2008).

    Args:
        clean: ``[N, 3, H, W]`` float32 sRGB in [0, 1].
        sensor: For the N pictures.
        generator: On the same device.

    Returns:
        ``[N, 3, H, W]`` in [0, 1], not rounded.
    """
    linear = _to_linear(clean, sensor.contrast)
    gains = sensor.gains[:, :, None, None]
    raw = _mix(sensor.mixing, linear) / gains
    shot, read = sensor.shot[:, None, None, None], sensor.read[:, None, None, None]
    noise = torch.sqrt(shot * raw + read) * _normal_like(clean, generator)
    noise = torch.where(sensor.demosaiced[:, None, None, None], demosaic(noise, sensor.corner), noise)
    noise = _mix(torch.linalg.inv(sensor.mixing), noise * gains)
    return _to_display((linear + _smooth(noise, sensor.smoothing)).clamp(0, 1), sensor.contrast)


def demosaic(image: Tensor, corner: Tensor) -> Tensor:
    """What a camera with a Bayer pattern and bilinear interpolation makes of pictures.

    Args:
        image: ``[N, 3, H, W]`` float32; at least 2x2 pixels.
        corner: ``[N, 2]`` int64 row and column, 0 or 1, of the first red pixel.

    Returns:
        ``[N, 3, H, W]``: at each pixel one of its own colours, the others from its neighbours.
    """
    height, width = image.shape[-2:]
    row = torch.arange(height, device=image.device)[:, None]
    column = torch.arange(width, device=image.device)[None, :]
    odd_row = (row + corner[:, 0, None, None]) % 2
    odd_column = (column + corner[:, 1, None, None]) % 2
    red, blue = (1 - odd_row) * (1 - odd_column), odd_row * odd_column
    mask = torch.stack((red, 1 - red - blue, blue), dim=1)
    tent, cross = ((1, 2, 1), (2, 4, 2), (1, 2, 1)), ((0, 1, 0), (1, 4, 1), (0, 1, 0))
    kernel = torch.tensor((tent, cross, tent), dtype=image.dtype, device=image.device)[:, None] / 4
    # Reflection keeps the pattern going: the pixel beyond an edge has the colour it should have.
    return F.conv2d(F.pad(image * mask, (1, 1, 1, 1), mode="reflect"), kernel, groups=3)


def _smooth(noise: Tensor, smoothing: Tensor) -> Tensor:
    """Blur the mean of the colours by one Gaussian, what differs from it by another."""
    luma = noise.mean(dim=1, keepdim=True)
    return gaussian_blur(luma, smoothing[:, 0]) + gaussian_blur(noise - luma, smoothing[:, 1])


def gaussian_blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Blur ``[N, C, H, W]``, each picture by a Gaussian of its own sigma, ``[N]``, in pixels; 0 changes nothing."""

    def weights(length: int) -> Tensor:
        index = torch.arange(length, dtype=image.dtype, device=image.device)
        distance = (index - index[:, None]) / sigma.clamp(min=1e-3)[:, None, None]
        return torch.softmax(-0.5 * distance**2, dim=-1)[:, None]

    height, width = image.shape[-2:]
    return weights(height) @ image @ weights(width).mT


def _to_linear(srgb: Tensor, contrast: Tensor) -> Tensor:
    """Undo the tone curve, exactly: `_to_display` backwards (Brooks et al., section 3)."""
    curved = 0.5 - torch.sin(torch.asin((1 - 2 * srgb).clamp(-1, 1)) / 3)
    srgb = torch.where(contrast[:, None, None, None], curved, srgb)
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _to_display(linear: Tensor, contrast: Tensor) -> Tensor:
    """The sRGB curve (IEC 61966-2-1), and where asked for an S-shaped one, ``3 x^2 - 2 x^3``, over it."""
    srgb = torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return torch.where(contrast[:, None, None, None], srgb**2 * (3 - 2 * srgb), srgb)


def _mixing(purity: Tensor, share: Tensor) -> Tensor:
    """``[N, 3, 3]`` with ``purity`` on the diagonal, the rest of each row split by ``share``."""
    own = torch.diag_embed(purity)
    next_colour = torch.diag_embed((1 - purity) * share).roll(1, dims=-1)
    other_colour = torch.diag_embed((1 - purity) * (1 - share)).roll(2, dims=-1)
    return own + next_colour + other_colour


def _mix(matrix: Tensor, image: Tensor) -> Tensor:
    """Apply ``[N, 3, 3]`` to the colours of ``[N, 3, H, W]``."""
    return (matrix @ image.flatten(2)).view_as(image)


def _normal_like(image: Tensor, generator: Generator) -> Tensor:
    return torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
