"""Write the figures of ``results/*.json`` into the documents that quote them, between their marks."""

import json
import re
from pathlib import Path
from typing import Any

from _record import RESULTS, ROOT

from streamrestore.metrics import HIGHEST_DB


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


def usual_rows() -> list[dict[str, Any]]:
    """What was measured of the shipped weights as they are used, set by set."""
    usual = {"stages": 3, "local_pooling": False, "self_ensemble": False, "precision": "bf16"}
    return [row for row in load("quality")["results"]["rows"] if row | usual == row]


def quality_table() -> str:
    """Tasks and sets, PSNR and SSIM."""
    lines = [
        "| task | weights | set | pairs | PSNR: input → restored | gain | SSIM: input → restored |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in usual_rows():
        before, after = row["psnr_input"], row["psnr_restored"]
        clean = before == HIGHEST_DB
        cells = (
            row["task"],
            row["weights"],
            row["set"],
            row["pairs"],
            f"{'equal' if clean else f'{before:.2f}'} → {after:.2f} dB {row['measure']}",
            "" if clean else f"{after - before:+.2f} dB",
            f"{row['ssim_input']:.3f} → {row['ssim_restored']:.3f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n" + "\n".join(lines) + "\n"


def quality() -> str:
    """One sentence."""
    parts = [
        f"{row['weights']} {row['psnr_restored'] - row['psnr_input']:+.2f} dB on {row['set']}"
        for row in usual_rows()
        if row["psnr_input"] < HIGHEST_DB
    ]
    return f" {'; '.join(parts)} "


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
    fill(benchmarks, "seams", seams())
    fill(benchmarks, "speed", speed())
    fill(benchmarks, "throughput", throughput())
    fill(readme, "figures", "\n" + quality_table() + "\n")


if __name__ == "__main__":
    main()
