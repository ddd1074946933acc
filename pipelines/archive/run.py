"""The driver of an archive run: which step comes next, and what follows from how it ended.

One thread decides, and does no work of its own: it waits for steps to end, so that what it costs does not grow with
frames. Items come in order of size, the largest first, so that none is left for the end that takes longer than all
others; no more of them are begun than the workers need to be busy.
"""

import heapq
import logging
import math
import os
import platform
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Literal

from pipelines.archive.failures import ATTEMPTS, Reaction, describe_failure, react
from pipelines.archive.items import ArchiveItem
from pipelines.archive.ledger import Ledger
from pipelines.archive.progress import ArchiveProgress, ArchiveReporter
from pipelines.archive.records import DoneRecord, FailedRecord
from pipelines.archive.request import ArchiveRequest
from pipelines.archive.source_root import check_root
from pipelines.archive.standing import Standing
from pipelines.archive.state import StateFile
from pipelines.archive.steps import CopySource, FinishItem, Missing, PlanItem, Planned, RestoreSegment, SegmentDone
from pipelines.exit_codes import ExitCode
from pipelines.signals import take_signals_back
from streamrestore.errors import (
    DiskFullError,
    OutputError,
    SinkError,
    SourceError,
    StoppedError,
    StorageError,
    StreamRestoreError,
    WorkerLostError,
)
from workers.archive import StepPool

OnFailure = Literal["quarantine", "copy-source"]
"""What becomes of an item that cannot be restored."""

STEPS_AHEAD = 2
"""Segments that wait for each worker: the next one is there when one ends."""

PLANS_AHEAD = 2
"""Items that are planned at once beside those, so that there is something to go on with."""

STOP_SECONDS = 60.0
"""How long a stop request waits for the segments in hand."""

ROOM_SECONDS = 30.0
"""After how long without a worker the user is told that no machine has room for one."""

_TICK_SECONDS = 0.5
"""How often the driver looks at what time alone changes."""

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Active:
    """An item that has begun."""

    item: ArchiveItem
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    planned: Planned | None = None
    left: set[int] = field(default_factory=set)
    """Segments that are not finished."""
    halvings: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    """How often a step failed, by its name."""
    failures: int = 0
    error: Exception | None = None
    """Why it is given up, while its source is copied."""
    bytes_counted: float = 0.0
    """Of its source, by its segments."""
    futures: set[Future[Any]] = field(default_factory=set)


class ArchiveRun:
    """Takes items to their end. Made for one run."""

    def __init__(
        self,
        start: Callable[[], StepPool],
        request: ArchiveRequest,
        reporter: ArchiveReporter,
        *,
        state: StateFile,
        on_failure: OnFailure = "quarantine",
        command: Callable[[ArchiveItem], str] = lambda item: "",
    ) -> None:
        """Prepare a run.

        Args:
            start: Opens where steps are run; not called where there is nothing to do. Who gives it closes the pool.
            request: What was asked for.
            reporter: Is told all that happens.
            state: Where the run says how far it is.
            on_failure: What becomes of items that cannot be restored.
            command: What restores an item alone, for people.
        """
        self._start = start
        self._request = request
        self._reporter = reporter
        self._state = state
        self._on_failure = on_failure
        self._command = command
        self._ledger = Ledger(request.target)
        self._backlog = deque[ArchiveItem]()
        self._active = set[_Active]()
        self._ended: SimpleQueue[tuple[_Active, str, Future[Any]]] = SimpleQueue()
        self._later = list[tuple[float, int, Callable[[], None]]]()
        """What is tried again, and when."""
        self._numbers = count()
        self._restoring = 0
        """Segments that were submitted and have not ended."""
        self._planning = 0
        self._progress = ArchiveProgress()
        self._busy_at = time.monotonic()
        """When there was a worker last, or this was told."""
        self._advice = ""
        """What was told of the devices that the pool chose."""
        self._blocked: StreamRestoreError | None = None
        """Why no other item would do any better: it is said once, and of none of them."""

    def run(self, standing: Standing, stop: threading.Event) -> ExitCode:
        """Take every item to its end: done, or in quarantine with a reason.

        Args:
            standing: All of them; those that have ended already are left alone.
            stop: Set from outside to end early: after the segments in hand, if they do not take long.

        Returns:
            How it ended.

        Raises:
            StoppedError: The user asked to stop before the last item was done.
            DiskFullError: There is no space left; what is finished stays.
            OutputError: The target cannot be written any more; what is finished stays.
            SourceError: All sources are gone at once.
            WorkerLostError, WorkerStartError: Nobody is left to do anything.
            StreamRestoreError: The records cannot be read or written.
        """
        ended = "failed"
        try:
            self._begin(standing)
            self._work(stop)
            stopped = bool(self._active or self._backlog)
            ended = "stopped" if stopped else "complete"
            if self._blocked is not None:
                ended = "no space" if isinstance(self._blocked, DiskFullError) else "failed"
                raise self._blocked
            if stopped:
                raise StoppedError(
                    f"stopped with {self._progress.items - self._progress.done - self._progress.failed} of "
                    f"{self._progress.items} items to go; the same command goes on"
                )
        except KeyboardInterrupt:
            ended = "stopped"
            raise
        finally:
            self._keep_state(ended)
        return ExitCode.SOME_FAILED if self._progress.failed else ExitCode.DONE

    def _begin(self, standing: Standing) -> None:
        progress = self._progress
        progress.items, progress.bytes = standing.items, standing.bytes
        progress.done = progress.done_before = standing.done
        progress.failed = progress.failed_before = standing.failed
        progress.bytes_ended = standing.bytes - sum(item.size for item in standing.pending)
        for item_id in standing.overruled:
            self._ledger.release(item_id)
        # The largest first.
        self._backlog.extend(sorted(standing.pending, key=lambda item: -item.size))
        self._reporter.begin(progress)
        self._reporter.update(progress)
        if self._backlog:
            # A target that cannot be written is better known before anything is started.
            self._state.keep(progress.fields())

    @cached_property
    def _pool(self) -> StepPool:
        return self._start()

    def _work(self, stop: threading.Event) -> None:
        if not self._backlog:
            return
        deadline = math.inf
        while self._active or (self._backlog and not self._ending(stop)):
            if self._ending(stop):
                self._abandon_queued()
                if deadline == math.inf and stop.is_set():
                    self._say_stopping()
                deadline = min(deadline, time.monotonic() + STOP_SECONDS)
                if self._is_idle() or time.monotonic() > deadline:
                    break
            else:
                self._fill()
            self._await_end()
            self._do_what_is_due()
            self._report()
        self._report()

    @property
    def progress(self) -> ArchiveProgress:
        """Where the run stands."""
        return self._progress

    # What comes next

    def _fill(self) -> None:
        """Begin items while the workers have not enough to do."""
        workers = max(1, self._pool.state().workers)
        while (
            self._backlog
            and self._planning < PLANS_AHEAD + workers
            and self._restoring < STEPS_AHEAD * workers + workers
        ):
            active = _Active(self._backlog.popleft())
            self._active.add(active)
            self._plan(active)

    def _plan(self, active: _Active) -> None:
        self._planning += 1
        self._submit(active, "plan", PlanItem(active.item, active.halvings), side=True)

    def _restore(self, active: _Active, index: int) -> None:
        if active.planned is not None:
            self._restoring += 1
            self._submit(active, f"segment {index}", RestoreSegment(active.item, active.planned, index), side=False)

    def _finish(self, active: _Active) -> None:
        if active.planned is not None:
            self._submit(active, "finish", FinishItem(active.item, active.planned, active.started), side=True)

    def _copy(self, active: _Active) -> None:
        self._submit(active, "copy", CopySource(active.item), side=True)

    def _submit(self, active: _Active, name: str, step: Any, *, side: bool) -> None:  # noqa: ANN401 - any step
        kind = None if active.planned is None else active.planned.kind
        future = self._pool.submit(step, "side" if side else "restore", kind=kind, group=active.item.id)
        active.futures.add(future)
        future.add_done_callback(lambda done: self._ended.put((active, name, done)))

    # What has ended

    def _await_end(self) -> None:
        """Take in a step that ended, and all others that did meanwhile."""
        timeout: float | None = _TICK_SECONDS
        while True:
            try:
                ended = self._ended.get(block=timeout is not None, timeout=timeout)
            except Empty:
                return
            self._take_in(*ended)
            timeout = None

    def _take_in(self, active: _Active, name: str, future: Future[Any]) -> None:
        active.futures.discard(future)
        self._planning -= name == "plan"
        self._restoring -= name.startswith("segment")
        if active not in self._active or future.cancelled():
            return
        error = future.exception()
        if error is not None:
            self._failed(active, name, error)
            return
        match future.result():
            case Planned() as planned:
                self._planned(active, planned)
            case SegmentDone() as segment:
                self._segment_done(active, segment)
            case Missing(segments):
                self._missing(active, segments)
            case DoneRecord() as record:
                self._done(active, record)
            case str() as copied if active.error is not None:
                self._quarantine(active, active.error, copied)

    def _planned(self, active: _Active, planned: Planned) -> None:
        active.planned = planned
        active.left = set(planned.missing)
        self._progress.segments += planned.segments
        self._progress.segments_done += planned.segments - len(planned.missing)
        for note in planned.notes:
            self._reporter.note(f"{active.item.name}: {note}")
        for index in planned.missing:
            self._restore(active, index)
        if not active.left:
            self._finish(active)

    def _segment_done(self, active: _Active, segment: SegmentDone) -> None:
        if segment.index not in active.left or active.planned is None:
            return
        active.left.discard(segment.index)
        share = active.item.size / active.planned.segments
        active.bytes_counted += share
        self._progress.count_segment(segment, share)
        if not active.left:
            self._finish(active)

    def _missing(self, active: _Active, segments: tuple[int, ...]) -> None:
        active.left = set(segments)
        self._progress.segments_done -= len(segments)
        for index in segments:
            self._restore(active, index)

    def _done(self, active: _Active, record: DoneRecord) -> None:
        self._end(active)
        self._progress.done += 1
        self._reporter.done(record)

    def _end(self, active: _Active) -> None:
        self._active.discard(active)
        self._take_back(active)
        self._progress.bytes_ended += active.item.size - active.bytes_counted
        self._progress.segments -= len(active.left)

    @staticmethod
    def _take_back(active: _Active) -> None:
        """Take back what no worker has begun."""
        for future in tuple(active.futures):
            future.cancel()

    # What failed

    def _failed(self, active: _Active, name: str, error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error
        if self._pool.state().lost:
            # The step may have failed for a reason of its own a moment before; every new one fails for the pool's.
            lost = self._pool.submit(PlanItem(active.item), "side").exception() or error
            raise self._missing_sources() or lost
        if active.error is not None and name != "copy":
            return  # it is given up already
        active.attempts[name] += 1
        active.failures += 1
        reaction = self._react(active, name, error)
        if reaction.again_after is not None:
            log.info("%s: %s is tried again: %s", active.item.name, name, error)
            again = partial(self._plan_again, reaction) if reaction.anew else partial(self._try_again, name)
            due = time.monotonic() + reaction.again_after
            later: tuple[float, int, Callable[[], None]] = (due, next(self._numbers), partial(again, active))
            heapq.heappush(self._later, later)
        elif (blocked := self._blocked or self._fault_of_all(error)) is not None:
            self._blocked = blocked
            self._active.discard(active)
            self._take_back(active)
        elif self._on_failure == "copy-source" and name != "copy":
            active.error = error
            self._take_back(active)
            self._copy(active)
        else:
            self._quarantine(active, active.error or error, None)

    def _react(self, active: _Active, name: str, error: Exception) -> Reaction:
        planned, attempts = active.planned, active.attempts[name]
        if name == "copy":
            planned = None
        if planned is not None and isinstance(error, WorkerLostError) and attempts < ATTEMPTS:
            kinds = {worker.kind for worker in self._pool.workers()}
            if kinds and planned.kind not in kinds:
                return Reaction(again_after=0.0, anew=True)  # by machines of another kind, from its beginning
        return react(error, attempts, planned=planned is not None, finishing=name == "finish")

    def _fault_of_all(self, error: Exception) -> StreamRestoreError | None:
        """What is wrong where a failure is not its item's fault, and would be said of all others next."""
        target = self._request.target
        if isinstance(error, DiskFullError):
            return error
        if isinstance(error, OutputError) and target.is_local and not os.access(target.path, os.W_OK | os.X_OK):
            return error
        if isinstance(error, SourceError | StorageError | WorkerLostError | OSError):
            return self._missing_sources()
        return None

    def _missing_sources(self) -> StreamRestoreError | None:
        """Why no source can be read, if that is so."""
        try:
            if self._request.source is not None:
                check_root(self._request.source)
        except (SourceError, StorageError) as error:
            return error
        return None

    def _try_again(self, name: str, active: _Active) -> None:
        if active not in self._active:
            return
        match name.split():
            case ["plan"]:
                self._plan(active)
            case ["segment", index]:
                self._restore(active, int(index))
            case ["finish"]:
                self._finish(active)
            case ["copy"]:
                self._copy(active)

    def _plan_again(self, reaction: Reaction, active: _Active) -> None:
        """Begin an item again; its other steps end for nothing."""
        if active not in self._active or active.planned is None or active.error is not None:
            return
        self._take_back(active)
        self._active.discard(active)
        self._progress.segments -= active.planned.segments
        self._progress.segments_done -= active.planned.segments - len(active.left)
        self._progress.bytes_ended -= active.bytes_counted
        if reaction.smaller:
            self._reporter.note(
                f"{active.item.name}: a patch does not fit the device: beginning again with smaller ones"
            )
        again = _Active(
            active.item,
            active.started,
            halvings=active.halvings + reaction.smaller,
            attempts=active.attempts,
            failures=active.failures,
        )
        self._active.add(again)
        self._plan(again)

    def _quarantine(self, active: _Active, error: Exception, copied: str | None) -> None:
        reason, trace, code = describe_failure(error)
        record = FailedRecord(
            id=active.item.id,
            source=active.item.name,
            hint=active.item.hint,
            request=min(self._request.keys(active.item.options)),
            ended=datetime.now(UTC),
            host=platform.node(),
            error=type(error).__name__,
            exit_code=code,
            reason=reason,
            traceback=trace,
            attempts=active.failures,
            command=self._command(active.item),
            copied=copied,
        )
        self._ledger.keep_failed(record)
        self._end(active)
        self._progress.failed += 1
        self._reporter.failed(record)

    # What time changes

    def _do_what_is_due(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()

    def _report(self) -> None:
        # Ray may have taken them at any time since: it starts in the background.
        take_signals_back()
        state, now = self._pool.state(), time.monotonic()
        self._progress.workers = state.workers
        if state.advice != self._advice:
            self._advice = state.advice
            self._reporter.note(state.advice)
        if state.workers:
            self._busy_at = now
        elif state.waiting and now - self._busy_at > ROOM_SECONDS:
            self._busy_at = math.inf
            self._reporter.note(
                f"no machine has had room for a worker for {ROOM_SECONDS:g} s; this goes on as soon as one has: "
                "`ray status` says what they have, and what holds it"
            )
        self._reporter.update(self._progress)
        self._keep_state()

    def _keep_state(self, ended: str | None = None) -> None:
        """Keep where the run stands, if that can be done: whether it goes on is for its steps to say."""
        try:
            self._state.keep(self._progress.fields(), ended)
        except (SinkError, StorageError) as error:
            log.info("where the run stands could not be kept: %s", error)

    def _say_stopping(self) -> None:
        busy = sum(future.running() for active in self._active for future in active.futures)
        if busy:
            self._reporter.note(f"stopping after the {busy} steps in hand; Ctrl-C again stops at once")

    def _ending(self, stop: threading.Event) -> bool:
        return stop.is_set() or self._blocked is not None

    def _abandon_queued(self) -> None:
        for active in self._active:
            self._take_back(active)

    def _is_idle(self) -> bool:
        return not any(active.futures for active in self._active)
