"""A pool of one worker inside this process: a thread. Knows no Ray."""

from concurrent.futures import Future, wait

from streamrestore.errors import WorkerStartError
from streamrestore.frame import Chunk, ChunkRestorer, Restored
from workers.contract import BuildRestorer, PoolState
from workers.restoring import RestoringThread

INLINE_BUDGET_BYTES = 1 << 30
"""What a window and its results may hold in memory."""

THREAD_NAME = "restore"
"""What the names of threads begin with that may be inside torch when the process ends: they cannot be waited for."""

GRACE_SECONDS = 2.0
"""How long `close` waits for a running chunk: a thread cannot be killed."""


class InlinePool:
    """Restores chunks in a daemon thread; a `RestorerPool`."""

    def __init__(self, build: BuildRestorer, fill_seconds: float = 0.0) -> None:
        """Start to build the restorer, in the background.

        Args:
            build: Called in the thread that will use the restorer.
            fill_seconds: How long a batch that is not full waits for others' chunks.
        """

        def build_or_explain() -> ChunkRestorer:
            try:
                return build()
            except Exception as error:
                raise WorkerStartError(f"the worker failed to start: {type(error).__name__}: {error}") from error

        self._thread = RestoringThread(build_or_explain, THREAD_NAME, fill_seconds)
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
        built = self._thread.built
        wait([built], timeout_seconds)
        if not built.done():
            raise WorkerStartError(
                f"the worker was not ready after {timeout_seconds:g} s: give it more time, or look at why it hangs"
            )
        if built.cancelled():
            raise WorkerStartError("the pool was closed before its worker was ready")
        built.result()

    def submit(self, chunk: Chunk) -> "Future[Restored]":
        """Queue a chunk; where building failed, the future raises why.

        Raises:
            RuntimeError: The pool is closed.
        """
        return self._thread.submit(chunk)

    def state(self) -> PoolState:
        """What the pool is doing now."""
        built = self._thread.built.done()
        ready = self._is_built() and not self._closed
        return PoolState(
            workers=int(ready),
            busy=self._thread.running,
            queued=self._thread.waiting,
            deaths=0,
            redispatched=0,
            starting=int(not built),
            away=int(built and not ready),
        )

    def close(self) -> None:
        """Cancel every chunk; may be called twice."""
        self._closed = True
        self._thread.stop(GRACE_SECONDS)

    def __repr__(self) -> str:
        state = self.state()
        return f"<InlinePool: {state.busy} busy, {state.queued} queued>"

    def _is_built(self) -> bool:
        built = self._thread.built
        return built.done() and not built.cancelled() and built.exception() is None
