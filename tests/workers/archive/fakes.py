"""Contexts without a device, and steps that do as they are told."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from streamrestore.errors import DeviceLostError, MachineError, SourceError


@dataclass(frozen=True)
class Context:
    kind: str = "machine"

    def check(self) -> None:
        """It always works."""


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
class Frail:
    """A context whose device breaks when `Break` is run, until its process ends."""

    broken: Path
    """A folder with a file for each process whose device is broken."""
    for_good: bool = False
    """Whether it stays broken for all processes to come."""
    kind: str = "machine"

    def __call__(self) -> "Frail":
        self.check()
        return self

    def break_down(self) -> None:
        (self.broken / ("all" if self.for_good else str(os.getpid()))).touch()

    def check(self) -> None:
        if any((self.broken / name).exists() for name in ("all", str(os.getpid()))):
            raise DeviceLostError("the device fails with whatever it is given: CUDA error: device-side assert")


@dataclass(frozen=True)
class Compute:
    """Needs the device, as a network does that says no more than that it failed."""

    value: int = 0

    def __call__(self, context: Frail) -> int:
        try:
            context.check()
        except DeviceLostError:
            raise ValueError("a result that is not finite") from None
        return self.value


@dataclass(frozen=True)
class OneUnseeing:
    """Contexts of which the one that is built first does not see what steps need, which is found when one fails."""

    taken: Path

    def __call__(self) -> "Unseeing":
        return Unseeing(is_first(self.taken))


@dataclass(frozen=True)
class Unseeing:
    blind: bool
    kind: str = "machine"

    def check(self) -> None:
        if self.blind:
            raise MachineError("on this machine, /footage is gone or empty")


@dataclass(frozen=True)
class Look:
    """Needs what is seen."""

    value: int = 0

    def __call__(self, context: Unseeing) -> int:
        time.sleep(0.05)
        if context.blind:
            raise SourceError("it does not exist")
        return self.value


@dataclass(frozen=True)
class Break:
    """Breaks the device: where it is run first, or always."""

    first: Path | None = None

    def __call__(self, context: Frail) -> str:
        if self.first is None or is_first(self.first):
            context.break_down()
            raise ValueError("an illegal memory access")
        return "whole"


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
class Share:
    """Tells the part of a GPU that its worker was given."""

    def __call__(self, context: Context) -> float:
        from workers.actor_process import own_share  # which loads Ray; not all tests may

        return own_share()


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
