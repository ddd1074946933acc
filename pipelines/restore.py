"""Several files, one after the other, through one warm pool."""

import glob
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

from pipelines.exit_codes import ExitCode, exit_code
from pipelines.file import restore_file
from pipelines.outputs import Item
from pipelines.pipe import PipeJob, prepare_pipe, restore_pipe
from pipelines.planning import FileJob, FileOptions, prepare_file
from pipelines.pools import START_SECONDS
from pipelines.progress import Finished, Reporter
from pipelines.signals import StopRequest, stopping_at_once, take_signals_back
from pipelines.spreading import FileWorkers, SpreadPool
from streamrestore.errors import ConfigError, StoppedError, StreamRestoreError, WorkerStartError
from streamrestore.opening import PIPE, find_opening
from streamrestore.receipt import receipt_path


def restore_files(
    items: Sequence[Item],
    options: FileOptions,
    start: Callable[[], FileWorkers],
    reporter: Reporter,
    request: StopRequest,
) -> ExitCode:
    """Restore every file; one that fails is reported and the others go on.

    Args:
        items: What to restore.
        options: How, the same for all.
        start: Starts the workers in the background; not called before there is an input.
        reporter: Is told all that happens.
        request: Set from outside to stop.

    Returns:
        How it ended: for a single file the code of its error, for several `ExitCode.SOME_FAILED`.

    Raises:
        ConfigError: The machine or the cluster cannot hold the workers.
        WorkerStartError: No worker could be started, or not in time.
    """
    codes = list[ExitCode]()
    taken = {os.path.realpath(item.source) for item in items}
    with ExitStack() as cleanup:
        pool: FileWorkers | None = None

        def workers() -> FileWorkers:
            nonlocal pool
            if pool is None:
                pool = start()
                cleanup.callback(take_signals_back)
                cleanup.callback(pool.close)
            return pool

        for item in items:
            try:
                if item.source != PIPE:
                    find_opening(item.source, options.input)
                if not _may_be_done(item):
                    workers()  # which get ready while this process looks at the input
                if item.piped:
                    job: FileJob | PipeJob = prepare_pipe(item, options, request.event)
                else:
                    with stopping_at_once(request.event):
                        job = prepare_file(item, options)
                if job.output != PIPE:
                    _take(job.output, taken)
                if isinstance(job, FileJob) and job.done:
                    reporter.note(f"{job.output} is done already, as its receipt says; -y makes it again")
                    codes.append(ExitCode.DONE)
                    continue
            except (StoppedError, KeyboardInterrupt):
                reporter.fail(item.source, "stopped before its restoration began")
                return request.code
            except StreamRestoreError as error:
                reporter.fail(item.source, str(error))
                codes.append(exit_code(error))
                continue
            try:
                _await_workers(workers(), request.event)
                reporter.finish(_restore(job, workers(), reporter, request.event))
                codes.append(ExitCode.DONE)
            except (StoppedError, KeyboardInterrupt):
                hint = "; the same command finishes it" if isinstance(job, FileJob) else ""
                reporter.fail(item.source, f"stopped before {job.output} was done{hint}")
                return request.code
            except (WorkerStartError, ConfigError):
                raise
            except StreamRestoreError as error:
                reporter.fail(item.source, str(error))
                codes.append(exit_code(error))
        if pool is not None and (deaths := pool.state().deaths):
            reporter.note(f"workers that died on the way and were replaced: {deaths}; no frame was lost")
    if len(codes) == 1:
        return codes[0]
    return ExitCode.DONE if set(codes) == {ExitCode.DONE} else ExitCode.SOME_FAILED


def _may_be_done(item: Item) -> bool:
    """Whether a receipt lies where the output will: perhaps there is nothing to start workers for."""
    if item.output is not None:
        return receipt_path(item.output).exists()
    folder = item.folder or item.source.parent
    return any(folder.glob(f"{glob.escape(item.source.stem)}.*.receipt.json"))


def _restore(job: FileJob | PipeJob, pool: FileWorkers, reporter: Reporter, stop: threading.Event) -> Finished:
    if isinstance(job, FileJob):
        return restore_file(job, pool, reporter, stop)
    if isinstance(pool, SpreadPool):
        raise TypeError("what comes by a pipe is in one process, and workers on other machines cannot read it")
    return restore_pipe(job, pool, reporter, stop)


def _take(output: Path, taken: set[str]) -> None:
    """Refuse an output that another input of this run is, or is restored to."""
    place = os.path.realpath(output)
    if place in taken:
        raise ConfigError(
            f"{output} is another input of this run, or the output of one; restore them into different folders with -o"
        )
    taken.add(place)


def _await_workers(pool: FileWorkers, stop: threading.Event) -> None:
    """Wait until the workers are ready; at once when they are already.

    Raises:
        StoppedError: The user asked to stop first.
        ConfigError: The machine or the cluster cannot hold them.
        WorkerStartError: One failed to start, or was not ready in time.
    """
    ready: Future[None] = Future()

    def wait() -> None:
        try:
            pool.ready(START_SECONDS)
            ready.set_result(None)
        except BaseException as error:  # noqa: BLE001 - raised by the future
            ready.set_exception(error)

    threading.Thread(target=wait, name="ready", daemon=True).start()
    while not ready.done():
        if stop.wait(0.05):
            raise StoppedError("stopped before the workers were ready")
    take_signals_back()
    ready.result()
