"""What a process of Ray's needs before it becomes one of our workers.

Ray ships it by value with the classes of our actors: nothing of ours may be imported here before the path is clean.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeVar

from workers.quiet_ray import ray

T = TypeVar("T")


def prepare_process(hidden_folder: str | None) -> tuple[str, ...]:
    """Clean the import path, and hide GPUs that are others'.

    Args:
        hidden_folder: The driver's working directory, where the driver itself does not import from it. Ray puts it
            before the installed packages, so a folder of the user's that happens to be called ``workers`` or
            ``streamrestore`` would be imported instead of ours.

    Returns:
        Ids of the GPUs that the worker was given, as CUDA counts them on that host; none on a CPU.
    """
    sys.path[:] = [folder for folder in sys.path if folder != hidden_folder]
    # As the command line does, for machines it has not started; it is read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    from streamrestore.host_memory import keep_freed_memory

    keep_freed_memory()
    gpus = tuple(ray.get_runtime_context().get_accelerator_ids()["GPU"])
    if not gpus:
        # Ray leaves all GPUs visible to a worker that asked for none.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return gpus


def build_here(build: ray.ObjectRef[Callable[[], T]]) -> T:
    """Build what a worker holds, which keeps to the worker's share of a GPU.

    Raises:
        Exception: Whatever building it raised, in its own class.
    """
    from streamrestore.device_memory import keep_to_share

    keep_to_share(own_share())
    return ray.get(build)()


def own_share() -> float:
    """The part of a GPU that this process was given; 1 for whole ones, or none."""
    context = ray.get_runtime_context()
    assigned = context.get_assigned_resources()  # type: ignore[no-untyped-call] # Ray's, without types
    return min(1.0, float(assigned.get("GPU", 1.0)))
