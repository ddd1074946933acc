"""What restoration gained: PSNR and SSIM of pairs before and after, and the flicker of videos."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from streamrestore.metrics import change, luma, psnr, ssim, still
from streamrestore.pairs import Pair, Restore, Triple
from streamrestore.tasks import Task

Measure = Literal["Y", "RGB"]
"""What PSNR and SSIM are taken of: luma as `luma` gives it, or all three channels."""


@dataclass(frozen=True, slots=True)
class Score:
    """The input's and the restored one's likeness to the target; PSNR in dB."""

    psnr_input: float
    psnr_restored: float
    ssim_input: float
    ssim_restored: float


@dataclass(frozen=True, slots=True)
class Flicker:
    """How much of a video changes from frame to frame where nothing moves.

    It is the mean of |Y(t) - Y(t - 1)|, in 8-bit codes of luma, over all pixels of all frames in which
    the *target* is still (`streamrestore.metrics.still`): from that frame to the one before, its
    luma changes by less than 3 codes in the pixel and everywhere within 2 px of it. Where the
    scene moves nothing is measured, since motion is not flicker; at a cut nothing is still.
    """

    input: float
    restored: float
    target: float
    """What is there without any degradation: the noise of the target itself."""
    still_share: float
    """Of all pixels of all frames but the first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured of one pair."""

    name: str
    score: Score
    """Of a video the mean over its frames."""
    frames: tuple[Score, ...]
    """One for a picture."""
    flicker: Flicker | None
    """None for a picture, and for a video in which nothing is ever still."""


def default_measure(tasks: Sequence[Task]) -> Measure:
    """What the field takes the figures of: luma where rain is removed, else RGB."""
    return "Y" if "derain" in tasks else "RGB"


class _FlickerSum:
    """Adds up what changed; takes a video's frames in order."""

    def __init__(self) -> None:
        self._before: tuple[Tensor, ...] | None = None
        self._sums = [0.0, 0.0, 0.0]
        self._still = self._seen = 0

    def add(self, triple: Triple) -> None:
        now = tuple(map(luma, (triple.degraded, triple.restored, triple.target)))
        if self._before is not None:
            changes = [change(*pair) for pair in zip(self._before, now, strict=True)]
            where = still(changes[-1])
            self._sums = [total + each[where].sum().item() for total, each in zip(self._sums, changes, strict=True)]
            self._still += int(where.sum().item())
            self._seen += where.numel()
        self._before = now

    def result(self) -> Flicker | None:
        if not self._still:
            return None
        degraded, restored, target = (total / self._still for total in self._sums)
        return Flicker(degraded, restored, target, self._still / self._seen)


def evaluate(pair: Pair, restore: Restore, measure: Measure) -> tuple[Outcome, Triple]:
    """Restore a pair and compare it with its target, frame by frame.

    Args:
        pair: What is compared.
        restore: How it is restored.
        measure: What PSNR and SSIM are taken of.

    Returns:
        What was measured; and the frame whose restored version is farthest from its target by PSNR.

    Raises:
        SourceError: It cannot be read, or the two do not belong together.
        RestoreError: It could not be restored.
    """
    scores, flicker = list[Score](), _FlickerSum()
    worst: Triple | None = None
    least = math.inf
    for triple in pair.triples(restore):
        score = _score(triple, measure)
        if score.psnr_restored < least:
            worst, least = triple, score.psnr_restored
        scores.append(score)
        flicker.add(triple)
    assert worst is not None  # what has no frame cannot be read
    return Outcome(pair.name, mean_score(scores), tuple(scores), flicker.result()), worst


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean of each figure; at least one score."""
    columns = (
        [getattr(score, name) for score in scores]
        for name in ("psnr_input", "psnr_restored", "ssim_input", "ssim_restored")
    )
    return Score(*(sum(column) / len(column) for column in columns))


def _score(triple: Triple, measure: Measure) -> Score:
    degraded, restored, target = (
        luma(picture) if measure == "Y" else picture for picture in (triple.degraded, triple.restored, triple.target)
    )
    before = psnr(degraded, target), ssim(degraded, target)
    after = before if torch.equal(degraded, restored) else (psnr(restored, target), ssim(restored, target))
    return Score(before[0], after[0], before[1], after[1])
