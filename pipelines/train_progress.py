"""How training shows where it is: a live line on a terminal, else a line now and then."""

import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

if TYPE_CHECKING:
    from streamrestore.training.train import Progress

_PLAIN_SECONDS = 60.0
"""Longest time without a line where there is no terminal; each measurement has one of its own."""


class TrainingReporter:
    """Called after every step. Used as a context manager around the whole training."""

    def __init__(self, name: str, steps: int) -> None:
        """Show the training of ``name``, which has so many steps."""
        self._steps = steps
        self._begin: int | None = None
        self._psnr: float | None = None
        self._said = time.monotonic()
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = TextColumn(name), BarColumn(bar_width=12), TextColumn("{task.description}")
        self._bar = RichProgress(*columns, console=self._console, transient=True)
        self._task = self._bar.add_task("the pictures are being read", total=steps)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def __call__(self, progress: "Progress") -> None:
        """Take in where training stands."""
        if self._begin is None:
            self._begin = progress.step - 1
            if self._begin:
                self.note(f"going on after step {self._begin}")
        if progress.psnr is not None:
            self._psnr = progress.psnr
        text = describe(progress, self._steps, self._begin, self._psnr)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=progress.step, description=text)
        elif progress.psnr is not None or time.monotonic() - self._said > _PLAIN_SECONDS:
            self._said = time.monotonic()
            self.note(text)

    def note(self, message: str) -> None:
        """Say something the user should know."""
        self._console.print(message, markup=False)


def describe(progress: "Progress", steps: int, begin: int, psnr: float | None) -> str:
    """One line for people.

    Args:
        progress: Where training stands.
        steps: How many there are.
        begin: The step that this run began after.
        psnr: The last that was measured.
    """
    rate = (progress.step - begin) / max(progress.seconds, 1e-9)
    left = round((steps - progress.step) / rate)
    held_out = "" if psnr is None else f"held-out {psnr:.2f} dB  "
    return (
        f"step {progress.step}/{steps}  {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left  {rate:.2f} steps/s  "
        f"loss {progress.loss:.4f}  {held_out}learning rate {progress.learning_rate:.1e}"
    )
