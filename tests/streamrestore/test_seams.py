"""Patches leave no seams in a real restored clip, with the weights in the package."""

from pathlib import Path

import numpy as np

from streamrestore.devices import CPU_THREADS, Precision, batch_pixels
from streamrestore.frame import Chunk
from streamrestore.patches import plan_patches
from streamrestore.restorer import Restorer, RestorerSettings
from streamrestore.source import open_source
from streamrestore.weights import find_weights
from tests.seams import seam_ratio

DEMO = Path(__file__).parents[2] / "demo"
FRAMES = (2, 12, 22, 32, 42, 52)


def test_steps_across_patch_edges_are_those_of_the_clean_clip_to_5_percent() -> None:
    model = find_weights("derain")
    with open_source(DEMO / "rainy.mp4") as rainy, open_source(DEMO / "clean.mp4") as clean:
        video = rainy.info.video
        planes, wanted = (
            tuple(
                np.stack(same) for same in zip(*(f.planes for f in source.frames() if f.index in FRAMES), strict=True)
            )
            for source in (rainy, clean)
        )
    size = (video.height, video.width)
    plan = plan_patches(size, crop=model.crop, batch_pixels=batch_pixels("cpu"), frames=len(FRAMES))
    assert len(plan.spans()) > 1
    restorer = Restorer([model], RestorerSettings("cpu", Precision.FP32, threads=CPU_THREADS))
    restored = restorer.restore(Chunk(video, plan, planes)).planes
    assert abs(seam_ratio(restored[0], plan) / seam_ratio(wanted[0], plan) - 1) < 0.05
