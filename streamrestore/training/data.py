"""Training pictures in memory, and random crops of them with a degradation on top."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from streamrestore.errors import SourceError
from streamrestore.pair_folders import STILL_SUFFIXES, find_pairs, is_pair_folder
from streamrestore.pairs import check_sizes, read_picture


@dataclass(frozen=True, slots=True)
class Degradation:
    """How clean crops are made worse."""

    apply: Callable[[Tensor, Generator], Tensor]
    """``[N, 3, S + 2 * margin, S + 2 * margin]`` clean pictures in [0, 1] and a generator, both on
    one device, to the degraded ``[N, 3, S, S]``."""
    margin: int = 0
    """Pixels of surroundings it needs on each side."""
    prepare: Callable[[Tensor, Generator], Tensor] = lambda clean, _: clean
    """What is done to clean crops first, and stays in them."""


@dataclass(frozen=True, slots=True)
class Example:
    """A picture to train on, ``[3, H, W]`` uint8 RGB."""

    clean: Tensor
    degraded: Tensor | None = None
    """As a camera took it; None where the degradation is to be made."""


def find_images(folder: Path) -> list[Path]:
    """Every image below a folder, sorted by path.

    Raises:
        SourceError: There is none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in STILL_SUFFIXES)
    if not paths:
        raise SourceError(f"no image below {folder}; expected files such as .png or .jpg")
    return paths


def read_examples(folders: list[Path]) -> list[Example]:
    """All pictures of folders, decoded: pairs where a folder has ``input/`` and ``target/``, else clean ones.

    Raises:
        SourceError: A folder is none or has no image, one cannot be read, or the two of a pair differ in size.
    """
    examples = []
    for folder in folders:
        if not folder.is_dir():
            raise SourceError(f"{folder} is no folder: give one of clean images, or with input/ and target/")
        if is_pair_folder(folder):
            for name, degraded_path, clean_path in find_pairs(folder, STILL_SUFFIXES):
                degraded, clean = read_picture(degraded_path), read_picture(clean_path)
                check_sizes(name, degraded.shape[1:], clean.shape[1:])
                examples.append(Example(clean, degraded))
        else:
            examples += [Example(read_picture(path)) for path in find_images(folder)]
    return examples


def large_enough(examples: list[Example], side: int) -> list[Example]:
    """Those that are at least ``side`` pixels high and wide, in their order.

    Raises:
        SourceError: There is none.
    """
    large = [example for example in examples if min(example.clean.shape[1:]) >= side]
    if not large:
        raise SourceError(f"none of {len(examples)} training pictures is at least {side} px high and wide")
    return large


def fingerprint(examples: list[Example]) -> str:
    """SHA-256 of all their pixels, in hexadecimal: the same for the same pictures in the same order."""
    digest = hashlib.sha256()
    for example in examples:
        for picture in (example.clean, example.degraded):
            if picture is not None:
                digest.update(picture.contiguous().numpy().data)
    return digest.hexdigest()


class CropSampler:
    """Random degraded crops: flipped and turned, the same sequence from the same state."""

    def __init__(
        self, examples: list[Example], crop: int, degradation: Degradation, seed: int, device: torch.device
    ) -> None:
        """Sample from pictures that are at least ``crop`` and two margins high and wide.

        Raises:
            SourceError: No picture is large enough.
        """
        self._side = crop + 2 * degradation.margin
        self._examples = [
            Example(e.clean.to(device), None if e.degraded is None else e.degraded.to(device))
            for e in large_enough(examples, self._side)
        ]
        self._degradation = degradation
        self._places = Generator().manual_seed(seed)
        self._degrading = Generator(device).manual_seed(seed)

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """``size`` crops: degraded and clean, each ``[N, 3, crop, crop]`` float32 in [0, 1]."""
        cuts = [self._cut() for _ in range(size)]
        clean = torch.stack([clean for clean, _ in cuts]).float() / 255
        scenes = self._degradation.prepare(clean, self._degrading)
        made = self._degradation.apply(scenes, self._degrading)
        pairs = [
            (picture, scene) if taken is None else (self._core(taken).float() / 255, untouched)
            for picture, scene, untouched, (_, taken) in zip(made, scenes, clean, cuts, strict=True)
        ]
        degraded, targets = (torch.stack(pictures) for pictures in zip(*pairs, strict=True))
        return degraded, self._core(targets)

    def state(self) -> dict[str, Tensor]:
        """Where the sequence is; for `set_state`."""
        return {"places": self._places.get_state(), "degrading": self._degrading.get_state()}

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Go on from where `state` was asked."""
        self._places.set_state(state["places"])
        self._degrading.set_state(state["degrading"])

    def _cut(self) -> tuple[Tensor, Tensor | None]:
        example = self._examples[self._draw(len(self._examples))]
        top = self._draw(example.clean.shape[1] - self._side + 1)
        left = self._draw(example.clean.shape[2] - self._side + 1)
        flip, turns = self._draw(2), self._draw(4)
        # Turned before rain falls on it; what was taken as it is, rain and all, stays upright.
        turns = turns if example.degraded is None else 0

        def cut(image: Tensor) -> Tensor:
            crop = image[:, top : top + self._side, left : left + self._side]
            return torch.rot90(crop.flip(-1) if flip else crop, turns, (-2, -1))

        return cut(example.clean), None if example.degraded is None else cut(example.degraded)

    def _core(self, crop: Tensor) -> Tensor:
        margin = self._degradation.margin
        return crop[..., margin : crop.shape[-2] - margin, margin : crop.shape[-1] - margin]

    def _draw(self, bound: int) -> int:
        return int(torch.randint(bound, (), generator=self._places).item())
