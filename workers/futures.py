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


class AnsweringThread:
    """A daemon thread that takes items from a queue and fills a future for each. Its methods are thread-safe.

    Unlike a `concurrent.futures.ThreadPoolExecutor` of one thread it never delays the end of
    the process, and `stop` also cancels what is running.
    """

    def __init__(self, name: str, *futures: "Future[Any]") -> None:
        """Start the thread; what it uses must be there already.

        Args:
            name: Of the thread.
            futures: That it fills without being given an item.
        """
        self._queue: SimpleQueue[Any] = SimpleQueue()
        """Items, and None at the end."""
        self._lock = threading.Lock()
        self._pending: set[Future[Any]] = set(futures)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self, grace_seconds: float = 0.0) -> None:
        """Cancel every future; may be called twice. What is running goes on, its result is dropped.

        Args:
            grace_seconds: How long to wait for it.
        """
        with self._lock:
            self._stopped = True
            abandoned, self._pending = self._pending, set()
            self._queue.put(None)
        for future in abandoned:
            cancel(future)
        self._thread.join(grace_seconds)

    def _run(self) -> None:
        raise NotImplementedError

    def _put(self, item: object, future: "Future[Any]") -> None:
        """Queue an item that this future is for.

        Raises:
            RuntimeError: The thread was stopped.
        """
        with self._lock:
            if self._stopped:
                raise RuntimeError(f"{self._thread.name} was stopped and takes no more work")
            self._pending.add(future)
            self._queue.put(item)

    def _is_awaited(self, future: "Future[Any]") -> bool:
        """Whether a future is to be filled, which is asked once: `stop` has cancelled it if not."""
        with self._lock:
            awaited = future in self._pending
            self._pending.discard(future)
        return awaited


class SerialThread(AnsweringThread):
    """Makes calls one by one, in order."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._running = False
        super().__init__(name)

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
        self._put(partial(self._make, call, future), future)
        return future

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
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
        if self._is_awaited(future):
            finish()
