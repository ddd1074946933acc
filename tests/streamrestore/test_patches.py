"""Patch plans: cores tile the frame, margins are kept, patches waste little."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.errors import PatchSizeError
from streamrestore.patches import LARGEST_PATCH, MARGIN_SHARE, SIZE_MULTIPLE, plan_axis, plan_patches

frames = st.tuples(st.integers(1, 2500), st.integers(1, 4200))
crops = st.sampled_from([64, 128, 256])


@given(length=st.integers(1, 5000), patch=st.integers(1, 600), margin=st.integers(0, 40))
def test_cores_tile_every_axis_with_their_margin(length: int, patch: int, margin: int) -> None:
    if length < patch or (length > patch and patch <= 2 * margin):
        with pytest.raises(PatchSizeError):
            plan_axis(length, patch, margin)
        return
    spans = plan_axis(length, patch, margin)
    assert spans[0].keep_start == 0
    assert spans[-1].keep_stop == length
    for span, following in pairwise(spans):
        assert span.keep_stop == following.keep_start
        assert span.start + patch - span.keep_stop >= margin
        assert following.keep_start - following.start >= margin
    for span in spans:
        assert 0 <= span.start <= span.keep_start < span.keep_stop <= span.start + patch <= length


@given(frame=frames, crop=crops, patch=st.none() | st.integers(40, 600))
def test_every_frame_size_has_a_plan(frame: tuple[int, int], crop: int, patch: int | None) -> None:
    plan = plan_patches(frame, crop=crop, batch_pixels=1 << 20, frames=2, patch=patch)
    largest = patch if patch is not None else crop * LARGEST_PATCH
    covered = 0
    for side, padded, full in zip(plan.patch, plan.padded, frame, strict=True):
        assert side % SIZE_MULTIPLE == 0
        assert side < largest + SIZE_MULTIPLE
        assert full <= padded < full + SIZE_MULTIPLE or padded == side
    for row, column in plan.spans():
        covered += (row.keep_stop - row.keep_start) * (column.keep_stop - column.keep_start)
    assert covered == plan.padded[0] * plan.padded[1]


@given(length=st.integers(193, 5000), size=st.integers(16, 24))
def test_no_patch_of_an_allowed_size_computes_fewer_pixels(length: int, size: int) -> None:
    plan = plan_patches((length, 192), crop=128, batch_pixels=1, frames=1)
    other = SIZE_MULTIPLE * size
    assert 128 <= plan.patch[0] <= 192
    assert len(plan.rows) * plan.patch[0] <= other * len(plan_axis(length, other, 128 // MARGIN_SHARE))


@pytest.mark.parametrize("crop", [128, 256])
def test_full_hd_computes_at_most_a_fifth_more_pixels_than_it_keeps(crop: int) -> None:
    plan = plan_patches((1080, 1920), crop=crop, batch_pixels=1, frames=4)
    assert 1 <= plan.computed <= 1.2
    assert crop <= min(plan.patch) <= max(plan.patch) <= LARGEST_PATCH * crop
    assert plan_patches((1080, 1920), crop=256, batch_pixels=1, frames=4, patch=256).computed > 1.2
    assert plan_patches((1080, 1920), crop=crop, batch_pixels=1, frames=4, whole_pixels=1 << 30).computed <= 1.02


@given(frame=frames, pixels=st.integers(1, 1 << 22), count=st.integers(1, 4))
def test_batches_fit_their_pixels_and_waste_little(frame: tuple[int, int], pixels: int, count: int) -> None:
    plan = plan_patches(frame, crop=128, batch_pixels=pixels, frames=count)
    patches, area = len(plan.spans()) * count, plan.patch[0] * plan.patch[1]
    assert plan.batch == 1 or plan.batch * area <= pixels
    batches = -(-patches // plan.batch)
    assert plan.batch <= patches
    assert plan.batch * batches - patches < batches


def test_a_whole_frame_is_one_patch() -> None:
    plan = plan_patches((1080, 1921), crop=256, batch_pixels=1, frames=4, whole_pixels=1 << 22)
    assert plan.patch == plan.padded == (1080, 1928)
    assert plan.patches == len(plan.spans()) == 1


@given(frame=frames, pixels=st.integers(1, 1 << 23), crop=crops)
def test_a_frame_too_large_for_memory_is_cut_as_little_as_it_must(
    frame: tuple[int, int], pixels: int, crop: int
) -> None:
    plan = plan_patches(frame, crop=crop, batch_pixels=1, frames=1, whole_pixels=pixels)
    height, width = plan.patch
    assert height * width <= pixels or max(height, width) <= crop
    assert (plan.patches == 1) == (height >= frame[0] and width >= frame[1])
    if pixels >= (frame[0] + SIZE_MULTIPLE) * (frame[1] + SIZE_MULTIPLE):
        assert plan.patches == 1


def test_a_patch_without_core_says_what_to_ask_for() -> None:
    with pytest.raises(PatchSizeError, match="at least 24 px"):
        plan_patches((480, 640), crop=128, batch_pixels=1, frames=1, patch=16)
