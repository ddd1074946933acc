"""One file over the machines of a cluster: each segment is restored where a worker is, and only its name travels.

The machines share the file systems of source and output. What is restored, and to which bytes, is the same as on one
machine; only frames do not cross the network.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Any

from pipelines.engine import DRAIN_SECONDS, Progress, StageLoad
from pipelines.planning import FileJob, Network
from pipelines.restoring import restore_segments
from pipelines.shipping import pack, unpack
from streamrestore.devices import choose_devices, find_devices, given_device
from streamrestore.errors import StoppedError
from streamrestore.identity import machine_kind
from streamrestore.segments import Segment
from streamrestore.soundness import check_device
from streamrestore.work_folder import WorkFolder
from workers import RestorerPool
from workers.archive import StepPool, StepPoolState

_POLL_SECONDS = 0.2
"""How often progress is told while segments are restored."""

log = logging.getLogger(__name__)


class SpreadContext:
    """What each worker holds: the network, on its own device."""

    def __init__(self, network: Network, start: Callable[[Network], RestorerPool]) -> None:
        """Look at the device, and load the network.

        Args:
            network: As it was asked for.
            start: Starts a pool in this process; it is ready then.
        """
        device = choose_devices(given_device(), find_devices()).devices[0]
        self.kind = machine_kind(device)
        self.network = replace(network, device=device)
        self.pool = start(self.network)

    def check(self) -> None:
        """Look whether the device works.

        Raises:
            DeviceLostError: It does not.
        """
        check_device(self.network.device.label())


@dataclass(frozen=True, slots=True)
class _Done:
    frames: int
    load: StageLoad


@dataclass(frozen=True, slots=True)
class _RestoreSegment:
    job: bytes
    folder: str
    index: int

    def __call__(self, context: SpreadContext) -> _Done:
        job, folder = unpack(self.job, context.network, self.folder)
        folder.open()
        segment = [job.segments[self.index]]
        progress = restore_segments(job, folder, segment, context.pool, lambda progress: None, threading.Event())
        return _Done(progress.frames, progress.load)


class SpreadPool:
    """Workers on several machines, which are given segments rather than frames."""

    def __init__(self, steps: StepPool) -> None:
        """Use workers whose context is a `SpreadContext`; they are closed with this pool."""
        self._steps = steps

    def ready(self, timeout_seconds: float) -> None:
        """Wait until one worker is ready; the others may follow at any time.

        Raises:
            ConfigError: The cluster cannot hold the workers.
            WorkerStartError: None could be started, or none was ready in time.
        """
        self._steps.first_ready(timeout_seconds)

    def state(self) -> StepPoolState:
        """What the workers are doing now."""
        return self._steps.state()

    def close(self) -> None:
        """Stop the workers at once; may be called twice."""
        self._steps.close()

    def restore_segments(
        self,
        job: FileJob,
        folder: WorkFolder,
        pending: Sequence[Segment],
        report: Callable[[Progress], None],
        stop: threading.Event,
    ) -> Progress:
        """Restore some segments, each of which is finished in the job's folder as soon as it is over.

        Args:
            job: Whose they are.
            folder: Of the job, opened; the machines share it.
            pending: In order.
            report: Is told how far it is, several times a second.
            stop: Ends it early: after the segments in hand, if they do not take long.

        Raises:
            StoppedError: ``stop`` was set.
            StreamRestoreError: A segment failed; those in hand are finished first.
        """
        if len(pending) > 1:
            job.source.locate()
        packed, kind, began = pack(job), machine_kind(job.options.network.device), time.monotonic()
        waiting: set[Future[Any]] = {
            self._steps.submit(_RestoreSegment(packed, folder.path.name, segment.index), "restore", kind=kind)
            for segment in pending
        }
        log.info("%s: %d segments are given to workers on all machines", job.info.path, len(pending))
        frames, loads = 0, list[StageLoad]()
        failure: BaseException | None = None
        deadline = math.inf
        while waiting and time.monotonic() < deadline:
            ended, waiting = wait(waiting, _POLL_SECONDS, FIRST_COMPLETED)
            for future in ended:
                if future.cancelled():
                    continue
                error = future.exception()
                if error is None:
                    frames += future.result().frames
                    loads.append(future.result().load)
                failure = failure or error
            report(Progress(frames, time.monotonic() - began, _mean(loads)))
            if failure is not None or stop.is_set():
                waiting = {future for future in waiting if not future.cancel()}
                deadline = min(deadline, time.monotonic() + DRAIN_SECONDS)
        if failure is not None:
            raise failure
        if stop.is_set():
            raise StoppedError("stopped before the last frame")
        return Progress(frames, time.monotonic() - began, _mean(loads))


FileWorkers = RestorerPool | SpreadPool
"""What restores files: frame by frame, or segment by segment."""


def _mean(loads: Sequence[StageLoad]) -> StageLoad:
    """Of the workers that have restored something."""
    count = max(1, len(loads))
    return StageLoad(
        sum(load.decode for load in loads) / count,
        sum(load.restore for load in loads) / count,
        sum(load.encode for load in loads) / count,
    )
