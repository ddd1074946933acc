"""The one thread of a worker that restores: chunks share batches, and the device never waits for the next ones.

Ray ships it by value with `RestorerActor`: streamrestore is named in annotations only, see there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Any, NamedTuple

from workers.futures import AnsweringThread, fail, settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamrestore.frame import Chunk, ChunkRestorer, Restored
    from workers.contract import BuildRestorer

    Results = Callable[[], Sequence[Restored]]


class _Job(NamedTuple):
    chunk: Chunk
    patches: int
    future: Future[Restored]


class RestoringThread(AnsweringThread):
    """Builds a restorer and restores chunks with it.

    Chunks are begun in the order they came. Those that leave room in a batch are joined by chunks of the same
    kind that wait already, or that come within `fill_seconds`. Where the restorer works by itself once it has
    begun, the next chunks are begun before the results of the last ones are waited for.
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
        self._next: _Job | None = None
        """Taken from the queue, but of another kind than those before it."""
        self._begun = 0
        self.built: Future[None] = Future()
        """Done when the restorer is there, or with what building it raised; chunks then raise the same."""
        super().__init__(name, self.built)

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
        self._put(job, job.future)
        return job.future

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
            job: _Job | None = self._next or self._queue.get(block, timeout)
            self._next = None
            if job is None or not job.future.cancelled():
                return job
            self._is_awaited(job.future)

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
        if not self._is_awaited(future):
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
