"""Networks and frames to time: speed does not depend on what weights or pictures are, so both are random."""

import numpy as np
import torch

from streamrestore.checkpoint import SLOPE, Model
from streamrestore.devices import CPU_THREADS, Device, Precision, batch_pixels
from streamrestore.frame import ChromaLocation, Chunk, Matrix, PixelFormat, VideoFormat
from streamrestore.mprnet import MPRNet, Widths
from streamrestore.patches import plan_patches
from streamrestore.restorer import RestorerSettings
from streamrestore.tasks import Stages

PUBLISHED = {
    "derain": (Widths(40, 20, 16, 8), 256),
    "deblur": (Widths(96, 48, 32, 8), 256),
    "denoise": (Widths(80, 48, 32, 8), 128),
}
"""Of the paper's three networks, and the side of their training crops."""

COMPACT = (Widths(16, 8, 8, 4), 128)
"""Of the weights in this package."""


def untrained(widths: Widths, crop: int) -> Model:
    """A network of random weights."""
    torch.manual_seed(0)
    state = MPRNet(widths).state_dict()
    tensors = {name: value for name, value in state.items() if value.numel() > 1 or name == SLOPE}
    return Model("untrained", "derain", crop, widths, "random", "none", "", tensors)


def settings_of(device: Device, precision: Precision, stages: Stages = 3) -> RestorerSettings:
    """As a worker has them, but for reuse, which would make a repeated measurement a joke."""
    threads = CPU_THREADS if device.kind == "cpu" else 0
    return RestorerSettings(device.label(), precision, stages, threads=threads, reuse=False)


def noise_chunk(size: tuple[int, int], frames: int, crop: int, device: Device, **plan: int) -> Chunk:
    """Frames of 8-bit 4:2:0 noise, of (height, width) pixels, planned as for a device.

    Args:
        size: Of a frame.
        frames: How many.
        crop: Side of the network's training crops.
        device: Whose batches are planned.
        plan: What `plan_patches` takes beside.
    """
    height, width = size
    video = VideoFormat(
        width, height, PixelFormat("yuv420p", "yuv", 8, (1, 1)), Matrix.BT709, False, ChromaLocation.LEFT
    )
    random = np.random.default_rng(0)
    planes = tuple(random.integers(16, 235, (frames, *shape)).astype(np.uint8) for shape in video.plane_shapes())
    options = {"batch_pixels": batch_pixels(device.kind), **plan}
    return Chunk(video, plan_patches(size, crop=crop, frames=frames, **options), planes)
