"""Runs the command line in processes of their own, which can be stopped, starved and killed at any moment."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ZYGOTE = """
import json, os, sys
from pipelines.cli import main
import pipelines.restore, streamrestore.weights, torch._dynamo
for line in sys.stdin:
    arguments, log, before = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        sys.argv = ["streamrestore", *arguments]
        exec(before, {})
        main()
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
"""Starts the command again and again without loading torch each time."""

PATIENCE_SECONDS = 120.0

_SIGNALLED = """
import os, signal, {module} as module
real, left = module.{name}, {calls}
def signalled(*arguments, **options):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.{signal})
    return real(*arguments, **options)
module.{name} = signalled
"""


def signalled(number: signal.Signals, module: str, name: str, calls: int) -> str:
    """Code after which a process sends itself a signal, when a function is called for so many times."""
    return _SIGNALLED.format(module=module, name=name, calls=calls, signal=number.name)


def in_segment(index: int, number: signal.Signals) -> str:
    """As `signalled`, when a run has written so many segments and is about to record the next."""
    return signalled(number, "streamrestore.work_folder", "write_once", index + 2)  # the first is the job's own


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int
    """Negative: the signal that killed it."""
    said: str
    """On standard output and standard error."""


class Run:
    """One run of the command; it leads a session of its own."""

    def __init__(self, pid: int, log: Path, answers: Iterator[str]) -> None:
        self.pid = pid
        self._log = log
        self._answers = answers
        self._ended: Ended | None = None

    def said(self) -> str:
        return self._log.read_text()

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it came to its end
            os.kill(self.pid, number)

    def await_that(self, condition: Callable[[], object]) -> None:
        """Wait until something is so while the run goes on."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.said()
            assert "Z" not in _states(self.pid), self.said()
            time.sleep(0.002)

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """Wait until the run has stopped itself, and let it go on afterwards."""
        self.await_that(lambda: _states(self.pid) == {"T"})
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    @property
    def is_over(self) -> bool:
        return self._ended is not None

    def wait(self) -> Ended:
        if self._ended is None:
            self._ended = Ended(int(next(self._answers)), self.said())
        return self._ended


class Driver:
    """Starts runs, one at a time."""

    def __init__(self, log: Path, prefix: Sequence[str] = ()) -> None:
        """Load everything once.

        Args:
            log: What each run says is written there, beside what goes wrong before it speaks.
            prefix: A command that runs the command after it somewhere else, such as ``unshare -m``.
        """
        self._log = log
        self._last: Run | None = None
        self._errors = log.with_suffix(".errors").open("wb")
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-c", ZYGOTE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    @property
    def pid(self) -> int:
        """Of the process that starts runs."""
        return self._process.pid

    def start(self, *arguments: str | Path, before: str = "") -> Run:
        """Start the command; ``before`` is code that is run first, in the same process."""
        self._end_last()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([[*map(str, arguments)], str(self._log), before]) + "\n")
        self._process.stdin.flush()
        self._last = Run(int(self._process.stdout.readline()), self._log, self._process.stdout)
        return self._last

    def run(self, *arguments: str | Path, before: str = "") -> Ended:
        return self.start(*arguments, before=before).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_last()
        self._process.communicate()  # the end of its input ends it
        self._errors.close()

    def _end_last(self) -> None:
        """A test that failed may have left its run behind."""
        if self._last is not None and not self._last.is_over:
            self._last.send(signal.SIGKILL)
            self._last.wait()


def _states(pid: int) -> set[str]:
    """What a process's threads are doing, as ``ps`` names it; one that is over is a zombie."""
    states = set[str]()
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            states.add(stat.read_text().rpartition(")")[2].split()[0])
    return states or {"Z"}


def without_roots_rights() -> list[str]:
    """A prefix under which file permissions hold for root, too."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    return [setpriv, "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]
