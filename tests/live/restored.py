"""The live pipeline as a test holds it: a process of its own, seen through its status page and its log."""

import json
import os
import signal
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.live.child import Child
from tests.live.ports import free_port


class Restored:
    """Runs the live pipeline while it is entered."""

    def __init__(
        self,
        *streams: Mapping[str, object],
        seconds: Sequence[float] = (0.005, 0.01, 0.03),
        jitter: float = 0.0,
        workers: int = 0,
        duration: float | None = None,
        log_format: str = "plain",
    ) -> None:
        """Start nothing yet.

        Args:
            streams: ``source`` and ``to`` of each, and further options of a stream.
            seconds: What a frame takes with one, two and three stages.
            jitter: By which part that varies.
            workers: Of Ray; 0 is one thread.
            duration: As ``--for``, in seconds.
            log_format: ``plain`` or ``json``.
        """
        self._folder = tempfile.TemporaryDirectory()
        self._slowness = Path(self._folder.name) / "slowness"
        self.log_path = Path(self._folder.name) / "log"
        self.port = free_port()
        self._settings = {
            "streams": [*streams],
            "seconds": [*seconds],
            "jitter": jitter,
            "workers": workers,
            "duration": duration,
            "log_format": log_format,
            "slowness": str(self._slowness),
            "status": f"127.0.0.1:{self.port}",
        }
        self._process: Child | None = None

    def __enter__(self) -> Self:
        self._process = Child("tests.live.restored_process", self._settings, errors=self.log_path)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._running.pid

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._running.is_over

    @property
    def processes(self) -> dict[int, str]:
        """The command lines of all that run below it, by their numbers."""
        return processes_below(self.pid)

    @property
    def log(self) -> str:
        """What it has said on standard error."""
        return self.log_path.read_text()

    def slow_down(self, factor: float) -> None:
        """Let restorers take so many times as long from here on."""
        beside = self._slowness.with_suffix(".new")
        beside.write_text(str(factor))
        os.replace(beside, self._slowness)

    def page(self, path: str) -> tuple[int, str]:
        """Status and body of a page; (0, "") where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def health(self) -> dict[str, Any]:
        """Of all streams."""
        status, body = self.page("/healthz")
        return dict(json.loads(body)) if status else {}

    def stream(self, number: int = 0) -> dict[str, Any]:
        """Health of one stream."""
        streams = self.health().get("streams", [])
        return dict(streams[number]) if number < len(streams) else {}

    def wait_for(
        self, condition: Callable[[dict[str, Any]], object], timeout_seconds: float = 30.0, number: int = 0
    ) -> dict[str, Any]:
        """Wait until something is so of a stream's health; gives it.

        Raises:
            AssertionError: It did not come true in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            stream = self.stream(number)
            with suppress(KeyError, IndexError, TypeError):
                if stream and condition(stream):
                    return stream
            assert time.monotonic() < deadline, f"{stream}\n{self.log}"
            assert not self.is_over, self.log
            time.sleep(0.05)

    def wait(self, timeout_seconds: float = 30.0) -> int:
        """Wait for its end; gives its exit code, below zero where a signal ended it.

        Raises:
            AssertionError: It did not come in time.
        """
        deadline = time.monotonic() + timeout_seconds
        # Its end stays to be seen by whoever started it.
        while (ended := os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    @property
    def _running(self) -> Child:
        assert self._process is not None, "it was not entered"
        return self._process


def processes_below(pid: int) -> dict[int, str]:
    """The command lines of a process's children, and of theirs, by their numbers."""
    parents, lines = dict[int, int](), dict[int, str]()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(folder.name)] = int(parent)
                lines[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: lines[child] for child in found - {pid} if child in lines}


def is_alive(pid: int) -> bool:
    """Whether a process runs; not where it only waits to be forgotten."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
