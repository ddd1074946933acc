"""Restore the demo clip, or a file of your own, with the installed command, and show what it gained.

Writes the restored video and ``before-after.png`` to ``demo-out/``. Where the clean frames are
known, as for the demo clip, the gain is measured: PSNR on RGB, and on Y as deraining is measured
(BT.601 studio range, rounded to 8 bits), each the mean over the frames.
"""

import argparse
import glob
import subprocess
import sys
import sysconfig
from collections import deque
from itertools import islice
from pathlib import Path

from torch import Tensor

from streamrestore.metrics import luma, psnr
from streamrestore.pairs import read_video
from streamrestore.side_by_side import side_by_side, write_png

FOLDER = Path(__file__).parent
RAINY, CLEAN = FOLDER / "rainy.mp4", FOLDER / "clean.mp4"
OUT = FOLDER.parent / "demo-out"

PICTURE_FRAME = 40
"""The frame that is shown; the last one of a shorter video."""

PANEL = (270, 320)
"""(height, width) of each panel of the picture, cut from the middle of the frame."""


def mean_psnr(video: Path, target: Path) -> tuple[float, float]:
    """Mean PSNR over the frames, in dB: on RGB and on Y."""
    pairs = zip(read_video(video), read_video(target), strict=True)
    rgb, y = zip(*((psnr(a, b), psnr(luma(a), luma(b))) for a, b in pairs), strict=True)
    return sum(rgb) / len(rgb), sum(y) / len(y)


def picture_frame(path: Path) -> Tensor:
    """The middle of the shown frame, at most a panel large: ``[3, h, w]``."""
    frame = deque(islice(read_video(path), PICTURE_FRAME + 1), maxlen=1).pop()
    top, left = ((size - min(size, panel)) // 2 for size, panel in zip(frame.shape[1:], PANEL, strict=True))
    return frame[:, top : top + PANEL[0], left : left + PANEL[1]]


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
    write_png(side_by_side([picture_frame(path) for path in shown]), picture)
    print(f"Restored video: {output}")
    print(f"Before, after{', clean' if len(shown) > 2 else ''}: {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
