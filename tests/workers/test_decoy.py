"""Folders of the user's that are called like our packages are not imported by our workers."""

from pathlib import Path

import pytest

from tests.apart import run_beside_decoys

PROGRAM = """
import numpy as np

from streamrestore.frame import ChromaLocation, Chunk, Matrix, PixelFormat, Restored, VideoFormat
from streamrestore.patches import PatchPlan
from workers import open_pool


class Negative:
    def restore(self, chunk):
        return Restored(tuple(255 - plane for plane in chunk.planes), 0.0)


video = VideoFormat(8, 8, PixelFormat("gray", "grey", 8), Matrix.BT709, True, ChromaLocation.LEFT)
chunk = Chunk(video, PatchPlan((8, 8), (8, 8), (8, 8), 0, 1), (np.full((1, 8, 8), 5, np.uint8),))
pool = open_pool(Negative, workers=1)
pool.ready(120)
print(np.unique(pool.submit(chunk).result(60).planes[0]))
pool.close()
"""


@pytest.mark.ray
def test_a_working_directory_with_packages_of_our_names_changes_nothing(tmp_path: Path) -> None:
    assert run_beside_decoys(PROGRAM, tmp_path) == ("[250]\n", "")
