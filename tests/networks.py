"""Small networks with seeded weights, and restorers that stand in for one, for tests."""

from dataclasses import dataclass

import numpy as np
import torch

from streamrestore.checkpoint import SLOPE, Model
from streamrestore.frame import Chunk, Restored
from streamrestore.mprnet import MPRNet, Widths

TINY = Widths(n_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1)


def tiny_model(seed: int = 0, *, scale: float = 1.0, crop: int = 32) -> Model:
    """An untrained network, whose change to the image grows with ``scale``; 0 is the identity."""
    torch.manual_seed(seed)
    state = MPRNet(TINY).state_dict()
    tensors = {name: value for name, value in state.items() if not (value.numel() == 1 and name != SLOPE)}
    for name in ("tail.weight", "sam12.conv2.weight", "sam23.conv2.weight"):
        tensors[name] = tensors[name] * scale
    return Model("tiny", "derain", crop, TINY, "tests", "none", f"{seed}-{scale}", tensors)


@dataclass(frozen=True, slots=True)
class OffsetRestorer:
    """Adds one number to every sample: a restorer whose result can be foretold."""

    offset: int = 0

    def restore(self, chunk: Chunk) -> Restored:
        planes = tuple(plane + plane.dtype.type(self.offset) for plane in chunk.planes)
        return Restored(planes, 0.001)


def offset_restorer(offset: int = 0) -> OffsetRestorer:
    """As a function, so that it can be built inside a worker."""
    return OffsetRestorer(offset)


def noise_planes(
    shapes: tuple[tuple[int, int], ...], frames: int, *, depth: int = 8, seed: int = 0
) -> tuple[np.ndarray, ...]:
    """Random samples for a chunk of ``frames`` frames."""
    generator = np.random.default_rng(seed)
    dtype = np.uint8 if depth == 8 else np.uint16
    return tuple(generator.integers(0, 2**depth, (frames, *shape)).astype(dtype) for shape in shapes)
