"""Work that need not be done: patches that show what the same place of an earlier picture showed.

A patch's result depends on the patch alone, margin included, and not on what shares its batch. So where a patch
is the same, bit for bit, its earlier result is the result. Fixed cameras, slides and animation have many of these,
a camera's noise none; for that there is a threshold, whose results are near and no longer the same.
"""

import torch
from torch import Tensor

_ROUNDING = 1e-6
"""By how much float32 may miss the difference of two samples in [0, 1]: a fifteenth of one code of 16 bits. Without
it, a difference of just the threshold would count as the same here and not there."""


def find_repeats(patches: Tensor, before: Tensor | None = None, threshold: float = 0.0) -> Tensor:
    """Tell which patches show what an earlier frame shows at the same place.

    Args:
        patches: ``[F, P, C, h, w]`` of F successive frames.
        before: ``[P, C, h, w]`` of the frame before these, if it is known.
        threshold: Largest difference of any sample that counts as the same, in the patches' units. A patch is
            compared with the one whose result it would take, so differences do not add up.

    Returns:
        ``[F, P]`` int64 on the patches' device: the frame whose result each patch takes; its own where none shows
        the same, -1 for the frame before these.
    """
    frames, places = patches.shape[:2]
    source = torch.arange(frames, device=patches.device).view(-1, 1).repeat(1, places)
    if before is not None:
        source[0] = torch.where(_differs(patches[0], before, threshold), 0, -1)
    place = torch.arange(places, device=patches.device)
    for frame in range(1, frames):
        candidate = source[frame - 1]
        # Where equality is exact it is handed on, so the frame before serves and nothing need be gathered.
        earlier = patches[candidate, place] if threshold else patches[frame - 1]
        source[frame] = torch.where(_differs(patches[frame], earlier, threshold), frame, candidate)
    return source


def _differs(patches: Tensor, earlier: Tensor, threshold: float) -> Tensor:
    """``[P]`` bool: whether any sample of a patch does."""
    different = (patches - earlier).abs() > threshold + _ROUNDING if threshold else patches != earlier
    return different.flatten(1).any(1)
