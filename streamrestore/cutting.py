"""Pictures to patches and back, each one indexed copy on the device, whatever the number of patches.

What a plan pads, reflects or repeats is part of the index.
"""

import torch
from torch import Tensor

from streamrestore.patches import PatchPlan, Span


class PatchCutter:
    """Cuts pictures by one plan, on one device."""

    def __init__(self, plan: PatchPlan, device: torch.device) -> None:
        """Compute the indices.

        Args:
            plan: How pictures are cut.
            device: Where the pictures will be.
        """
        (frame_height, frame_width), (height, width) = self._frame, self._patch = plan.frame, plan.patch
        self._count = plan.patches
        rows, columns = _read(plan.rows, height, frame_height), _read(plan.columns, width, frame_width)
        read = rows.view(-1, 1, height, 1) * frame_width + columns.view(1, -1, 1, width)
        rows, columns = _kept(plan.rows, height, frame_height), _kept(plan.columns, width, frame_width)
        patch = (rows // height).view(-1, 1) * len(plan.columns) + columns // width
        kept = (patch * height + (rows % height).view(-1, 1)) * width + columns % width
        self._read = read.flatten().to(device, torch.int32)
        """For each sample of each patch, the one of the picture."""
        self._kept = kept.flatten().to(device, torch.int32)
        """For each sample of a picture, the one of the patches."""

    def cut(self, pictures: Tensor) -> Tensor:
        """All patches of some pictures.

        Args:
            pictures: ``[K, C, H, W]`` of the plan's frame size.

        Returns:
            ``[K, P, C, h, w]``, channels last in memory; a picture's patches row by row.
        """
        count, channels = pictures.shape[:2]
        samples = pictures.permute(0, 2, 3, 1).reshape(count, -1, channels)
        patches = samples.index_select(1, self._read)
        return patches.view(count, self._count, *self._patch, channels).permute(0, 1, 4, 2, 3)

    def join(self, patches: Tensor) -> Tensor:
        """The pictures that the cores of patches make up.

        Args:
            patches: As `cut` gives them.

        Returns:
            ``[K, C, H, W]`` of the plan's frame size.
        """
        count, channels = patches.shape[0], patches.shape[2]
        samples = patches.permute(0, 1, 3, 4, 2).reshape(count, -1, channels)
        pictures = samples.index_select(1, self._kept)
        return pictures.view(count, *self._frame, channels).permute(0, 3, 1, 2)


def _read(spans: tuple[Span, ...], patch: int, length: int) -> Tensor:
    """Of an axis of ``length`` samples, the one that each place of each patch reads.

    Beyond the end the picture is reflected. That needs more samples than are added; where there
    are not, the last one is repeated.
    """
    places = torch.cat([torch.arange(span.start, span.start + patch) for span in spans])
    last = length - 1
    added = int(places[-1]) - last
    beyond = 2 * last - places if added <= last else torch.full_like(places, last)
    return torch.where(places <= last, places, beyond)


def _kept(spans: tuple[Span, ...], patch: int, length: int) -> Tensor:
    """For each sample of an axis, the place that holds it among those that `_read` gave."""
    places = [torch.arange(span.core.start, span.core.stop) + patch * index for index, span in enumerate(spans)]
    return torch.cat(places)[:length]
