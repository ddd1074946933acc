"""Leads all streams of a run from one thread that never waits for a network, and shares the restorers among them."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from queue import Empty, SimpleQueue
from typing import Protocol

from pipelines.live.flow import LiveFrame
from pipelines.live.log import note
from pipelines.live.restorers import Restorers
from pipelines.live.session import StreamSession
from pipelines.signals import take_signals_back
from streamrestore.frame import Chunk, Restored
from streamrestore.live.ladder import QualityLadder
from streamrestore.live.recent import RecentMost
from streamrestore.live.report import StreamReport
from streamrestore.tasks import Stages
from workers.live.child import Nursery

log = logging.getLogger(__name__)

DECIDE_SECONDS = 0.25
"""Between two looks at how much work there is time for."""

REPORT_SECONDS = 0.1

GAP_SECONDS = 60.0
"""For how long it is told of the longest turn: whatever asks does so more often."""

_LONGEST_WAIT_SECONDS = 0.1
"""So that a signal is heard soon."""

_IN_FLIGHT = 2
"""Frames given to each restorer: one is computed while the next one travels."""

DRAIN_SECONDS, FINISH_SECONDS = 0.7, 1.0
"""What frames on their way, and the ends of outputs, may take when the run ends."""


class _Bell:
    """Wakes the supervisor from other threads."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self._lock = threading.Lock()
        self._closed = False
        for end in (self._reading, self._writing):
            os.set_blocking(end, False)

    def ring(self) -> None:
        with self._lock, suppress(BlockingIOError):  # it rings already
            if not self._closed:
                os.write(self._writing, b"\0")

    def fileno(self) -> int:
        return self._reading

    def silence(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._reading, 1 << 16)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            os.close(self._reading)
            os.close(self._writing)


class Stop(Protocol):
    """Asked for from outside."""

    def is_set(self) -> bool:
        """Whether the run is to end."""
        ...


class Supervisor:
    """Leads all streams of a run. For the main thread, in which the processes of streams are started."""

    def __init__(
        self,
        sessions: Sequence[StreamSession],
        restorers: Restorers,
        ladder: QualityLadder,
        nursery: Nursery,
        *,
        most: Stages,
    ) -> None:
        """Take over.

        Args:
            sessions: The streams.
            restorers: Restore frames for all of them.
            ladder: Decides how much of the network is run.
            nursery: Closed at the end.
            most: Stages that are run where there is time.
        """
        self._sessions = tuple(sessions)
        self._restorers = restorers
        self._ladder = ladder
        self._nursery = nursery
        self._most: Stages = most
        self._bell = _Bell()
        self._answers: SimpleQueue[tuple[StreamSession, LiveFrame, Stages, Future[Restored]]] = SimpleQueue()
        self._in_flight = 0
        self._seen: dict[Stages, int] = {}
        """Frames that came back, by stages that were run."""
        self._decide_at = 0.0
        self._report_at = 0.0
        self._level = -1
        self._gaps = RecentMost(GAP_SECONDS)
        self.reports: tuple[StreamReport, ...] = ()
        """Of a moment ago; to be read from any thread."""

    @property
    def longest_gap_seconds(self) -> float:
        """The longest that its thread was busy with one turn lately: while it is, nothing is led. For any thread."""
        return self._gaps.value

    def run(self, stop: Stop, until: float | None = None) -> None:
        """Lead until the run is to end, and end it in good order.

        Args:
            stop: Ends it.
            until: On the monotonic clock, when it ends by itself; None never.
        """
        try:
            while not stop.is_set() and (until is None or time.monotonic() < until):
                self._turn(until)
            self._end()
        finally:
            for session in self._sessions:
                session.close()
            self._nursery.close()
            self._bell.close()

    def _turn(self, until: float | None = None) -> None:
        now = time.monotonic()
        due = min([session.due(now) for session in self._sessions] + [self._decide_at, until or now + 1.0])
        connections = [
            connection
            for session in self._sessions
            for connection in (session.reader.connection, *(link.connection for link in session.outputs))
            if connection is not None
        ]
        wait([self._bell.fileno(), *connections], min(max(0.0, due - now), _LONGEST_WAIT_SECONDS))
        began = time.monotonic()
        self._bell.silence()
        self._take_answers()
        for session in self._sessions:
            with self._apart(session):
                session.receive(time.monotonic())
        self._decide(time.monotonic())
        self._dispatch()
        for session in self._sessions:
            with self._apart(session):
                session.tick(time.monotonic())
        self._report(time.monotonic())
        self._nursery.sweep()
        ended = time.monotonic()
        self._gaps.add(ended, ended - began)

    @contextmanager
    def _apart(self, session: StreamSession) -> Iterator[None]:
        """Keep what should not be in one stream from ending all others."""
        try:
            yield
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
            note(session.name, "supervisor", f"it begins anew: {words}", level=logging.ERROR)
            log.debug("what began anew", exc_info=True)
            with suppress(Exception):  # else it is tried again a moment later
                session.recover(time.monotonic(), words)

    def _take_answers(self) -> None:
        while True:
            try:
                session, frame, stages, future = self._answers.get_nowait()
            except Empty:
                return
            self._in_flight -= 1
            now = time.monotonic()
            restored: Restored | None = None
            if not future.cancelled():
                error = future.exception()
                if error is None:
                    restored = future.result()
                    self._observe(stages, restored.seconds)
                else:
                    words = f"a frame could not be restored and is passed on: {type(error).__name__}: {error}"
                    note(session.name, "quality", words, level=logging.WARNING)
            session.flow.answer(frame, restored, stages, now)

    def _observe(self, stages: Stages, seconds: float) -> None:
        """Learn what a frame took, but for the first ones of each worker, which prepare what all others use."""
        self._seen[stages] = self._seen.get(stages, 0) + 1
        if self._seen[stages] > self._restorers.workers:
            self._ladder.observe(stages, seconds)

    def _decide(self, now: float) -> None:
        if now < self._decide_at:
            return
        self._decide_at = now + DECIDE_SECONDS
        # Whenever Ray starts, it takes them.
        take_signals_back()
        self._restorers.tick(now)
        workers = self._restorers.workers
        overflowed = sum(session.flow.take_overflow() for session in self._sessions)
        demand = sum(session.fps(now) for session in self._sessions)
        level = self._ladder.decide(now, demand, workers, overflowed) if workers else 0
        for session in self._sessions:
            session.flow.probes = workers > 0
        if level == self._level:
            return
        self._level = level
        for session in self._sessions:
            session.flow.level = level if session.flow.degrades else self._most
        if any(session.flow.degrades for session in self._sessions):
            words = f"{level} of {self._most} stages" if level else "frames are passed on as they come"
            why = "by what frames take now" if workers else "no worker is ready"
            note("all", "quality", f"{words}: {why}")

    def _dispatch(self) -> None:
        """Give the restorers the most urgent frames."""
        room = _IN_FLIGHT * self._restorers.workers - self._in_flight
        while room > 0:
            waiting = [session for session in self._sessions if session.flow.pending]
            if not waiting:
                return
            session = min(waiting, key=lambda session: session.flow.most_urgent or 0.0)
            self._submit(session, session.flow.pending.popleft())
            room -= 1

    def _submit(self, session: StreamSession, frame: LiveFrame) -> None:
        stages: Stages = 3 if session.flow.level == 3 else 2 if session.flow.level == 2 else 1
        frame.asked_at = time.monotonic()
        planes = tuple(plane[None] for plane in frame.planes)
        future = self._restorers.submit(Chunk(frame.info.video, frame.plan, planes, stages=stages))
        frame.cancel = future.cancel
        self._in_flight += 1

        def answered(done: "Future[Restored]") -> None:
            self._answers.put((session, frame, stages, done))
            self._bell.ring()

        future.add_done_callback(answered)

    def _report(self, now: float) -> None:
        if now >= self._report_at:
            self._report_at = now + REPORT_SECONDS
            self.reports = tuple(session.report(now) for session in self._sessions)

    def _end(self) -> None:
        """Let out what is on its way, and close the outputs."""
        now = time.monotonic()
        for session in self._sessions:
            session.stop_reading(now)
        self._turn_until(lambda: not any(session.flow.in_flight for session in self._sessions), DRAIN_SECONDS)
        now = time.monotonic()
        for session in self._sessions:
            session.flush(now)
            session.finish(now)
        links = [link for session in self._sessions for link in session.outputs]
        self._turn_until(lambda: all(link.closed for link in links), FINISH_SECONDS)
        self._report_at = 0.0
        self._report(time.monotonic())

    def _turn_until(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            self._turn(deadline)
