import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

import workers
from streamrestore.errors import ConfigError, WorkerStartError
from tests.apart import without_ray
from workers.cluster import Capacity, Cluster, Node, gpu_share, workers_on

PROJECT = Path(__file__).parents[2]


def test_workers_that_fit_no_machine_are_refused_though_the_sum_would_do() -> None:
    cluster = Capacity((Node(4, 0), Node(4, 2)), 1 << 30)
    cluster.check(8, cpus=1, gpus=0)
    cluster.check(2, cpus=4, gpus=0)
    cluster.check(4, cpus=0, gpus=0.5)
    with pytest.raises(
        ConfigError, match=r"^1 workers with 5 CPUs and 0 GPUs .* the 2 machines have 8 CPUs and 2 GPUs"
    ):
        cluster.check(1, cpus=5, gpus=0)
    with pytest.raises(ConfigError, match="room for 2: ask for fewer"):
        cluster.check(3, cpus=1, gpus=1)


@given(count=st.integers(1, 64), gpus=st.integers(1, 16))
def test_equal_shares_of_gpus_hold_every_worker(count: int, gpus: int) -> None:
    share = gpu_share(count, gpus)
    assert 0 < share <= 1
    assert (1 / share).is_integer() or abs(1 / share - round(1 / share)) < 1e-9
    assert workers_on(Node(0, gpus), cpus=0, gpus=share) >= count
    assert gpu_share(count, 0) == 0


def test_a_ray_client_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="ray://head:10001 is a Ray Client address"):
        Cluster(address="ray://head:10001")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "head", "head:port"])
def test_a_cluster_that_is_not_there_is_told_at_once(address: str) -> None:
    program = f"from workers.cluster import Cluster; Cluster(address={address!r}).started.result(60)"
    done = run(program, {})
    assert f"WorkerStartError: the Ray cluster at {address} could not be joined: " in done.stderr


def test_a_ray_that_is_not_up_in_time_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("workers.cluster.ray.init", slow)
    # Ray of other tests may run in this process.
    monkeypatch.setattr("workers.cluster.ray.is_initialized", lambda: False)
    cluster = Cluster(address="local")
    with pytest.raises(WorkerStartError, match=r"timed out during startup.*--workers 0 does without Ray"):
        cluster.started.result(60)
    cluster.close()


def test_another_distributions_workers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "__file__", "/elsewhere/workers/__init__.py")
    with pytest.raises(
        ConfigError, match=r"workers comes from /elsewhere, but streamrestore from .*environment of its"
    ):
        Cluster(address="local")


@pytest.mark.ray
def test_workers_import_from_the_working_directory_only_if_we_do(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for path, hidden in (([], str(tmp_path)), ([""], None), ([str(tmp_path)], None)):
        monkeypatch.setattr(sys, "path", ["/usr/lib/python", *path])
        cluster = Cluster()
        assert cluster.hidden_folder == hidden
        cluster.close()


@pytest.mark.ray
def test_a_connection_that_is_shared_is_not_ended(ray_cluster: None) -> None:
    for _ in range(2):
        cluster = Cluster()
        assert cluster.started.result(60) == Capacity((Node(2, 2),), 200 << 20)
        cluster.close()
        cluster.close()


def run(program: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program that imports the project, in a process group of its own."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env=without_ray() | environment,
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


INTERRUPTED = """
import os, signal, threading, time
from pathlib import Path
from tests.workers.fakes import Script, chunk_of, value_of
from workers import open_pool

stop = threading.Event()
signal.signal(signal.SIGINT, lambda *_: stop.set())
pool = open_pool(Script(seconds={1: 3.0}), workers=1)
pool.ready(120)
future = pool.submit(chunk_of(1))
while not pool.state().busy:
    time.sleep(0.01)
os.killpg(0, signal.SIGINT)
assert stop.wait(60)
print(value_of(future.result(60).planes), pool.state().deaths)
os.kill(pool.workers[0].pid, signal.SIGKILL)
print(value_of(pool.submit(chunk_of(2)).result(60).planes), pool.state().deaths)
pool.close()
print(*Path.home().rglob("*"))
"""


@pytest.mark.ray
def test_after_ctrl_c_the_frames_in_flight_are_finished_and_ray_says_not_a_word(tmp_path: Path) -> None:
    """Also: no token is left in the home folder, which other clusters would then ask for."""
    done = run(INTERRUPTED, {"HOME": str(tmp_path)})
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["2 0", "3 1", ""]
    assert done.returncode == 0


STREAMING = """
import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from tests.workers.fakes import Script, chunk_of
from workers import open_pool

pool = open_pool(Script(), workers=1)
pool.ready(120)
window = deque()
for value in range(200):
    window.append(pool.submit(chunk_of(value, (1024, 2048))))
    if len(window) == 4:
        window.popleft().result(60)
for folder in Path("/proc").glob("[0-9]*"):
    with suppress(OSError):
        parent = int((folder / "stat").read_text().rpartition(") ")[2].split()[1])
        for entry in (folder / "fd").iterdir() if parent == os.getpid() else ():
            if "/plasma" in str(entry.readlink()):
                print(entry.stat().st_blocks * 512)
pool.close()
"""


@pytest.mark.ray
@pytest.mark.skipif(sys.platform != "linux", reason="what the object store has taken is read from /proc")
def test_the_object_store_takes_no_more_memory_than_the_window_needs() -> None:
    """Ray by itself keeps up to a hundred objects that nobody needs: 400 MiB here."""
    done = run(STREAMING, {})
    taken = [int(line) for line in done.stdout.splitlines()]
    window_bytes = 2 * 4 * (4 << 20)
    assert window_bytes / 4 < min(taken), done
    assert max(taken) <= 3 * window_bytes, done


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5" * 64}

JOINING = """
from tests.workers.fakes import Script, chunk_of, value_of
from workers import open_pool

pool = open_pool(Script(), workers=2)
pool.ready(120)
print(*[value_of(pool.submit(chunk_of(value)).result(60).planes) for value in range(3)])
pool.close()
"""


@pytest.fixture
def head_address() -> Iterator[str]:
    """A cluster of one machine that asks for the token in `TOKEN`."""
    # Not in tmp_path: the names of Ray's sockets would be too long.
    with TemporaryDirectory(prefix="ray-") as folder:
        port = free_port()
        options = [f"--port={port}", f"--temp-dir={folder}", "--num-cpus=2", "--object-store-memory=100000000"]
        options += ["--include-dashboard=false", "--dashboard-agent-listen-port=0"]
        log = Path(folder) / "head.log"
        with log.open("w") as output:
            command = [f"{sysconfig.get_path('scripts')}/ray", "start", "--head", "--block", *options]
            head = subprocess.Popen(command, env=without_ray() | TOKEN, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 120
            while "--block" not in log.read_text():
                assert head.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield f"127.0.0.1:{port}"
            assert head.poll() is None, "the cluster was ended"
        finally:
            head.send_signal(signal.SIGTERM)
            head.wait(60)


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_is_joined_by_its_address_and_left_running(head_address: str) -> None:
    for _ in range(2):
        done = run(JOINING, TOKEN | {"RAY_ADDRESS": head_address})
        assert (done.stdout, done.stderr, done.returncode) == ("1 2 3\n", "", 0)


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_that_does_not_know_us_is_told_with_what_to_do(head_address: str) -> None:
    done = run(JOINING, {"RAY_ADDRESS": head_address})
    assert f"WorkerStartError: the Ray cluster at {head_address} could not be joined" in done.stderr
    assert "RAY_AUTH_MODE" in done.stderr
    assert done.returncode == 1
