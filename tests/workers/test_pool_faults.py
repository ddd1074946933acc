"""Workers that die, hang or never start: real processes, really killed."""

import os
import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from streamrestore.errors import ConfigError, DeviceLostError, RestoreError, WorkerLostError, WorkerStartError
from streamrestore.frame import Restored
from tests.workers.conftest import OpenRayPool
from tests.workers.fakes import (
    EnvironmentRestorer,
    FailingBuild,
    OneCanStart,
    OneIll,
    Script,
    ScriptedRestorer,
    chunk_of,
    killing_build,
    value_of,
)
from workers.patience import Patience, Upkeep
from workers.pool import RayPool

pytestmark = pytest.mark.ray

PATIENCE_SECONDS = 120.0
"""For what is expected to happen; a busy machine takes its time."""

LARGE = (256, 512)
"""Frames that travel through the object store, and not inside a message."""


def answer(future: "Future[Restored]") -> int:
    return value_of(future.result(PATIENCE_SECONDS).planes)


def wait_for_workers(pool: RayPool, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(pool.workers) != count:
        assert time.monotonic() < deadline, repr(pool)
        time.sleep(0.05)


def test_a_killed_worker_changes_no_result_and_is_replaced(open_ray: OpenRayPool) -> None:
    pool = open_ray(Script(seconds=dict.fromkeys(range(60), 0.05)))
    pool.ready(PATIENCE_SECONDS)
    futures = [pool.submit(chunk_of(value, LARGE)) for value in range(60)]
    assert answer(futures[3]) == 4
    victim = pool.workers[0]
    os.kill(victim.pid, signal.SIGKILL)
    assert [answer(future) for future in futures] == list(range(1, 61))
    state = pool.state()
    assert state.deaths == 1
    assert 1 <= state.redispatched <= 2
    wait_for_workers(pool, 2)
    assert victim not in pool.workers
    assert answer(pool.submit(chunk_of(9))) == 10


def test_frames_that_kill_every_worker_fail_and_all_others_do_not(open_ray: OpenRayPool) -> None:
    pool = open_ray(Script(kill=frozenset({5})))
    futures = {value: pool.submit(chunk_of(value)) for value in range(12)}
    with pytest.raises(WorkerLostError, match="3 workers died with the same frames"):
        futures[5].result(PATIENCE_SECONDS)
    assert all(answer(future) == value + 1 for value, future in futures.items() if value != 5)
    assert pool.state().deaths == 3


def test_a_worker_whose_device_breaks_is_replaced_and_no_frames_fail(open_ray: OpenRayPool, tmp_path: Path) -> None:
    broken = DeviceLostError("cuda:0 fails with whatever it is given")
    pool = open_ray(Script(errors={3: broken}, once=tmp_path / "broken"), workers=1)
    pool.ready(PATIENCE_SECONDS)
    before = pool.workers[0]
    futures = [pool.submit(chunk_of(value)) for value in range(8)]
    assert [answer(future) for future in futures] == list(range(1, 9))
    assert (pool.state().deaths, pool.state().replaced) == (1, 1)
    assert pool.state().last_loss == f"DeviceLostError: {broken}"
    assert before not in pool.workers


def test_a_pool_whose_workers_only_die_gives_up_with_the_reason(open_ray: OpenRayPool) -> None:
    pool = open_ray(Script(kill=frozenset(range(10))), workers=1)
    futures = [pool.submit(chunk_of(value)) for value in range(10)]
    for future in futures:
        with pytest.raises(WorkerLostError, match="Worker exit"):
            future.result(PATIENCE_SECONDS)
    with pytest.raises(WorkerLostError, match="no worker is left"):
        pool.submit(chunk_of(0)).result(PATIENCE_SECONDS)
    assert pool.state().deaths == 4
    assert "failed" in repr(pool)


def test_a_worker_that_dies_while_it_starts_is_tried_again_and_then_given_up(open_ray: OpenRayPool) -> None:
    pool = open_ray(killing_build, workers=1)
    with pytest.raises(WorkerStartError, match=r"failed to start.*died"):
        pool.ready(PATIENCE_SECONDS)
    assert pool.state().deaths == 4


def test_a_late_chunk_goes_to_another_worker_and_the_first_result_counts(open_ray: OpenRayPool, tmp_path: Path) -> None:
    patience = Patience(least_seconds=0.5, times_mean=1.0, deadlines_to_kill=1000.0)
    pool = open_ray(Script(seconds={20: 600.0}, once=tmp_path / "slept"), patience=patience)
    pool.ready(PATIENCE_SECONDS)
    assert [answer(pool.submit(chunk_of(value))) for value in range(4)] == [1, 2, 3, 4]
    assert answer(pool.submit(chunk_of(20))) == 21
    assert (pool.state().deaths, pool.state().redispatched) == (0, 1)


def test_a_hanging_worker_is_killed_and_replaced(open_ray: OpenRayPool, tmp_path: Path) -> None:
    patience = Patience(least_seconds=0.5, times_mean=1.0, deadlines_to_kill=2.0)
    pool = open_ray(Script(seconds={20: 600.0}, once=tmp_path / "slept"), workers=1, patience=patience)
    pool.ready(PATIENCE_SECONDS)
    assert answer(pool.submit(chunk_of(0))) == 1
    assert answer(pool.submit(chunk_of(20))) == 21
    assert pool.state().deaths == 1


def test_a_worker_that_hangs_with_its_first_chunk_is_replaced(open_ray: OpenRayPool, tmp_path: Path) -> None:
    patience = Patience(most_seconds=0.3, deadlines_to_kill=2.0)
    pool = open_ray(Script(seconds={20: 600.0}, once=tmp_path / "slept"), workers=1, patience=patience)
    assert answer(pool.submit(chunk_of(20))) == 21
    assert (pool.state().deaths, pool.state().replaced) == (1, 1)
    assert "no progress" in pool.state().last_loss


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_fails_with_everything_is_replaced(open_ray: OpenRayPool, tmp_path: Path, workers: int) -> None:
    patience = Patience(upkeep=Upkeep(failing_seconds=0.2))
    pool = open_ray(OneIll(tmp_path / "taken"), workers=workers, patience=patience)
    pool.ready(PATIENCE_SECONDS)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while pool.state().replaced == 0:
        assert time.monotonic() < deadline, repr(pool)
        errors = [pool.submit(chunk_of(value)).exception(PATIENCE_SECONDS) for value in range(5)]
        assert workers == 1 or errors == [None] * 5, "the other worker can do what this one cannot"
    assert pool.state().deaths == 1
    assert "RuntimeError: CUDA error" in pool.state().last_loss
    assert [answer(pool.submit(chunk_of(value))) for value in range(10)] == list(range(1, 11))


@pytest.mark.parametrize("kill", [False, True])
def test_a_worker_that_cannot_start_is_tried_again_while_the_other_works(
    open_ray: OpenRayPool, tmp_path: Path, kill: bool
) -> None:
    repaired = tmp_path / "repaired"
    patience = Patience(upkeep=Upkeep(rest_seconds=0.2, longest_seconds=0.5))
    pool = open_ray(OneCanStart(tmp_path / "taken", repaired, kill), patience=patience)
    pool.ready(PATIENCE_SECONDS)
    assert answer(pool.submit(chunk_of(1))) == 2
    assert pool.state().workers == 1
    assert "tried again in 0." in pool.state().last_loss
    # Killed before or after Ray has heard that it runs.
    assert ("ActorDiedError" if kill else "OSError: no such device") in pool.state().last_loss
    repaired.touch()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while pool.state().workers != 2:
        assert time.monotonic() < deadline, repr(pool)
        time.sleep(0.02)
    assert (pool.state().starting, pool.state().away, pool.state().replaced) == (0, 0, 1)
    assert not pool.state().lost


def test_where_no_worker_can_start_that_is_told_though_the_pool_is_to_last(open_ray: OpenRayPool) -> None:
    pool = open_ray(FailingBuild(OSError("no such device")), patience=Patience(upkeep=Upkeep()))
    with pytest.raises(WorkerStartError, match=r"failed to start.*no such device"):
        pool.ready(PATIENCE_SECONDS)
    assert pool.state().lost
    assert pool.state().away == 2


@pytest.mark.parametrize(("cpus", "gpus", "said"), [(3, 0, "2 CPUs"), (1, 2, "2 GPUs")])
def test_more_than_there_is_is_refused_at_once(open_ray: OpenRayPool, cpus: float, gpus: float, said: str) -> None:
    pool = open_ray(Script(), cpus=cpus, gpus=gpus)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=f"this machine has .*{said}.*ask for fewer workers"):
        pool.ready(600)
    assert time.monotonic() - began < 30
    with pytest.raises(ConfigError):
        pool.submit(chunk_of(0)).result(PATIENCE_SECONDS)


def test_a_gpu_worker_sees_its_own_gpu_alone(open_ray: OpenRayPool) -> None:
    pool = open_ray(EnvironmentRestorer, cpus=0, gpus=1)
    pool.ready(PATIENCE_SECONDS)
    assert {worker.gpus for worker in pool.workers} == {("0",), ("1",)}
    with pytest.raises(RestoreError) as raised:
        pool.submit(chunk_of(0)).result(PATIENCE_SECONDS)
    assert raised.value.args[0] in ("0", "1")


def test_a_cpu_worker_sees_no_gpu_and_has_its_threads(open_ray: OpenRayPool) -> None:
    pool = open_ray(EnvironmentRestorer, workers=1, cpus=2)
    with pytest.raises(RestoreError) as raised:
        pool.submit(chunk_of(0)).result(PATIENCE_SECONDS)
    assert raised.value.args == ("", "2")
    assert pool.workers[0].gpus == ()


def test_a_build_that_cannot_travel_is_told(open_ray: OpenRayPool) -> None:
    lock = threading.Lock()

    def build() -> ScriptedRestorer:
        with lock:
            return Script()()

    pool = open_ray(build)
    with pytest.raises(TypeError, match="lock"):
        pool.ready(PATIENCE_SECONDS)
