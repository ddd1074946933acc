"""Tell from a few pictures of a shot whether it is noisy, rainy or blurred, and so what it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from streamrestore.assessor_network import CROP, FLAWS, MULTIPLE, AssessorWeights, read_assessor
from streamrestore.tasks import Task

TASKS_IN_ORDER: tuple[Task, ...] = ("denoise", "derain", "deblur")
"""The order in which tasks are run where several are: what is left of noise and rain would be sharpened."""

_LEAST_PROBABILITY = 0.5
"""From which on a shot is taken to need a task."""

WEIGHTS = Path(__file__).parent / "data" / "assessor.safetensors"
"""Part of the package."""

MOST_CROPS = 12
"""Of a picture that are looked at. Half of them are spread over it, half are where most is to be seen."""

LEAST_SIDE = 32
"""Of a picture, in pixels; in less there is nothing to be told."""

_CELL = 8
"""Side of the squares whose means show where there is structure: in them, noise and rain are faint."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was found in the pictures of one shot: probabilities, 0 to 1."""

    rain: float
    noise: float
    blur: float

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the shot needs, in the order it is run; nothing where it is clean."""
        found: dict[Task, float] = {"derain": self.rain, "denoise": self.noise, "deblur": self.blur}
        return tuple(task for task in TASKS_IN_ORDER if found[task] >= _LEAST_PROBABILITY)


class ShotAssessor(Protocol):
    """What looks at shots. Passive; one thread at a time."""

    @property
    def sha256(self) -> str:
        """Of all that an assessment depends on beside the pictures, such as weights."""
        ...

    def assess(self, pictures: Sequence[Tensor]) -> Assessment:
        """Look at one shot.

        Args:
            pictures: ``[3, H, W]`` each, float32 RGB in [0, 1] on the CPU, as networks are shown them:
                gamma-coded, upright, fields on their own. At least one, spread over the shot.

        Returns:
            The same for the same pictures.
        """
        ...


class Assessor:
    """A small trained network that looks at crops of each picture; a `ShotAssessor` without state."""

    def __init__(self, weights: AssessorWeights) -> None:
        """Take trained weights, whose thresholds are all one half."""
        self._network, self._sha256 = weights

    @property
    def sha256(self) -> str:
        """Of the weights."""
        return self._sha256

    @torch.inference_mode()
    def assess(self, pictures: Sequence[Tensor]) -> Assessment:
        """Look at one shot, as `ShotAssessor.assess`.

        What is found in each picture counts alike, so one blurred frame makes no blurred shot. In
        pictures of less than `LEAST_SIDE` nothing is found.
        """
        crops = [choose_crops(picture) for picture in pictures if min(picture.shape[1:]) >= LEAST_SIDE]
        if not crops:
            return Assessment(**dict.fromkeys(FLAWS, 0.0))
        log_odds = torch.cat([self._network(crop[None]) for crop in crops]).mean(0)
        return Assessment(**dict(zip(FLAWS, log_odds.double().sigmoid().tolist(), strict=True)))


def choose_crops(picture: Tensor) -> Tensor:
    """Where to look.

    Args:
        picture: ``[3, H, W]``, at least `LEAST_SIDE` high and wide.

    Returns:
        ``[K, 3, h, w]``: at most `MOST_CROPS` crops that do not overlap, from top left to bottom right.
    """
    height, width = (min(CROP, side // MULTIPLE * MULTIPLE) for side in picture.shape[1:])
    rows, columns = picture.shape[1] // height, picture.shape[2] // width
    top, left = (picture.shape[1] - rows * height) // 2, (picture.shape[2] - columns * width) // 2
    centre = picture[:, top : top + rows * height, left : left + columns * width]
    crops = centre.reshape(3, rows, height, columns, width).permute(1, 3, 0, 2, 4).flatten(0, 1)
    if len(crops) <= MOST_CROPS:
        return crops
    half = MOST_CROPS // 2
    spread = ((torch.arange(half) + 0.5) * (len(crops) / half)).long()
    structure = _structure(centre, rows * height // _CELL, columns * width // _CELL)
    structure = F.avg_pool2d(structure[None], (height // _CELL, width // _CELL)).flatten()
    structure[spread] = -1
    richest = structure.topk(MOST_CROPS - half).indices
    return crops[torch.cat((spread, richest)).sort().values]


def _structure(picture: Tensor, rows: int, columns: int) -> Tensor:
    """``[1, rows, columns]``: how much the mean of each cell differs from those right of it and below it."""
    cells = F.adaptive_avg_pool2d(picture, (rows, columns)).mean(0, keepdim=True)
    right = F.pad(cells.diff(dim=-1), (0, 1)).abs()
    below = F.pad(cells.diff(dim=-2), (0, 0, 0, 1)).abs()
    return right + below


def load_assessor() -> ShotAssessor:
    """The assessor that ``-t auto`` uses.

    Raises:
        ModelError: Its weights are missing or damaged.
    """
    return Assessor(read_assessor(WEIGHTS))
