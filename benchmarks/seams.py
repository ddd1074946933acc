"""Do patches leave seams? Steps across patch edges against steps everywhere else, by margin.

A restored picture is compared with itself: the mean absolute difference between neighbouring
pixels that lie across an edge between two patch cores, over the same mean for the rows or
columns close by, which have the same content. 1 is no seam at all; the bound we hold is 5 %.
The pictures are the demo clip's.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from _record import ROOT, record

from streamrestore.devices import CPU_THREADS, Precision, batch_pixels
from streamrestore.frame import Chunk, Plane
from streamrestore.patches import PatchPlan, plan_patches
from streamrestore.restorer import Restorer, RestorerSettings
from streamrestore.source import open_source
from streamrestore.weights import find_weights

FRAMES = (5, 20, 35, 50)
MARGINS = (0, 4, 8, 16, 24, 32)
NEAR = 6
"""Rows or columns on either side that an edge is compared with."""


def seam_ratio(luma: Plane, plan: PatchPlan) -> float:
    """Mean step across core edges over the mean step `NEAR` either side, for ``[K, H, W]`` samples."""
    edges, others = list[float](), list[float]()
    for axis in (0, 1):
        steps = np.abs(np.diff(luma.astype(np.int32), axis=axis + 1)).mean(axis=(0, 2 - axis))
        for cut in {spans[axis].keep_start - 1 for spans in plan.spans() if spans[axis].keep_start}:
            edges.append(float(steps[cut]))
            others += [float(steps[cut + offset]) for offset in range(-NEAR, NEAR + 1) if offset]
    return float(np.mean(edges) / np.mean(others))


def main() -> None:
    source = open_source(ROOT / "demo" / "rainy.mp4")
    video = source.info.video
    frames = [frame.planes for frame in source.frames() if frame.index in FRAMES]
    planes = tuple(np.stack(same) for same in zip(*frames, strict=True))
    model = find_weights("derain")
    restorer = Restorer([model], RestorerSettings("cpu", Precision.BF16, threads=CPU_THREADS))
    rows = []
    for margin in MARGINS:
        plan = plan_patches(
            (video.height, video.width),
            crop=model.crop,
            batch_pixels=batch_pixels("cpu"),
            frames=len(FRAMES),
            margin=margin,
        )
        restored = restorer.restore(Chunk(video, plan, planes)).planes
        rainy, ratio = seam_ratio(planes[0], plan), seam_ratio(restored[0], plan)
        computed = len(plan.spans()) * plan.patch[0] * plan.patch[1] / (video.height * video.width)
        print(f"margin {margin:2d} px: seams {ratio:.3f} (the source itself {rainy:.3f}), {computed:.2f} x the pixels")
        rows.append({"margin": margin, "seam_ratio": ratio, "source_ratio": rainy, "pixels_computed": computed})
    record("seams", {"weights": model.name, "sha256": model.sha256, "rows": rows})


if __name__ == "__main__":
    main()
