"""What a live output shows while its source is gone: the last picture, dimmed, with a banner."""

from functools import cache, lru_cache
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from streamrestore.frame import Plane, Planes, VideoFormat
from streamrestore.live.fitting import black_codes

BANNER_FILE = Path(__file__).parents[1] / "data" / "no-signal.png"
"""White words on black, drawn once with the font in Pillow (Aileron, CC0)."""

DIMMED = 1 / 3
"""What is left of the picture's light and colour."""

WIDTH_SHARE = 0.6
"""What the banner takes of the picture's width."""

HEIGHT_SHARE = 0.5
"""What it may take of the picture's height."""

LEAST_HEIGHT = 8
"""In pixels: a banner that would be lower cannot be read, and is left out."""

GRID = 4
"""The banner's edges are at multiples of so many pixels: between chroma samples, however they are subsampled."""

WHITE = 0.7
"""The words' light, from black to white: twice that of anything dimmed, and no glare where white is that of HDR."""


def no_signal_card(planes: Planes, video: VideoFormat) -> Planes:
    """The card that says that there is no signal.

    Args:
        planes: The last frame, ``[H, W]`` each, as `Planes` says; stays as it is.
        video: Its format.

    Returns:
        New planes of the same shapes and dtypes: the frame with a third of its light and colour, and in the middle a
        banner, upright as the picture is shown. Alpha is the frame's own.
    """
    blacks = black_codes(video)
    depth = video.pixels.depth
    card = [_dimming(black, depth)[plane] for black, plane in zip(blacks, planes, strict=False)]
    banner = _banner_for(video)
    if banner is not None:
        _paste(card, banner, video)
    return (*card, *planes[len(blacks) :])


@lru_cache(maxsize=8)
def _dimming(black: int, depth: int) -> Plane:
    """The dimmed code of every code."""
    codes = black + (np.arange(2**depth) - black) * DIMMED
    return cast(Plane, np.rint(codes).clip(0).astype(np.uint8 if depth == 8 else np.uint16))


def _banner_for(video: VideoFormat) -> NDArray[np.float32] | None:
    """The banner as it lies in the stored picture, ``[h, w]`` in [0, 1]; None where there is no room."""
    height, width = video.upright_size
    banner_height, banner_width = _banner().shape
    scale = min(WIDTH_SHARE * width / banner_width, HEIGHT_SHARE * height / banner_height)
    size = int(scale * banner_height) // GRID * GRID, int(scale * banner_width) // GRID * GRID
    return None if size[0] < LEAST_HEIGHT else np.rot90(_scaled_banner(*size), -video.quarter_turns)


@lru_cache(maxsize=8)
def _scaled_banner(height: int, width: int) -> NDArray[np.float32]:
    frame = av.VideoFrame.from_ndarray(_banner(), "gray")
    kind = Interpolation.AREA if height < frame.height else Interpolation.BICUBIC
    kind |= Interpolation.ACCURATE_RND | Interpolation.BITEXACT
    scaled = VideoReformatter().reformat(frame, width, height, interpolation=kind, threads=1)
    return scaled.to_ndarray().astype(np.float32) / np.float32(255)


@cache
def _banner() -> NDArray[np.uint8]:
    with av.open(str(BANNER_FILE)) as container:
        frame = next(container.decode(video=0))
    return cast(NDArray[np.uint8], frame.reformat(format="gray").to_ndarray())


def _paste(card: list[Plane], banner: NDArray[np.float32], video: VideoFormat) -> None:
    height, width = banner.shape
    top, left = ((whole - part) // 2 // GRID * GRID for whole, part in zip(card[0].shape, banner.shape, strict=True))
    luma = slice(top, top + height), slice(left, left + width)
    black = black_codes(video)
    white = 2**video.pixels.depth - 1 if video.full_range else 235 << (video.pixels.depth - 8)
    words = np.rint(black[0] + banner * (white - black[0]) * WHITE)
    card[0][luma] = words
    for plane, code in zip(card[1:], black[1:], strict=True):
        if video.pixels.model == "rgb":
            plane[luma] = words
        else:
            down, right = video.pixels.chroma_shift
            plane[top >> down : (top + height) >> down, left >> right : (left + width) >> right] = code
