"""Synthetic rain: oriented streaks of many lengths, widths and brightnesses, laid over clean pictures.

A rain layer is sparse bright points convolved with one streak, the path of a drop during the
exposure, as in the data sets of Yang et al. ("Deep Joint Rain Detection and Removal", CVPR 2017,
arXiv:1609.07769): soft, thin streaks for light rain; longer, denser, flat-profiled ones, whose
layers cross each other, for heavy rain. Layers are added up, or screened over the picture as
glare is, sometimes under the thin mist that distant drops make (Li et al., "Heavy Rain Image
Restoration", CVPR 2019, arXiv:1904.05050). The convolution is circular, so a layer has no edges
to care for, and every value comes from the generator given.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from streamrestore.training.draws import uniform


@dataclass(frozen=True, slots=True)
class RainStyle:
    """Ranges that one picture's rain is drawn from; lengths and widths are pixels."""

    layers: tuple[int, int]
    length: tuple[float, float]
    width: tuple[float, float]
    """Standard deviation across a soft streak, or half the width of a flat one."""
    brightness: tuple[float, float]
    """Of a layer's brightest streak, in [0, 1]."""
    spread: float
    """How much fainter than that its faintest streak is, as a share."""
    coverage: tuple[float, float]
    """Mean brightness that one layer adds to the picture, in [0, 1]."""
    crossing_degrees: float
    """Largest angle between a layer and the picture's main direction."""
    flat: bool
    """Streaks with a box profile, as in Rain100H, instead of a Gaussian one."""


LIGHT = RainStyle((1, 3), (8, 45), (0.4, 1.4), (0.15, 0.8), 0.8, (0.004, 0.03), 4, flat=False)
HEAVY = RainStyle((2, 4), (15, 70), (0.3, 1.4), (0.1, 0.5), 0.5, (0.02, 0.13), 20, flat=True)

CLEAN_SHARE, HEAVY_SHARE = 0.06, 0.15
"""Of the training pictures; the rest has light rain. Without clean ones, clean frames would be harmed."""
SCREEN_SHARE = 0.25
MIST_SHARE = 0.1

MAX_TILT_DEGREES = 40
"""Rain falls within this angle of the vertical."""

MAX_MIST = 0.12
"""Largest share of the light that mist takes from a scene and replaces by its own."""
AIRLIGHT = 0.8
"""Brightness of the mist itself."""

CLIP_SIDE = 1024
"""Side of the square, in pixels, that the rain of a clip falls round and round in."""

SHUTTER = 0.5
"""Share of a frame's time that a drop is exposed for; it falls for all of it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of rain in each of N pictures, all ``[N]``; lengths and widths in pixels."""

    length: Tensor
    width: Tensor
    tilt: Tensor
    """Angle from the vertical, in radians."""
    flat: Tensor
    """Booleans: box profiles instead of Gaussian ones."""
    brightness: Tensor
    """Of the brightest streak; 0 where the picture has no such layer."""
    spread: Tensor
    coverage: Tensor

    def streaks(self, size: tuple[int, int]) -> Tensor:
        """One streak around the origin of a circular map: ``[N, H, W]``, its peak 1."""
        height, width = size
        device = self.length.device
        y = (torch.fft.fftfreq(height, device=device) * height)[:, None]
        x = (torch.fft.fftfreq(width, device=device) * width)[None, :]
        sine, cosine = (value[:, None, None] for value in (self.tilt.sin(), self.tilt.cos()))
        length, thickness = self.length[:, None, None], self.width[:, None, None]
        along, across = (y * cosine + x * sine).abs(), (x * cosine - y * sine).abs()
        flat = (thickness + 0.5 - across).clamp(0, 1) * (length / 2 + 0.5 - along).clamp(0, 1)
        soft = torch.exp(-0.5 * (across / thickness) ** 2) * (1 - (2 * along / length) ** 2).clamp(min=0)
        return torch.where(self.flat[:, None, None], flat, soft)

    def drops(self, streaks: Tensor, generator: Generator) -> Tensor:
        """Where drops are, as bright points dense enough to give the coverage: ``[N, H, W]``."""
        count, height, width = streaks.shape
        mean = self.brightness * (1 - self.spread / 2)
        density = self.coverage / (mean * streaks.sum((1, 2))).clamp(min=1e-6)
        where, how = torch.rand(2, count, height, width, generator=generator, device=streaks.device)
        brightness = self.brightness[:, None, None] * (1 - self.spread[:, None, None] * how)
        return torch.where(where < density[:, None, None], brightness, torch.zeros_like(brightness))


def draw_layers(styles: list[RainStyle], generator: Generator) -> list[Layer]:
    """The layers of rain of several pictures, each of its style, falling in nearly one direction."""
    count, device = len(styles), generator.device

    def draw(ranges: list[tuple[float, float]]) -> Tensor:
        low, high = torch.tensor(ranges, device=device).T
        return uniform((count,), low, high, generator)

    main = draw([(-MAX_TILT_DEGREES, MAX_TILT_DEGREES)] * count)
    layers = draw([(style.layers[0], style.layers[1] + 1) for style in styles]).floor()
    flat = torch.tensor([style.flat for style in styles], device=device)
    spread = torch.tensor([style.spread for style in styles], device=device)
    drawn = []
    for index in range(max(style.layers[1] for style in styles)):
        crossing = draw([(-style.crossing_degrees, style.crossing_degrees) for style in styles])
        tilt = (main + crossing).clamp(-MAX_TILT_DEGREES, MAX_TILT_DEGREES).deg2rad()
        length, width = draw([style.length for style in styles]), draw([style.width for style in styles])
        brightness = draw([style.brightness for style in styles]) * (index < layers)
        drawn.append(Layer(length, width, tilt, flat, brightness, spread, draw([s.coverage for s in styles])))
    return drawn


def fall(drops: Tensor, streaks: Tensor) -> Tensor:
    """The light of drops along their streaks: circular convolution of two ``[..., H, W]``, at least 0."""
    size = (drops.shape[-2], drops.shape[-1])
    light: Tensor = torch.fft.irfft2(torch.fft.rfft2(drops) * torch.fft.rfft2(streaks), s=size)
    return light.clamp(min=0)


def rain(styles: list[RainStyle], size: tuple[int, int], generator: Generator) -> Tensor:
    """Rain for one picture of each style: ``[N, H, W]`` brightness to add, at least 0."""
    total = torch.zeros(len(styles), *size, device=generator.device)
    for layer in draw_layers(styles, generator):
        streaks = layer.streaks(size)
        total += fall(layer.drops(streaks, generator), streaks)
    return total


def add_rain(clean: Tensor, amount: Tensor, *, screen: Tensor | bool) -> Tensor:
    """Lay rain over pictures.

    Args:
        clean: ``[N, 3, H, W]`` float32 RGB in [0, 1].
        amount: ``[N, H, W]`` brightness of the rain, at least 0.
        screen: Light adds up less where the picture is bright (``b + r * (1 - b)``), as glare
            does; otherwise plain addition, as in Rain100L and Rain100H. One for all or ``[N]``.

    Returns:
        ``[N, 3, H, W]`` in [0, 1].
    """
    screens = torch.as_tensor(screen, device=clean.device).reshape(-1, 1, 1, 1)
    light = amount[:, None]
    return (clean + torch.where(screens, light * (1 - clean), light)).clamp(0, 1)


def add_mist(clean: Tensor, strength: Tensor, generator: Generator) -> Tensor:
    """Veil pictures with smooth mist: ``b * (1 - m) + airlight * m``, the model of scattered light.

    Args:
        clean: ``[N, 3, H, W]`` float32 RGB in [0, 1].
        strength: ``[N]``, the thickest mist in [0, 1].
        generator: Where the clouds come from.
    """
    coarse = torch.rand(clean.shape[0], 1, 4, 4, generator=generator, device=clean.device)
    mist = interpolate(coarse, clean.shape[-2:], mode="bilinear") * strength[:, None, None, None]
    return clean * (1 - mist) + AIRLIGHT * mist


def random_rain(clean: Tensor, generator: Generator) -> Tensor:
    """Rainy versions of clean pictures: light rain or heavy rain, and none in a few.

    Args:
        clean: ``[N, 3, H, W]`` float32 RGB in [0, 1], with rain to fall down.
        generator: Where all randomness comes from; on the device of ``clean``.

    Returns:
        ``[N, 3, H, W]`` in [0, 1], rounded to 8 bits as footage is.
    """
    count = len(clean)
    kind = torch.rand(count, generator=generator, device=clean.device)
    styles = [HEAVY if heavy else LIGHT for heavy in (kind > 1 - HEAVY_SHARE).tolist()]
    amount = rain(styles, (clean.shape[2], clean.shape[3]), generator)
    screen, misty = torch.rand(2, count, generator=generator, device=clean.device)
    veiled = add_mist(clean, uniform((count,), 0, MAX_MIST, generator) * (misty < MIST_SHARE), generator)
    rainy = add_rain(veiled, amount, screen=screen < SCREEN_SHARE)
    return _eight_bits(torch.where((kind < CLEAN_SHARE)[:, None, None, None], clean, rainy))


class FallingRain:
    """Rain for the frames of one clip: the same drops all along, further down from frame to frame."""

    def __init__(self, layers: list[Layer], side: int, generator: Generator) -> None:
        """Place the drops.

        Args:
            layers: The first picture's rain of each is what falls.
            side: Of the square that the rain falls round and round in, in pixels: at least the
                frames' larger side, and so wide that repeats fall elsewhere.
            generator: Where the drops' places come from; on the device of the layers.
        """
        self._layers = []
        for layer in layers:
            streaks = layer.streaks((side, side))
            light = fall(layer.drops(streaks, generator), streaks)[0]
            self._layers.append((light, layer.length[0].item() / SHUTTER, layer.tilt[0].item()))

    def at(self, index: int, size: tuple[int, int]) -> Tensor:
        """The rain of one frame: ``[H, W]`` brightness to add."""
        total = torch.zeros(size, device=self._layers[0][0].device)
        for light, path, tilt in self._layers:
            step = (round(index * path * math.cos(tilt)), round(index * path * math.sin(tilt)))
            total += light.roll(step, (0, 1))[: size[0], : size[1]]
        return total


def rain_clip(clean: Tensor, style: RainStyle, generator: Generator) -> Tensor:
    """A clip in the rain.

    Args:
        clean: ``[T, 3, H, W]`` float32 RGB in [0, 1], frames in order.
        style: Of the rain.
        generator: Where all randomness comes from; on the device of ``clean``.

    Returns:
        ``[T, 3, H, W]`` in [0, 1], rounded to 8 bits as footage is.
    """
    size = (clean.shape[2], clean.shape[3])
    falling = FallingRain(draw_layers([style], generator), max(CLIP_SIDE, *size), generator)
    amount = torch.stack([falling.at(index, size) for index in range(len(clean))])
    return _eight_bits(add_rain(clean, amount, screen=False))


def _eight_bits(picture: Tensor) -> Tensor:
    return (picture * 255).round() / 255
