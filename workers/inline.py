"""A pool of one worker inside this process: a thread. Knows no Ray."""

from concurrent.futures import Future, wait
from functools import partial

from streamrestore.errors import WorkerStartError
from streamrestore.frame import Chunk, ChunkRestorer, Restored
from workers.contract import BuildRestorer, PoolState
from workers.futures import SerialThread

INLINE_BUDGET_BYTES = 1 << 30
"""What a window and its results may hold in memory."""

THREAD_NAME = "restore"

GRACE_SECONDS = 2.0
"""How long `close` waits for a running chunk: a thread cannot be killed."""


class InlinePool:
    """Restores chunks one by one in a daemon thread; a `RestorerPool`."""

    def __init__(self, build: BuildRestorer) -> None:
        """Start to build the restorer, in the background.

        Args:
            build: Called in the thread that will use the restorer.
        """
        self._thread = SerialThread(THREAD_NAME)
        self._restorer: Future[ChunkRestorer] = self._thread.submit(build)
        self._closed = False

    @property
    def budget_bytes(self) -> int:
        """What the chunks in flight and their results may hold together."""
        return INLINE_BUDGET_BYTES

    def ready(self, timeout_seconds: float) -> None:
        """Wait until the restorer is built.

        Raises:
            WorkerStartError: Building failed, or took longer.
        """
        wait([self._restorer], timeout_seconds)
        if not self._restorer.done():
            raise WorkerStartError(
                f"the worker was not ready after {timeout_seconds:g} s: give it more time, or look at why it hangs"
            )
        if self._restorer.cancelled():
            raise WorkerStartError("the pool was closed before its worker was ready")
        error = self._restorer.exception()
        if error is not None:
            raise WorkerStartError(f"the worker failed to start: {type(error).__name__}: {error}") from error

    def submit(self, chunk: Chunk) -> "Future[Restored]":
        """Queue a chunk; where building failed, the future raises why.

        Raises:
            RuntimeError: The pool is closed.
        """
        return self._thread.submit(partial(self._restore, chunk))

    def state(self) -> PoolState:
        """What the pool is doing now."""
        built = self._is_built()
        running, waiting = self._thread.running, self._thread.waiting
        return PoolState(
            workers=int(built and not self._closed),
            busy=int(built and running),
            queued=waiting,
            deaths=0,
            redispatched=0,
        )

    def close(self) -> None:
        """Cancel every chunk; may be called twice."""
        self._closed = True
        self._thread.stop(GRACE_SECONDS)

    def __repr__(self) -> str:
        state = self.state()
        return f"<InlinePool: {state.busy} busy, {state.queued} queued>"

    def _is_built(self) -> bool:
        return self._restorer.done() and not self._restorer.cancelled() and self._restorer.exception() is None

    def _restore(self, chunk: Chunk) -> Restored:
        self.ready(0)
        return self._restorer.result().restore(chunk)
