"""``streamrestore weights``: see, import and check the weights at hand.

What loads torch is imported inside the commands, so that ``--help`` answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from streamrestore.mprnet import Widths
    from streamrestore.weights import WeightsEntry

TaskChoice = Literal["derain", "deblur", "denoise"]
"""`streamrestore.checkpoint.Task`, without loading torch; mypy holds the two equal."""

weights_app = typer.Typer(no_args_is_help=True, help="See, import and check the weights at hand.")


@weights_app.command("list")
def list_command() -> None:
    """Show the weights that can be asked for by name."""
    from streamrestore.weights import list_weights

    entries = list_weights()
    if not entries:
        typer.echo("No weights are at hand; import some: streamrestore weights import FILE")
        return
    _show(entries)


@weights_app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="A .pth of the published layout, or safetensors.")],
    task: Annotated[
        TaskChoice | None, typer.Option(help="What it is for; known for the authors' own files and for ours.")
    ] = None,
    crop: Annotated[
        int | None, typer.Option(help="Side of its training crops in pixels; known for the same files.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call it; by default after the file.")] = None,
) -> None:
    """Check a weights file and keep a copy in the cache folder."""
    from streamrestore.weights import import_weights

    entry = import_weights(file, task=task, crop=crop, name=name)
    _show([entry])
    typer.echo(f"SHA-256 {entry.sha256}\n{entry.path}")


@weights_app.command("verify")
def verify_command() -> None:
    """Hash and check every weights file; exit 1 if one is not what it was."""
    from streamrestore.weights import verify_weights

    verdicts = verify_weights()
    table = Table("name", "origin", "verdict")
    for verdict in verdicts:
        table.add_row(verdict.name, verdict.origin, "ok" if verdict.problem is None else "FAILED")
    Console().print(table)
    failed = [verdict for verdict in verdicts if verdict.problem is not None]
    for verdict in failed:
        typer.echo(f"{verdict.name}: {verdict.problem}", err=True)
        remedy = "install the package again" if verdict.origin == "shipped" else "delete its folder and import it again"
        typer.echo(f"{verdict.name}: {remedy}", err=True)
    if failed:
        raise typer.Exit(1)


def _show(entries: "list[WeightsEntry]") -> None:
    """A table of what is short, then a line for each entry's long facts."""
    table = Table("name", "task", "origin", "widths", "crop", "SHA-256")
    for entry in entries:
        crop, sha256 = f"{entry.crop} px", entry.sha256[:12]
        table.add_row(entry.name, entry.task, entry.origin, _short(entry.widths), crop, sha256)
    Console().print(table)
    for entry in entries:
        typer.echo(f"{entry.name}: {entry.source}; licence: {entry.license}")


def _short(widths: "Widths") -> str:
    return f"{widths.n_feat}/{widths.scale_unetfeats}/{widths.scale_orsnetfeats} x{widths.num_cab}"
