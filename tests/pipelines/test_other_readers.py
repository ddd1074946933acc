"""What we write, read by another build of FFmpeg than the one that wrote it."""

import subprocess
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import pytest

from streamrestore.encoding import EncodingRequest
from tests.clips import Clip, make_clip
from tests.networks import offset_restorer
from tests.pipelines.runs import options, restore
from workers import open_pool


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts"])
def test_another_ffmpeg_decodes_every_frame_without_a_complaint(tmp_path: Path, suffix: str) -> None:
    source = make_clip(tmp_path / f"in{suffix}", Clip(b_frames=2, sound="aac", pts=tuple(range(0, 30 * 1001, 1001))))
    pool = open_pool(offset_restorer, workers=0)
    restore(source, tmp_path / f"out{suffix}", pool, options(encoding=EncodingRequest()))
    pool.close()
    command = (
        ffmpeg.input(str(tmp_path / f"out{suffix}"))
        .output("pipe:", format="framecrc", map="0:v")
        .global_args("-nostdin", "-loglevel", "warning")
        .compile(cmd=imageio_ffmpeg.get_ffmpeg_exe())
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    assert len(lines) == 30
