"""Planes in, restored planes out, on one device.

Frames of a chunk are cut into patches, and patches of several frames share a batch of fixed
shape; the last batch is filled up, so a patch's result never depends on what was beside it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamrestore.checkpoint import Model, build_network
from streamrestore.color import add_residual, to_rgb
from streamrestore.devices import Precision
from streamrestore.errors import DeviceMemoryError, RestoreError
from streamrestore.frame import Chunk, Restored
from streamrestore.mprnet import Stages
from streamrestore.patches import PatchPlan, Span


@dataclass(frozen=True, slots=True)
class RestorerSettings:
    """How networks are run. The same on every worker of a job."""

    device: str
    """A torch device name: ``cpu``, ``cuda`` or ``mps``."""
    precision: Precision
    stages: Stages = 3
    local_pooling: bool = False
    strength: float = 1.0
    """Factor on what the networks changed, 0 to 1."""
    threads: int = 0
    """CPU threads; 0 leaves torch's own number, which is right on a GPU."""


class Restorer:
    """Restores chunks with one network, or with a chain of them in order. Passive; one per thread."""

    def __init__(self, models: Sequence[Model], settings: RestorerSettings) -> None:
        """Build the networks on the device.

        Raises:
            ModelError: Weights and network do not fit.
            DeviceMemoryError: The weights alone do not fit the device.
        """
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._settings = settings
        self._device = torch.device(settings.device)
        self._batch_limit: int | None = None
        self._networks = list[nn.Module]()
        for model in models:
            network = build_network(model)
            network.use_local_pooling(model.crop if settings.local_pooling else None)
            try:
                network.to(self._device, settings.precision.dtype())
            except RuntimeError as error:
                if _out_of_memory(error):
                    raise DeviceMemoryError(f"the weights of {model.name} do not fit {settings.device}") from error
                raise
            # torch takes a memory format alone, but does not say so in its types.
            self._networks.append(network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]

    @torch.inference_mode()
    def restore(self, chunk: Chunk) -> Restored:
        """Restore every frame of a chunk.

        When the device runs out of memory the batch is halved, for this and later chunks,
        until one patch does not fit.

        Raises:
            DeviceMemoryError: One patch of the plan does not fit the device.
            RestoreError: The network's result is not finite.
        """
        began = time.perf_counter()
        planes = tuple(torch.from_numpy(plane).to(self._device) for plane in chunk.planes)
        image = _pad(to_rgb(planes, chunk.format), chunk.plan)
        residual = self._residual(image, chunk.plan)
        if not torch.isfinite(residual).all():
            raise RestoreError(
                f"the network's result is not finite in {self._settings.precision}: "
                "use --precision bf16 or fp32, and check the weights with: streamrestore weights verify"
            )
        height, width = chunk.plan.frame
        residual = residual[..., :height, :width]
        restored = add_residual(planes, residual, chunk.format, strength=self._settings.strength)
        out = tuple(plane.cpu().numpy() for plane in restored)
        return Restored(out, time.perf_counter() - began)

    def _residual(self, image: Tensor, plan: PatchPlan) -> Tensor:
        """What the chain changes in ``[K, 3, H, W]`` padded images, both ends clamped to [0, 1]."""
        patches = [(frame, *spans) for frame in range(image.shape[0]) for spans in plan.spans()]
        residual = torch.empty_like(image)
        done = 0
        while done < len(patches):
            size = min(plan.batch, self._batch_limit or plan.batch)
            if self._restore_batch(image, residual, patches[done : done + size], size, plan.patch):
                done += size
            elif size == 1:
                height, width = plan.patch
                raise DeviceMemoryError(
                    f"one patch of {width}x{height} px does not fit the memory of {self._settings.device}"
                )
            else:
                self._batch_limit = size // 2
        return residual

    def _restore_batch(
        self,
        image: Tensor,
        residual: Tensor,
        patches: Sequence[tuple[int, Span, Span]],
        size: int,
        patch: tuple[int, int],
    ) -> bool:
        """Restore up to ``size`` patches as one batch of exactly that size; False if memory ran out."""
        height, width = patch
        batch = image.new_zeros((size, 3, height, width))
        for slot, (frame, row, column) in enumerate(patches):
            batch[slot] = image[frame, :, row.start : row.start + height, column.start : column.start + width]
        batch = batch.contiguous(memory_format=torch.channels_last)
        try:
            change = self._change(batch)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            return False
        for slot, (frame, row, column) in enumerate(patches):
            top, bottom = row.keep_start - row.start, row.keep_stop - row.start
            left, right = column.keep_start - column.start, column.keep_stop - column.start
            core = change[slot, :, top:bottom, left:right]
            residual[frame, :, row.keep_start : row.keep_stop, column.keep_start : column.keep_stop] = core
        return True

    def _change(self, batch: Tensor) -> Tensor:
        out = batch
        for network in self._networks:
            image = network(out, self._settings.stages)[-1]
            # The clamp would hide an overflow to infinity behind a white pixel; not a number goes through.
            out = torch.where(image.isfinite(), image, torch.nan).clamp(0, 1)
        return out - batch


def _pad(image: Tensor, plan: PatchPlan) -> Tensor:
    """Reflect ``[K, 3, H, W]`` at the bottom and right to the plan's padded size.

    Reflection needs more pixels than it adds; a frame smaller than that repeats its edge.
    """
    below, right = plan.padded[0] - plan.frame[0], plan.padded[1] - plan.frame[1]
    image = F.pad(image, (0, right, 0, 0), mode="reflect" if right < plan.frame[1] else "replicate")
    return F.pad(image, (0, 0, 0, below), mode="reflect" if below < plan.frame[0] else "replicate")


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; on the CPU it has no class of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
