"""Write the figures of ``results/*.json`` into the documents that quote them, between their marks."""

import json
import re
from pathlib import Path
from typing import Any

from _record import ROOT

RESULTS = ROOT / "benchmarks" / "results"


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


def quality_table() -> str:
    """Sets, stages, PSNR and SSIM."""
    lines = ["| set | pairs | stages | PSNR Y: rainy → restored | gain | SSIM Y |", "|---|---|---|---|---|---|"]
    for row in load("derain_quality")["results"]["rows"]:
        before, after = row["psnr_y_input"], row["psnr_y_restored"]
        cells = (
            row["set"],
            row["pairs"],
            row["stages"],
            f"{before:.2f} → {after:.2f} dB",
            f"{after - before:+.2f} dB",
            f"{row['ssim_y_input']:.3f} → {row['ssim_y_restored']:.3f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n" + "\n".join(lines) + "\n"


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
    rows = load("derain_quality")["results"]["rows"]
    best = next(row for row in rows if row["set"] == "rain100l" and row["stages"] == 3)
    gain = best["psnr_y_restored"] - best["psnr_y_input"]
    fill(benchmarks, "quality", f" rain100l {gain:+.2f} dB; all in the [model card](../docs/models/derain-compact.md) ")
    fill(benchmarks, "seams", seams())
    fill(benchmarks, "speed", speed())
    fill(benchmarks, "throughput", throughput())
    fill(readme, "figures", "\n" + quality_table() + "\n")
    fill(ROOT / "docs" / "models" / "derain-compact.md", "table", "\n" + quality_table() + "\n")


if __name__ == "__main__":
    main()
