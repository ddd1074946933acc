"""A pool of Ray actors: submit chunks, collect results, replace the dead.

::

    any thread                      thread "pool"                           Ray
    submit ---- call ----+
    close ----- call ----+--> calls --> Scheduler decides --> actor.restore.remote
                         |                                            |
                         +----------- call when an answer is in ------+

Only the pool's own thread decides, and touches actors and references; all others leave a call
for it. A chunk stays here until its answer is in, so that another worker can be given it.
Nothing is polled: the thread sleeps until there is a call or a deadline.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from streamrestore.errors import WorkerLostError, WorkerStartError
from streamrestore.frame import Chunk, Restored
from workers.actor import RestorerActor, WorkerInfo
from workers.archive.claims import Claim
from workers.cluster import Cluster
from workers.contract import BuildRestorer, PoolState
from workers.futures import cancel, fail, settle
from workers.patience import Patience
from workers.quiet_ray import ray, ray_errors
from workers.ray_failures import DEATHS, last_line, loss_of_worker, restorer_error
from workers.scheduling import CHUNKS_IN_FLIGHT, DEATHS_OF_A_CHUNK, Life, Scheduler

T = TypeVar("T")

CLOSE_SECONDS = 10.0
"""How long closing waits for the pool's thread; it only kills."""


class Lifecycle(StrEnum):
    """Where a pool is in its life."""

    STARTING = "starting"
    """Some worker has not been ready yet; chunks may be submitted."""
    RUNNING = "running"
    FAILED = "failed"
    """Nobody is left to restore anything: every chunk fails."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class _Job:
    chunk: Chunk
    future: "Future[Restored]"


class RayPool:
    """Restores chunks on Ray actors; a `RestorerPool`. Owns its connection to Ray."""

    def __init__(
        self,
        build: BuildRestorer,
        *,
        cluster: Cluster,
        workers: int,
        cpus: float = 1.0,
        gpus: float = 0.0,
        patience: Patience | None = None,
        fill_seconds: float = 0.0,
        claimant: str | None = None,
    ) -> None:
        """Start workers as soon as the cluster is there, in the background.

        Args:
            build: Called once in every worker; travels to each machine once, weights and all.
            cluster: Closed with the pool.
            workers: How many, at least 1.
            cpus: CPUs each worker asks Ray for. Ray also limits OpenMP in the worker to so
                many threads, so ask for as many as the restorer is to use.
            gpus: GPUs each one asks for: 0, 1, or one of several equal shares.
            patience: How long chunks and workers may take; by default, generous.
            fill_seconds: How long a worker whose batch is not full waits for others' chunks.
            claimant: Who the workers are for, in a word, where archives are to leave GPUs to them.
        """
        self._build = build
        self._cluster = cluster
        self._workers = workers
        self._fill_seconds = fill_seconds
        self._claimant = claimant
        self._claim: Claim | None = None
        self._resources = {"cpus": cpus, "gpus": gpus}
        self._scheduler = Scheduler(workers, time.monotonic(), patience)
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._actors: dict[Life, Any] = {}
        self._infos: dict[Life, WorkerInfo] = {}
        self._errors: dict[Life, BaseException] = {}
        """The last one of each worker."""
        self._last_loss = ""
        self._started: Future[None] = Future()
        self._numbers = count()
        self._state = self._scheduler.state()
        self._lock = threading.Lock()
        """Guards the three below, which other threads change too."""
        self._jobs: dict[int, _Job] = {}
        self._lifecycle = Lifecycle.STARTING
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="pool", daemon=True)
        self._thread.start()
        cluster.started.add_done_callback(lambda _: self._calls.put(self._start_workers))

    @property
    def budget_bytes(self) -> int:
        """What the chunks in flight and their results may hold together: half the object store.

        Beyond that Ray begins to write objects to disk. Waits for the connection to Ray.
        """
        return self._cluster.started.result().store_bytes // 2

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """The workers that are ready now."""
        return tuple(self._infos.values())

    def ready(self, timeout_seconds: float) -> None:
        """Wait until every worker has built its restorer, or is put off where the pool is to last.

        Raises:
            ConfigError: The machine or the cluster cannot hold the workers.
            WorkerStartError: Ray or a worker failed to start, or took longer.
        """
        wait([self._started], timeout_seconds)
        if not self._started.done():
            raise WorkerStartError(
                f"{self._state.workers} of {self._workers} workers were ready after {timeout_seconds:g} s: give them "
                "more time, or look with `ray status` whether other jobs hold the machines"
            )
        error = self._started.exception()
        if error is not None:
            raise error

    def submit(self, chunk: Chunk) -> "Future[Restored]":
        """Queue a chunk.

        Raises:
            RuntimeError: The pool is closed.
        """
        future: Future[Restored] = Future()
        number = next(self._numbers)
        with self._lock:
            if self._lifecycle is Lifecycle.CLOSED:
                raise RuntimeError("the pool is closed and takes no more chunks")
            if self._failure is not None:
                future.set_exception(self._failure)
                return future
            self._jobs[number] = _Job(chunk, future)
            self._calls.put(partial(self._scheduler.add, number, sum(plane.nbytes for plane in chunk.planes)))
        future.add_done_callback(partial(self._drop_if_cancelled, number))
        return future

    def state(self) -> PoolState:
        """What the pool is doing now."""
        return self._state

    def close(self) -> None:
        """Kill the workers and cancel every chunk; may be called twice."""
        with self._lock:
            self._lifecycle = Lifecycle.CLOSED
            abandoned, self._jobs = self._jobs, {}
        for job in abandoned.values():
            cancel(job.future)
        self._calls.put(lambda: None)
        self._thread.join(CLOSE_SECONDS)
        self._cluster.close()

    def __repr__(self) -> str:
        state = self._state
        return (
            f"<RayPool {self._lifecycle}: {state.workers} of {self._workers} workers ready, {state.busy} chunks busy, "
            f"{state.queued} queued, {state.deaths} workers died>"
        )

    # From here on, everything runs in the pool's own thread, but for the last method.

    def _run(self) -> None:
        now = time.monotonic()
        try:
            while self._lifecycle is not Lifecycle.CLOSED:
                self._next_call(self._scheduler.next_due(now))
                # One moment for all decisions: acting on them takes a while, and what falls due in
                # that while must be due after this moment, or nothing would wake this thread for it.
                now = time.monotonic()
                self._kill_useless(now)
                self._start_again(now)
                self._dispatch(now)
                self._publish()
        except BaseException as error:  # noqa: BLE001 - every future raises it: none may be left waiting
            self._abandon(restorer_error(error))
        finally:
            for life in tuple(self._actors):
                self._kill(life)
            if self._claim is not None:
                self._claim.close()
            self._publish()
            if not self._started.done():
                fail(self._started, self._failure or WorkerStartError("the pool was closed before it was ready"))

    def _next_call(self, until: float | None) -> None:
        timeout_seconds = None if until is None else max(0.0, until - time.monotonic())
        try:
            call = self._calls.get(timeout=timeout_seconds)
        except Empty:
            return
        call()

    def _start_workers(self) -> None:
        self._cluster.started.result().check(self._workers, **self._resources)
        if self._claimant is not None and self._resources["gpus"]:
            self._claim = Claim(self._claimant, self._workers, self._resources["gpus"])
        self._build_ref = ray.put(self._build)
        # Once for all workers: each actor class that is made goes to the cluster's head and to every worker.
        # One thread more than chunks, so that one can be unpacked and one packed while one computes.
        self._actor_class: Any = ray.remote(RestorerActor).options(
            num_cpus=self._resources["cpus"],
            num_gpus=self._resources["gpus"],
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=CHUNKS_IN_FLIGHT + 1,
        )
        for life in self._scheduler.lives:
            self._start(life)

    def _start(self, life: Life) -> None:
        actor = self._actor_class.remote((self._build_ref,), self._cluster.hidden_folder, self._fill_seconds)
        self._actors[life] = actor
        self._call_back(actor.ready.remote(), partial(self._on_ready, life))

    def _on_ready(self, life: Life, info: "Future[WorkerInfo]") -> None:
        error = info.exception()
        if error is not None:
            self._bury(life, restorer_error(error), hopeless=not isinstance(error, DEATHS))
        elif self._scheduler.ready(life):
            self._infos[life] = info.result()
            self._tell_started()

    def _tell_started(self) -> None:
        if self._scheduler.all_ready and not self._started.done():
            with self._lock:
                if self._lifecycle is Lifecycle.STARTING:
                    self._lifecycle = Lifecycle.RUNNING
            self._publish()
            settle(self._started, None)

    def _dispatch(self, now: float) -> None:
        for life, number in self._scheduler.assign(now):
            job = self._jobs.get(number)
            # None only when the pool has just been closed, and this thread is about to see it.
            if job is not None:
                answer = self._actors[life].restore.remote(job.chunk)
                self._call_back(answer, partial(self._on_answer, life, number))

    def _on_answer(self, life: Life, number: int, answer: "Future[Restored]") -> None:
        error = answer.exception()
        loss = loss_of_worker(error)
        if loss is not None:
            self._bury(life, loss)
        elif error is not None:
            error = restorer_error(error)
            if life in self._actors:
                self._errors[life] = error
            if self._scheduler.failed(life, number, time.monotonic()):
                self._publish()
                job = self._take(number)
                if job is not None:
                    fail(job.future, error)
        elif self._scheduler.answered(life, number, time.monotonic()):
            self._publish()
            job = self._take(number)
            if job is not None:
                settle(job.future, answer.result())

    def _bury(self, life: Life, cause: BaseException, *, hopeless: bool = False) -> None:
        """Replace a worker that is dead or as good as dead."""
        verdict = self._scheduler.died(life, time.monotonic(), hopeless=hopeless)
        if verdict is None:
            return
        self._kill(life)
        reason = _words(cause)
        later = "" if verdict.rest_seconds is None else f"; it is tried again in {verdict.rest_seconds:g} s"
        self._last_loss = reason + later
        self._publish()
        for number in verdict.poisoned:
            job = self._take(number)
            if job is not None:
                lost = WorkerLostError(f"{DEATHS_OF_A_CHUNK} workers died with the same frames, the last by {reason}")
                lost.__cause__ = cause
                fail(job.future, lost)
        if verdict.successor is not None:
            self._start(verdict.successor)
        elif not self._started.done() and (verdict.rest_seconds is None or not self._scheduler.lives):
            # The pool may go on with its other workers; who waits for all of them is told.
            start_error = WorkerStartError(f"a worker failed to start: {reason}")
            start_error.__cause__ = cause
            fail(self._started, start_error)
        self._tell_started()
        if not self._scheduler.lives:
            raise WorkerLostError(f"no worker is left, the last one was lost by {reason}") from cause

    def _kill_useless(self, now: float) -> None:
        for life in self._scheduler.hanging(now):
            self._bury(life, WorkerLostError("it made no progress for far longer than usual"))
        for life in self._scheduler.ill():
            self._bury(
                life, WorkerLostError(f"it failed with all it was given, the last by {_words(self._errors[life])}")
            )

    def _start_again(self, now: float) -> None:
        for life in self._scheduler.rested(now):
            self._start(life)

    def _kill(self, life: Life) -> None:
        self._infos.pop(life, None)
        self._errors.pop(life, None)
        # Where Ray itself is gone there is nothing left to kill.
        with suppress(ray_errors.RayError):
            ray.kill(self._actors.pop(life))

    def _drop(self, number: int) -> None:
        job = self._take(number)
        if job is not None:
            cancel(job.future)
        self._scheduler.drop(number)

    def _take(self, number: int) -> _Job | None:
        with self._lock:
            return self._jobs.pop(number, None)

    def _abandon(self, error: BaseException) -> None:
        with self._lock:
            self._failure = error
            if self._lifecycle is not Lifecycle.CLOSED:
                self._lifecycle = Lifecycle.FAILED
            abandoned, self._jobs = self._jobs, {}
        self._publish()
        for job in abandoned.values():
            fail(job.future, error)

    def _publish(self) -> None:
        """Show the new state, before the answers that follow from it."""
        state = replace(self._scheduler.state(), last_loss=self._last_loss)
        alive = self._lifecycle in (Lifecycle.STARTING, Lifecycle.RUNNING)
        lost = self._lifecycle is Lifecycle.FAILED
        self._state = (
            state if alive else replace(state, workers=0, busy=0, queued=0, lost=lost, starting=0, away=self._workers)
        )

    def _call_back(self, reference: "ray.ObjectRef[T]", call: "Callable[[Future[T]], None]") -> None:
        reference.future().add_done_callback(lambda done: self._calls.put(partial(call, done)))

    def _drop_if_cancelled(self, number: int, future: "Future[Restored]") -> None:
        if future.cancelled():
            self._calls.put(partial(self._drop, number))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {last_line(error)}"
