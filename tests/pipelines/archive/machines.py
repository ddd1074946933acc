"""A cluster as docs/cluster.md begins with: two ``ray start --block`` on this machine, each a machine to Ray."""

import os
import secrets
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

START_SECONDS = 90.0

_MARK = "STREAMRESTORE_TEST_MACHINE"
"""In the environment of every process of a machine, so that they are found, and no others, whoever started them."""

_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # So that a machine is missed after seconds.
    **{f"RAY_health_check_{name}": "1000" for name in ("initial_delay_ms", "period_ms", "timeout_ms")},
    "RAY_health_check_failure_threshold": "3",
}


@dataclass
class Machine:
    """One ``ray start --block``, and what came of it."""

    arguments: list[str]
    environment: dict[str, str]
    log: Path
    mark: str = field(default_factory=lambda: uuid4().hex)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is up."""
        command = [os.path.join(sysconfig.get_path("scripts"), "ray"), "start", "--block", *self.arguments]
        with self.log.open("wb") as log:
            self._process = process = subprocess.Popen(
                command,
                env={**self.environment, _MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while "will now block" not in self.log.read_text():
            assert process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a machine ends whose power is cut: every process of it, at once."""
        while pids := self._pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        if self._process is not None:
            self._process.wait()

    def works(self) -> bool:
        """Whether it has a worker of ours."""
        for pid in self._pids():
            with suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::SegmentWorker"):
                    return True
        return False

    def _pids(self) -> list[int]:
        mark, found = f"{_MARK}={self.mark}".encode(), list[int]()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return found


@dataclass
class TwoMachines:
    """A head that also works, and another machine; two cores each, as Ray is told."""

    head: Machine
    other: Machine
    dashboard: str
    environment: dict[str, str]
    """For programs that use the cluster."""


@contextmanager
def two_machines() -> Iterator[TwoMachines]:
    """Start them, and end them by their process ids, whatever happened."""
    # Its path is that of sockets too, which may not be long.
    with TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        folder, gcs, dashboard, client = Path(temporary), *_free_ports(3)
        scripts = sysconfig.get_path("scripts")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
        environment |= _SETTINGS | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
        environment["PATH"] = f"{scripts}{os.pathsep}{environment.get('PATH', '')}"
        both = ["--num-cpus=2", "--num-gpus=0", f"--object-store-memory={100 << 20}", "--dashboard-agent-listen-port=0"]
        ports = [f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
        head = Machine(["--head", *ports, f"--temp-dir={folder / 'ray'}", *both], environment, folder / "head.log")
        other = Machine([f"--address=127.0.0.1:{gcs}", *both], environment, folder / "other.log")
        try:
            head.start()
            other.start()
            yield TwoMachines(head, other, f"http://127.0.0.1:{dashboard}", environment)
        finally:
            other.kill()
            head.kill()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as open_ones:
        sockets = [open_ones.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
