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
    from streamrestore.opening import Opening
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
    compared = _find_source(original, receipt)
    if source is not None and compared is None:
        raise SourceError(f"{source} is no file: name the video that {output} was made of, or leave --source out")
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


def _find_source(path: Path, receipt: "Receipt") -> "Opening | None":
    """What an output was made of, if it is still there."""
    from streamrestore.opening import InputRequest, find_opening

    rate = 1 / receipt.time_base() if receipt.source.container == "image2" else None
    try:
        return find_opening(path, InputRequest(framerate=rate))
    except SourceError:
        return None


def _check(output: Path, receipt: "Receipt", source: "Opening | None") -> "Iterator[Check]":
    """Everything that can be compared.

    Raises:
        SourceError: The output or the source cannot be read at all.
    """
    from streamrestore.checks import Verdict, check
    from streamrestore.image_output import compare_images, result_bytes, result_sha256
    from streamrestore.opening import check_source
    from streamrestore.places import image_pattern
    from streamrestore.probing import probe
    from streamrestore.verification import Verification, compare, compare_frames

    is_images = image_pattern(output) is not None
    if not is_images:
        check_source(output)
    yield check("bytes of the output", receipt.output.bytes, result_bytes(output))
    yield check("SHA-256 of the output", receipt.output.sha256, result_sha256(output))
    plan, stamps = receipt.plan, receipt.stamps()
    encoding, carry = plan.encoding(), plan.carry()
    is_source = False
    if source is not None:
        same = check("SHA-256 of the source", receipt.source.sha256, source.sha256())
        is_source = same.verdict is Verdict.OK
        yield same
    if is_images:
        verification = compare_images(output, (receipt.source.height, receipt.source.width), encoding, stamps)
    elif source is not None and is_source:
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
