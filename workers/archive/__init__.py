"""A pool that runs steps of an archive on workers: in this process, or as Ray actors all over a cluster."""

from workers.archive.contract import (
    LANES,
    Alike,
    BuildContext,
    ClusterDevices,
    Lane,
    Step,
    StepContext,
    StepPool,
    StepPoolState,
    WorkerInfo,
)
from workers.archive.opening import list_devices, open_step_pool

__all__ = [
    "LANES",
    "Alike",
    "BuildContext",
    "ClusterDevices",
    "Lane",
    "Step",
    "StepContext",
    "StepPool",
    "StepPoolState",
    "WorkerInfo",
    "list_devices",
    "open_step_pool",
]
