"""What a process of Ray's needs before it becomes one of our workers.

Ray ships it by value with the classes of our actors: nothing of ours may be imported here before the path is clean.
"""

import os
import sys

from workers.quiet_ray import ray


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
