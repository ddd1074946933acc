"""What an evaluation found: a table for people, a JSON document for everything else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from pipelines.evaluation_sets import EvaluationSet
from streamrestore.checkpoint import Model
from streamrestore.encoder import writing_to
from streamrestore.evaluation import Measure, Outcome, Score, mean_score
from streamrestore.metrics import HIGHEST_DB
from streamrestore.restorer import RestorerSettings
from streamrestore.tasks import Task

SCHEMA = 1
"""Of the JSON document, which docs/evaluation.md describes; another number where a field means something else."""


@dataclass(frozen=True, slots=True)
class MeasuredSet:
    """A set, and what was measured of each of its pairs, in order."""

    set: EvaluationSet
    outcomes: tuple[Outcome, ...]

    @property
    def score(self) -> Score:
        """The mean over the pairs."""
        return mean_score([outcome.score for outcome in self.outcomes])


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that the figures depend on, beside the data."""

    tasks: tuple[Task, ...]
    """Empty where things were compared as they are."""
    models: tuple[Model, ...]
    settings: RestorerSettings
    measure: Measure
    environment: Mapping[str, str]
    """Versions, and the device."""


def document(measured: Sequence[MeasuredSet], setting: Setting) -> dict[str, object]:
    """All figures, for JSON; PSNR in dB (100 where pictures are equal), flicker in 8-bit codes."""
    return {
        "schema": SCHEMA,
        "tasks": list(setting.tasks),
        "weights": [{"name": model.name, "task": model.task, "sha256": model.sha256} for model in setting.models],
        "settings": asdict(setting.settings) if setting.tasks else None,
        "measure": setting.measure,
        "environment": dict(setting.environment),
        "sets": [
            {
                "set": each.set.name,
                "degradation": each.set.degradation,
                "pairs": len(each.outcomes),
                **asdict(each.score),
                "items": [_item(outcome) for outcome in each.outcomes],
            }
            for each in measured
        ],
    }


def _item(outcome: Outcome) -> dict[str, object]:
    item: dict[str, object] = {"name": outcome.name, **asdict(outcome.score)}
    if len(outcome.frames) > 1:
        item["flicker"] = asdict(outcome.flicker) if outcome.flicker else None
        item["frames"] = [asdict(frame) for frame in outcome.frames]
    return item


def write_document(path: Path, document: Mapping[str, object]) -> None:
    """Write it as JSON, over what is there.

    Raises:
        OutputError: It cannot be written.
        DiskFullError: There is no space left.
    """
    with writing_to(path):
        path.write_text(json.dumps(document, indent=1) + "\n")


def table_of(measured: Sequence[MeasuredSet], measure: Measure, *, restored: bool) -> Table:
    """One row a set: the mean over its pairs, and flicker where something in a video is still.

    Args:
        measured: The sets.
        measure: What PSNR and SSIM are of.
        restored: Whether anything was restored.
    """
    arrow = ", input → restored" if restored else ""
    flickers = any(outcome.flicker for each in measured for outcome in each.outcomes)
    table = Table("set", "pairs", f"PSNR {measure} in dB{arrow}", *["gain"] * restored, f"SSIM {measure}{arrow}")
    if flickers:
        table.add_column(f"flicker{arrow} (and of the target)")
    for each in measured:
        score = each.score
        name, degradation = escape(each.set.name), each.set.degradation
        cells = [name if degradation is None else f"{name}, {degradation}", f"{len(each.outcomes)}"]
        before, after = score.psnr_input, score.psnr_restored
        if restored:
            cells += [
                f"{_db(before)} → {_db(after)}",
                "" if before == HIGHEST_DB else f"{after - before:+.2f}",
                f"{score.ssim_input:.4f} → {score.ssim_restored:.4f}",
            ]
        else:
            cells += [_db(before), f"{score.ssim_input:.4f}"]
        if flickers:
            cells.append(_flicker_cell(each, restored=restored))
        table.add_row(*cells)
    return table


def _db(psnr: float) -> str:
    return "equal" if psnr == HIGHEST_DB else f"{psnr:.2f}"


def _flicker_cell(each: MeasuredSet, *, restored: bool) -> str:
    found = [outcome.flicker for outcome in each.outcomes if outcome.flicker]
    if not found:
        return ""
    values = [[flicker.input, flicker.restored, flicker.target] for flicker in found]
    before, after, target = (sum(column) / len(column) for column in zip(*values, strict=True))
    return f"{before:.2f} → {after:.2f} ({target:.2f})" if restored else f"{before:.2f} ({target:.2f})"
