"""The one thread of a worker that restores: chunks share batches, and the device never waits for the next ones.

Ray ships it by value with `RestorerActor`: streamrestore is named in annotations only, see there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from workers.futures import cancel, fail, settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamrestore.frame import Chunk, ChunkRestorer, Restored
    from workers.contract import BuildRestorer

    Results = Callable[[], Sequence[Restored]]


class _Job(NamedTuple):
    chunk: Chunk
    patches: int
    future: Future[Restored]


class RestoringThread:
    """A daemon thread that builds a restorer and restores chunks with it. Its methods are thread-safe.

    Chunks are begun in the order they came. Those that leave room in a batch are joined by chunks of the same
    kind that wait already, or that come within `fill_seconds`. Where the restorer works by itself once it has
    begun, the next chunks are begun before the results of the last ones are waited for.

    As in `SerialThread`, futures stay pending until their answer is in, so that `stop` cancels them all.
    """

    def __init__(self, build: BuildRestorer, name: str, fill_seconds: float = 0.0) -> None:
        """Start to build.

        Args:
            build: Called in the thread, since torch keeps settings and pools of threads for each thread it meets.
            name: Of the thread.
            fill_seconds: How long a batch that is not full waits for others' chunks.
        """
        self._build = build
        self._fill_seconds = fill_seconds
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._next: _Job | None = None
        """Taken from the queue, but of another kind than those before it."""
        self._begun = 0
        self.built: Future[None] = Future()
        """Done when the restorer is there, or with what building it raised; chunks then raise the same."""
        self._lock = threading.Lock()
        self._pending: set[Future[Any]] = {self.built}
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Chunks that are being restored now."""
        return self._begun

    @property
    def waiting(self) -> int:
        """Chunks that have not been begun."""
        return max(0, len(self._pending - {self.built}) - self._begun)

    def submit(self, chunk: Chunk) -> Future[Restored]:
        """Queue a chunk.

        Raises:
            RuntimeError: The thread was stopped.
        """
        job = _Job(chunk, chunk.patches, Future())
        with self._lock:
            if self._stopped:
                raise RuntimeError(f"{self._thread.name} was stopped and takes no more work")
            self._pending.add(job.future)
            self._queue.put(job)
        return job.future

    def stop(self, grace_seconds: float = 0.0) -> None:
        """Cancel every chunk; may be called twice. One that runs goes on, its result is dropped.

        Args:
            grace_seconds: How long to wait for it.
        """
        with self._lock:
            self._stopped = True
            abandoned, self._pending = self._pending, set()
            self._queue.put(None)
        for future in abandoned:
            cancel(future)
        self._thread.join(grace_seconds)

    def _run(self) -> None:
        try:
            restorer = self._build()
        except BaseException as error:  # noqa: BLE001 - raised where the futures are awaited
            self._answer(self.built, error)
            while (group := self._take(block=True)) is not None:
                for job in group:
                    self._answer(job.future, error)
            return
        self._answer(self.built, None)
        overlaps = _overlaps(restorer)
        begun: tuple[list[_Job], Results] | None = None
        while (group := self._take(block=begun is None)) is not None:
            self._begun += len(group)
            following = (group, _begin(restorer, group)) if group else None
            if begun is not None:
                self._finish(restorer, *begun)
            if following is not None and not overlaps:
                self._finish(restorer, *following)
                following = None
            begun = following
            # Or the last chunks would live until the next ones.
            del group, following

    def _take(self, *, block: bool) -> list[_Job] | None:
        """The next chunks that share batches; none where none wait, None at the end."""
        with suppress(Empty):
            first = self._get(block=block)
            if first is None:
                return None
            group, patches = [first], first.patches
            # While the device is busy nothing is waited for: a result is about to be there.
            deadline = time.monotonic() + (self._fill_seconds if block else 0.0)
            while patches < first.chunk.plan.batch:
                with suppress(Empty):
                    job = self._get(block=True, timeout=max(0.0, deadline - time.monotonic()))
                    if job is None:
                        return None
                    if job.chunk.batch_kind == first.chunk.batch_kind:
                        group.append(job)
                        patches += job.patches
                        continue
                    self._next = job
                break
            return group
        return []

    def _get(self, *, block: bool, timeout: float | None = None) -> _Job | None:
        """The next job that nobody cancelled; None at the end.

        Raises:
            Empty: None came in time.
        """
        while True:
            job, self._next = self._next or self._queue.get(block, timeout), None
            if job is None or not job.future.cancelled():
                return job
            with self._lock:
                self._pending.discard(job.future)

    def _finish(self, restorer: ChunkRestorer, group: list[_Job], results: Results) -> None:
        try:
            answers: Sequence[Restored | BaseException] = results()
        except BaseException as error:  # noqa: BLE001 - raised where the futures are awaited
            answers = [error]
            if len(group) > 1:
                # One of them is to blame, and the others need not fail with it.
                answers = [_alone(restorer, job.chunk) for job in group]
        for job, answer in zip(group, answers, strict=True):
            self._answer(job.future, answer)
        self._begun -= len(group)

    def _answer(self, future: Future[Any], answer: object) -> None:
        """Give a future its result or its error, unless all were cancelled."""
        with self._lock:
            abandoned = future not in self._pending
            self._pending.discard(future)
        if abandoned:
            return
        if isinstance(answer, BaseException):
            fail(future, answer)
        else:
            settle(future, answer)


def _overlaps(restorer: ChunkRestorer) -> bool:
    from streamrestore.frame import BatchRestorer

    return isinstance(restorer, BatchRestorer) and restorer.overlaps


def _begin(restorer: ChunkRestorer, group: Sequence[_Job]) -> Results:
    """Begin, or leave all of it for when the results are asked for."""
    from streamrestore.frame import BatchRestorer

    chunks = [job.chunk for job in group]
    if not isinstance(restorer, BatchRestorer):
        return lambda: [restorer.restore(chunk) for chunk in chunks]
    try:
        return restorer.begin(chunks)
    except BaseException as error:  # noqa: BLE001 - raised where the results are asked for
        return _raising(error)


def _raising(error: BaseException) -> Results:
    def results() -> Sequence[Restored]:
        raise error

    return results


def _alone(restorer: ChunkRestorer, chunk: Chunk) -> Restored | BaseException:
    try:
        return restorer.restore(chunk)
    except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
        return error
