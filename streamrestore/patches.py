"""Cut frames into equal patches, so that patches of many frames fit one batch.

A patch reads its core plus at least ``margin`` pixels of context; only the core is written
back. Cores tile the frame: each pixel is kept exactly once, so merging is plain assignment
and the order in which patches are computed cannot change a frame.

The plan is integers only (no tensors, no Ray). It is made once per job.

The margin softens seams and does not remove them: MPRNet's channel attention averages over
its whole input, so patches differ by what they see. Patches near the training crop's size
keep those statistics as they were in training.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

from streamrestore.errors import PatchSizeError
from streamrestore.mprnet import SIZE_MULTIPLE

MARGIN = 16
"""Pixels of context around a core; see benchmarks/seams.py for what it buys."""

LARGEST_PATCH = 1.5
"""Largest default patch, in training crops: beyond it the channel means drift from training's."""


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a patch, in frame pixels. All ranges are half-open."""

    start: int
    """First pixel read; the patch reads ``[start, start + patch)``."""
    keep_start: int
    """First pixel of the core."""
    keep_stop: int
    """One past the last pixel of the core."""

    @property
    def kept(self) -> slice:
        """The core, in the frame."""
        return slice(self.keep_start, self.keep_stop)

    @property
    def core(self) -> slice:
        """The core, in the patch."""
        return slice(self.keep_start - self.start, self.keep_stop - self.start)


@dataclass(frozen=True, slots=True)
class PatchPlan:
    """How every frame of a job is cut and batched. Sizes are pixels, (height, width)."""

    frame: tuple[int, int]
    padded: tuple[int, int]
    """Frame size after reflection at the bottom and right, never smaller than a patch."""
    patch: tuple[int, int]
    """What the network sees; multiples of `SIZE_MULTIPLE`."""
    margin: int
    batch: int
    """Patches of one forward pass; the last one of a chunk is filled up."""

    def spans(self) -> tuple[tuple[Span, Span], ...]:
        """(vertical, horizontal) spans of every patch, row by row."""
        rows = plan_axis(self.padded[0], self.patch[0], self.margin)
        columns = plan_axis(self.padded[1], self.patch[1], self.margin)
        return tuple((row, column) for row in rows for column in columns)


def plan_axis(length: int, patch: int, margin: int) -> tuple[Span, ...]:
    """Cover one axis with equal patches whose cores tile it.

    Args:
        length: Height or width of the (padded) frame, in pixels.
        patch: Pixels each patch reads.
        margin: Least context, in pixels, between a core and a patch edge that lies
            inside the frame.

    Returns:
        Spans from first to last. The last starts at ``length - patch``, so it may read
        pixels its neighbour also reads; it never keeps them twice. One patch as long as
        the axis has no inner edge and needs no margin.

    Raises:
        PatchSizeError: The axis is shorter than a patch, or the margins leave no core.
    """
    if length < patch:
        raise PatchSizeError(f"an axis of {length} px is shorter than a patch of {patch} px")
    if length == patch:
        return (Span(0, 0, length),)
    step = patch - 2 * margin
    if margin < 0 or step <= 0:
        raise PatchSizeError(f"a margin of {margin} px leaves no core in a {patch} px patch: take larger patches")

    last = length - patch
    starts = [*range(0, last, step), last]
    edges = [0, *(start + margin for start in starts[1:]), length]
    return tuple(Span(start, *kept) for start, kept in zip(starts, pairwise(edges), strict=True))


def _multiple(length: int) -> int:
    return -(-length // SIZE_MULTIPLE) * SIZE_MULTIPLE


def _patch_length(length: int, largest: int, smallest: int, margin: int) -> int:
    """The smallest patch, at least ``smallest``, that needs no more patches than ``largest`` would."""
    if length <= largest:
        return _multiple(length)
    if largest <= 2 * margin:
        raise PatchSizeError(
            f"patches of {largest} px leave no core inside margins of {margin} px: "
            f"ask for at least {_multiple(2 * margin + 1)} px"
        )
    count = len(plan_axis(length, largest, margin))
    needed = -(-(length - 2 * margin) // count) + 2 * margin
    return min(largest, max(smallest, _multiple(needed)))


def plan_patches(
    frame: tuple[int, int],
    *,
    crop: int,
    batch_pixels: int,
    frames: int,
    patch: int | None = None,
    whole: bool = False,
    margin: int = MARGIN,
) -> PatchPlan:
    """Decide how frames of one size are cut.

    Args:
        frame: (height, width) of the frame, in pixels.
        crop: Side of the square crops the network was trained on, in pixels.
        batch_pixels: Most pixels of one forward pass; a patch larger than that goes alone.
        frames: Frames of a chunk, whose patches share batches.
        patch: Side of the largest patch in pixels; None takes `LARGEST_PATCH` crops. Rounded
            up to a multiple of `SIZE_MULTIPLE`.
        whole: One patch as large as the frame, which asks for local pooling.
        margin: Pixels of context around a core.

    Returns:
        The plan. Patches are as small as their number allows, to waste the least, but not
        smaller than the training crop unless ``patch`` or the frame is; batches likewise hold
        as few as their number allows.

    Raises:
        PatchSizeError: The margins leave no core in a patch of this size.
    """
    if whole:
        size = (_multiple(frame[0]), _multiple(frame[1]))
    else:
        largest = _multiple(patch if patch is not None else int(crop * LARGEST_PATCH))
        smallest = min(largest, _multiple(crop))
        size = (
            _patch_length(frame[0], largest, smallest, margin),
            _patch_length(frame[1], largest, smallest, margin),
        )
    padded = (max(frame[0], size[0]), max(frame[1], size[1]))
    plan = PatchPlan(frame, padded, size, margin, batch=1)
    patches = len(plan.spans()) * frames
    largest_batch = max(1, batch_pixels // (size[0] * size[1]))
    batches = -(-patches // largest_batch)
    return replace(plan, batch=-(-patches // batches))
