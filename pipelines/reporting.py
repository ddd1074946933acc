"""What all reporters share: where they write, how often, and which of them is wanted."""

import json
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from rich.console import Console

Manner = Literal["quiet", "json", "live", "plain"]
"""Errors only; JSON lines; a line that is drawn again and again; lines for logs."""


class Silent:
    """A reporter that says nothing but errors; a context manager around the run."""

    def __init__(self) -> None:
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def note(self, message: str) -> None:
        """Something the user should know."""

    def _blame(self, what: str, source: str, message: str) -> None:
        """Say what went wrong, and with what, unless the message says that."""
        where = "" if source in message else f"{source}: "
        self._errors.print(f"{what}: {where}{message}", markup=False)


class Pace:
    """When it is time to say something again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = 0.0

    def start(self) -> None:
        """Now is the last time that something was said."""
        self._said = self._clock()

    def due(self, seconds: float) -> bool:
        """Whether it is so long since the last time; if so, now is the last time."""
        if self._clock() - self._said < seconds:
            return False
        self.start()
        return True


def say_json(event: str, **fields: str | float | None) -> None:
    """One JSON object on standard output; ``event`` says what it is."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def choose_manner(mode: str, *, quiet: bool) -> Manner:
    """What ``auto`` (live on a terminal, else plain), ``plain``, ``json`` or ``none`` ask for."""
    if quiet or mode == "none":
        return "quiet"
    if mode == "json":
        return "json"
    if mode == "auto" and Console(stderr=True).is_terminal:
        return "live"
    return "plain"
