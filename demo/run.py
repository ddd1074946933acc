"""Restore the demo clip, or a file of your own, with the installed command, and show what it gained.

Writes the restored video and ``before-after.png`` to ``demo-out/``. Where the clean frames are
known, as for the demo clip, the gain is measured: PSNR on RGB, and on Y as deraining is measured
(BT.601 studio range, rounded to 8 bits), each the mean over the frames.
"""

import argparse
import glob
import math
import subprocess
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path(__file__).parent
RAINY, CLEAN = FOLDER / "rainy.mp4", FOLDER / "clean.mp4"
OUT = FOLDER.parent / "demo-out"

PICTURE_FRAME = 40
"""The frame that is shown; the last one of a shorter video."""

PANEL = (270, 320)
"""(height, width) of each panel of the picture, cut from the middle of the frame."""

SEPARATOR_PIXELS = 4

Rgb = NDArray[np.uint8]


def read_frames(path: Path) -> Iterator[Rgb]:
    """The frames of a video in order, each ``[H, W, 3]``, converted as its colour tags say."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            # One thread: with more, swscale was seen to skip rows of small frames.
            yield frame.reformat(format="rgb24", threads=1).to_ndarray().astype(np.uint8, copy=False)


def luma(picture: Rgb) -> NDArray[np.float64]:
    """Y of BT.601 in studio range, rounded to 8 bits: ``[H, W]`` in [16, 235]."""
    return np.rint(16 + picture @ (np.array([65.481, 128.553, 24.966]) / 255))


def psnr(picture: NDArray[np.generic], target: NDArray[np.generic]) -> float:
    """Peak signal-to-noise ratio in dB, for samples with a peak of 255."""
    error = float(np.mean((picture.astype(np.float64) - target.astype(np.float64)) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-10))


def mean_psnr(video: Path, target: Path) -> tuple[float, float]:
    """Mean PSNR over the frames, in dB: on RGB and on Y."""
    pairs = zip(read_frames(video), read_frames(target), strict=True)
    rgb, y = zip(*((psnr(a, b), psnr(luma(a), luma(b))) for a, b in pairs), strict=True)
    return sum(rgb) / len(rgb), sum(y) / len(y)


def picture_frame(path: Path) -> Rgb:
    """The middle of the shown frame, at most a panel large: ``[h, w, 3]``."""
    frame = deque(islice(read_frames(path), PICTURE_FRAME + 1), maxlen=1).pop()
    top, left = ((size - min(size, panel)) // 2 for size, panel in zip(frame.shape, PANEL, strict=False))
    return frame[top : top + PANEL[0], left : left + PANEL[1]]


def side_by_side(panels: list[Rgb]) -> Rgb:
    """Panels of one size in a row, with a thin white line between them."""
    line = np.full((panels[0].shape[0], SEPARATOR_PIXELS, 3), 255, np.uint8)
    row = [part for panel in panels for part in (line, panel)]
    return np.concatenate(row[1:], axis=1)


def restore(video: Path, task: str) -> tuple[int, Path]:
    """Run ``streamrestore restore``: its exit code, and the newest video it left in ``demo-out/``."""
    command = Path(sysconfig.get_path("scripts")) / "streamrestore"
    done = subprocess.run([command, "restore", video, "-o", OUT, "-t", task, "-y"], check=False)
    # The command chooses the container, so the suffix may be another one than the input's.
    named = OUT.glob(f"{glob.escape(video.stem)}.{task.replace(',', '-')}.*")
    videos = (path for path in named if path.suffix != ".json")  # beside each there is its receipt
    return done.returncode, max(videos, key=lambda path: path.stat().st_mtime_ns, default=OUT)


def main() -> int:
    """Restore, measure, draw; the exit code is the command's."""
    parser = argparse.ArgumentParser(description="Restore the demo clip or a file of your own.")
    parser.add_argument("video", nargs="?", type=Path, default=RAINY, help="default: %(default)s")
    parser.add_argument("--task", default="derain", help="default: %(default)s")
    options = parser.parse_args()

    OUT.mkdir(exist_ok=True)
    code, output = restore(options.video, options.task)
    if code:
        return code

    shown = [options.video, output]
    if options.video.samefile(RAINY) and options.task == "derain":
        shown.append(CLEAN)
        (rgb_before, y_before), (rgb_after, y_after) = mean_psnr(RAINY, CLEAN), mean_psnr(output, CLEAN)
        print(f"PSNR to the clean clip: RGB {rgb_before:.2f} -> {rgb_after:.2f} dB ({rgb_after - rgb_before:+.2f})")
        print(f"                        Y   {y_before:.2f} -> {y_after:.2f} dB ({y_after - y_before:+.2f})")
    picture = OUT / "before-after.png"
    Image.fromarray(side_by_side([picture_frame(path) for path in shown])).save(picture)
    print(f"Restored video: {output}")
    print(f"Before, after{', clean' if len(shown) > 2 else ''}: {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
