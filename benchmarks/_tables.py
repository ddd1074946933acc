"""Write the figures of ``results/*.json`` into the documents that quote them, between their marks."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _record import RESULTS, ROOT
from quality import Row

from streamrestore.metrics import HIGHEST_DB

Setting = dict[str, int | bool | str]

USUAL: Setting = {"stages": 3, "local_pooling": False, "self_ensemble": False, "precision": "bf16"}
"""As the shipped weights are used."""


def load(name: str) -> Any:  # noqa: ANN401 - whatever the JSON holds
    """The results of a benchmark, with its machine and commit."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def fill(path: Path, mark: str, text: str) -> None:
    """Replace what stands between ``<!-- mark -->`` and ``<!-- /mark -->``."""
    pattern = re.compile(rf"(<!-- {mark} -->).*?(<!-- /{mark} -->)", re.DOTALL)
    before = path.read_text()
    after, count = pattern.subn(lambda match: match[1] + text + match[2], before)
    if count != 1:
        raise SystemExit(f"{path} has {count} places marked {mark}")
    path.write_text(after)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [f"| {' | '.join(line)} |" for line in (head, *body)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def measured() -> list[Row]:
    """All that was measured of the shipped weights."""
    return [Row(**row) for row in load("quality")["results"]["rows"]]


def has(row: Row, setting: Setting) -> bool:
    """Whether a row was measured so."""
    return all(getattr(row, name) == value for name, value in setting.items())


def psnr_cells(row: Row) -> tuple[str, str]:
    """PSNR before and after, and the gain; clean pictures have neither before nor gain."""
    before, after = row.psnr_input, row.psnr_restored
    if before >= HIGHEST_DB:
        return f"equal → {after:.2f} dB", ""
    return f"{before:.2f} → {after:.2f} dB", f"{after - before:+.2f} dB"


def ssim_cell(row: Row) -> str:
    """SSIM before and after."""
    return f"{row.ssim_input:.3f} → {row.ssim_restored:.3f}"


def quality_table() -> str:
    """Tasks and sets, PSNR and SSIM."""
    head = ["task", "weights", "set", "pairs", "PSNR: input → restored", "gain", "SSIM: input → restored"]
    body = list[list[str]]()
    for row in measured():
        if has(row, USUAL):
            psnr, gain = psnr_cells(row)
            body.append([row.task, row.weights, row.set, str(row.pairs), f"{psnr} {row.measure}", gain, ssim_cell(row)])
    return f"\n{table(head, body)}\n"


def quality() -> str:
    """One sentence."""
    parts = [
        f"{row.weights} {gain} on {row.set}" for row in measured() if has(row, USUAL) and (gain := psnr_cells(row)[1])
    ]
    return f" {'; '.join(parts)} "


def choosing() -> str:
    """One sentence."""
    found = load("choosing")["results"]
    simple = f"{found['right_of_one_flaw_or_none']:.1%} of those with one flaw or none"
    clean = f"nothing done to {found['none_on_clean']:.1%} of the clean"
    return f" right for {found['right']:.1%} of all, {simple}; {clean} "


def seams() -> str:
    """One sentence."""
    rows = {row["margin"]: row["seam_ratio"] for row in load("seams")["results"]["rows"]}
    return f" steps across patch edges over the clean clip's: {rows[0]:.2f} without margin, {rows[16]:.3f} with 16 px "


def speed() -> str:
    """One sentence."""
    base, *others = load("restore_speed")["results"]
    parts = [f"{row['setting']}: {row['fps_ratio_median']:.2f} x" for row in others]
    return f" {base['setting']}: {base['fps_median']:.2f} fps of 480x270; {'; '.join(parts)} "


def throughput() -> str:
    """One sentence."""
    rows = load("throughput")["results"]
    parts = [f"{row['precision']}, {row['stages']} stages: {row['fps_1080p']:.3f}" for row in rows]
    return f" compact network, {'; '.join(parts)} "


def main() -> None:
    benchmarks, readme = ROOT / "benchmarks" / "README.md", ROOT / "README.md"
    fill(benchmarks, "quality", quality())
    fill(benchmarks, "choosing", choosing())
    fill(benchmarks, "seams", seams())
    fill(benchmarks, "speed", speed())
    fill(benchmarks, "throughput", throughput())
    fill(readme, "figures", "\n" + quality_table() + "\n")


if __name__ == "__main__":
    main()
