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

SIZE_MULTIPLE = 8
"""Height and width of what MPRNet takes are multiples of this: two cuts in half, two levels down."""

MARGIN_SHARE = 16
"""A margin is this part of the training crop: 16 px for crops of 256 px, 8 px for 128 px. Half of it
already hides the seams (benchmarks/seams.py); twice as much computes a third more pixels."""

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

    @property
    def rows(self) -> tuple[Span, ...]:
        """Vertical spans, from top to bottom."""
        return plan_axis(self.padded[0], self.patch[0], self.margin)

    @property
    def columns(self) -> tuple[Span, ...]:
        """Horizontal spans, from left to right."""
        return plan_axis(self.padded[1], self.patch[1], self.margin)

    @property
    def patches(self) -> int:
        """How many a frame is cut into."""
        return len(self.rows) * len(self.columns)

    @property
    def computed(self) -> float:
        """Pixels computed for each pixel of a frame, at least 1; what the last batch is filled up with aside."""
        height, width = self.patch
        return self.patches * height * width / (self.frame[0] * self.frame[1])

    def spans(self) -> tuple[tuple[Span, Span], ...]:
        """(vertical, horizontal) spans of every patch, row by row."""
        return tuple((row, column) for row in self.rows for column in self.columns)


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
    """The patch, from ``smallest`` to ``largest``, that computes the fewest pixels; of several the largest."""
    if length <= largest:
        return _multiple(length)
    if largest <= 2 * margin:
        raise PatchSizeError(
            f"patches of {largest} px leave no core inside margins of {margin} px: "
            f"ask for at least {_multiple(2 * margin + 1)} px"
        )
    sizes = range(largest, max(smallest, 2 * margin + 1) - 1, -SIZE_MULTIPLE)
    return min(sizes, key=lambda size: size * len(plan_axis(length, size, margin)))


def _whole_size(frame: tuple[int, int], most_pixels: int, smallest: int, margin: int) -> tuple[int, int]:
    """The size of the fewest equal patches of at most ``most_pixels``, or else near ``smallest`` squared."""
    height, width = _multiple(frame[0]), _multiple(frame[1])
    rows = columns = 1
    while height * width > most_pixels and max(height, width) > smallest:
        if height > width:
            rows += 1
            height = _part(frame[0], rows, margin)
        else:
            columns += 1
            width = _part(frame[1], columns, margin)
    return height, width


def _part(length: int, count: int, margin: int) -> int:
    """The smallest patch of which ``count`` cover an axis."""
    return _multiple(-(-(length - 2 * margin) // count) + 2 * margin)


def plan_patches(
    frame: tuple[int, int],
    *,
    crop: int,
    batch_pixels: int,
    frames: int,
    patch: int | None = None,
    whole_pixels: int | None = None,
    margin: int | None = None,
) -> PatchPlan:
    """Decide how frames of one size are cut.

    Args:
        frame: (height, width) of the frame, in pixels.
        crop: Side of the square crops the network was trained on, in pixels.
        batch_pixels: Most pixels of one forward pass; a patch larger than that goes alone.
        frames: Pictures of a chunk, whose patches share batches.
        patch: Side of the largest patch in pixels; None takes `LARGEST_PATCH` crops. Rounded
            up to a multiple of `SIZE_MULTIPLE`.
        whole_pixels: Take one patch as large as the frame, which asks for local pooling; or, where that
            has more pixels than this, as few patches as it allows. None cuts by ``patch``.
        margin: Pixels of context around a core; None takes a `MARGIN_SHARE` of the crop.

    Returns:
        The plan. Patches are those that compute the fewest pixels from the training crop's size up to the
        largest, or smaller if ``patch`` or the frame is. Batches hold as few as their number allows.

    Raises:
        PatchSizeError: The margins leave no core in a patch of this size.
    """
    margin = crop // MARGIN_SHARE if margin is None else margin
    if whole_pixels is not None:
        size = _whole_size(frame, whole_pixels, _multiple(crop), margin)
    else:
        largest = _multiple(patch if patch is not None else int(crop * LARGEST_PATCH))
        smallest = min(largest, _multiple(crop))
        size = (
            _patch_length(frame[0], largest, smallest, margin),
            _patch_length(frame[1], largest, smallest, margin),
        )
    padded = (max(frame[0], size[0]), max(frame[1], size[1]))
    plan = PatchPlan(frame, padded, size, margin, batch=1)
    patches = plan.patches * frames
    largest_batch = max(1, batch_pixels // (size[0] * size[1]))
    batches = -(-patches // largest_batch)
    return replace(plan, batch=-(-patches // batches))
