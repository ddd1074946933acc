"""What do the size of patches, margins and batches cost? Milliseconds a million pixels that are kept.

The restorer of the compact network on frames of 480p, in bfloat16; settings take turns. What is taught here becomes the
constants of streamrestore/devices.py and patches.py: a job's plan never depends on a measured time.
"""

import os
import statistics
import time
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "30000")

from _networks import COMPACT, noise_chunk, settings_of, untrained
from _record import record

from streamrestore.devices import Precision, find_devices
from streamrestore.host_memory import keep_freed_memory
from streamrestore.restorer import Restorer

SIZE = (480, 854)
ROUNDS = 2


def main() -> None:
    keep_freed_memory()
    device = find_devices()[0]
    widths, crop = COMPACT
    frames = 4 if device.kind == "cuda" else 1
    many = 32 * crop * crop if device.kind == "cuda" else crop * crop
    settings: dict[str, dict[str, Any]] = {
        "as planned": {},
        **{f"patches of {side} px": {"patch": side} for side in (128, 160, 192, 256, 384)},
        **{f"margins of {margin} px": {"margin": margin} for margin in (0, 4, 16, 32)},
        **{f"batches of {factor} x the least": {"batch_pixels": factor * 2 * many} for factor in (1, 2, 4, 8)},
        "whole frames, without local pooling": {"whole_pixels": 1 << 30},
    }
    # One for each: no restorer keeps the indices and CUDA graphs of so many plans.
    restorers = {name: Restorer([untrained(widths, crop)], settings_of(device, Precision.BF16)) for name in settings}
    chunks = {name: noise_chunk(SIZE, frames, crop, device, **plan) for name, plan in settings.items()}
    taken: dict[str, list[float]] = {name: [] for name in settings}
    for name in settings if device.kind == "cuda" else list(settings)[:1]:
        restorers[name].restore(chunks[name])
    for _ in range(ROUNDS):
        for name, chunk in chunks.items():
            began = time.perf_counter()
            restorers[name].restore(chunk)
            taken[name].append(time.perf_counter() - began)
    rows = []
    for name, seconds in taken.items():
        plan = chunks[name].plan
        ratios = [mine / base for mine, base in zip(seconds, taken["as planned"], strict=True)]
        row = {
            "setting": name,
            "patch": list(plan.patch),
            "margin": plan.margin,
            "batch": plan.batch,
            "pixels_computed": round(plan.computed, 3),
            "ms_per_megapixel": round(statistics.median(seconds) / frames / SIZE[0] / SIZE[1] * 1e9, 1),
            "time_over_planned": round(statistics.median(ratios), 3),
        }
        rows.append(row)
        print(row, flush=True)
    record("patching" if device.kind == "cpu" else f"patching_{device.kind}", rows)


if __name__ == "__main__":
    main()
