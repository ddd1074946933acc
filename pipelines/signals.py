"""Ctrl-C and SIGTERM: the first asks for a clean end, the second ends at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from pipelines.exit_codes import ExitCode
from streamrestore.errors import StoppedError


@dataclass(slots=True)
class StopRequest:
    """Whether the user asked to stop, and how."""

    event: threading.Event = field(default_factory=threading.Event)
    code: ExitCode = ExitCode.INTERRUPTED
    """The exit code that the signal asks for."""


def take_signals_back() -> None:
    """Install Python's handlers again; in other threads than the main one, which have none, nothing is done.

    Ray puts a handler of its own below Python's when it starts, which would end the process at
    SIGTERM with a stack trace, three seconds later; and none when it ends.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.getsignal(number))


def keep_code(code: int) -> None:
    """From now on a signal ends this process at once and with this exit code, as all has been done."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))


@contextmanager
def stopping_at_once(stop: threading.Event) -> Iterator[None]:
    """While open, the signal that sets ``stop`` also ends, by its error, whatever the main thread is doing.

    For long work that another run can do again from its beginning, such as joining segments. In
    any other thread, which no signal reaches, only a request that came before is heard.

    Raises:
        StoppedError: The user asked to stop, now or before.
    """
    if stop.is_set():
        raise StoppedError("stopped before it was done")
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        raise StoppedError("stopped before it was done")

    try:
        for number in before:
            signal.signal(number, on_signal)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """While open, SIGINT and SIGTERM set the event; a second one raises KeyboardInterrupt."""
    request = StopRequest()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if request.event.is_set():
            raise KeyboardInterrupt
        request.code = ExitCode.TERMINATED if number == signal.SIGTERM else ExitCode.INTERRUPTED
        request.event.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
