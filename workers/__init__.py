"""Pools of restorers: in this process, or as Ray actors. Only this package knows Ray."""

from workers.contract import BuildRestorer, PoolState, RestorerPool
from workers.opening import count_machines, open_pool
from workers.patience import Patience, Upkeep
from workers.window import Window, frames_in_chunk, plan_window

__all__ = [
    "BuildRestorer",
    "Patience",
    "PoolState",
    "RestorerPool",
    "Upkeep",
    "Window",
    "count_machines",
    "frames_in_chunk",
    "open_pool",
    "plan_window",
]
