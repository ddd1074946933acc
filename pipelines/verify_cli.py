"""``streamrestore verify``: compare an output with its receipt, and with its source if that is at hand.

What loads torch is imported inside the command, so that ``--help`` answers at once.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.exit_codes import ExitCode
from streamrestore.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from streamrestore.checks import Check
    from streamrestore.receipt import Receipt


def verify_command(
    output: Annotated[Path | None, typer.Argument(help="A video that streamrestore made.")] = None,
    source: Annotated[
        Path | None, typer.Option("--source", help="What it was made of. Default: where its receipt says.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every check as JSON.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of receipts and exit.")] = False,
) -> None:
    """Check a finished video against its receipt and, if it is there, its source: exit 0, or 5 if they differ."""
    from streamrestore.checks import Verdict
    from streamrestore.receipt import read_receipt, receipt_path, receipt_schema

    if schema:
        typer.echo(json.dumps(receipt_schema(), indent=1))
        return
    if output is None:
        raise ConfigError("no file was given; try: streamrestore verify OUTPUT")
    receipt = read_receipt(receipt_path(output))
    original = receipt.source.file(output) if source is None else source
    if source is not None and not source.is_file():
        raise SourceError(f"{source} is no file: name the video that {output} was made of, or leave --source out")
    compared = original if original.is_file() else None
    checks = list(_check(output, receipt, compared))
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


def _check(output: Path, receipt: "Receipt", source: Path | None) -> "Iterator[Check]":
    """Everything that can be compared.

    Raises:
        SourceError: The output or the source cannot be read at all.
    """
    from streamrestore.checks import Verdict, check
    from streamrestore.opening import check_source
    from streamrestore.probing import probe
    from streamrestore.verification import Verification, compare, compare_frames
    from streamrestore.work_folder import sha256_of

    check_source(output)
    yield check("bytes of the output", receipt.output.bytes, output.stat().st_size)
    yield check("SHA-256 of the output", receipt.output.sha256, sha256_of(output))
    plan, stamps = receipt.plan, receipt.stamps()
    encoding, carry = plan.encoding(), plan.carry()
    is_source = False
    if source is not None:
        same = check("SHA-256 of the source", receipt.source.sha256, sha256_of(source))
        is_source = same.verdict is Verdict.OK
        yield same
    if source is not None and is_source:
        verification = compare(output, probe(source, receipt.source.stream_index), encoding, carry, stamps)
    else:
        try:
            found = probe(output, 0)
        except SourceError as error:
            verification = Verification((check("plays", "a video that can be read", error),), ())
        else:
            verification = compare_frames(found, encoding, stamps, receipt.time_base(), carry.shift)
    yield from verification.checks
    expected = receipt.output_frames()
    alike = sum(mine == theirs for mine, theirs in zip(expected, verification.frames, strict=False))
    yield check("frames with the content in the receipt", len(expected), alike)


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
