"""A plan for people, as tables, and for programs, as JSON."""

from collections.abc import Iterator

from pydantic import JsonValue
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.archive.header_survey import Kind
from pipelines.archive.plan import ArchivePlan, DeviceForecast
from streamrestore.devices import CPU_THREADS

SCHEMA = 1
"""Of the JSON document, which docs/archive.md describes; another number where a field means something else."""

SHOWN = 12
"""Lines of a kind that a console shows."""


def plan_document(plan: ArchivePlan, workers: int | None) -> dict[str, JsonValue]:
    """All of a plan.

    Args:
        plan: It.
        workers: How many there are to be; None for as many as the devices would have.
    """
    work, survey = plan.work, plan.survey
    return {
        "schema": SCHEMA,
        "items": {
            "found": len(plan.listing.items),
            "of_all_shards": plan.listing.total,
            "done": plan.standing.done,
            "quarantined": plan.standing.failed,
            "to_do": work.items + survey.endless,
            "unreadable": len(survey.unreadable),
            "length_unknown": survey.endless,
            "other_files": plan.listing.others,
        },
        "work": {
            "frames": work.frames,
            "segments": work.segments,
            "video_hours": work.video_seconds / 3600,
            "bytes": work.bytes + survey.endless_bytes,
        },
        "kinds": [
            {
                "codec": kind.codec,
                "width": kind.width,
                "height": kind.height,
                "items": some.items,
                "frames": some.frames,
                "video_hours": some.video_seconds / 3600,
                "bytes": some.bytes,
                "work_share": some.flops / (work.flops or 1),
            }
            for kind, some in plan.kinds
        ],
        "devices": [_device_fields(plan, each, workers) for each in plan.devices],
        "untried": list(plan.untried),
        "unreadable": [{"source": each.name, "reason": each.reason} for each in survey.unreadable],
        "unread_folders": [{"folder": each.name, "reason": each.reason} for each in plan.listing.unread],
        "details": [
            {"clips": each.clips, "example": each.example, "notes": list(each.notes), "refused": each.refused}
            for each in plan.details
        ],
        "samples": [
            {"source": each.clip, "picture": None if each.picture is None else str(each.picture), "reason": each.reason}
            for each in plan.strips
        ],
    }


def _device_fields(plan: ArchivePlan, each: DeviceForecast, workers: int | None) -> dict[str, JsonValue]:
    trial, predicted = each.trial, each.forecast
    return {
        "where": plan.where,
        "device": trial.device,
        "kind": trial.kind,
        "precision": trial.precision,
        "device_hours": predicted.hours() * plan.endless_factor,
        "workers": each.workers(workers),
        "hours": each.hours(workers) * plan.endless_factor,
        "bottleneck": predicted.bottleneck,
        "stage_hours": {stage: seconds * plan.endless_factor / 3600 for stage, seconds in predicted.stages.items()},
        "output_bytes": round(predicted.output_bytes * plan.endless_factor),
        "tried": {
            "clips": list(trial.clips),
            "frames": trial.measured.frames,
            "parts_of_frames": trial.cropped,
            "busy": trial.busy,
        },
    }


def print_plan(plan: ArchivePlan, workers: int | None, console: Console) -> None:
    """All that people want to read of a plan.

    Args:
        plan: It.
        workers: As of `plan_document`.
        console: Where it is printed.
    """
    for line in _counts(plan):
        console.print(line, markup=False, soft_wrap=True)
    if plan.kinds:
        console.print(_kinds_table(plan))
    if plan.devices:
        console.print(_devices_table(plan, workers))
    for line in (*_trust(plan, workers), *_troubles(plan)):
        console.print(line, markup=False, soft_wrap=True)


def _counts(plan: ArchivePlan) -> Iterator[str]:
    listing, survey, work = plan.listing, plan.survey, plan.work
    shard = "" if listing.total == len(listing.items) else f" of {listing.total:,}: this shard's"
    parts = [f"{work.items + survey.endless:,} to do", f"{plan.standing.done:,} done before"]
    parts += [f"{plan.standing.failed:,} in quarantine"] * bool(plan.standing.failed)
    parts += [f"{len(survey.unreadable):,} cannot be read"] * bool(survey.unreadable)
    yield f"{_number(len(listing.items), 'clip')}{shard}; {', '.join(parts)}"
    if listing.others:
        yield f"{_number(listing.others, 'other file')} left alone: the suffix is no video's"
    if work.items:
        yield (
            f"{_number(work.frames, 'frame')} in about {_number(work.segments, 'segment')}, "
            f"{describe_hours(work.video_seconds / 3600)} of video, {describe_bytes(work.bytes)}"
        )
    if survey.endless:
        yield (
            f"{_number(survey.endless, 'clip')} of {describe_bytes(survey.endless_bytes)} more do not say how long "
            "they are; taken to be like the others, byte for byte"
        )


def _kinds_table(plan: ArchivePlan) -> Table:
    table = Table("codec", "size")
    for name in ("clips", "frames", "video", "bytes", "work"):
        table.add_column(name, justify="right")
    kinds, whole = list(plan.kinds), plan.work.flops or 1.0
    shown = kinds if len(kinds) <= SHOWN else kinds[: SHOWN - 1]
    rest = kinds[len(shown) :]
    for kind, work in shown:
        table.add_row(
            kind.codec,
            _size(kind),
            *_cells(work.items, work.frames, work.video_seconds, work.bytes),
            f"{work.flops / whole:.0%}",
        )
    if rest:
        sums = [
            sum(values)
            for values in zip(
                *((work.items, work.frames, work.video_seconds, work.bytes, work.flops) for _, work in rest),
                strict=True,
            )
        ]
        table.add_row(
            f"{len(rest)} more kinds",
            "",
            *_cells(int(sums[0]), int(sums[1]), sums[2], int(sums[3])),
            f"{sums[4] / whole:.0%}",
        )
    return table


def _cells(items: int, frames: int, seconds: float, size: int) -> tuple[str, str, str, str]:
    return f"{items:,}", f"{frames:,}", describe_hours(seconds / 3600), describe_bytes(size)


def _size(kind: Kind) -> str:
    return f"{kind.width}x{kind.height}"


def _devices_table(plan: ArchivePlan, workers: int | None) -> Table:
    table = Table("device", "with one", "workers", "with these", "bottleneck", "output")
    for each in plan.devices:
        trial, predicted = each.trial, each.forecast
        whole = sum(predicted.stages.values()) or 1.0
        shares = ", ".join(f"{stage} {seconds / whole:.0%}" for stage, seconds in predicted.stages.items())
        table.add_row(
            escape(f"{trial.device}, {trial.precision}"),
            describe_hours(predicted.hours() * plan.endless_factor),
            f"{each.workers(workers)}",
            describe_hours(each.hours(workers) * plan.endless_factor),
            f"{predicted.bottleneck} ({shares})",
            describe_bytes(predicted.output_bytes * plan.endless_factor),
        )
    return table


def _trust(plan: ArchivePlan, workers: int | None) -> Iterator[str]:
    if len(plan.devices) > 1 and workers is None:
        hours = 1 / sum(1 / max(each.hours(None), 1e-9) for each in plan.devices)
        yield f"all of these devices together: {describe_hours(hours * plan.endless_factor)}"
    for each in plan.devices:
        trial = each.trial
        parts = "the middle of " if trial.cropped else ""
        yield (
            f"predicted from {parts}{_number(trial.measured.frames, 'frame')} of {', '.join(trial.clips)}, the sizes "
            "nearest to the median: half or twice of it would not be unusual"
        )
        if trial.cropped:
            yield "these frames were encoded as they came, as to restore them whole takes this device too long"
        if trial.busy:
            yield "others kept this machine busy meanwhile, which is not counted: beside them it takes longer"
        if each.sharing > 1:
            yield "workers that share a GPU are taken for one: where the network is not the bottleneck they are faster"
        if trial.kind == "cpu":
            yield f"a worker on a CPU has {CPU_THREADS} cores; several are as fast as said where each has its own"
    for reason in plan.untried:
        yield f"no hours are predicted: {reason}"
    if plan.assesses:
        yield "-t auto leaves out what shots do not need: how much that is differs from archive to archive"


def _troubles(plan: ArchivePlan) -> Iterator[str]:
    for folder in plan.listing.unread[:SHOWN]:
        yield f"the folder {folder.name} cannot be read: {folder.reason}; what is in it is not known"
    for detail in plan.details:
        others = f" and {_number(detail.clips - 1, 'clip')} like it" if detail.clips > 1 else ""
        for note in detail.notes:
            yield f"{detail.example}{others}: {'cannot be restored: ' * detail.refused}{note}"
    unreadable = plan.survey.unreadable
    for clip in unreadable[:SHOWN]:
        yield f"cannot be read: {clip.name}: {clip.reason}"
    if len(unreadable) > SHOWN:
        yield f"and {len(unreadable) - SHOWN:,} more cannot be read: --json names them all"
    for strip in plan.strips:
        yield f"before | after of {strip.clip}: {strip.picture or strip.reason}"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def describe_hours(hours: float) -> str:
    """Such as ``12 s``, ``3.5 min``, ``7.2 h`` or ``12 days``."""
    for limit, factor, unit in ((1 / 60, 3600, "s"), (1, 60, "min"), (72, 1, "h")):
        if hours < limit:
            return f"{hours * factor:.{0 if hours * factor >= 10 else 1}f} {unit}"
    return f"{hours / 24:,.{0 if hours >= 240 else 1}f} days"


def describe_bytes(size: float) -> str:
    """Such as ``12 MB``, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.{0 if size >= 10 or unit == 'B' else 1}f} {unit}"
        size /= 1000
    return f"{size:,.{0 if size >= 10 else 1}f} TB"
