"""Write what can be computed into the model cards: facts, figures, a picture and the curves of training.

A card, docs/models/NAME.md, has its words written by hand and marks between which this script
writes. The figures are those of results/quality.json, and must be of the very file that is shipped.
"""

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "30000")

import safetensors
import torch
from _record import ROOT
from _tables import USUAL, Setting, fill, has, measured, psnr_cells, ssim_cell, table
from PIL import Image
from quality import Row
from torch import Generator, Tensor

from streamrestore.checkpoint import read_checkpoint
from streamrestore.costs import flops_per_pixel
from streamrestore.devices import CPU_THREADS, Precision, find_devices
from streamrestore.metrics import psnr
from streamrestore.pairs import FrameRestorer, PicturePair, read_video
from streamrestore.restorer import RestorerSettings
from streamrestore.side_by_side import side_by_side
from streamrestore.tasks import Stages, Task
from streamrestore.training.blur import blur_image
from streamrestore.training.curves import plot_curves
from streamrestore.training.noise import random_noise
from streamrestore.training.train import Recipe
from streamrestore.weights import WeightsEntry, list_weights

TO_BE_WRITTEN = "TO BE WRITTEN"
"""Stands in a card where words are missing."""

PICTURE_FRAME = 40
"""Of the demo clip; a cup of coffee."""

PANEL = (270, 320)
"""(height, width) of each panel, cut from the middle of the frame."""

SEEDS: dict[Task, int] = {"denoise": 4, "deblur": 5}
"""Of the picture's degradation: such that it is plain to see, and ordinary."""

KINDS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""As safetensors names them, and as everyone else does."""

CHANGES: dict[str, Setting] = {
    "stage 1 alone": {"stages": 1},
    "stages 1 and 2": {"stages": 2},
    "local pooling": {"local_pooling": True},
    "self-ensemble": {"self_ensemble": True},
    "float32": {"precision": "fp32"},
}
"""What is asked for instead of `USUAL`."""


def rows_of(entry: WeightsEntry) -> list[Row]:
    """What was measured of these weights.

    Raises:
        SystemExit: Nothing was, or of another file under their name.
    """
    rows = [row for row in measured() if row.weights == entry.name]
    if not rows:
        raise SystemExit(f"nothing was measured of {entry.name}: run benchmarks/quality.py")
    if stale := {row.sha256 for row in rows} - {entry.sha256}:
        raise SystemExit(
            f"the figures of {entry.name} are of other weights, SHA-256 {', '.join(stale)}; "
            f"those shipped have {entry.sha256}: run benchmarks/quality.py"
        )
    return rows


def facts(entry: WeightsEntry, recipe: Recipe) -> str:
    """Network, file, recipe and licence."""
    widths = entry.widths
    parameters = sum(tensor.numel() for tensor in read_checkpoint(entry.path).tensors.values())
    every: tuple[Stages, ...] = (1, 2, 3)
    first, second, third = (f"{flops_per_pixel(widths, stages) * 256**2 / 1e9:.0f}" for stages in every)
    with safetensors.safe_open(entry.path, "pt") as file:
        kinds = {KINDS[file.get_slice(name).get_dtype()] for name in file.keys()}  # noqa: SIM118 - it is no dict
    start = "random weights" if recipe.init is None else f"`{recipe.init}`"
    body = [
        ["network", f"MPRNet, widths {widths.n_feat}/{widths.scale_unetfeats}/{widths.scale_orsnetfeats}, "
         f"{widths.num_cab} blocks in each block of stage 3; {parameters / 1e6:.2f} M parameters"],
        ["arithmetic", f"{third} GFLOP for 256x256 pixels; {first} to the end of stage 1, {second} of stage 2"],
        ["file", f"`{entry.path.relative_to(ROOT)}`, {', '.join(sorted(kinds))}, "
         f"{entry.path.stat().st_size / 1e6:.2f} MB"],
        ["SHA-256", f"`{entry.sha256}`"],
        ["recipe", f"[{entry.name}.toml](../../recipes/{entry.name}.toml): from {start}, {recipe.steps} steps of "
         f"{recipe.batch} crops of {recipe.crop} px, seed {recipe.seed}"],
        ["licence", f"{entry.license} as far as this project's rights go; the photographs are research data, "
         "see [NOTICE](../../NOTICE)"],
    ]  # fmt: skip
    return table(["", ""], body)


def figures(rows: list[Row]) -> str:
    """Before and after, with the usual setting."""
    head = ["set", "pairs", "of", "PSNR: input → restored", "gain", "SSIM: input → restored"]
    body = [[row.set, str(row.pairs), row.measure, *psnr_cells(row), ssim_cell(row)] for row in rows if has(row, USUAL)]
    return table(head, body)


def effects(rows: list[Row]) -> str:
    """What each option does to the PSNR of each set; a blank was not measured."""
    usual = {row.set: row.psnr_restored for row in rows if has(row, USUAL)}
    changed = {
        name: {row.set: row.psnr_restored - usual[row.set] for row in rows if has(row, USUAL | change)}
        for name, change in CHANGES.items()
    }
    known = {name: deltas for name, deltas in changed.items() if deltas}
    body = [
        [each, f"{psnr:.2f} dB", *(f"{deltas[each]:+.2f}" if each in deltas else "" for deltas in known.values())]
        for each, psnr in usual.items()
    ]
    return table(["set", "as usual", *known], body)


def demo_frame(name: str) -> Tensor:
    """The shown frame of a demo clip: ``[3, H, W]`` uint8 RGB."""
    return next(islice(read_video(ROOT / "demo" / name), PICTURE_FRAME, None))


def degraded(task: Task, clean: Tensor) -> Tensor:
    """The shown frame as training would have made it: rain that falls, or seeded noise or blur."""
    if task == "derain":
        return demo_frame("rainy.mp4")
    ways: dict[Task, Callable[[Tensor, Generator], Tensor]] = {
        "deblur": blur_image,
        "denoise": lambda picture, generator: random_noise(picture[None], generator)[0],
    }
    picture = ways[task](clean / 255, Generator().manual_seed(SEEDS[task]))
    return (picture * 255).round().to(torch.uint8)


def panel(picture: Tensor) -> Tensor:
    top, left = ((size - wanted) // 2 for size, wanted in zip(picture.shape[1:], PANEL, strict=True))
    return picture[:, top : top + PANEL[0], left : left + PANEL[1]]


def draw(entry: WeightsEntry) -> str:
    """Degraded, restored and clean beside each other, and a line below."""
    clean = demo_frame("clean.mp4")
    pair = PicturePair(entry.name, lambda: (degraded(entry.task, clean), clean))
    settings = RestorerSettings("cpu", Precision.BF16, threads=CPU_THREADS)
    (triple,) = pair.triples(FrameRestorer([read_checkpoint(entry.path)], settings, find_devices()[-1]))
    picture = side_by_side([panel(each) for each in (triple.degraded, triple.restored, triple.target)])
    path = ROOT / "docs" / "images" / f"{entry.name}.jpg"
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path, quality=92, subsampling=0)
    before, after = psnr(triple.degraded, clean), psnr(triple.restored, clean)
    return (
        f"![Degraded, restored and clean](../images/{path.name})\n\n"
        f"*Frame {PICTURE_FRAME} of the demo clip: degraded, {before:.1f} dB; restored, {after:.1f} dB; clean.*"
    )


def curves(entry: WeightsEntry) -> str:
    """Drawn from the log that is kept beside the recipe."""
    picture = ROOT / "docs" / "images" / f"{entry.name}-curves.svg"
    plot_curves(ROOT / "recipes" / f"{entry.name}.jsonl", picture)
    return f"![Loss, held-out PSNR and learning rate over the steps](../images/{picture.name})"


def write_card(entry: WeightsEntry) -> Path:
    """Bring the card of shipped weights up to date; the card.

    Raises:
        SystemExit: The card, its marks or its figures are missing, or the figures are of another file.
    """
    card = ROOT / "docs" / "models" / f"{entry.name}.md"
    if not card.exists():
        raise SystemExit(f"{card.relative_to(ROOT)} is missing: write its words, with the marks that others have")
    rows = rows_of(entry)
    parts = {
        "facts": facts(entry, Recipe.from_toml(ROOT / "recipes" / f"{entry.name}.toml")),
        "picture": draw(entry),
        "figures": figures(rows),
        "effects": effects(rows),
        "curves": curves(entry),
    }
    for mark, text in parts.items():
        fill(card, mark, f"\n\n{text}\n\n")
    return card


def main() -> None:
    cards = [write_card(entry) for entry in list_weights() if entry.origin == "shipped"]
    unfinished = [str(card.relative_to(ROOT)) for card in cards if TO_BE_WRITTEN in card.read_text()]
    if unfinished:
        raise SystemExit(f"words are missing where {TO_BE_WRITTEN} stands: {', '.join(unfinished)}")


if __name__ == "__main__":
    main()
