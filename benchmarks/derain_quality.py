"""How much rain do the shipped weights remove? PSNR and SSIM on Y, over pairs never trained on.

The protocol is the field's: Y of BT.601 in studio range, rounded to 8 bits; SSIM with an 11x11
Gaussian window of sigma 1.5 over its valid region. Pictures go through the product's own
restorer, patches and all.
"""

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import torch
from _record import data_folder, record
from kornia.metrics import ssim
from torch import Tensor

from streamrestore.devices import CPU_THREADS, Precision, batch_pixels
from streamrestore.frame import ChromaLocation, Chunk, Matrix, PixelFormat, VideoFormat
from streamrestore.mprnet import Stages
from streamrestore.patches import plan_patches
from streamrestore.restorer import Restorer, RestorerSettings
from streamrestore.training.data import read_image
from streamrestore.weights import find_weights


def luma(image: Tensor) -> Tensor:
    """``[3, H, W]`` uint8 RGB to ``[H, W]`` Y in [0, 1], rounded to 8 bits."""
    red, green, blue = image.double() / 255
    return torch.round(65.481 * red + 128.553 * green + 24.966 * blue + 16) / 255


def psnr(image: Tensor, target: Tensor) -> float:
    """In dB, of samples with a peak of 1."""
    return -10 * math.log10(((image - target) ** 2).mean().item())


def structural_similarity(image: Tensor, target: Tensor) -> float:
    """Mean SSIM over the valid region."""
    return ssim(image[None, None].float(), target[None, None].float(), 11, padding="valid").mean().item()


def restore(restorer: Restorer, image: Tensor, crop: int) -> Tensor:
    """One ``[3, H, W]`` uint8 RGB picture through the product's restorer."""
    height, width = image.shape[1:]
    plan = plan_patches((height, width), crop=crop, batch_pixels=batch_pixels("cpu"), frames=1)
    video = VideoFormat(width, height, PixelFormat("gbrp", "rgb", 8), Matrix.BT709, True, ChromaLocation.LEFT)
    red, green, blue = (plane[None].numpy() for plane in image)
    green, blue, red = restorer.restore(Chunk(video, plan, (green, blue, red))).planes
    return torch.stack([torch.from_numpy(plane[0]) for plane in (red, green, blue)])


@dataclass(frozen=True)
class Row:
    """Means over the pairs of one set; PSNR in dB."""

    set: str
    pairs: int
    stages: int
    psnr_y_input: float
    psnr_y_restored: float
    ssim_y_input: float
    ssim_y_restored: float

    def __str__(self) -> str:
        before, after = self.psnr_y_input, self.psnr_y_restored
        return f"{self.set}, {self.stages} stages: {before:.2f} -> {after:.2f} dB ({after - before:+.2f})"


def evaluate(folder: Path, stages: Stages) -> Row:
    """Restore the pairs of a folder with ``input/`` and ``target/``, and compare."""
    model = find_weights("derain")
    restorer = Restorer([model], RestorerSettings("cpu", Precision.BF16, stages, threads=CPU_THREADS))
    scores = []
    for path in sorted((folder / "input").iterdir()):
        degraded, target = read_image(path), luma(read_image(folder / "target" / path.name))
        pair = (luma(degraded), luma(restore(restorer, degraded, model.crop)))
        scores.append([measure(image, target) for measure in (psnr, structural_similarity) for image in pair])
    means = (round(sum(column) / len(column), 4) for column in zip(*scores, strict=True))
    return Row(folder.name, len(scores), stages, *means)


def main() -> None:
    folder = data_folder()
    if folder is None:
        print("skipped: no reference data; STREAMRESTORE_DATA names its folder")
        return
    runs: tuple[tuple[str, Stages], ...] = (("rain100l", 1), ("rain100l", 2), ("rain100l", 3), ("rain100h", 3))
    rows = []
    for name, stages in runs:
        rows.append(evaluate(folder / "eval" / name, stages))
        print(rows[-1])
    model = find_weights("derain")
    record("derain_quality", {"weights": model.name, "sha256": model.sha256, "rows": list(map(asdict, rows))})


if __name__ == "__main__":
    main()
