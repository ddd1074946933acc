"""``streamrestore archive plan``: what a run would take, of the same options.

What loads torch is imported inside the command, so that ``--help`` answers at once.
"""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from pipelines.options import set_up_logging


def plan_command(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    sample: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also write before | after of a few frames of a few clips, as PNG."),
    ] = None,
    **_: Any,  # noqa: ANN401 - the options of `run`, as `with_options_of` declares them
) -> None:
    """Say what `run` would take with the same options; nothing is written to DST."""
    from pipelines.archive.command import RunParameters
    from pipelines.archive.plan import plan_archive
    from pipelines.archive.plan_report import plan_document, print_plan

    own = {"as_json", "sample"}
    wanted = RunParameters.model_validate({name: value for name, value in context.params.items() if name not in own})
    set_up_logging(verbose=wanted.verbose)
    errors = Console(stderr=True)
    silent = wanted.quiet or wanted.progress in ("json", "none") or not errors.is_terminal
    if silent:
        plan = plan_archive(wanted, sample)
    else:
        with errors.status("") as status:
            plan = plan_archive(wanted, sample, lambda what: status.update(escape(what)))
    if as_json:
        typer.echo(json.dumps(plan_document(plan, wanted.workers), indent=1))
    else:
        print_plan(plan, wanted.workers, Console(highlight=False))


def with_options_of(other: Callable[..., None], command: Callable[..., None]) -> Callable[..., None]:
    """A command with all options of another one, before its own; it finds them in its context.

    Args:
        other: The other command.
        command: Takes what it does not name itself as ``**``.
    """
    own = inspect.signature(command).parameters
    named = [each for each in own.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    shared = [each for name, each in inspect.signature(other).parameters.items() if name not in own]

    def combined(**values: Any) -> None:  # noqa: ANN401 - whatever options give
        command(**values)

    combined.__doc__ = command.__doc__
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*shared, *named)]
    combined.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # it has one, if asked so
    return combined
