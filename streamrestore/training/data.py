"""Clean images in memory, and random crops of them with a degradation on top."""

from collections.abc import Callable
from pathlib import Path

import av
import torch
from torch import Generator, Tensor

from streamrestore.errors import SourceError

Degradation = Callable[[Tensor, Generator], Tensor]
"""``[3, S, S]`` clean image in [0, 1] and a generator, to its degraded version."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


def read_image(path: Path) -> Tensor:
    """One still image as ``[3, H, W]`` uint8 RGB.

    Raises:
        SourceError: The file holds no picture that can be decoded.
    """
    try:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            return torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).contiguous()
    except (av.FFmpegError, StopIteration, IndexError, OSError) as error:
        raise SourceError(f"{path} is no picture that can be read: {error}") from error


def read_folder(folders: list[Path]) -> list[Tensor]:
    """Every image below the folders, sorted by path, as `read_image` gives them.

    Raises:
        SourceError: There is no image, or one of them cannot be read.
    """
    paths = sorted(p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        names = ", ".join(map(str, folders))
        raise SourceError(f"no image below {names}; expected files such as .png or .jpg")
    return [read_image(path) for path in paths]


class CropSampler:
    """Random degraded crops: flipped and turned, the same sequence from the same generator."""

    def __init__(self, images: list[Tensor], crop: int, degrade: Degradation, generator: Generator) -> None:
        """Sample from ``[3, H, W]`` uint8 images at least ``crop`` pixels high and wide.

        Raises:
            SourceError: No image is large enough.
        """
        self._images = [image for image in images if min(image.shape[1:]) >= crop]
        if not self._images:
            raise SourceError(f"none of {len(images)} training images is at least {crop}x{crop} px")
        self._crop = crop
        self._degrade = degrade
        self.generator = generator

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """``size`` crops: degraded and clean, each ``[N, 3, crop, crop]`` float32 in [0, 1]."""
        pairs = [self._pair() for _ in range(size)]
        return torch.stack([degraded for degraded, _ in pairs]), torch.stack([clean for _, clean in pairs])

    def _pair(self) -> tuple[Tensor, Tensor]:
        image = self._images[self._draw(len(self._images))]
        top = self._draw(image.shape[1] - self._crop + 1)
        left = self._draw(image.shape[2] - self._crop + 1)
        crop = image[:, top : top + self._crop, left : left + self._crop].float() / 255
        # Turned first: rain falls down in any picture, and what lies across it is not rain.
        clean = self._turn(crop, self._draw(2), self._draw(4))
        return self._degrade(clean, self.generator), clean

    def _draw(self, bound: int) -> int:
        return int(torch.randint(bound, (), generator=self.generator).item())

    @staticmethod
    def _turn(image: Tensor, flip: int, turns: int) -> Tensor:
        if flip:
            image = image.flip(-1)
        return torch.rot90(image, turns, (-2, -1))
