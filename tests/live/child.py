"""A process of the fixtures, as the test that started it holds it.

Each fixture is a process of its own: one inside the test's could not go on while PyAV holds the GIL there, and
could not be stopped, starved or killed. The other end is `tests.live.parent`.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
PATIENCE_SECONDS = 30.0
"""A healthy process answers within milliseconds; only a machine that stands still takes so long."""


def _hear_nothing(kind: str, fields: list[Any]) -> None:
    pass


class Child:
    """Starts ``python -m <module>``, tells it its settings, and waits until it says that it is ready."""

    def __init__(
        self,
        module: str,
        settings: Mapping[str, object],
        hear: Callable[[str, list[Any]], None] = _hear_nothing,
        python: str = sys.executable,
        errors: Path | None = None,
    ) -> None:
        """Start it.

        Start it in a thread that lives as long as it shall: the kernel kills it with the thread that started it.

        Args:
            module: The name of the module that is run.
            settings: Sent through a pipe, so that nobody finds a password in the list of processes.
            hear: Called with the kind and the fields of whatever the process tells, in one thread, in order.
            python: The interpreter.
            errors: A file for what it says on standard error; None leaves that to the test's own.

        Raises:
            AssertionError: The process ended or did not get ready.
        """
        self.module = module
        self._hear = hear
        self._answers = queue.SimpleQueue[tuple[str | None, Any]]()
        self._asking = threading.Lock()
        self._heard = threading.Condition()
        self._over = False
        with errors.open("wb") if errors is not None else nullcontext() as stderr:
            self._process = subprocess.Popen(
                [python, "-P", "-m", module],  # -P: a folder `tests` where pytest was started is another package
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,  # Ctrl-C is for the test, which then ends its processes
                env={**os.environ, "PYTHONPATH": str(PROJECT), "OPENBLAS_NUM_THREADS": "1"},
            )
        self._listener = threading.Thread(target=self._listen, name=f"{module} {self.pid}", daemon=True)
        self._listener.start()
        try:
            self._tell(dict(settings))
            self._answer()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_over(self) -> bool:
        """Whether the process ended, or closed its side of the conversation."""
        return self._over

    def ask(self, command: str, **arguments: object) -> Any:  # noqa: ANN401 # as JSON has it
        """Have a command carried out.

        Returns:
            The process's answer; by then, what was asked for holds.

        Raises:
            AssertionError: The process ended, refuses, or does not answer.
        """
        with self._asking:
            self._tell([command, arguments])
            return self._answer()

    def wait_for(
        self, condition: Callable[[], object], timeout_seconds: float, state: Callable[[], object] = lambda: ""
    ) -> None:
        """Wait until something is so, looking again after each thing that the process told.

        Args:
            condition: What shall be so.
            timeout_seconds: How long to wait.
            state: What the message of the failure says about what is so instead.

        Raises:
            AssertionError: It did not come true in time.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._heard:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, f"{self.module} did not come to that in {timeout_seconds} s: {state()}"
                assert not self._over, f"{self.module} ended: {state()}"
                self._heard.wait(min(left, 0.1))  # conditions may look at other things, too

    def suspend(self) -> None:
        """Stop the process where it is: its sockets stay open, and nothing is read, written or answered."""
        self._process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] not in "TtZX":
            time.sleep(0.001)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the process; also twice."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # a command that nobody read
                pipe.close()

    def _tell(self, message: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"{self.module} ended with {self._process.wait()}") from None

    def _answer(self) -> Any:  # noqa: ANN401
        try:
            refusal, answer = self._answers.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise AssertionError(f"{self.module} did not answer in {PATIENCE_SECONDS} s") from None
        assert refusal is None, f"{self.module}: {refusal}"
        return answer

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith("\n"):
                break  # it was killed in the middle of it
            kind, *fields = json.loads(line)
            if kind == "answer":
                refusal, answer = fields
                self._answers.put((refusal, answer))
                continue
            with self._heard:
                self._hear(kind, fields)
                self._heard.notify_all()
        with self._heard:
            self._over = True
            self._heard.notify_all()
        self._answers.put(("it ended; what it said is on standard error", None))
