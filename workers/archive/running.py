"""Run a step in its worker, and tell a step that fails from a worker that does.

Ray ships it by value with `SegmentWorker`: see there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.archive.contract import Step, StepContext


def run_step(step: Step, context: StepContext) -> Any:  # noqa: ANN401 - a step's own
    """Run a step.

    Raises:
        DeviceLostError, MachineError: The step failed, and so would any other: as of `StepContext.check`.
        Exception: Whatever the step raised, in its own class.
    """
    try:
        return step(context)
    except Exception:
        context.check()
        raise
