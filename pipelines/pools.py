"""The workers of a run: how many, on what, and with which networks."""

from dataclasses import dataclass
from functools import partial

from pipelines.planning import Network
from pipelines.spreading import FileWorkers, SpreadContext, SpreadPool
from streamrestore.devices import CPU_THREADS, DeviceChoice, default_workers
from streamrestore.restorer import Restorer, RestorerSettings
from workers import Patience, RestorerPool, count_machines, open_pool
from workers.archive import open_step_pool

START_SECONDS = 300.0
"""How long workers may take to start: Ray, torch and the weights on a busy machine."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """What the workers of a run are to be."""

    network: Network
    choice: DeviceChoice
    workers: int | None = None
    """Processes; 0 for none but this one, None for what suits the devices."""
    address: str | None = None
    """Of a Ray cluster to join."""
    fill_seconds: float = 0.0
    """How long a batch that is not full waits for frames of other streams."""
    patience: Patience | None = None
    """How long frames and workers may take; None for as long as files can wait."""
    threads: int = CPU_THREADS
    """Of each worker on a CPU."""
    claimant: str | None = None
    """Who the workers are for, where archives on the same cluster are to leave GPUs to them."""


def start_pool(options: PoolOptions) -> RestorerPool:
    """Start workers in the background, each with the whole chain.

    Raises:
        ConfigError: The request makes no sense, whatever the machine.
    """
    choice = options.choice
    workers = default_workers(choice, options.threads) if options.workers is None else options.workers
    # A worker process sees one GPU, its own; this process sees them all.
    device = "cuda:0" if choice.kind == "cuda" and workers else choice.devices[0].label()
    network = options.network
    settings = RestorerSettings(
        device,
        network.precision,
        network.stages,
        network.local_pooling,
        network.strength,
        threads=options.threads if choice.kind == "cpu" else 0,
        reuse=network.reuse,
        reuse_threshold=network.reuse_threshold,
    )
    return open_pool(
        partial(Restorer, network.models, settings),
        workers=workers,
        devices=[each.index for each in choice.devices] if choice.kind == "cuda" else "cpu",
        threads=options.threads,
        address=options.address,
        fill_seconds=options.fill_seconds,
        patience=options.patience,
        claimant=options.claimant,
    )


def start_file_workers(options: PoolOptions, *, piped: bool) -> FileWorkers:
    """Start workers for files: on a cluster of several machines they are given segments, else frames.

    Args:
        options: What they are to be.
        piped: Whether frames come or go by a pipe, which one machine alone has.

    Raises:
        ConfigError: The request makes no sense, whatever the machine.
        WorkerStartError: The cluster cannot be joined.
    """
    if options.address is None or options.workers == 0 or piped or count_machines(options.address) < 2:
        return start_pool(options)
    steps = open_step_pool(
        partial(SpreadContext, options.network, start_inline),
        workers=options.workers,
        devices="cpu" if options.choice.kind == "cpu" else "auto",
        threads=options.threads,
        address=options.address,
    )
    return SpreadPool(steps)


def start_inline(network: Network) -> RestorerPool:
    """Start a pool in this process, on the network's device, and wait until it is ready.

    Raises:
        WorkerStartError: It could not be started, or not in time.
    """
    pool = start_pool(PoolOptions(network, DeviceChoice((network.device,), "it is the worker's"), workers=0))
    pool.ready(START_SECONDS)
    return pool
