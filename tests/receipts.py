"""Receipts for outputs that a test made."""

from datetime import UTC, datetime

from streamrestore.checks import Verdict
from streamrestore.devices import Device, Precision
from streamrestore.patches import PatchPlan
from streamrestore.receipt import Receipt, frame_lines, json_of
from streamrestore.receipt_parts import (
    CheckMade,
    Counts,
    DeviceUsed,
    OutputFile,
    Plan,
    SourceFile,
    Timings,
    Tool,
    Versions,
    WeightsUsed,
)
from tests.networks import tiny_model
from tests.outputs import Made


def issue(made: Made) -> Receipt:
    """A receipt for an output as it is now; it must match its source."""
    verification = made.compare()
    assert all(check.verdict is not Verdict.MISMATCH for check in verification.checks), verification.mismatches
    return Receipt(
        tool=Tool.here(),
        versions=Versions.here(),
        device=DeviceUsed.of(Device("cpu", 0, "a CPU", 1 << 30, bf16=False), Precision.FP32),
        source=SourceFile.of(made.info, made.path),
        output=OutputFile.of(made.path, made.path.name),
        weights=(WeightsUsed.of(tiny_model()),),
        key="0" * 64,
        settings=json_of({"tasks": ("derain",), "strength": 1.0, "part": (None, 0.5)}),
        plan=Plan.of(made.encoding, made.plan, PatchPlan((48, 64), (48, 64), (48, 64), 16, 1)),
        segments=(),
        counts=Counts.of(made.stamps),
        timings=Timings(started=datetime.now(UTC), finished=datetime.now(UTC), seconds={"restore": 0.5}),
        warnings=(),
        checks=tuple(map(CheckMade.of, verification.checks)),
        frames=frame_lines(made.stamps, verification.frames),
    )
