"""A pool that runs steps of an archive on workers: in this process, or as Ray actors all over a cluster."""

from workers.archive.contract import BuildContext, Lane, Step, StepContext, StepPool, StepPoolState, WorkerInfo
from workers.archive.opening import count_workers, open_step_pool

__all__ = [
    "BuildContext",
    "Lane",
    "Step",
    "StepContext",
    "StepPool",
    "StepPoolState",
    "WorkerInfo",
    "count_workers",
    "open_step_pool",
]
