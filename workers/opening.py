"""open_pool: the one way to get a pool of restorers, on whatever there is."""

from collections.abc import Sequence
from typing import Literal

from streamrestore.cpu import cpu_cores
from streamrestore.errors import ConfigError
from workers.contract import BuildRestorer, RestorerPool
from workers.inline import InlinePool
from workers.patience import Patience


def open_pool(
    build: BuildRestorer,
    *,
    workers: int,
    devices: Literal["cpu"] | Sequence[int] = "cpu",
    threads: int = 1,
    address: str | None = None,
    fill_seconds: float = 0.0,
    patience: Patience | None = None,
    claimant: str | None = None,
) -> RestorerPool:
    """Open a pool; to be closed. Workers start in the background, see `RestorerPool.ready`.

    Args:
        build: Builds the restorer in each worker. In a worker process the device is ``cuda:0``
            whatever GPU it was given, as it sees no other; inline it is the one in ``devices``.
        workers: Processes of Ray; 0 restores in a thread of this process and needs no Ray.
        devices: ``cpu``, or the GPUs to share out evenly, as CUDA counts them in this process.
            A cluster that is joined gives its own GPUs, as many as are listed.
        threads: CPU cores a CPU worker is to have; ``build`` sets its own number of threads.
        address: Of a Ray cluster to join, see `workers.cluster.Cluster`.
        fill_seconds: How long a worker whose batch is not full waits for chunks of other streams. For files
            nothing is gained by waiting; for live streams a few milliseconds are little latency.
        patience: How long chunks and worker processes may take; by default, as long as files can wait.
        claimant: Who the workers are for, in a word, where archives on the same cluster are to leave GPUs to them.

    Raises:
        ConfigError: The request makes no sense, whatever the machine.
    """
    if workers < 0:
        raise ConfigError(f"{workers} workers were asked for: give 0 for none but this process, or more")
    if workers == 0 and len(devices) > 1 and devices != "cpu":
        raise ConfigError(
            f"without worker processes one GPU is used, but {len(devices)} were asked for: name one, or more workers"
        )
    if workers == 0:
        return InlinePool(build, fill_seconds)
    # Not before it is needed: importing Ray takes half a second.
    from workers.cluster import Cluster, gpu_share
    from workers.pool import RayPool

    if devices == "cpu":
        # A Ray started here may hold one worker a core, though each asks for its threads: slower
        # than fewer workers, but what was asked for.
        cluster = Cluster(address=address, cpus=cpu_cores() * threads)
        return RayPool(
            build, cluster=cluster, workers=workers, cpus=threads, patience=patience, fill_seconds=fill_seconds
        )
    cluster, share = Cluster(address=address, gpus=devices), gpu_share(workers, len(devices))
    return RayPool(
        build,
        cluster=cluster,
        workers=workers,
        cpus=0,
        gpus=share,
        patience=patience,
        fill_seconds=fill_seconds,
        claimant=claimant,
    )


def count_machines(address: str) -> int:
    """How many machines a Ray cluster has now.

    Args:
        address: Of the cluster, see `workers.cluster.Cluster`.

    Raises:
        ConfigError: The address cannot be used.
        WorkerStartError: The cluster cannot be joined.
    """
    from workers.cluster import Cluster

    cluster = Cluster(address=address)
    try:
        return len(cluster.started.result().nodes)
    finally:
        cluster.close()
