"""Still pictures to measure on: pairs as they are, or clean ones that are degraded here, the same every time.

Each gives what `streamrestore.pairs.PicturePair` reads: degraded and target, ``[3, H, W]`` uint8 RGB.
"""

import hashlib
from pathlib import Path

import torch
from torch import Generator, Tensor

from streamrestore.errors import SourceError
from streamrestore.pairs import in_pixels, read_picture
from streamrestore.training.blur import MARGIN, blur_image


def read_pair(degraded: Path, target: Path) -> tuple[Tensor, Tensor]:
    """Both pictures of a pair.

    Raises:
        SourceError: One cannot be read.
    """
    return read_picture(degraded), read_picture(target)


def read_clean(path: Path) -> tuple[Tensor, Tensor]:
    """A clean picture as its own degraded version: what a network changes is harm.

    Raises:
        SourceError: It cannot be read.
    """
    target = read_picture(path)
    return target, target


def read_noisy(path: Path, sigma: float, seed: int) -> tuple[Tensor, Tensor]:
    """A clean picture with Gaussian noise, rounded and clipped to 8 bits as footage is.

    Papers that test on noise keep it unrounded and unclipped, so what they call the same sigma has
    a slightly lower PSNR before restoration.

    Args:
        path: The picture.
        sigma: Standard deviation in 8-bit codes.
        seed: With the file's name, decides the noise.

    Raises:
        SourceError: It cannot be read.
    """
    target = read_picture(path)
    noise = torch.randn(target.shape, generator=_generator(path, seed), dtype=torch.float64)
    return (target + sigma * noise).round().clamp(0, 255).to(torch.uint8), target


def read_blurred(path: Path, seed: int) -> tuple[Tensor, Tensor]:
    """A clean picture with motion blur, as `streamrestore.training.blur.blur_image` makes it.

    Args:
        path: The picture.
        seed: With the file's name, decides the blur.

    Raises:
        SourceError: It cannot be read, or is too small.
    """
    target = read_picture(path)
    if min(target.shape[1:]) <= MARGIN:
        size = in_pixels(target.shape[1:])
        raise SourceError(f"{path} is {size}: blur needs more than {MARGIN} px on each side; leave it out")
    blurred = blur_image(target.float() / 255, _generator(path, seed))
    return (blurred * 255).round().to(torch.uint8), target


def _generator(path: Path, seed: int) -> Generator:
    """Of the file's name too, so that a picture's degradation does not depend on which others there are."""
    digest = hashlib.sha256(f"{seed} {path.name}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
