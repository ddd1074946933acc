"""How many 1080p frames a second does one device restore? By network, stages and precision.

The restorer alone, with everything it does on the device: colour, patches, network, residual.
On a CPU only the compact network is measured, on one smaller frame, and scaled by pixels.
"""

import os
import statistics
import time

os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import numpy as np
import torch
from _record import record

from streamrestore.checkpoint import SLOPE, Model
from streamrestore.devices import CPU_THREADS, Precision, batch_pixels, find_devices
from streamrestore.frame import ChromaLocation, Chunk, Matrix, PixelFormat, VideoFormat
from streamrestore.mprnet import MPRNet, Stages, Widths
from streamrestore.patches import plan_patches
from streamrestore.restorer import Restorer, RestorerSettings

FULL_HD = (1080, 1920)
NETWORKS = {
    "compact (16/8/8 x4)": (Widths(16, 8, 8, 4), 128),
    "published deraining (40/20/16 x8)": (Widths(40, 20, 16, 8), 256),
    "published deblurring (96/48/32 x8)": (Widths(96, 48, 32, 8), 256),
}
REPEATS = 5


def untrained(widths: Widths, crop: int) -> Model:
    """Random weights: speed does not depend on them."""
    torch.manual_seed(0)
    state = MPRNet(widths).state_dict()
    tensors = {name: value for name, value in state.items() if value.numel() > 1 or name == SLOPE}
    return Model("untrained", "derain", crop, widths, "random", "none", "", tensors)


def main() -> None:
    device = find_devices()[0]
    size, frames = (FULL_HD, 4) if device.kind == "cuda" else ((270, 480), 1)
    video = VideoFormat(
        size[1], size[0], PixelFormat("yuv420p", "yuv", 8, (1, 1)), Matrix.BT709, False, ChromaLocation.LEFT
    )
    random = np.random.default_rng(0)
    planes = tuple(random.integers(16, 235, (frames, *shape)).astype(np.uint8) for shape in video.plane_shapes())
    scale = size[0] * size[1] / (FULL_HD[0] * FULL_HD[1])
    rows = []
    for name, (widths, crop) in NETWORKS.items() if device.kind == "cuda" else list(NETWORKS.items())[:1]:
        plan = plan_patches(size, crop=crop, batch_pixels=batch_pixels(device.kind), frames=frames)
        for precision in (Precision.BF16, Precision.FP32):
            stages_list: tuple[Stages, ...] = (1, 2, 3)
            for stages in stages_list:
                threads = CPU_THREADS if device.kind == "cpu" else 0
                settings = RestorerSettings(device.label(), precision, stages, threads=threads)
                restorer = Restorer([untrained(widths, crop)], settings)
                chunk = Chunk(video, plan, planes)
                restorer.restore(chunk)
                seconds = []
                for _ in range(REPEATS):
                    began = time.perf_counter()
                    restorer.restore(chunk)
                    seconds.append(time.perf_counter() - began)
                fps = frames * scale / statistics.median(seconds)
                print(f"{device.name}, {name}, {precision}, {stages} stages: {fps:.3f} frames of 1080p a second")
                rows.append({"network": name, "precision": precision, "stages": stages, "fps_1080p": round(fps, 4)})
    record("throughput" if device.kind == "cpu" else f"throughput_{device.kind}", rows)


if __name__ == "__main__":
    main()
