"""What a run does before its first frame: nothing that takes seconds and is not needed."""

import subprocess
import sys
from pathlib import Path

from tests.clips import Clip, make_clip

UNNEEDED = ("sympy", "torch._dynamo", "ray", "kornia")
"""Packages that take half a second or more to import."""


def test_a_run_in_this_process_imports_nothing_heavy_beside_torch(tmp_path: Path) -> None:
    """torch imports a compiler and an algebra system for seemingly small things, such as networks without memory."""
    clip = make_clip(tmp_path / "clip.mp4", Clip(pts=range(0, 3003, 1001)))
    command = ["restore", str(clip), "-t", "derain", "--devices", "cpu", "--workers", "0", "--stages", "1", "-q"]
    script = (
        "import sys; from pipelines.cli import app; "
        f"app({command!r}, standalone_mode=False); print([name for name in {UNNEEDED!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stderr
    assert len(list(tmp_path.glob("clip*.receipt.json"))) == 1
