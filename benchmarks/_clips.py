"""Clips to measure on, made of the demo scene by ffmpeg."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
from _record import ROOT

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()

VERYFAST = ("libx264", "-preset", "veryfast", "-crf", "20", "-an")
"""For a clip whose own coding is not in question."""


def make_clip(
    path: Path, size: tuple[int, int], frames: int, codec: Sequence[str] = VERYFAST, *before_frames: str
) -> None:
    """The demo clip at another size, again and again until there are enough frames.

    Args:
        path: What is written.
        size: (height, width).
        frames: How many.
        codec: Encoder and options, as after ``-c:v``.
        before_frames: Further output options that say how frames are counted, such as a rate.
    """
    height, width = size
    scene = ["-stream_loop", "-1", "-i", str(ROOT / "demo" / "clean.mp4"), *before_frames, "-frames:v", str(frames)]
    command = [FFMPEG, "-v", "error", "-nostdin", *scene, "-vf", f"scale={width}:{height}", "-c:v", *codec, str(path)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
