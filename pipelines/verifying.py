"""Compare an output with its receipt, and with its source if that is at hand."""

from collections.abc import Iterator
from pathlib import Path

from streamrestore.checks import Check, Verdict, check
from streamrestore.errors import SourceError
from streamrestore.image_output import compare_images, result_bytes, result_sha256
from streamrestore.opening import InputRequest, Opening, check_source, find_opening
from streamrestore.places import image_pattern
from streamrestore.probing import probe
from streamrestore.receipt import Receipt
from streamrestore.verification import Verification, compare, compare_frames


def find_source(path: Path, receipt: Receipt) -> Opening | None:
    """What an output was made of, if it is still there.

    Args:
        path: Where it was.
        receipt: Of the output.
    """
    rate = 1 / receipt.time_base() if receipt.source.container == "image2" else None
    try:
        return find_opening(path, InputRequest(framerate=rate))
    except SourceError:
        return None


def check_receipt(output: Path, receipt: Receipt, source: Opening | None) -> Iterator[Check]:
    """Everything that can be compared.

    Args:
        output: The file, or the pattern of images.
        receipt: Its.
        source: What it was made of; None where that is not at hand.

    Raises:
        SourceError: The output or the source cannot be read at all.
    """
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
