"""A pool of steps inside this process: threads. Knows no Ray."""

import os
import socket
import threading
from concurrent.futures import Future, wait
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from streamrestore.errors import DeviceLostError, MachineError, WorkerLostError, WorkerStartError
from workers.archive.contract import LANES, BuildContext, Lane, Step, StepContext, StepPoolState, WorkerInfo
from workers.archive.futures import StepFuture
from workers.archive.running import run_step
from workers.futures import SerialThread
from workers.inline import THREAD_NAME


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    step: Step
    kind: str | None
    future: StepFuture


class InlineStepPool:
    """Runs steps in daemon threads of this process; a `StepPool`."""

    def __init__(self, build: BuildContext) -> None:
        """Start to build the context, in the background.

        Args:
            build: Called once, in a thread.
        """

        def build_or_explain() -> StepContext:
            try:
                return build()
            except Exception as error:
                raise WorkerStartError(f"the worker failed to start: {type(error).__name__}: {error}") from error

        self._builder = SerialThread(f"{THREAD_NAME}-build")
        self._context = self._builder.submit(build_or_explain)
        self._queues: dict[Lane, SimpleQueue[_Job | None]] = {lane: SimpleQueue() for lane in LANES}
        self._broken: WorkerLostError | None = None
        """Why no step can be run any more."""
        self._lock = threading.Lock()
        """Guards the two below."""
        self._jobs = set[_Job]()
        """Those that have not ended."""
        self._closed = False
        for lane, threads in LANES.items():
            for number in range(threads):
                name = f"{THREAD_NAME}-{lane}-{number}"
                threading.Thread(target=self._run, args=(lane,), name=name, daemon=True).start()

    def submit(
        self,
        step: Step,
        lane: Lane,
        *,
        seconds: float | None = None,
        kind: str | None = None,
        group: str | None = None,
    ) -> "Future[Any]":
        """Queue a step; where building the context failed, its future raises why. Nothing hangs for being late here.

        Raises:
            RuntimeError: The pool is closed.
        """
        job = _Job(step, kind, StepFuture())
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed and takes no more steps")
            self._jobs.add(job)
            self._queues[lane].put(job)
        return job.future

    def workers(self) -> tuple[WorkerInfo, ...]:
        """This process, once it has built its context."""
        return (self._info(),) if self._is_ready() else ()

    def state(self) -> StepPoolState:
        """What the pool is doing now."""
        with self._lock:
            futures = [job.future for job in self._jobs]
        busy = sum(future.running() for future in futures)
        queued = sum(not future.running() and not future.done() for future in futures)
        ready = self._is_ready()
        failed = self._context.done() and not ready
        deaths = int(self._broken is not None)
        return StepPoolState(int(ready), 1, 0, busy, queued, deaths, 0, int(ready), failed and not self._closed)

    def first_ready(self, timeout_seconds: float) -> WorkerInfo:
        """Wait until the context is built.

        Raises:
            WorkerStartError: Building failed, or took longer.
        """
        wait([self._context], timeout_seconds)
        if not self._context.done():
            raise WorkerStartError(
                f"the worker was not ready after {timeout_seconds:g} s: give it more time, or look at why it hangs"
            )
        if self._context.cancelled():
            raise WorkerStartError("the pool was closed before its worker was ready")
        self._context.result()
        return self._info()

    def close(self) -> None:
        """Cancel every step; may be called twice. What is running goes on for nothing, as a thread cannot be killed."""
        with self._lock:
            self._closed = True
            abandoned, self._jobs = self._jobs, set()
        for job in abandoned:
            job.future.abandon()
        self._builder.stop()
        for lane, threads in LANES.items():
            for _ in range(threads):
                self._queues[lane].put(None)

    def __repr__(self) -> str:
        state = self.state()
        return f"<InlineStepPool: {state.busy} busy, {state.queued} queued>"

    def _run(self, lane: Lane) -> None:
        wait([self._context])
        while (job := self._queues[lane].get()) is not None:
            if job.future.begin():
                self._run_one(job)
            with self._lock:
                self._jobs.discard(job)
            # Or the last step would live until the next one.
            del job

    def _run_one(self, job: _Job) -> None:
        try:
            context = self._context.result()
            if self._broken is not None:
                raise self._broken
            if job.kind not in (None, context.kind):
                raise WorkerLostError(f"the step is for workers of another kind, {job.kind}, and there will be none")
            job.future.settle(run_step(job.step, context))
        except (DeviceLostError, MachineError) as error:
            # A process could be replaced, or another machine be taken.
            self._broken = WorkerLostError(f"no worker is left, as this process is the only one: {error}")
            self._broken.__cause__ = error
            job.future.fail(self._broken)
        except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
            job.future.fail(error)

    def _is_ready(self) -> bool:
        built = self._context.done() and not self._context.cancelled() and self._context.exception() is None
        return built and not self._closed and self._broken is None

    def _info(self) -> WorkerInfo:
        return WorkerInfo(os.getpid(), socket.gethostname(), "", (), self._context.result().kind)
