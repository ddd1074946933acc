"""Do patches leave seams? Steps across patch edges against steps everywhere else, by margin.

A restored picture is compared with itself: the mean absolute difference between neighbouring
pixels that lie across an edge between two patch cores, over the same mean for the rows or
columns close by, which have the same content. The same ratio of the clean clip is what the
pictures themselves do. The two should agree to 5 %.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import numpy as np
from _record import ROOT, record

from streamrestore.devices import CPU_THREADS, Precision, batch_pixels
from streamrestore.frame import Chunk
from streamrestore.patches import plan_patches
from streamrestore.restorer import Restorer, RestorerSettings
from streamrestore.source import open_source
from streamrestore.weights import find_weights
from tests.seams import seam_ratio

FRAMES = (5, 20, 35, 50)
MARGINS = (0, 4, 8, 16, 24, 32)


def main() -> None:
    with open_source(ROOT / "demo" / "rainy.mp4") as source, open_source(ROOT / "demo" / "clean.mp4") as clean:
        video = source.info.video
        planes, wanted = (
            tuple(np.stack(same) for same in zip(*(f.planes for f in each.frames() if f.index in FRAMES), strict=True))
            for each in (source, clean)
        )
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
        ratio = seam_ratio(restored[0], plan) / seam_ratio(wanted[0], plan)
        computed = len(plan.spans()) * plan.patch[0] * plan.patch[1] / (video.height * video.width)
        print(f"margin {margin:2d} px: steps at the edges {ratio:.3f} x the clean clip's, {computed:.2f} x the pixels")
        rows.append({"margin": margin, "seam_ratio": round(ratio, 4), "pixels_computed": round(computed, 3)})
    record("seams", {"weights": model.name, "sha256": model.sha256, "rows": rows})


if __name__ == "__main__":
    main()
