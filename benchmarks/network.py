"""How much faster than plainly run is a network, what do one and two stages save, and what share of the device is used?

The plain run stands for a published script: the same weights in float32, channels first, one whole frame at a time,
8-bit RGB in and out, in a process that sets nothing up (on a GPU convolutions are then made in TF32). Ours is a
worker's restorer with everything it does on the device: colour, patches, batches, residual; planes in and out. They
take turns. What is reached is counted in pixels that are kept, and compared with what the device reaches in one large
matrix product of the same precision.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import torch
import torch.nn.functional as F
from _networks import COMPACT, PUBLISHED, noise_chunk, settings_of, untrained
from _record import record
from torch import Tensor

from streamrestore.checkpoint import build_network
from streamrestore.costs import flops_per_pixel
from streamrestore.devices import CPU_THREADS, Device, Precision, find_devices
from streamrestore.host_memory import keep_freed_memory
from streamrestore.mprnet import Widths
from streamrestore.patches import SIZE_MULTIPLE
from streamrestore.restorer import Restorer
from streamrestore.tasks import Stages

NETWORKS = {"compact": COMPACT, **{f"published {task}": network for task, network in PUBLISHED.items()}}

CPU_SIZES = {"compact": (360, 640), "published derain": (360, 640)}
"""(height, width) of the frames; the wider networks would take minutes."""

CPU_SMALL = (184, 320)
FULL_HD = (1080, 1920)
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192, "mps": 4096}


def plain_run(widths: Widths, crop: int, size: tuple[int, int], device: Device) -> Callable[[], None]:
    """One frame as a short script would restore it."""
    if device.kind == "cpu":
        torch.set_num_threads(CPU_THREADS)
    network = build_network(untrained(widths, crop)).to(device.label())
    height, width = size
    frame = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8)
    pad = (0, -width % SIZE_MULTIPLE, 0, -height % SIZE_MULTIPLE)

    @torch.inference_mode()
    def run() -> None:
        image = frame.to(device.label()).permute(2, 0, 1)[None].float() / 255
        restored: Tensor = network(F.pad(image, pad, mode="reflect"))[-1]
        restored = restored[..., :height, :width].clamp(0, 1).mul(255).round().byte()
        restored[0].permute(1, 2, 0).cpu().numpy()

    return run


def seconds_of(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


_plain: Callable[[], None] | None = None
"""In the process of the plain runs."""


def prepare_plain(*what: Any) -> None:  # noqa: ANN401 - as `plain_run`
    """Make ready, in a process that knows nothing of how ours are set up."""
    global _plain
    _plain = plain_run(*what)
    if what[-1].kind == "cuda":
        _plain()


def plain_seconds() -> float:
    """Of one frame."""
    assert _plain is not None
    return seconds_of(_plain)


def matrix_rate(device: Device, precision: Precision) -> float:
    """TFLOP/s of one large product."""
    side = MATRIX_SIDE[device.kind]
    left = torch.rand(side, side, device=device.label()).to(precision.dtype())

    def product() -> None:
        (left @ left)[0, 0].item()

    product()
    return 2 * side**3 / statistics.median(seconds_of(product) for _ in range(7)) / 1e12


def measure(
    name: str, size: tuple[int, int], frames: int, rounds: int, device: Device, rates: dict[Precision, float]
) -> dict[str, object]:
    widths, crop = NETWORKS[name]
    context = multiprocessing.get_context("spawn")
    plain = ProcessPoolExecutor(1, context, prepare_plain, (widths, crop, size, device))
    chunk = noise_chunk(size, frames, crop, device)
    ours = {
        (precision, stages): Restorer([untrained(widths, crop)], settings_of(device, precision, stages))
        for precision, stages in variants(device)
    }
    taken: dict[tuple[Precision, Stages], list[float]] = {variant: [] for variant in ours}
    plainly = list[float]()
    for restorer in ours.values():
        restorer.restore(chunk)
    for _ in range(rounds):
        plainly.append(plain.submit(plain_seconds).result())
        for variant, restorer in ours.items():
            taken[variant].append(seconds_of(partial(restorer.restore, chunk)) / frames)
    plain.shutdown()
    rows = []
    for (precision, stages), seconds in taken.items():
        ratios = [theirs / mine for theirs, mine in zip(plainly, seconds, strict=True)]
        fps = 1 / statistics.median(seconds)
        reached = flops_per_pixel(widths, stages) * size[0] * size[1] * fps / 1e12
        row = {
            "precision": precision.value,
            "stages": stages,
            "fps": round(fps, 4),
            "over_plain": round(statistics.median(ratios), 2),
            "over_plain_range": [round(min(ratios), 2), round(max(ratios), 2)],
            "tflops_kept": round(reached, 4),
            "share_of_matrix_rate": round(reached / rates[precision], 3),
        }
        rows.append(row)
        print(f"{name}, {size[1]}x{size[0]}: {row}", flush=True)
    fastest = {
        stages: statistics.median(taken[(precision, stages)]) for precision, stages in ours if precision != "fp32"
    }
    return {
        "network": name,
        "size": list(size),
        "patch": list(chunk.plan.patch),
        "batch": chunk.plan.batch,
        "pixels_computed": round(chunk.plan.computed, 3),
        "plain_fps": round(1 / statistics.median(plainly), 4),
        "ours": rows,
        "stages_1_over_3": round(fastest[3] / fastest[1], 2),
        "stages_2_over_3": round(fastest[3] / fastest[2], 2),
    }


def variants(device: Device) -> tuple[tuple[Precision, Stages], ...]:
    """What is timed: all stages in bfloat16; in float32 three, where a GPU makes that quick."""
    bf16: tuple[tuple[Precision, Stages], ...] = tuple((Precision.BF16, stages) for stages in (3, 2, 1))
    return (*bf16, (Precision.FP32, 3)) if device.kind == "cuda" else bf16


def main() -> None:
    keep_freed_memory()
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        del os.environ[name]  # or the process of the plain runs would have it too, which halves their time
    device = find_devices()[0]
    if device.kind == "cpu":
        torch.set_num_threads(CPU_THREADS)
    rates = {precision: matrix_rate(device, precision) for precision in (Precision.FP32, Precision.BF16)}
    print({precision.value: f"{rate:.3f} TFLOP/s in a matrix product" for precision, rate in rates.items()}, flush=True)
    rows = []
    for name in NETWORKS:
        if device.kind == "cuda":
            rows.append(measure(name, FULL_HD, 4, 3, device, rates))
        else:
            small = name not in CPU_SIZES
            rows.append(measure(name, CPU_SIZES.get(name, CPU_SMALL), 1, 1 if small else 2, device, rates))
    matrix = {precision.value: round(rate, 3) for precision, rate in rates.items()}
    record("network" if device.kind == "cpu" else f"network_{device.kind}", {"matrix_tflops": matrix, "rows": rows})


if __name__ == "__main__":
    main()
