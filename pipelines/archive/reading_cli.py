"""``streamrestore archive status``, ``report``, ``verify`` and ``index``: what became of the clips of a target.

What loads torch is imported inside the commands, so that ``--help`` answers at once.
"""

import csv
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.exit_codes import ExitCode

if TYPE_CHECKING:
    from pipelines.archive.index import Index

Target = Annotated[str, typer.Argument(metavar="DST", help="The target of `archive run`.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]

SHOWN = 20
"""Clips in quarantine that a console names one by one."""

_COLUMNS = (
    "source",
    "state",
    "output",
    "frames",
    "passed",
    "video_seconds",
    "work_seconds",
    "bytes",
    "sha256",
    "reason",
)


def status_command(target: Target, as_json: AsJson = False) -> None:
    """Say how far the runs on DST are, and what is in quarantine."""
    from pipelines.archive.progress import clips_are, describe_fields
    from pipelines.archive.state import read_states
    from streamrestore.locations import parse_location

    states = read_states(parse_location(target))
    index = _index(target)
    done, failed = index.done(), index.failed()
    frames = sum(record.frames for record in done)
    if as_json:
        document = {
            "done": len(done),
            "failed": [record.model_dump(mode="json", exclude={"traceback"}) for record in failed],
            "frames": frames,
            "runs": [
                {
                    **state.progress,
                    "running": state.is_running,
                    **state.model_dump(include={"ended", "exit_code", "job", "host"}),
                }
                for state in states
            ],
        }
        typer.echo(json.dumps(document, indent=1))
        return
    console = Console(highlight=False)
    table = Table("run", "items", "done", "failed", "segments", "frames/s", "eta", "workers")
    for state in states:
        shown = "running" if state.is_running else state.ended or "ended without a word"
        table.add_row(f"{state.host}: {shown}", *describe_fields(state.progress))
    console.print(table)
    rest = f"; {clips_are(len(failed))} in quarantine" if failed else ""
    console.print(f"{clips_are(len(done))} done, {frames} frames{rest}")
    for record in failed[:SHOWN]:
        console.print(f"  {record.source}: {record.reason}", markup=False, soft_wrap=True)
    if failed:
        more = f"and {len(failed) - SHOWN} more; " if len(failed) > SHOWN else ""
        console.print(f"{more}try them again: streamrestore archive retry {target} --failed", markup=False)


def report_command(
    target: Target,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="For spreadsheets.")] = False,
) -> None:
    """List every clip: what became of it, and what it took."""
    rows = list(_rows(_index(target)))
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    else:
        table = Table(*(column for column in _COLUMNS if column != "sha256"))
        for row in rows:
            table.add_row(*(str(row[column]) for column in _COLUMNS if column != "sha256"))
        Console().print(table)


def verify_command(target: Target, as_json: AsJson = False) -> None:
    """Read every result back and compare it with its receipt, and with its source: exit 0, or 5 if any differs."""
    from concurrent.futures import ThreadPoolExecutor

    from pipelines.archive.checking import find_problems
    from streamrestore.cpu import cpu_cores
    from streamrestore.locations import parse_location

    place, records = parse_location(target), _index(target).done()
    with ThreadPoolExecutor(cpu_cores()) as pool:
        found = list(pool.map(lambda record: find_problems(place, record), records))
    differing = {record.output: problems for record, problems in zip(records, found, strict=True) if problems}
    if as_json:
        typer.echo(json.dumps({"verified": len(records) - len(differing), "differing": differing}, indent=1))
    else:
        for output, problems in differing.items():
            typer.echo(f"MISMATCH: {output}: {'; '.join(problems)}")
        typer.echo(f"{len(records) - len(differing)} of {len(records)} results are what their receipts say")
    if differing:
        raise typer.Exit(ExitCode.VERIFICATION)


def index_command(target: Target) -> None:
    """Make this machine's copy of the records of DST anew; other commands keep it up to date themselves."""
    from pipelines.archive.index import Index
    from pipelines.archive.ledger import Ledger
    from pipelines.archive.state import read_states
    from streamrestore.locations import parse_location

    place = parse_location(target)
    index = Index(Ledger(place))
    count = index.rebuild()
    if not count:
        read_states(place)  # which refuses a folder that is no target
    typer.echo(f"{index.path}: {count} records")


def _index(target: str) -> "Index":
    from pipelines.archive.index import Index
    from pipelines.archive.ledger import Ledger
    from pipelines.archive.state import read_states
    from streamrestore.locations import parse_location

    place = parse_location(target)
    index = Index(Ledger(place))
    index.refresh()
    if not index.done() and not index.failed():
        read_states(place)  # which refuses a folder that is no target
    return index


def _rows(index: "Index") -> Iterator[dict[str, str | int | float | None]]:
    nothing: dict[str, str | int | float | None] = dict.fromkeys(_COLUMNS)
    for record in index.done():
        yield {**nothing, **record.model_dump(include=set(_COLUMNS)), "state": "done"}
    for failed in index.failed():
        state = "failed" if failed.copied is None else "copied"
        yield {**nothing, "source": failed.source, "state": state, "output": failed.copied, "reason": failed.reason}
