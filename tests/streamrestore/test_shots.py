"""Shots: cuts to the frame, nothing cut where there is none, a bounded number of pictures assessed."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from streamrestore.assessor import Assessment
from streamrestore.frame import ChromaLocation, Frame, Matrix, PixelFormat, VideoFormat
from streamrestore.shots import LEAST_FRAMES, Shot, find_shots, shot_at
from tests.assessors import DarkIsNoisy

SIZE = (72, 128)
GREY = VideoFormat(SIZE[1], SIZE[0], PixelFormat("gray", "grey", 8), Matrix.BT709, True, ChromaLocation.LEFT)

Picture = NDArray[np.uint8]


def scene(seed: int) -> NDArray[np.float32]:
    """A smooth random picture twice as wide as a frame, 0 to 1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, 5, 16, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(SIZE[0], 2 * SIZE[1]), mode="bicubic", align_corners=False)
    picture: NDArray[np.float32] = fine[0, 0].clamp(0, 1).numpy()
    return picture


def still(seed: int, count: int, *, pan: int = 0, noise: float = 0.0) -> list[Picture]:
    """So many frames of a scene, seen ``pan`` pixels further in each."""
    random = np.random.default_rng(seed)
    wide = scene(seed)
    frames = [np.roll(wide, -pan * number, 1)[:, : SIZE[1]] for number in range(count)]
    noisy = [(frame + random.normal(0, noise, SIZE)) * 255 for frame in frames]
    return [frame.clip(0, 255).astype(np.uint8) for frame in noisy]


def shots_of(pictures: Sequence[Picture], assessor: DarkIsNoisy | None = None) -> list[Shot]:
    frames = (Frame(index, 100 + 7 * index, 7, (picture,)) for index, picture in enumerate(pictures))
    return list(find_shots(frames, GREY, assessor or DarkIsNoisy()))


def lengths(pictures: Sequence[Picture]) -> list[int]:
    return [shot.frames for shot in shots_of(pictures)]


def test_cuts_are_found_to_the_frame() -> None:
    shots = shots_of([*still(1, 20), *still(2, 9), *still(3, LEAST_FRAMES)])
    assert [shot.frames for shot in shots] == [20, 9, LEAST_FRAMES]
    assert [(shot.start_pts, shot.stop_pts) for shot in shots] == [(100, 240), (240, 303), (303, 359)]


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_noise_hides_no_cut_and_makes_none(noise: float) -> None:
    assert lengths([*still(1, 20, noise=noise), *still(2, 20, noise=noise)]) == [20, 20]


@pytest.mark.parametrize("frames", range(1, LEAST_FRAMES))
def test_a_flash_is_no_cut(frames: int) -> None:
    calm = still(1, 40)
    flash = [np.full(SIZE, 255, np.uint8)] * frames
    assert lengths([*calm[:20], *flash, *calm[20:]]) == [40 + frames]


@pytest.mark.parametrize("pan", [2, 4, 8, 16, 32])
def test_a_fast_pan_is_no_cut(pan: int) -> None:
    assert lengths([*still(1, 20), *still(1, 30, pan=pan)]) == [50]


def test_a_cut_out_of_a_pan_is_found() -> None:
    assert lengths([*still(1, 20), *still(1, 30, pan=4), *still(2, 20)]) == [50, 20]


def test_a_fade_is_no_cut() -> None:
    one, other = still(1, 1)[0].astype(float), still(2, 1)[0].astype(float)
    fade = [(one + (other - one) * step / 24).astype(np.uint8) for step in range(25)]
    assert lengths([*[fade[0]] * 20, *fade, *[fade[-1]] * 20]) == [65]


def test_scenes_too_short_belong_to_their_neighbours() -> None:
    assert lengths([*still(1, 20), *still(2, 3), *still(3, 20)]) in ([20, 23], [23, 20])
    assert lengths([*still(1, 3), *still(2, 20)]) == [23]
    assert lengths([*still(1, 20), *still(2, 3)]) == [23]
    assert lengths(still(1, 1)) == [1]
    assert lengths([]) == []


def test_each_shot_is_assessed_by_its_own_pictures() -> None:
    dark = [picture // 8 for picture in still(2, 30)]
    assessor = DarkIsNoisy()
    shots = shots_of([*still(1, 20), *dark, *still(3, 20)], assessor)
    assert [shot.tasks for shot in shots] == [(), ("denoise",), ()]
    assert [tuple(pictures[0].shape) for pictures in assessor.seen] == [(3, *SIZE)] * 3


@pytest.mark.parametrize("frames", [1, 7, 8, 33, 64, 500])
def test_few_pictures_spread_over_the_shot_are_assessed(frames: int) -> None:
    assessor = DarkIsNoisy()
    # Each frame's grey says when it is; neighbours are close, so it is all one shot.
    shots_of([np.full(SIZE, number * 255 // frames, np.uint8) for number in range(frames)], assessor)
    [pictures] = assessor.seen
    times = [float(picture.mean()) for picture in pictures]
    assert 1 <= len(times) <= 8
    assert times == sorted(times)
    if frames >= 33:
        assert len(times) >= 4
        assert times[0] < 0.25
        assert times[-1] > 0.75
        assert max(np.diff(times)) <= 2 * min(np.diff(times)) + 0.02


def test_fields_are_assessed_as_pictures_of_their_own_and_turned_ones_upright() -> None:
    turned = VideoFormat(64, 48, PixelFormat("yuv420p", "yuv", 8, (1, 1)), Matrix.BT709, False, ChromaLocation.LEFT, 1)
    for video, shape, count in ((turned, (3, 64, 48), 2), (replace(turned, fields=True), (3, 64, 24), 4)):
        assessor = DarkIsNoisy()
        planes = tuple(np.full(size, 128, np.uint8) for size in video.plane_shapes())
        list(find_shots((Frame(index, index, 1, planes) for index in range(8)), video, assessor))
        assert [tuple(picture.shape) for picture in assessor.seen[0]] == [shape] * count


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 30), st.integers(0, 8)), max_size=6))
def test_every_frame_is_in_exactly_one_shot(scenes: list[tuple[int, int, int]]) -> None:
    pictures = [picture for seed, count, pan in scenes for picture in still(seed, count, pan=pan)]
    shots = shots_of(pictures)
    assert sum(shot.frames for shot in shots) == len(pictures)
    assert all(shot.frames >= min(LEAST_FRAMES, len(pictures)) for shot in shots)
    edges = [100, *(100 + 7 * int(end) for end in np.cumsum([shot.frames for shot in shots]))]
    assert [(shot.start_pts, shot.stop_pts) for shot in shots] == list(pairwise(edges))
    assert shots_of(pictures) == shots
    found = [shot_at(shots, 100 + 7 * index) for index in range(len(pictures))]
    assert found == [shot for shot in shots for _ in range(shot.frames)]


def test_a_time_before_all_shots_is_in_the_first() -> None:
    first, second = (Shot(start, start + 10, 1, Assessment(0, 0, 0)) for start in (0, 10))
    assert shot_at((first, second), -5) is first
    assert shot_at((first, second), 99) is second


def test_tasks_are_run_in_one_order() -> None:
    assert Assessment(0.9, 0.9, 0.9).tasks == ("denoise", "derain", "deblur")
    assert Assessment(rain=0.9, noise=0.1, blur=0.9).tasks == ("derain", "deblur")
    assert Assessment(0.2, 0.2, 0.2).tasks == ()


def test_pictures_are_what_networks_are_shown() -> None:
    class Keeps:
        sha256 = "0" * 64
        pictures: Sequence[Tensor] = ()

        def assess(self, pictures: Sequence[Tensor]) -> Assessment:
            self.pictures = pictures
            return Assessment(0, 0, 0)

    keeps = Keeps()
    list(find_shots([Frame(0, 0, 1, (np.full(SIZE, 51, np.uint8),))], GREY, keeps))
    assert torch.equal(keeps.pictures[0], torch.full((3, *SIZE), 0.2))
