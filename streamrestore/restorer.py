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

from streamrestore.checkpoint import Model, Task, build_network
from streamrestore.color import add_residuals, to_pictures
from streamrestore.devices import Precision
from streamrestore.ensemble import SelfEnsemble
from streamrestore.errors import DeviceMemoryError, RestoreError
from streamrestore.frame import Chunk, Planes, Restored
from streamrestore.mprnet import Stages
from streamrestore.patches import PatchPlan


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
    self_ensemble: bool = False
    """Ask each network several times, as `SelfEnsemble` does; those for rain without quarter turns."""


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
        # By default float32 convolutions drop 13 bits on a GPU, and may differ from call to call.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        self._settings = settings
        self._device = torch.device(settings.device)
        self._plan: PatchPlan | None = None
        self._batch = 1
        """Patches of one forward pass under this plan: the plan's, or what memory left of it."""
        self._tasks = tuple(model.task for model in models)
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
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            turning = SelfEnsemble(network, quarter_turns=model.task != "derain")
            self._networks.append(turning if settings.self_ensemble else network)

    @torch.inference_mode()
    def restore(self, chunk: Chunk) -> Restored:
        """Restore every frame of a chunk.

        When the device runs out of memory the batch is halved, for as long as the plan stays,
        until one patch does not fit.

        Raises:
            DeviceMemoryError: One patch of the plan does not fit the device.
            RestoreError: The network's result is not finite, or the device failed.
        """
        began = time.perf_counter()
        if self._plan != chunk.plan:
            self._plan, self._batch = chunk.plan, chunk.plan.batch
        while True:
            try:
                return Restored(self._restore(chunk), time.perf_counter() - began)
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise RestoreError(f"{self._settings.device} failed: {error}") from error
                if self._batch == 1:
                    height, width = chunk.plan.patch
                    raise DeviceMemoryError(
                        f"one patch of {width}x{height} px does not fit the memory of {self._settings.device}"
                    ) from error
            # Only now: until here the error's traceback holds the tensors that were in the way.
            self._batch //= 2

    def _restore(self, chunk: Chunk) -> Planes:
        planes = tuple(torch.from_numpy(plane).to(self._device) for plane in chunk.planes)
        pictures = to_pictures(planes, chunk.format)
        residual = self._residual(_pad(pictures, chunk.plan), chunk.plan, self._chain(chunk.tasks))
        if not torch.isfinite(residual).all():
            raise RestoreError(
                f"the network's result is not finite in {self._settings.precision}: "
                "use --precision bf16 or fp32, and check the weights with: streamrestore weights verify"
            )
        height, width = chunk.plan.frame
        residual = residual[..., :height, :width]
        restored = add_residuals(planes, residual, chunk.format, strength=self._settings.strength)
        return tuple(plane.cpu().numpy() for plane in restored)

    def _chain(self, tasks: Sequence[Task] | None) -> list[nn.Module]:
        """The networks of these tasks, or all of them, in order."""
        networks = zip(self._tasks, self._networks, strict=True)
        return [network for task, network in networks if tasks is None or task in tasks]

    def _residual(self, image: Tensor, plan: PatchPlan, chain: Sequence[nn.Module]) -> Tensor:
        """What a chain changes in ``[K, 3, H, W]`` padded images, both ends clamped to [0, 1]."""
        height, width = plan.patch
        patches = [(frame, *spans) for frame in range(image.shape[0]) for spans in plan.spans()]
        residual = torch.empty_like(image)
        for first in range(0, len(patches), self._batch):
            # Always of one shape: with another one, sums may be added up in another order.
            batch = image.new_zeros((self._batch, 3, height, width)).contiguous(memory_format=torch.channels_last)
            together = patches[first : first + self._batch]
            for slot, (frame, row, column) in enumerate(together):
                batch[slot] = image[frame, :, row.start : row.start + height, column.start : column.start + width]
            change = self._change(batch, chain)
            for slot, (frame, row, column) in enumerate(together):
                residual[frame, :, row.kept, column.kept] = change[slot, :, row.core, column.core]
        return residual

    def _change(self, batch: Tensor, chain: Sequence[nn.Module]) -> Tensor:
        out = batch
        for network in chain:
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
