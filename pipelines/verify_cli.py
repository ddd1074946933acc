"""``streamrestore verify``: compare an output with its receipt, and with its source if that is at hand.

What loads torch is imported inside the command, so that ``--help`` answers at once.
"""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.exit_codes import ExitCode
from streamrestore.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from streamrestore.checks import Check


def verify_command(
    output: Annotated[Path | None, typer.Argument(help="A video that streamrestore made.")] = None,
    source: Annotated[
        Path | None, typer.Option("--source", help="What it was made of. Default: where its receipt says.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every check as JSON.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of receipts and exit.")] = False,
) -> None:
    """Check a finished video against its receipt and, if it is there, its source: exit 0, or 5 if they differ."""
    from pipelines.verifying import check_receipt, find_source
    from streamrestore.checks import Verdict
    from streamrestore.receipt import read_receipt, receipt_path, receipt_schema

    if schema:
        typer.echo(json.dumps(receipt_schema(), indent=1))
        return
    if output is None:
        raise ConfigError("no file was given; try: streamrestore verify OUTPUT")
    receipt = read_receipt(receipt_path(output))
    original = receipt.source.file(output) if source is None else source
    compared = find_source(original, receipt)
    if source is not None and compared is None:
        raise SourceError(f"{source} is no file: name the video that {output} was made of, or leave --source out")
    checks = list(check_receipt(output, receipt, compared))
    failed = [check for check in checks if check.verdict is Verdict.MISMATCH]
    if as_json:
        document = {
            "output": str(output),
            "source": None if compared is None else str(compared),
            "verified": not failed,
            "checks": [asdict(check) for check in checks],
        }
        typer.echo(json.dumps(document, indent=1))
    else:
        _tell(output, original, checks, has_source=compared is not None)
    if failed:
        raise typer.Exit(ExitCode.VERIFICATION)


def _tell(output: Path, source: Path, checks: "list[Check]", *, has_source: bool) -> None:
    from streamrestore.checks import Verdict

    counts = Counter(check.verdict for check in checks)
    typer.echo(f"{output}: decoded and compared with its receipt")
    if has_source:
        typer.echo(f"source {source}: read, and compared stream by stream")
    else:
        typer.echo(f"source {source}: not there, so only the receipt was compared; --source names it")
    for check in checks:
        if check.verdict is not Verdict.OK:
            typer.echo(f"{'MISMATCH' if check.verdict is Verdict.MISMATCH else 'lost, as announced'}: {check}")
    verdict = "NOT verified" if counts[Verdict.MISMATCH] else "verified"
    typer.echo(
        f"{verdict}: {len(checks)} checks, {counts[Verdict.OK]} as expected, "
        f"{counts[Verdict.ANNOUNCED]} lost as announced, {counts[Verdict.MISMATCH]} mismatches"
    )
