"""What the two ends of a stream have in common: a process that holds a connection, and what is lost with it."""

from multiprocessing.connection import Connection
from typing import Any

from streamrestore.live.backoff import Backoff
from streamrestore.live.states import Cause
from workers.live.child import Child, Nursery
from workers.live.ring import FrameRing


class ProcessLink:
    """Holds a process and the memory it shares, and counts what is lost. For one thread; never blocks."""

    def __init__(self, nursery: Nursery) -> None:
        """Begin without a process.

        Args:
            nursery: Gives processes.
        """
        self._nursery = nursery
        self._backoff = Backoff()
        self._child: Child | None = None
        self._ring: FrameRing | None = None
        self._retry_at = 0.0
        """When another connection is tried, where there is none."""
        self.reconnects: dict[Cause, int] = {}
        """Connections that were lost or not made."""
        self.respawns = 0
        """Processes that were lost with them."""

    @property
    def connection(self) -> "Connection[Any, Any] | None":
        """To be waited for."""
        return None if self._child is None else self._child.connection

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return None if self._child is None else self._child.pid

    def close(self) -> None:
        """Kill the process; may be called twice."""
        self._drop_child()

    def _count_loss(self, now: float, cause: Cause, *, replace: bool) -> None:
        """The connection is lost or was not made: say when it is tried again.

        Args:
            now: When.
            cause: Why.
            replace: Whether the process is lost with it.
        """
        self.reconnects[cause] = self.reconnects.get(cause, 0) + 1
        if replace:
            self.respawns += 1
            self._drop_child()
        self._retry_at = now + self._backoff.down(now, cause)

    def _share(self, ring: FrameRing) -> None:
        """Take a ring in place of the one before."""
        if self._ring is not None:
            self._ring.close()
        self._ring = ring

    def _drop_child(self) -> None:
        if self._child is not None:
            self._nursery.kill(self._child)
            self._child = None
        if self._ring is not None:
            self._ring.close()
            self._ring = None
