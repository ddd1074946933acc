"""Futures of steps: to be cancelled while they wait, by anyone; and while they run, by their pool."""

import threading
from concurrent.futures import Future
from typing import Any


class StepFuture(Future[Any]):
    """A future that does not end twice, and that waits again where its step has to wait for another worker.

    One of the standard library, once it runs, runs until it has a result.
    """

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._begun = self._ended = False

    def begin(self) -> bool:
        """A worker is about to be given the step; False where nobody waits for it."""
        with self._guard:
            self._begun = not self._ended
            return self._begun

    def wait_again(self) -> None:
        """The worker was lost, and the step waits for another one."""
        with self._guard:
            self._begun = False

    def settle(self, result: object) -> None:
        """End with a result, unless it has ended."""
        if self._end():
            self.set_running_or_notify_cancel()
            self.set_result(result)

    def fail(self, error: BaseException) -> None:
        """End with an error, unless it has ended."""
        if self._end():
            self.set_running_or_notify_cancel()
            self.set_exception(error)

    def abandon(self) -> None:
        """End as cancelled, unless it has ended; also where a worker has the step."""
        if self._end():
            super().cancel()
            self.set_running_or_notify_cancel()

    def cancel(self) -> bool:
        """Cancel the step if no worker has it; False where one does, or where it has ended otherwise."""
        with self._guard:
            if self._begun or self._ended:
                return self.cancelled()
            self._ended = True
        super().cancel()
        self.set_running_or_notify_cancel()
        return True

    def running(self) -> bool:
        """Whether a worker has the step."""
        return self._begun and not self.done()

    def _end(self) -> bool:
        """Whether it is the caller who ends it."""
        with self._guard:
            ended, self._ended = self._ended, True
            return not ended
