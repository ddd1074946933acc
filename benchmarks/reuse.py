"""How much of real footage repeats, what does reuse save, and what does its threshold cost in quality?

Of each clip of the reference data the share of patches that show, margin included, what the same place of the frame
before showed; bit for bit, and within some codes of 8 bits. Then the first frames of the clips with the most repeats
go through the denoising weights of this package with and without: time, bytes, and what a threshold changes.
"""

import os
import time
from itertools import islice
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import numpy as np
import torch
from _record import data_folder, record

from streamrestore.color import to_pictures
from streamrestore.cutting import PatchCutter
from streamrestore.devices import CPU_THREADS, Precision, batch_pixels
from streamrestore.errors import StreamRestoreError
from streamrestore.frame import Chunk, Planes
from streamrestore.host_memory import keep_freed_memory
from streamrestore.patches import plan_patches
from streamrestore.restorer import Restorer, RestorerSettings
from streamrestore.reuse import find_repeats
from streamrestore.source import open_source
from streamrestore.weights import find_weights

FRAMES = 48
"""Of each clip whose repeats are counted."""

CHUNK = 4
THRESHOLDS = (0, 1, 2, 4, 8)
TIMED_CLIPS = 2
TIMED_FRAMES = 8
CROP = 128


def chunks_of(path: Path, frames: int) -> list[Chunk]:
    """The first frames of a clip, in chunks."""
    with open_source(path) as source:
        video = source.info.video
        plan = plan_patches(
            video.picture.upright_size,
            crop=CROP,
            batch_pixels=batch_pixels("cpu"),
            frames=CHUNK * video.pictures_per_frame,
        )
        planes = [frame.planes for frame in islice(source.frames(), frames)]
    groups = [planes[first : first + CHUNK] for first in range(0, len(planes), CHUNK)]
    return [Chunk(video, plan, tuple(np.stack(same) for same in zip(*group, strict=True))) for group in groups]


def shares(chunks: list[Chunk]) -> dict[str, float]:
    """Share of patches that repeat, of those that could: all but the first frame's (for a threshold: of each chunk)."""
    repeated = dict.fromkeys(THRESHOLDS, 0)
    possible = dict.fromkeys(THRESHOLDS, 0)
    last = None
    for chunk in chunks:
        pictures = to_pictures(tuple(torch.from_numpy(plane) for plane in chunk.planes), chunk.format)
        if chunk.format.fields:
            pictures = pictures[: len(pictures) // 2]
        patches = PatchCutter(chunk.plan, torch.device("cpu")).cut(pictures)
        own = torch.arange(len(patches))[:, None]
        for threshold in THRESHOLDS:
            before = None if threshold else last
            found = find_repeats(patches, before, threshold / 255)
            repeated[threshold] += int((found != own).sum())
            possible[threshold] += (len(patches) - (before is None)) * patches.shape[1]
        last = patches[-1]
    return {str(t): round(repeated[t] / possible[t], 4) if possible[t] else 0.0 for t in THRESHOLDS}


def restored(restorer: Restorer, chunks: list[Chunk]) -> tuple[list[Planes], float]:
    """The planes, and the seconds it took."""
    began = time.perf_counter()
    planes = [restorer.restore(chunk).planes for chunk in chunks]
    return planes, time.perf_counter() - began


def psnr_of_luma(first: list[Planes], second: list[Planes], largest: int) -> float | None:
    """PSNR in dB between two results; None where they are equal."""
    squares = np.mean([np.square(a[0].astype(float) - b[0]).mean() for a, b in zip(first, second, strict=True)])
    return None if squares == 0 else round(float(10 * np.log10(largest**2 / squares)), 2)


def compare(path: Path) -> dict[str, object]:
    """One clip with and without reuse."""
    chunks = chunks_of(path, TIMED_FRAMES)
    model = find_weights("denoise")
    largest = 2 ** chunks[0].format.pixels.depth - 1

    def restorer(reuse: bool, threshold: float = 0.0) -> Restorer:
        settings = RestorerSettings("cpu", Precision.BF16, threads=CPU_THREADS, reuse=reuse, reuse_threshold=threshold)
        return Restorer([model], settings)

    plain, plain_seconds = restored(restorer(reuse=False), chunks)
    exact, exact_seconds = restored(restorer(reuse=True), chunks)
    same = all(np.array_equal(a, b) for x, y in zip(plain, exact, strict=True) for a, b in zip(x, y, strict=True))
    near = {}
    for threshold in (2, 4):
        planes, seconds = restored(restorer(reuse=True, threshold=threshold), chunks)
        near[str(threshold)] = {
            "times_faster": round(plain_seconds / seconds, 2),
            "psnr_to_exact": psnr_of_luma(plain, planes, largest),
        }
    return {
        "clip": path.name,
        "same_bytes": same,
        "times_faster": round(plain_seconds / exact_seconds, 2),
        "threshold": near,
    }


def main() -> None:
    keep_freed_memory()
    folder = data_folder()
    if folder is None:
        print("skipped: no reference data; STREAMRESTORE_DATA names its folder")
        return
    torch.set_num_threads(CPU_THREADS)
    found = dict[str, dict[str, float]]()
    for clip in sorted((folder / "video").iterdir()):
        try:
            chunks = chunks_of(clip, FRAMES)
        except StreamRestoreError:
            continue
        if sum(len(chunk.planes[0]) for chunk in chunks) < 2:
            continue
        found[clip.name] = shares(chunks)
        print(clip.name, found[clip.name], flush=True)
    most = sorted(found, key=lambda name: -found[name]["0"])[:TIMED_CLIPS]
    compared = [compare(folder / "video" / name) for name in most]
    for each in compared:
        print(each, flush=True)
    record(
        "reuse",
        {"repeats": [{"clip": name, "share_repeated": each} for name, each in found.items()], "compared": compared},
    )


if __name__ == "__main__":
    main()
