"""Cutting and joining: patches are what the plan says, and their cores make up the picture again."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from streamrestore.cutting import PatchCutter
from streamrestore.patches import PatchPlan, plan_patches

CPU = torch.device("cpu")


def plan_of(height: int, width: int, patch: int | None = None) -> PatchPlan:
    return plan_patches((height, width), crop=32, batch_pixels=1, frames=1, patch=patch)


def pictures(plan: PatchPlan, count: int = 2, channels: int = 3) -> torch.Tensor:
    size = (count, channels, *plan.frame)
    return torch.arange(count * channels * plan.frame[0] * plan.frame[1], dtype=torch.float32).view(size)


@settings(deadline=None, max_examples=60)
@given(height=st.integers(1, 200), width=st.integers(1, 200), patch=st.none() | st.integers(8, 64))
def test_joined_patches_are_the_pictures_bit_for_bit(height: int, width: int, patch: int | None) -> None:
    plan = plan_of(height, width, patch)
    cutter, given_ = PatchCutter(plan, CPU), pictures(plan_of(height, width, patch))
    patches = cutter.cut(given_)
    assert patches.shape == (2, plan.patches, 3, *plan.patch)
    assert torch.equal(cutter.join(patches), given_)


@pytest.mark.parametrize("size", [(45, 70), (77, 99), (33, 200), (3, 50), (1, 1), (48, 64)])
def test_a_patch_holds_what_its_span_reads_of_the_reflected_picture(size: tuple[int, int]) -> None:
    plan = plan_of(*size)
    given_ = pictures(plan)
    below, right = plan.padded[0] - size[0], plan.padded[1] - size[1]
    padded = F.pad(given_, (0, right, 0, 0), mode="reflect" if right < size[1] else "replicate")
    padded = F.pad(padded, (0, 0, 0, below), mode="reflect" if below < size[0] else "replicate")
    patches = PatchCutter(plan, CPU).cut(given_)
    height, width = plan.patch
    for index, (row, column) in enumerate(plan.spans()):
        wanted = padded[:, :, row.start : row.start + height, column.start : column.start + width]
        assert torch.equal(patches[:, index], wanted)


def test_patches_lie_in_memory_as_convolutions_want_them(device: str) -> None:
    plan = plan_of(77, 99)
    patches = PatchCutter(plan, torch.device(device)).cut(pictures(plan).to(device)).flatten(0, 1)
    assert patches.is_contiguous(memory_format=torch.channels_last)
