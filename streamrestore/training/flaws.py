"""Pictures with known flaws: rain, noise and motion blur in every combination, or none, to train the assessor on.

A flaw counts once a network is worth running on it. How strong it is, is measured on the picture and
not read from what was drawn: rain of one kind is plain before a wall and invisible over water. Between
strengths that are worth it and those that nobody sees there is a range in which neither answer is wrong;
it is left out of the loss.

Flawless does not mean sharp and plain: footage is scaled up, out of focus in parts, sharpened, graded,
dim, slightly noisy and compressed, and snow falls in it. All of that is to be left alone, and is
found under the flaws as well.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from streamrestore.assessor_network import FLAWS
from streamrestore.training.blur import MARGIN, blur_image
from streamrestore.training.compression import Compression, compress
from streamrestore.training.draws import coin, uniform
from streamrestore.training.noise import draw_sensor, gaussian_blur, gaussian_noise, sensor_noise
from streamrestore.training.rain import HEAVY, LIGHT, MAX_MIST, RainStyle, add_mist, add_rain, rain

FLAWLESS_SHARE, ONE_FLAW_SHARE = 0.4, 0.4
"""Of the pictures; the others have two flaws or all three."""

ALONE = (1.0, 1.0, 2.0)
"""How often each of `FLAWS` comes alone: half of all blurs are too small to count."""

DISTANT = RainStyle((1, 2), (5, 22), (0.4, 0.9), (0.15, 0.7), 0.8, (0.001, 0.01), 6, flat=False)
"""Thin rain as a camera far away, or a small video, shows it."""

NEAR = RainStyle((1, 2), (30, 100), (0.8, 2.5), (0.15, 0.6), 0.8, (0.005, 0.03), 6, flat=False)
"""Rain in pictures of many pixels."""

SNOW = RainStyle((1, 3), (3, 4), (0.9, 1.3), (0.2, 0.9), 0.8, (0.002, 0.02), 20, flat=False)
"""Flakes: bright like drops, but round. Networks that take rain away were never shown any."""

SNOW_SHARE = 0.02

RAIN_STYLES = (LIGHT, LIGHT, HEAVY, HEAVY, DISTANT, DISTANT, NEAR)
"""Drawn with equal chances."""

RAIN_RANGE = (1.0 / 255, 3.5 / 255)
"""Root mean square of what rain adds: up to the first it is none, from the second on it is rain."""

NOISE_RANGE = (2.0 / 255, 7.0 / 255)
"""Root mean square of noise: up to the first it is a camera's usual grain."""

GAUSSIAN_SIGMA = (4.0 / 255, 55.0 / 255)
"""Of noise, log-uniform."""

BLUR_RANGE = (0.85, 0.15)
"""What is left of the energy of the gradient, in the direction in which it lost most: from the first
on the picture is sharp, from the second down it is blurred. Smaller motion, of about 6 pixels and
less, looks like the softness of a lens or a scaler."""

HIDDEN_RAIN = 0.3
"""Rain fainter than this share of the noise may be seen or not."""

HIDDEN_BLUR = 20.0 / 255
"""Noise from which on nobody can tell what is blurred from what is soft."""

CODING_TOLERANCE = 6.0 / 255
"""By how much the strongest compression raises the least strength of rain and noise: it takes some away."""

SHRINKAGE = (1.2, 2.5)
"""By how much pictures were smaller before they were scaled up."""

SOFTNESS = (0.3, 2.2)
"""Standard deviation in pixels of the blur of a lens."""

BOKEH = (1.5, 5.0)
"""The same, of what is out of focus beside something that is in focus."""

TURNED_SHARE = 0.33
"""Of the finished pictures, by a quarter: phones do not always say how they were held."""


class Flawed(NamedTuple):
    """Pictures, and what is wrong with them."""

    pictures: Tensor
    """``[N, 3, H, W]`` float32 sRGB in [0, 1], rounded to 8 bits."""
    present: Tensor
    """``[N, 3]`` float32, 0 or 1, for `FLAWS`."""
    known: Tensor
    """``[N, 3]`` float32, 0 where neither answer is wrong."""


def random_flaws(clean: Tensor, generator: Generator) -> Flawed:
    """Give each picture flaws of its own, or none.

    Args:
        clean: ``[N, 3, H + 2 * MARGIN, W + 2 * MARGIN]`` float32 sRGB in [0, 1].
        generator: Where all randomness comes from, on the device of ``clean``.

    Returns:
        Pictures of ``[3, H, W]``; H and W must be equal, since some are turned.
    """
    count = len(clean)
    rainy, noisy, blurred = _draw_flaws(count, generator).unbind(1)
    scene = _photograph(clean, generator)
    seen, left = _move(scene, blurred, generator)
    seen, fallen = _weather(seen, rainy, generator)
    taken, grain = _record(seen, noisy, generator)

    compressed = coin(count, 0.5, generator)
    strength = uniform((count,), 0, 1, generator) * compressed
    video = coin(count, 0.5, generator)
    index = compressed.nonzero().squeeze(1)
    taken[index] = compress(taken[index], Compression(strength[index], video[index]), generator)
    turned = coin(count, TURNED_SHARE, generator).nonzero().squeeze(1)
    taken[turned] = taken[turned].rot90(1, (2, 3))

    lost = CODING_TOLERANCE * strength
    verdicts = (
        _judge(fallen, RAIN_RANGE[0], torch.maximum(RAIN_RANGE[1] + lost, HIDDEN_RAIN * grain)),
        _judge(grain, NOISE_RANGE[0], NOISE_RANGE[1] + lost),
        _judge(-left, -BLUR_RANGE[0], torch.where(grain < HIDDEN_BLUR, -BLUR_RANGE[1], 0.0)),
    )
    present, known = (torch.stack(column, dim=1).float() for column in zip(*verdicts, strict=True))
    return Flawed(taken, present, known)


def _judge(strength: Tensor, most_without: float, least_with: Tensor) -> tuple[Tensor, Tensor]:
    """Whether a flaw is there, and whether that is certain."""
    present = strength >= least_with
    return present, present | (strength <= most_without)


def _draw_flaws(count: int, generator: Generator) -> Tensor:
    """``[count, 3]`` bool: which of `FLAWS` each picture gets."""
    share = uniform((count,), 0, 1, generator)

    def pick(weights: tuple[float, ...]) -> Tensor:
        chances = torch.tensor(weights, device=generator.device)
        return F.one_hot(chances.multinomial(count, replacement=True, generator=generator), len(FLAWS)).bool()

    # One is spared of three: two are left, or, in a sixth of these pictures, it is not spared after all.
    several = ~pick((1.0, 1.0, 1.0)) | coin(count, 1 / 6, generator)[:, None]
    flawed = torch.where((share < FLAWLESS_SHARE + ONE_FLAW_SHARE)[:, None], pick(ALONE), several)
    return flawed & (share >= FLAWLESS_SHARE)[:, None]


def _photograph(clean: Tensor, generator: Generator) -> Tensor:
    """Sharp pictures as footage shows them: graded, and soft or sharpened in all the usual ways."""
    scene = clean.clone()

    def change(share: float, how: Callable[[Tensor], Tensor]) -> None:
        index = coin(len(clean), share, generator).nonzero().squeeze(1)
        if len(index):
            scene[index] = how(scene[index]).clamp(0, 1)

    def draw(images: Tensor, low: float, high: float) -> Tensor:
        return uniform((len(images),), low, high, generator)[:, None, None, None]

    def grade(images: Tensor) -> Tensor:
        toned = images.pow(2 ** draw(images, -0.8, 0.8)) * draw(images, 0.5, 1.15) + draw(images, -0.08, 0.12)
        grey = toned.mean(1, keepdim=True)
        return grey + draw(images, 0.2, 1.3) * (toned - grey)

    def enlarge(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        ratio = uniform((1,), *SHRINKAGE, generator).item()
        smaller = (round(height / ratio), round(width / ratio))
        shrunk = F.interpolate(images, smaller, mode="bilinear", antialias=True)
        return F.interpolate(shrunk, (height, width), mode="bicubic")

    def soften(images: Tensor) -> Tensor:
        return gaussian_blur(images, uniform((len(images),), *SOFTNESS, generator))

    def sharpen(images: Tensor) -> Tensor:
        return images + draw(images, 0.3, 1.5) * (images - soften(images))

    def focus(images: Tensor) -> Tensor:
        coarse = torch.randn((len(images), 1, 3, 3), generator=generator, device=images.device)
        depth = F.interpolate(coarse, images.shape[-2:], mode="bicubic")
        nearest, farthest = depth.amin((2, 3), keepdim=True), depth.amax((2, 3), keepdim=True)
        # Something is always in focus: all of a crop is as soft as this only where a camera was shaken.
        distant = (16 * (depth - (nearest + farthest) / 2) / (farthest - nearest)).sigmoid()
        unsharp = gaussian_blur(images, uniform((len(images),), *BOKEH, generator))
        return images + distant * (unsharp - images)

    change(0.5, grade)
    change(0.25, enlarge)
    change(0.45, soften)
    # Unsharp masking is what cameras and scalers do against softness.
    change(0.15, sharpen)
    change(0.2, focus)
    return scene


def _move(scene: Tensor, blurred: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Blur some pictures by motion; without margins, and ``[N]``: what is left of the gradient."""
    moved = scene.clone()
    for index in blurred.nonzero().squeeze(1).tolist():
        moved[index] = blur_image(scene[index], generator)
    still, moved = (image[..., MARGIN:-MARGIN, MARGIN:-MARGIN] for image in (scene, moved))
    return moved, sharpness_left(still, moved)


def sharpness_left(sharp: Tensor, blurred: Tensor) -> Tensor:
    """How much of the gradient's energy a blur leaves, in the direction in which it takes most.

    Args:
        sharp: ``[N, 3, H, W]``.
        blurred: The same pictures, blurred.

    Returns:
        ``[N]``: 1 where nothing was lost.
    """

    def energy(image: Tensor) -> Tensor:
        grey = image.mean(1)
        across, down = grey.diff(dim=2)[:, :-1], grey.diff(dim=1)[:, :, :-1]
        steps = torch.stack((across, down, (across + down) / math.sqrt(2), (across - down) / math.sqrt(2)), dim=1)
        return steps.square().mean((2, 3))

    return ((energy(blurred) + 1e-8) / (energy(sharp) + 1e-8)).amin(1)


def _weather(scene: Tensor, rainy: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Let it rain on some pictures and snow on a few others; and ``[N]``: how much rain there is."""
    count = len(scene)
    size = (scene.shape[2], scene.shape[3])
    chosen = torch.randint(len(RAIN_STYLES), (count,), generator=generator, device=scene.device).tolist()
    styles = [RAIN_STYLES[style] if wet else SNOW for style, wet in zip(chosen, rainy.tolist(), strict=True)]
    snowy = coin(count, SNOW_SHARE, generator) & ~rainy
    falling = (rainy | snowy).nonzero().squeeze(1)
    amount = scene.new_zeros((count, *size))
    if len(falling):
        amount[falling] = rain([styles[index] for index in falling.tolist()], size, generator)
    mist = uniform((count,), 0, MAX_MIST, generator) * coin(count, 0.1, generator)
    veiled = add_mist(scene, mist, generator)
    weathered = add_rain(veiled, amount, screen=coin(count, 0.25, generator))
    fallen = (weathered - veiled).square().mean((1, 2, 3)).sqrt()
    return weathered, torch.where(rainy, fallen, 0.0)


def _record(scene: Tensor, noisy: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Noise in some pictures, and usual grain in others, in 8 bits; and ``[N]``: how much there is."""
    count = len(scene)
    low, high = (math.log(sigma) for sigma in GAUSSIAN_SIGMA)
    grain = uniform((count,), 0, NOISE_RANGE[0], generator) * coin(count, 0.5, generator)
    sigma = torch.where(noisy, uniform((count,), low, high, generator).exp(), grain)
    sensed = noisy & coin(count, 0.5, generator)
    sensor = draw_sensor(count, generator)
    recorded = gaussian_noise(scene, sigma, generator)
    index = sensed.nonzero().squeeze(1)
    recorded[index] = sensor_noise(scene[index], type(sensor)(*(field[index] for field in sensor)), generator)
    recorded = recorded.clamp(0, 1)
    # Before rounding, which is noise of a third of a code in every picture.
    strength = (recorded - scene).square().mean((1, 2, 3)).sqrt()
    return (recorded * 255).round() / 255, strength
