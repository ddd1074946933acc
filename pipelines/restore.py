"""Several files, one after the other, through one warm pool."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pipelines.exit_codes import ExitCode, exit_code
from pipelines.file import FileOptions, prepare_file, restore_file
from pipelines.outputs import Item
from pipelines.progress import Reporter
from pipelines.signals import StopRequest, take_signals_back
from streamrestore.checkpoint import Model
from streamrestore.devices import CPU_THREADS, DeviceChoice, Precision, default_workers
from streamrestore.errors import StoppedError, StreamRestoreError
from streamrestore.mprnet import Stages
from streamrestore.restorer import Restorer, RestorerSettings
from workers import RestorerPool, open_pool

START_SECONDS = 300.0
"""How long workers may take to start: Ray, torch and the weights on a busy machine."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """What the workers of a run are to be."""

    models: tuple[Model, ...]
    """The chain, in order."""
    choice: DeviceChoice
    precision: Precision
    stages: Stages = 3
    local_pooling: bool = False
    strength: float = 1.0
    workers: int | None = None
    """Processes; 0 for none but this one, None for what suits the devices."""
    address: str | None = None
    """Of a Ray cluster to join."""


def start_pool(options: PoolOptions) -> RestorerPool:
    """Start workers in the background, each with the whole chain.

    Raises:
        ConfigError: The request makes no sense, whatever the machine.
    """
    choice = options.choice
    workers = default_workers(choice) if options.workers is None else options.workers
    # A worker process sees one GPU, its own; this process sees them all.
    device = "cuda:0" if choice.kind == "cuda" and workers else choice.devices[0].label()
    settings = RestorerSettings(
        device,
        options.precision,
        options.stages,
        options.local_pooling,
        options.strength,
        threads=CPU_THREADS if choice.kind == "cpu" else 0,
    )
    return open_pool(
        partial(Restorer, options.models, settings),
        workers=workers,
        devices=[each.index for each in choice.devices] if choice.kind == "cuda" else "cpu",
        threads=CPU_THREADS,
        address=options.address,
    )


def restore_files(
    items: Sequence[Item],
    options: FileOptions,
    start_pool: Callable[[], RestorerPool],
    reporter: Reporter,
    request: StopRequest,
) -> ExitCode:
    """Restore every file; one that fails is reported and the others go on.

    Args:
        items: What to restore.
        options: How, the same for all.
        start_pool: Starts the workers in the background; called once, when the first input
            has shown to be restorable, so that a mistake costs no start.
        reporter: Is told all that happens.
        request: Set from outside to stop.

    Returns:
        How it ended: for a single file the code of its error, for several `ExitCode.SOME_FAILED`.
    """
    pool: RestorerPool | None = None
    codes = list[ExitCode]()
    try:
        for item in items:
            try:
                job = prepare_file(item, options)
                if pool is None:
                    pool = start_pool()
                    pool.ready(START_SECONDS)
                    take_signals_back()
                reporter.finish(restore_file(job, options, pool, reporter, request.event))
                codes.append(ExitCode.DONE)
            except StoppedError:
                reporter.fail(item.source, f"stopped; nothing was written for {item.source}")
                return request.code
            except StreamRestoreError as error:
                reporter.fail(item.source, str(error))
                codes.append(exit_code(error))
            if request.event.is_set():
                return request.code
    finally:
        if pool is not None:
            pool.close()
    if len(codes) == 1:
        return codes[0]
    return ExitCode.DONE if set(codes) == {ExitCode.DONE} else ExitCode.SOME_FAILED
