"""The workers of a live run: opened in the background, watched, and opened anew when all of them are lost.

One worker that is lost is the pool's to replace; here it is told. Once there was a worker, nothing that happens to
workers ends a run: without any, frames are passed on, and new ones are tried for as long as it lasts.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from pipelines.live.log import note
from streamrestore.frame import Chunk, Restored
from workers import PoolState, RestorerPool

START_SECONDS = 300.0
"""What Ray, torch and the weights may take on a busy machine."""

AGAIN_SECONDS = (5.0, 60.0)
"""Until lost workers are opened anew, at first and at most."""


class Restorers:
    """A pool that is there again some time after it was lost. For one thread; never blocks but in `close`."""

    def __init__(self, start: Callable[[], RestorerPool]) -> None:
        """Begin to open workers.

        Args:
            start: Opens a pool in the background.
        """
        self._start = start
        self._wait_seconds = AGAIN_SECONDS[0]
        self._again_at: float | None = None
        self._closing: list[threading.Thread] = []
        self._wanted = 0
        """Workers, of all pools so far the most."""
        self._deaths = self._replaced = 0
        """Of this pool, as far as they were told."""
        self._was_ready = False
        self._pool: RestorerPool | None = None
        self._ready: Future[None] = Future()
        self._open()

    @property
    def workers(self) -> int:
        """How many are ready."""
        return 0 if self._pool is None else self._pool.state().workers

    @property
    def counts(self) -> Mapping[str, int]:
        """Workers by what they are: ``ready``, ``starting``, or ``lost``. For any thread."""
        pool = self._pool
        if pool is None:
            return {"ready": 0, "starting": 0, "lost": self._wanted}
        state = pool.state()
        return {"ready": state.workers, "starting": state.starting, "lost": state.away}

    def submit(self, chunk: Chunk) -> "Future[Restored]":
        """Queue a chunk; only while there are `workers`."""
        assert self._pool is not None
        return self._pool.submit(chunk)

    def tick(self, now: float) -> None:
        """Look how the workers are.

        Raises:
            Exception: None could be opened when the run began.
        """
        if self._pool is None:
            if self._again_at is not None and now >= self._again_at:
                self._reopen(now)
            return
        state = self._pool.state()
        self._wanted = max(self._wanted, state.workers + state.starting + state.away)
        self._tell(state)
        if self._ready.done():
            error = self._ready.exception()
            if error is not None and not state.workers:
                if not self._was_ready:
                    raise error
                self._abandon(now, str(error))
                return
            if not self._was_ready:
                self._was_ready = True
                missing = state.starting + state.away
                words = f"{_are(state.workers)} ready" + (f", {missing} not yet" if missing else "")
                note("all", "supervisor", words, level=logging.WARNING if missing else logging.INFO)
        if state.lost:
            self._abandon(now, state.last_loss or "all of them died again and again")
        elif self._ready.done():
            self._wait_seconds = AGAIN_SECONDS[0]

    def close(self) -> None:
        """End all workers; may be called twice."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        for thread in self._closing:
            thread.join()

    def _tell(self, state: PoolState) -> None:
        """Log what became of workers since the last time."""
        lost, replaced = state.deaths - self._deaths, state.replaced - self._replaced
        self._deaths, self._replaced = state.deaths, state.replaced
        if lost:
            which = "a worker was lost" if lost == 1 else f"{lost} workers were lost, the last one"
            note("all", "supervisor", f"{which}: {state.last_loss}", level=logging.WARNING)
        if replaced:
            what = "a lost worker was replaced" if replaced == 1 else f"{replaced} lost workers were replaced"
            note("all", "supervisor", f"{what}: {_are(state.workers)} ready")

    def _reopen(self, now: float) -> None:
        try:
            self._open()
        except Exception as error:  # noqa: BLE001 - whatever it is, it may be gone in a minute
            self._put_off(now, f"{type(error).__name__}: {error}")

    def _open(self) -> None:
        pool, ready = self._start(), Future[None]()
        self._deaths = self._replaced = 0
        self._pool, self._ready = pool, ready

        def wait() -> None:
            try:
                pool.ready(START_SECONDS)
                ready.set_result(None)
            except BaseException as error:  # noqa: BLE001 - raised by the future
                ready.set_exception(error)

        threading.Thread(target=wait, name="ready", daemon=True).start()

    def _abandon(self, now: float, why: str) -> None:
        assert self._pool is not None
        closing = threading.Thread(target=self._pool.close, name="close", daemon=True)
        closing.start()
        self._closing = [thread for thread in self._closing if thread.is_alive()] + [closing]
        self._pool = None
        self._put_off(now, why)

    def _put_off(self, now: float, why: str) -> None:
        words = f"all workers are lost, new ones are tried in {self._wait_seconds:g} s: {why}"
        note("all", "supervisor", words, level=logging.WARNING)
        self._again_at = now + self._wait_seconds
        self._wait_seconds = min(2 * self._wait_seconds, AGAIN_SECONDS[1])


def _are(workers: int) -> str:
    return f"{workers} worker is" if workers == 1 else f"{workers} workers are"
