"""Folders of the user's that are called like our packages are not imported by our workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

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
    program = tmp_path / "bin" / "program.py"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    here = tmp_path / "here"
    for package in ("workers", "streamrestore", "pipelines"):
        (here / package).mkdir(parents=True)
        (here / package / "__init__.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__)\n")
    done = subprocess.run(
        [sys.executable, program],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert (done.stdout, done.stderr) == ("[250]\n", "")
    assert not (tmp_path / "imported").exists(), (tmp_path / "imported").read_text()
