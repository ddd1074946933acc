"""A pool of Ray actors that run steps: submit steps, collect results, replace the dead, make room for others.

::

    any thread                    thread "pool"                              Ray
    submit ---- call ----+
    close ----- call ----+--> calls --> StepScheduler decides --> worker.run.remote
                         |                                              |
                         +------------ call when an answer is in -------+
    thread "watch" ------+            once a second: machines, claims

Only the pool's own thread decides, and touches actors and references; all others leave a call for it. It asks Ray for
nothing that has to wait for a machine: one that is frozen must not stop it. A step stays here until its answer is in,
so that another worker can be given it.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from streamrestore.errors import WorkerLostError, WorkerStartError
from workers.archive.contract import LANES, BuildContext, Lane, Step, StepPoolState, WorkerInfo
from workers.archive.futures import StepFuture
from workers.archive.metrics import StepMetrics
from workers.archive.patience import StepPatience
from workers.archive.placement import Devices, Placement, place_workers
from workers.archive.scheduling import (
    DEATHS_OF_A_STEP,
    REQUEUES_OF_A_STEP,
    Assignment,
    StepScheduler,
)
from workers.archive.segment_worker import Place, SegmentWorker
from workers.archive.watch import ClusterWatch, Sight
from workers.cluster import Cluster
from workers.futures import fail, settle
from workers.quiet_ray import ray, ray_errors
from workers.ray_failures import DEATHS, last_line, loss_of_worker, restorer_error, work_may_be_to_blame
from workers.scheduling import Life

T = TypeVar("T")

TICK_SECONDS = 1.0
"""How often the pool looks at what time alone changes."""

CLOSE_SECONDS = 10.0
"""How long closing waits for the pool's thread; it only kills."""


class _Lifecycle(StrEnum):
    OPEN = "open"
    LOST = "lost"
    """Nobody is left to run anything: every step fails."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class _Job:
    step: Step
    lane: Lane
    future: StepFuture


class RayStepPool:
    """Runs steps on Ray actors; a `StepPool`. Owns its connection to Ray."""

    def __init__(
        self,
        build: BuildContext,
        *,
        cluster: Cluster,
        workers: int | None,
        workers_per_gpu: int | None = None,
        devices: Devices,
        threads: int = 1,
        accelerator: str = "",
        patience: StepPatience | None = None,
    ) -> None:
        """Start workers as soon as the cluster is there, in the background.

        Args:
            build: Called once in every worker; travels to each machine once.
            cluster: Closed with the pool.
            workers: How many; None for as many as there are devices, also on machines that join later.
            workers_per_gpu: As of `place_workers`.
            devices: What they run on.
            threads: Cores a worker on a CPU is to have.
            accelerator: The only kind of GPU that will do, as Ray calls it; empty for any.
            patience: How long steps and workers may take.
        """
        self._build = build
        self._cluster = cluster
        self._wanted: dict[str, Any] = {
            "workers": workers,
            "workers_per_gpu": workers_per_gpu,
            "devices": devices,
            "threads": threads,
        }
        self._accelerator = accelerator or None
        self._scheduler = StepScheduler(patience)
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._actors: dict[Life, Any] = {}
        self._places: dict[Life, Place] = {}
        self._infos: dict[Life, WorkerInfo] = {}
        self._first: Future[WorkerInfo] = Future()
        self._last_loss = self._advice = ""
        self._watch: ClusterWatch | None = None
        self._metrics = StepMetrics()
        self._numbers = count()
        self._lock = threading.Lock()
        """Guards the three below, which other threads change too."""
        self._jobs: dict[int, _Job] = {}
        self._lifecycle = _Lifecycle.OPEN
        self._failure: BaseException | None = None
        self._state = self._scheduler.state()
        self._thread = threading.Thread(target=self._run, name="pool", daemon=True)
        self._thread.start()
        cluster.started.add_done_callback(lambda _: self._calls.put(self._start_workers))

    def submit(
        self,
        step: Step,
        lane: Lane,
        *,
        seconds: float | None = None,
        kind: str | None = None,
        group: str | None = None,
    ) -> "Future[Any]":
        """Queue a step.

        Raises:
            RuntimeError: The pool is closed.
        """
        future = StepFuture()
        with self._lock:
            if self._lifecycle is _Lifecycle.CLOSED:
                raise RuntimeError("the pool is closed and takes no more steps")
            if self._failure is not None:
                future.fail(self._failure)
                return future
            # Under the lock, so that numbers are in the order in which they are added.
            number = next(self._numbers)
            self._jobs[number] = _Job(step, lane, future)
            self._calls.put(partial(self._add, number, lane, kind, seconds, group))
        future.add_done_callback(partial(self._drop_if_cancelled, number))
        return future

    def workers(self) -> tuple[WorkerInfo, ...]:
        """The workers that are ready now."""
        return tuple(self._infos.copy().values())

    def state(self) -> StepPoolState:
        """What the pool is doing now."""
        return self._state

    def first_ready(self, timeout_seconds: float) -> WorkerInfo:
        """Wait until one worker has built its context; the others may follow at any time.

        Raises:
            ConfigError: The machine cannot hold the workers that were asked for.
            WorkerStartError: None could be started, or none was ready in time.
        """
        wait([self._first], timeout_seconds)
        if not self._first.done():
            room = "no machine has room for one" if self._state.waiting == self._state.wanted else "they still start"
            raise WorkerStartError(
                f"no worker was ready after {timeout_seconds:g} s, {room}: give them more time, or look with "
                "`ray status` whether other jobs hold the machines"
            )
        return self._first.result()

    def close(self) -> None:
        """Kill the workers and cancel every step; may be called twice."""
        with self._lock:
            self._lifecycle = _Lifecycle.CLOSED
            abandoned, self._jobs = self._jobs, {}
        for job in abandoned.values():
            job.future.abandon()
        self._calls.put(lambda: None)
        self._thread.join(CLOSE_SECONDS)
        self._cluster.close()

    def __repr__(self) -> str:
        state = self._state
        return (
            f"<RayStepPool {self._lifecycle}: {state.workers} of {state.wanted} workers ready, {state.waiting} wait "
            f"for room, {state.busy} steps busy, {state.queued} queued, {state.deaths} workers died>"
        )

    # From here on, everything runs in the pool's own thread, but for the last methods.

    def _run(self) -> None:
        try:
            ticked = 0.0
            while self._lifecycle is not _Lifecycle.CLOSED:
                with suppress(Empty):
                    self._calls.get(timeout=TICK_SECONDS)()
                now = time.monotonic()
                if now >= ticked + TICK_SECONDS:
                    self._do_what_is_due(now)
                    ticked = now
                for life in self._scheduler.drained(now):
                    self._kill(life)
                self._start(self._scheduler.starts(now))
                self._dispatch(self._scheduler.assign(now))
                self._publish()
        except BaseException as error:  # noqa: BLE001 - every future raises it: none may be left waiting
            self._abandon(restorer_error(error))
        finally:
            if self._watch is not None:
                self._watch.stop()
            for life in tuple(self._actors):
                self._kill(life)
            self._publish()
            if not self._first.done():
                fail(self._first, self._failure or WorkerStartError("the pool was closed before a worker was ready"))

    def _start_workers(self) -> None:
        capacity = self._cluster.started.result()
        placement = place_workers(capacity, joined=self._cluster.joined, **self._wanted)
        self._build_ref = ray.put(self._build)
        # Once for all workers: each actor class that is made goes to the cluster's head and to every worker.
        # A thread for every step that a worker may have, and one for the call that builds.
        self._actor_class: Any = ray.remote(SegmentWorker).options(
            num_cpus=placement.cpus,
            num_gpus=placement.gpus,
            accelerator_type=self._accelerator,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=sum(LANES.values()) + 1,
        )
        self._scheduler.grow(placement.workers)
        self._advice = placement.advice(capacity.nodes)
        self._watch = ClusterWatch(lambda sight: self._calls.put(partial(self._see, placement, sight)))

    def _see(self, placement: Placement, sight: Sight) -> None:
        room = placement.room(sight.nodes)
        if placement.grows:
            self._scheduler.grow(room)
        self._scheduler.leave(sight.leaving)
        reserved = placement.places(sight.claimed_gpus)
        self._scheduler.make_room(room, reserved, time.monotonic(), placement.sharing)
        self._advice = placement.advice(sight.nodes)

    def _start(self, lives: Iterable[Life]) -> None:
        for life in lives:
            actor = self._actor_class.remote((self._build_ref,), self._cluster.hidden_folder)
            self._actors[life] = actor
            self._call_back(actor.place.remote(), partial(self._on_place, life))

    def _on_place(self, life: Life, answer: "Future[Place]") -> None:
        error = answer.exception()
        if error is not None:
            self._bury(life, error)
            return
        place = answer.result()
        if self._scheduler.placed(life, place.node, place.gpus, time.monotonic()):
            self._places[life] = place
            self._call_back(self._actors[life].build.remote(), partial(self._on_built, life))

    def _on_built(self, life: Life, answer: "Future[str]") -> None:
        error = answer.exception()
        if error is not None:
            self._bury(life, error, hopeless=not isinstance(error, DEATHS))
            return
        kind = answer.result()
        if self._scheduler.ready(life, kind, time.monotonic()):
            self._infos[life] = info = WorkerInfo(*self._places[life], kind)
            self._publish()
            if not self._first.done():
                settle(self._first, info)

    def _add(self, number: int, lane: Lane, kind: str | None, seconds: float | None, group: str | None) -> None:
        self._scheduler.add(number, lane, kind, seconds, time.monotonic(), group)

    def _dispatch(self, assignments: Iterable[Assignment]) -> None:
        for life, number in assignments:
            job = self._jobs.get(number)
            if job is None or not job.future.begin():
                # It was cancelled a moment ago.
                self._scheduler.failed(life, number)
                continue
            try:
                answer = self._actors[life].run.remote(job.step)
            except Exception as error:  # noqa: BLE001 - a step that cannot be pickled; its future raises it
                self._scheduler.failed(life, number)
                self._end(number, "failed", partial(StepFuture.fail, error=error))
            else:
                self._call_back(answer, partial(self._on_answer, life, number))

    def _on_answer(self, life: Life, number: int, answer: "Future[Any]") -> None:
        error = answer.exception()
        loss = loss_of_worker(error)
        if loss is not None:
            self._bury(life, loss)
        elif error is not None:
            if self._scheduler.failed(life, number):
                self._publish()
                self._end(number, "failed", lambda future: future.fail(restorer_error(error)))
        elif self._scheduler.answered(life, number, time.monotonic()):
            self._publish()
            self._end(number, "done", lambda future: future.settle(answer.result()))

    def _bury(
        self, life: Life, cause: BaseException, *, blamed: Collection[int] | None = None, hopeless: bool = False
    ) -> None:
        """Give up a worker that is dead or as good as dead; another one follows when the scheduler says so."""
        if not work_may_be_to_blame(cause):
            blamed = ()
        verdict = self._scheduler.died(life, time.monotonic(), blamed=blamed, hopeless=hopeless)
        if verdict is None:
            return
        self._kill(life)
        self._last_loss = reason = _words(cause if isinstance(cause, DEATHS) else restorer_error(cause))
        self._publish()
        for number in verdict.poisoned:
            self._lose(number, f"{DEATHS_OF_A_STEP} workers died with the same step, the last by {reason}", cause)
        for number in verdict.exhausted:
            self._lose(number, f"{REQUEUES_OF_A_STEP + 1} workers were lost, the last by {reason}", cause)
        for number in verdict.requeued:
            job = self._jobs.get(number)
            if job is not None:
                self._metrics.count(job.lane, "requeued")
                job.future.wait_again()
        if self._scheduler.lost:
            if self._first.done():
                raise WorkerLostError(f"no worker is left, the last one was lost by {reason}") from cause
            raise WorkerStartError(f"no worker could be started, the last one failed with {reason}") from cause

    def _do_what_is_due(self, now: float) -> None:
        """What time alone changes."""
        for life, step in self._scheduler.overdue(now):
            if step is None:
                self._bury(life, WorkerStartError("it did not get ready"), hopeless=True)
            else:
                self._bury(life, WorkerLostError("a step took far longer than expected"), blamed=(step,))
        for number in self._scheduler.stranded(now):
            self._lose(number, "no worker of its kind is left, and others would make other bytes", None)
        self._dispatch(self._scheduler.assign_twice(now))
        self._metrics.show(self._state)

    def _kill(self, life: Life) -> None:
        self._places.pop(life, None)
        self._infos.pop(life, None)
        # Where Ray itself is gone there is nothing left to kill.
        with suppress(ray_errors.RayError):
            ray.kill(self._actors.pop(life))

    def _lose(self, number: int, reason: str, cause: BaseException | None) -> None:
        lost = WorkerLostError(reason)
        lost.__cause__ = cause
        self._end(number, "failed", lambda future: future.fail(lost))

    def _end(self, number: int, outcome: str, end: Callable[[StepFuture], None]) -> None:
        with self._lock:
            job = self._jobs.pop(number, None)
        if job is not None:
            self._metrics.count(job.lane, outcome)
            end(job.future)

    def _drop(self, number: int) -> None:
        self._scheduler.drop(number)
        with self._lock:
            self._jobs.pop(number, None)

    def _abandon(self, error: BaseException) -> None:
        with self._lock:
            self._failure = error
            if self._lifecycle is not _Lifecycle.CLOSED:
                self._lifecycle = _Lifecycle.LOST
            abandoned, self._jobs = self._jobs, {}
        self._publish()
        for job in abandoned.values():
            job.future.fail(error)

    def _publish(self) -> None:
        """Show the new state, before the answers that follow from it."""
        state = replace(self._scheduler.state(), last_loss=self._last_loss, advice=self._advice)
        if self._lifecycle is not _Lifecycle.OPEN:
            lost = self._lifecycle is _Lifecycle.LOST
            state = replace(state, workers=0, waiting=0, busy=0, queued=0, nodes=0, lost=lost)
        self._state = state

    def _call_back(self, reference: "ray.ObjectRef[T]", call: "Callable[[Future[T]], None]") -> None:
        reference.future().add_done_callback(lambda done: self._calls.put(partial(call, done)))

    def _drop_if_cancelled(self, number: int, future: "Future[Any]") -> None:
        if future.cancelled():
            self._calls.put(partial(self._drop, number))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {last_line(error)}"
