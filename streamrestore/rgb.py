"""Pictures as images hold them: RGB or grey, in the depths that an image format knows.

Samples that fit go as they are. Others are converted by the source's own matrix, range and chroma
location, in floating point, and rounded once; swscale would take BT.601 whatever the source is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamrestore.encoders import kinds_taken
from streamrestore.errors import ConfigError
from streamrestore.formats import IDENTITY_MATRIX, ColourRange, ColourTags
from streamrestore.frame import PixelFormat, Plane, Planes, VideoFormat

if TYPE_CHECKING:
    from streamrestore.color import Parity


def image_pixels(encoder: str, video: VideoFormat, asked: PixelFormat | None) -> PixelFormat:
    """What an image is made of: the source's samples, or the smallest that hold what they say.

    Args:
        encoder: Of the image format, by FFmpeg's name.
        video: The source.
        asked: What the user wants.

    Raises:
        ConfigError: The image format has no place for such pictures.
    """
    model = "grey" if video.pixels.model == "grey" else "rgb"
    kinds = sorted(
        {kind for kind in kinds_taken(encoder) if (kind.model, kind.alpha) == (model, video.pixels.alpha)},
        key=lambda kind: kind.depth,
    )
    names = ", ".join(kind.name for kind in kinds)
    if asked is not None:
        if asked not in kinds:
            raise ConfigError(f"{encoder} cannot hold {video.pixels.name} as {asked.name}: take {names or 'a video'}")
        return asked
    for kind in kinds:
        if kind.depth >= video.pixels.depth:
            return kind
    raise ConfigError(
        f"{encoder} cannot hold {video.pixels.name} without loss: "
        + (f"ask for fewer bits with --pix-fmt {kinds[-1].name}, or " if kinds else "")
        + "write .png, .tif or a video"
    )


def converts(video: VideoFormat, pixels: PixelFormat) -> bool:
    """Whether `to_image` is what makes these samples of those: YUV becomes RGB."""
    return video.pixels.model == "yuv" and pixels.model == "rgb"


def output_tags(tags: ColourTags, video: VideoFormat, pixels: PixelFormat) -> ColourTags:
    """A source's colour tags, as they are of what is written."""
    return replace(tags, range=ColourRange.FULL, matrix=IDENTITY_MATRIX) if converts(video, pixels) else tags


def to_image(planes: Planes, video: VideoFormat, pixels: PixelFormat) -> Planes:
    """Convert one frame.

    Args:
        planes: ``[H, W]`` each, of the source; may be read-only.
        video: Their format.
        pixels: What they shall be; of more or fewer bits, RGB where the source is YUV.

    Returns:
        New planes, all as large as the picture.
    """
    colours = 1 if video.pixels.model == "grey" else 3
    if not converts(video, pixels):
        factor = _factor(video, pixels)
        return tuple(_rounded(plane.astype(np.float64) * factor, pixels.depth) for plane in planes)
    picture = np.empty((3, video.height, video.width), np.float32)
    if video.fields:
        for parity in _PARITIES:
            rows = tuple(plane[parity::2] for plane in planes[:colours])
            picture[:, parity::2] = _rgb(rows, video.picture, parity)
    else:
        picture[:] = _rgb(planes[:colours], video, None)
    red, green, blue = picture.astype(np.float64) * _largest(pixels.depth)
    alpha = [plane.astype(np.float64) * _full_factor(video, pixels) for plane in planes[colours:]]
    return tuple(_rounded(plane, pixels.depth) for plane in (green, blue, red, *alpha))


_PARITIES: tuple[Parity, Parity] = (0, 1)


def _rgb(planes: Planes, video: VideoFormat, parity: Parity | None) -> NDArray[np.float32]:
    # Not before it is needed: most who encode convert nothing, and torch takes a second and 200 MB.
    import torch

    from streamrestore.color import to_rgb

    tensors = tuple(torch.from_numpy(plane[None].copy()) for plane in planes)
    rgb: NDArray[np.float32] = to_rgb(tensors, video, parity=parity)[0].numpy()
    return rgb


def _factor(video: VideoFormat, pixels: PixelFormat) -> float:
    """From a code value to the same colour's, at another depth."""
    if video.full_range:
        return _full_factor(video, pixels)
    return float(1 << pixels.depth) / float(1 << video.pixels.depth)


def _full_factor(video: VideoFormat, pixels: PixelFormat) -> float:
    return _largest(pixels.depth) / _largest(video.pixels.depth)


def _rounded(samples: NDArray[np.float64], depth: int) -> Plane:
    whole = np.rint(samples).clip(0, _largest(depth))
    return whole.astype(np.uint8) if depth == 8 else whole.astype(np.uint16)


def _largest(depth: int) -> int:
    return (1 << depth) - 1
