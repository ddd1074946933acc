"""Patch plans: cores tile the frame, margins are kept, patches waste little."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.errors import PatchSizeError
from streamrestore.mprnet import SIZE_MULTIPLE
from streamrestore.patches import LARGEST_PATCH, MARGIN, plan_axis, plan_patches

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


@given(length=st.integers(193, 5000))
def test_smaller_patches_never_need_more_of_them(length: int) -> None:
    plan = plan_patches((length, 192), crop=128, batch_pixels=1, frames=1)
    at_most = len(plan_axis(length, 192, MARGIN))
    assert len(plan.spans()) <= at_most
    assert plan.patch[0] >= 128


@given(frame=frames, pixels=st.integers(1, 1 << 22), count=st.integers(1, 4))
def test_batches_fit_their_pixels_and_waste_little(frame: tuple[int, int], pixels: int, count: int) -> None:
    plan = plan_patches(frame, crop=128, batch_pixels=pixels, frames=count)
    patches, area = len(plan.spans()) * count, plan.patch[0] * plan.patch[1]
    assert plan.batch == 1 or plan.batch * area <= pixels
    batches = -(-patches // plan.batch)
    assert plan.batch <= patches
    assert plan.batch * batches - patches < batches


def test_a_whole_frame_is_one_patch() -> None:
    plan = plan_patches((1080, 1921), crop=256, batch_pixels=1, frames=4, whole=True)
    assert plan.patch == plan.padded == (1080, 1928)
    assert len(plan.spans()) == 1


def test_a_patch_without_core_says_what_to_ask_for() -> None:
    with pytest.raises(PatchSizeError, match="at least 40 px"):
        plan_patches((480, 640), crop=128, batch_pixels=1, frames=1, patch=32)
