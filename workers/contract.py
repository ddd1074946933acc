"""What every pool of restorers offers, whatever it runs on."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from streamrestore.frame import Chunk, ChunkRestorer, Restored

BuildRestorer = Callable[[], ChunkRestorer]
"""Builds the restorer inside the worker that will use it; picklable for workers in other processes."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool at one moment, for progress lines and tests."""

    workers: int
    """Alive and ready."""
    busy: int
    """Chunks being restored."""
    queued: int
    """Chunks that wait for a worker."""
    deaths: int
    """Workers lost so far."""
    redispatched: int
    """Chunks given to another worker so far, because theirs died or was late."""
    lost: bool = False
    """Whether no worker is left and none will come: every chunk fails."""
    starting: int = 0
    """Workers that are not ready yet."""
    away: int = 0
    """Places without a worker, since theirs only died; it is tried again later, if at all."""
    replaced: int = 0
    """Workers that took the place of a lost one so far, and are ready."""
    last_loss: str = ""
    """Why the last worker was lost."""


class RestorerPool(Protocol):
    """Restores chunks on one or more workers. Thread-safe.

    A pool gives results in any order, one future a chunk; the caller holds the futures in
    order, and so restores the order in one place. A pool does not bound how much it is given:
    the caller does, by holding at most a window of futures.
    """

    @property
    def budget_bytes(self) -> int:
        """What the chunks in flight and their results may hold together; for after `ready`."""
        ...

    def ready(self, timeout_seconds: float) -> None:
        """Wait until every worker has loaded its weights.

        Raises:
            ConfigError: The machine or the cluster cannot hold the workers that were asked for.
            WorkerStartError: A worker failed to start, or was not ready in time.
        """
        ...

    def submit(self, chunk: Chunk) -> "Future[Restored]":
        """Queue a chunk.

        The future raises what `ChunkRestorer.restore` raised, `WorkerLostError` when workers
        kept dying with this chunk, or is cancelled by `close`.

        Raises:
            RuntimeError: The pool is closed.
        """
        ...

    def state(self) -> PoolState:
        """What the pool is doing now."""
        ...

    def close(self) -> None:
        """Stop the workers at once and cancel what is queued; may be called twice."""
        ...
