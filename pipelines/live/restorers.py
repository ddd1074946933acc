"""The workers of a live run: opened in the background, and anew when all of them are lost."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

from pipelines.live.log import note
from streamrestore.errors import StreamRestoreError
from streamrestore.frame import Chunk, Restored
from workers import RestorerPool

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
        self._was_ready = False
        self._pool: RestorerPool | None = None
        self._ready: Future[None] = Future()
        self._open()

    @property
    def workers(self) -> int:
        """How many are ready."""
        return 0 if self._pool is None else self._pool.state().workers

    def submit(self, chunk: Chunk) -> "Future[Restored]":
        """Queue a chunk; only while there are `workers`."""
        assert self._pool is not None
        return self._pool.submit(chunk)

    def tick(self, now: float) -> None:
        """Look how the workers are.

        Raises:
            ConfigError, WorkerStartError: They could not be opened when the run began.
        """
        if self._pool is None:
            if self._again_at is not None and now >= self._again_at:
                self._open()
            return
        if self._ready.done():
            error = self._ready.exception()
            if error is not None:
                if not self._was_ready or not isinstance(error, StreamRestoreError):
                    raise error
                self._abandon(now, str(error))
                return
            if not self._was_ready:
                self._was_ready = True
                note("all", "supervisor", f"{self.workers} workers are ready")
        if self._pool.state().lost:
            self._abandon(now, "all of them died again and again")
        elif self._ready.done():
            self._wait_seconds = AGAIN_SECONDS[0]

    def close(self) -> None:
        """End all workers; may be called twice."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        for thread in self._closing:
            thread.join()

    def _open(self) -> None:
        pool, ready = self._start(), Future[None]()
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
        note("all", "supervisor", f"the workers are lost, new ones come in {self._wait_seconds:g} s: {why}")
        closing = threading.Thread(target=self._pool.close, name="close", daemon=True)
        closing.start()
        self._closing = [thread for thread in self._closing if thread.is_alive()] + [closing]
        self._pool = None
        self._again_at = now + self._wait_seconds
        self._wait_seconds = min(2 * self._wait_seconds, AGAIN_SECONDS[1])
