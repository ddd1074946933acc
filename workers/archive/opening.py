"""open_step_pool: the one way to get a pool of steps, on whatever there is."""

from collections.abc import Sequence

from streamrestore.cpu import cpu_cores
from streamrestore.errors import ConfigError
from workers.archive.contract import Alike, BuildContext, ClusterDevices, StepPool
from workers.archive.inline import InlineStepPool


def open_step_pool(
    build: BuildContext,
    *,
    workers: int | None = None,
    workers_per_gpu: int | None = None,
    devices: ClusterDevices | Sequence[int] = "cpu",
    threads: int = 1,
    address: str | None = None,
    accelerator: str = "",
) -> StepPool:
    """Open a pool; to be closed. Workers start in the background, see `StepPool.first_ready`.

    Args:
        build: Builds the context in each worker. A worker process on a GPU sees it as ``cuda:0`` and sees no other,
            one on a CPU sees none.
        workers: Processes of Ray; 0 runs steps in threads of this process and needs no Ray. None for one a GPU, or
            one for every ``threads`` cores; on a cluster also of machines that join later. Where a cluster has no room
            for as many as are asked for, those that are missing wait for it, so that an autoscaler sees them.
        workers_per_gpu: How many share a GPU, each with its part of the memory. None for one; on this machine for as
            many as it takes to have room for ``workers``.
        devices: ``cpu``, or the GPUs to use, as CUDA counts them in this process. A cluster that is joined has its
            own GPUs, whatever numbers are given: ``gpu`` means these, now and later; ``auto`` these, or its cores if it
            has none when it is joined, see `StepPoolState.advice`.
        threads: CPU cores a CPU worker is to have; ``build`` sets its own number of threads.
        address: Of a Ray cluster to join, see `workers.cluster.Cluster`.
        accelerator: The only kind of GPU that will do, as Ray calls it; empty for any.

    Raises:
        ConfigError: The request makes no sense, whatever the machine.
    """
    if workers is not None and workers < 0:
        raise ConfigError(f"{workers} workers were asked for: give 0 for none but this process, or more")
    if workers_per_gpu is not None and (workers_per_gpu < 1 or workers == 0 or devices == "cpu"):
        raise ConfigError(f"{workers_per_gpu} workers were asked for on each GPU, but there are no such workers here")
    if workers == 0:
        return InlineStepPool(build)
    # Not before it is needed: importing Ray takes half a second.
    from workers.archive.pool import RayStepPool
    from workers.cluster import Cluster

    if isinstance(devices, str):
        # A Ray started here may hold one worker a core, though each asks for its threads, if so many are asked for.
        cluster = Cluster(address=address, cpus=cpu_cores() * (1 if workers is None else threads))
    else:
        cluster = Cluster(address=address, gpus=devices)
    return RayStepPool(
        build,
        cluster=cluster,
        workers=workers,
        workers_per_gpu=workers_per_gpu,
        devices=devices,
        threads=threads,
        accelerator=accelerator,
    )


def list_devices(address: str, devices: ClusterDevices, threads: int) -> tuple[Alike, ...]:
    """Which devices a pool would use on a Ray cluster as it is now; starts nothing.

    Args:
        address: Of the cluster, see `workers.cluster.Cluster`.
        devices: As of `open_step_pool`.
        threads: As of `open_step_pool`.

    Raises:
        ConfigError: The address cannot be used.
        WorkerStartError: The cluster cannot be joined.
    """
    from workers.archive.placement import group_devices
    from workers.cluster import Cluster

    cluster = Cluster(address=address)
    try:
        return group_devices(cluster.started.result().nodes, devices, threads)
    finally:
        cluster.close()
