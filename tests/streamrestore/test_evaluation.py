"""What is measured of a pair, with pictures whose figures can be foretold."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from streamrestore.evaluation import Score, default_measure, evaluate, mean_score
from streamrestore.metrics import HIGHEST_DB, luma, psnr, ssim
from streamrestore.pairs import Restore, Triple, unrestored


def grey(value: int) -> Tensor:
    return torch.full((3, 16, 24), value, dtype=torch.uint8)


@dataclass
class Frames:
    """A pair that is restored already."""

    frames: list[Triple]
    name: str = "frames"

    def triples(self, restore: Restore) -> Iterator[Triple]:
        yield from self.frames


def test_a_picture_has_its_own_figures_and_no_flicker() -> None:
    triple = Triple(grey(110), grey(101), grey(100))
    outcome, worst = evaluate(Frames([triple]), unrestored, "RGB")
    assert outcome.score == Score(
        psnr(grey(110), grey(100)), psnr(grey(101), grey(100)), ssim(grey(110), grey(100)), ssim(grey(101), grey(100))
    )
    assert (outcome.name, outcome.frames, outcome.flicker) == ("frames", (outcome.score,), None)
    assert worst is triple


def test_on_luma_colour_alone_is_no_error() -> None:
    red, blue = grey(0), grey(0)
    red[0] += 3
    blue[2] += 8  # the same luma, after rounding
    assert torch.equal(luma(red), luma(blue))
    pair = Frames([Triple(red, red, blue)])
    assert evaluate(pair, unrestored, "Y")[0].score.psnr_input == HIGHEST_DB
    assert evaluate(pair, unrestored, "RGB")[0].score.psnr_input < 50
    assert (default_measure(["derain"]), default_measure(["deblur"]), default_measure([])) == ("Y", "RGB", "RGB")


def test_a_video_has_the_mean_of_its_frames_and_its_worst_one() -> None:
    frames = [Triple(grey(120), grey(100 + off), grey(100)) for off in (1, 4, 2)]
    outcome, worst = evaluate(Frames(frames), unrestored, "RGB")
    assert outcome.score.psnr_restored == pytest.approx(sum(psnr(grey(100 + off), grey(100)) for off in (1, 4, 2)) / 3)
    assert outcome.score == mean_score(outcome.frames)
    assert len(outcome.frames) == 3
    assert worst is frames[1]


def test_flicker_is_the_mean_change_where_the_target_stands_still() -> None:
    def frame(left: int, right: int) -> Tensor:
        picture = grey(left)
        picture[..., 12:] = right
        return picture

    # The right half of the target moves; whatever happens there is no flicker.
    values = [(100, 100, 20), (130, 104, 200), (100, 100, 20)]
    frames = [Triple(frame(a, 255), frame(b, right), frame(90, right)) for a, b, right in values]
    flicker = evaluate(Frames(frames), unrestored, "RGB")[0].flicker
    assert flicker is not None

    def step(low: int, high: int) -> float:
        return (luma(grey(high)).double() - luma(grey(low)).double()).mean().item()

    assert flicker.input == pytest.approx(step(100, 130))
    assert flicker.restored == pytest.approx(step(100, 104))
    assert flicker.target == 0
    assert flicker.still_share == pytest.approx(10 / 24)  # the reach of the edge is 2 px


def test_a_video_without_a_still_pixel_has_no_flicker() -> None:
    frames = [Triple(grey(value), grey(value), grey(value)) for value in (20, 200)]
    assert evaluate(Frames(frames), unrestored, "RGB")[0].flicker is None
