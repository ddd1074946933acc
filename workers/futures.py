"""Futures that can be cancelled at any time, and a thread that fills them one by one.

A future of the standard library cannot be cancelled once it runs. Here it stays pending until
its answer is in, so that closing a pool cancels whatever nobody will answer.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


def settle(future: "Future[T]", result: T) -> None:
    """Give a pending future its result, unless it was cancelled."""
    if future.set_running_or_notify_cancel():
        future.set_result(result)


def fail(future: "Future[T]", error: BaseException) -> None:
    """Give a pending future its error, unless it was cancelled."""
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def cancel(future: "Future[T]") -> None:
    """Cancel a pending future, and tell those who wait for it."""
    future.cancel()
    future.set_running_or_notify_cancel()


class SerialThread:
    """A daemon thread that makes calls one by one, in order. Its methods are thread-safe.

    Unlike a `concurrent.futures.ThreadPoolExecutor` of one thread it never delays the end of
    the process, and `stop` also cancels the call that is running.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._pending: set[Future[Any]] = set()
        self._stopped = False
        self._running = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether a call is being made now."""
        return self._running

    @property
    def waiting(self) -> int:
        """Calls that have not begun."""
        return max(0, len(self._pending) - self._running)

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Queue a call.

        Raises:
            RuntimeError: The thread was stopped.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._stopped:
                raise RuntimeError(f"{self._thread.name} was stopped and takes no more work")
            self._pending.add(future)
            self._calls.put(partial(self._make, call, future))
        return future

    def stop(self, grace_seconds: float = 0.0) -> None:
        """Cancel every call; may be called twice. A running call goes on, its result is dropped.

        Args:
            grace_seconds: How long to wait for the running call.
        """
        with self._lock:
            self._stopped = True
            abandoned, self._pending = self._pending, set()
            self._calls.put(None)
        for future in abandoned:
            cancel(future)
        self._thread.join(grace_seconds)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            self._running = True
            call()
            self._running = False
            # Or the last call, and what it holds, would live until the next one.
            del call

    def _make(self, call: Callable[[], T], future: "Future[T]") -> None:
        finish: Callable[[], object] = future.set_running_or_notify_cancel
        if not future.cancelled():
            try:
                finish = partial(settle, future, call())
            except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
                finish = partial(fail, future, error)
        with self._lock:
            abandoned = future not in self._pending
            self._pending.discard(future)
        if not abandoned:
            finish()
