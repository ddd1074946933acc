"""Contexts without a device, and steps that do as they are told."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Context:
    kind: str = "machine"


@dataclass(frozen=True)
class Build:
    """Builds a context, or does not."""

    kind: str = "machine"
    error: Exception | None = None
    seconds: float = 0.0

    def __call__(self) -> Context:
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return Context(self.kind)


@dataclass(frozen=True)
class KindsByTurn:
    """Workers of two kinds: the first that is built, and all others."""

    taken: Path

    def __call__(self) -> Context:
        return Context("first" if is_first(self.taken) else "other")


@dataclass(frozen=True)
class Sleep:
    """Takes a while, and tells the process that did it."""

    seconds: float = 0.0
    value: int = 0

    def __call__(self, context: Context) -> tuple[int, int]:
        time.sleep(self.seconds)
        return self.value, os.getpid()


@dataclass(frozen=True)
class Kind:
    """Tells its worker's kind, and the GPUs it sees."""

    def __call__(self, context: Context) -> tuple[str, str]:
        return context.kind, os.environ.get("CUDA_VISIBLE_DEVICES", "")


@dataclass(frozen=True)
class Raise:
    error: Exception

    def __call__(self, context: Context) -> None:
        raise self.error


@dataclass(frozen=True)
class Kill:
    """Kills its process."""

    def __call__(self, context: Context) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class HangOnce:
    """Hangs where it is run first, and takes no time where it is run again."""

    begun: Path

    def __call__(self, context: Context) -> int:
        if is_first(self.begun):
            time.sleep(600)
        return os.getpid()


@dataclass(frozen=True)
class Marked:
    """Is in hand from when one file is there until another one is."""

    begun: Path
    end: Path

    def __call__(self, context: Context) -> int:
        self.begun.touch()
        while not self.end.exists():
            time.sleep(0.05)
        return os.getpid()


def is_first(path: Path) -> bool:
    """Whether nobody has asked so before."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
