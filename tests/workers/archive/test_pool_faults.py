"""Workers that die, hang, never start or are claimed by others: real processes, really killed."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamrestore.errors import ConfigError, WorkerLostError, WorkerStartError
from tests.workers.archive.conftest import OpenRayStepPool
from tests.workers.archive.fakes import (
    Break,
    Build,
    Compute,
    Context,
    Frail,
    HangOnce,
    Kill,
    Kind,
    KindsByTurn,
    Look,
    Marked,
    OneUnseeing,
    Sleep,
)
from workers.archive.claims import Claim
from workers.archive.patience import StepPatience
from workers.archive.pool import RayStepPool

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

PATIENCE_SECONDS = 120.0
"""For what is expected to happen; a busy machine takes its time."""


def wait_until(pool: RayStepPool, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, repr(pool)
        time.sleep(0.05)


def test_a_killed_worker_changes_no_result_and_is_replaced(open_ray: OpenRayStepPool) -> None:
    pool = open_ray(Build())
    wait_until(pool, lambda: pool.state().workers == 2)
    futures = [pool.submit(Sleep(0.1, value), "restore") for value in range(40)]
    futures[3].result(PATIENCE_SECONDS)
    victim = pool.workers()[0]
    os.kill(victim.pid, signal.SIGKILL)
    assert [future.result(PATIENCE_SECONDS)[0] for future in futures] == list(range(40))
    state = pool.state()
    assert (state.deaths, state.lost) == (1, False)
    assert 1 <= state.redispatched <= 2
    wait_until(pool, lambda: pool.state().workers == 2)
    assert victim not in pool.workers()


def test_a_step_that_kills_every_worker_fails_and_all_others_do_not(open_ray: OpenRayStepPool) -> None:
    pool = open_ray(Build(), workers=1)
    futures = {value: pool.submit(Sleep(0.05, value), "restore") for value in range(4)}
    poison = pool.submit(Kill(), "restore")
    futures |= {value: pool.submit(Sleep(0.05, value), "restore") for value in range(4, 8)}
    side = pool.submit(Sleep(1.0), "side")
    with pytest.raises(WorkerLostError, match=r"3 workers died with the same step.*ActorDiedError"):
        poison.result(PATIENCE_SECONDS)
    assert all(future.result(PATIENCE_SECONDS)[0] == value for value, future in futures.items())
    assert side.result(PATIENCE_SECONDS)
    assert pool.state().deaths == 3
    assert not pool.state().lost


def test_a_worker_whose_device_breaks_fails_no_step_and_is_replaced(open_ray: OpenRayStepPool, tmp_path: Path) -> None:
    pool = open_ray(Frail(tmp_path), workers=1)
    before = pool.first_ready(PATIENCE_SECONDS)
    futures = [pool.submit(Compute(value), "restore") for value in range(3)]
    breaking = pool.submit(Break(tmp_path / "first"), "restore")
    futures += [pool.submit(Compute(value), "restore") for value in range(3, 6)]
    assert [future.result(PATIENCE_SECONDS) for future in futures] == list(range(6))
    assert breaking.result(PATIENCE_SECONDS) == "whole"
    assert pool.state().deaths == 1
    assert pool.state().last_loss.startswith("DeviceLostError: the device fails")
    assert [worker.pid == before.pid for worker in pool.workers()] == [False]


def test_a_step_that_breaks_every_device_fails_and_all_others_do_not(open_ray: OpenRayStepPool, tmp_path: Path) -> None:
    pool = open_ray(Frail(tmp_path), workers=1)
    futures = [pool.submit(Compute(value), "restore") for value in range(2)]
    poison = pool.submit(Break(), "restore")
    futures += [pool.submit(Compute(value), "restore") for value in range(2, 4)]
    with pytest.raises(WorkerLostError, match=r"3 workers died with the same step, the last by DeviceLostError"):
        poison.result(PATIENCE_SECONDS)
    assert [future.result(PATIENCE_SECONDS) for future in futures] == list(range(4))
    assert pool.state().deaths == 3


def test_where_the_only_device_stays_broken_every_step_is_told_so(open_ray: OpenRayStepPool, tmp_path: Path) -> None:
    pool = open_ray(Frail(tmp_path, for_good=True), workers=1)
    assert pool.submit(Compute(3), "restore").result(PATIENCE_SECONDS) == 3
    for future in [pool.submit(Break(), "restore") for _ in range(4)]:
        with pytest.raises(WorkerLostError, match="no worker is left, the last one was lost by DeviceLostError"):
            future.result(PATIENCE_SECONDS)
    assert (pool.state().lost, pool.state().deaths) == (True, 2)


def test_a_machine_that_lacks_what_steps_need_fails_none_of_them(open_ray: OpenRayStepPool, tmp_path: Path) -> None:
    pool = open_ray(OneUnseeing(tmp_path / "taken"))
    wait_until(pool, lambda: pool.state().workers == 2)
    futures = [pool.submit(Look(value), "restore") for value in range(20)]
    assert [future.result(PATIENCE_SECONDS) for future in futures] == list(range(20))
    assert pool.state().deaths == 1
    assert pool.state().last_loss == "MachineError: on this machine, /footage is gone or empty"


def test_a_step_that_hangs_costs_its_worker_and_runs_again(open_ray: OpenRayStepPool, tmp_path: Path) -> None:
    pool = open_ray(Build(), workers=1, patience=StepPatience(least_seconds=1.0))
    worker = pool.first_ready(PATIENCE_SECONDS)
    beside = pool.submit(Sleep(600), "restore")
    hanging = pool.submit(HangOnce(tmp_path / "begun"), "restore", seconds=0.1)
    assert hanging.result(PATIENCE_SECONDS) != worker.pid
    assert pool.state().deaths == 1
    wait_until(pool, beside.running)


def test_a_step_that_takes_long_runs_a_second_time_and_the_first_answer_counts(
    open_ray: OpenRayStepPool, tmp_path: Path
) -> None:
    pool = open_ray(Build(), patience=StepPatience(twice_seconds=0.5))
    wait_until(pool, lambda: pool.state().workers == 2)
    pool.submit(Sleep(), "restore").result(PATIENCE_SECONDS)
    assert pool.submit(HangOnce(tmp_path / "begun"), "restore").result(PATIENCE_SECONDS)
    assert (pool.state().deaths, pool.state().redispatched) == (0, 1)


def test_a_worker_that_dies_while_it_builds_is_tried_again_and_then_given_up(open_ray: OpenRayStepPool) -> None:
    pool = open_ray(killing_build, workers=1)
    with pytest.raises(WorkerStartError, match=r"no worker could be started.*died"):
        pool.first_ready(PATIENCE_SECONDS)
    assert pool.state().deaths == 4


def killing_build() -> Context:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives that")


def test_steps_stay_on_workers_of_their_kind(open_ray: OpenRayStepPool, tmp_path: Path) -> None:
    pool = open_ray(KindsByTurn(tmp_path / "taken"))
    wait_until(pool, lambda: pool.state().workers == 2)
    assert {worker.kind for worker in pool.workers()} == {"first", "other"}
    futures = [pool.submit(Kind(), "restore", kind=kind) for kind in ("first", "other", "first", "first")]
    assert [future.result(PATIENCE_SECONDS)[0] for future in futures] == ["first", "other", "first", "first"]


def test_steps_of_a_kind_that_does_not_come_back_fail_with_the_reason(open_ray: OpenRayStepPool) -> None:
    pool = open_ray(Build(), patience=StepPatience(kind_seconds=1.0))
    future = pool.submit(Kind(), "restore", kind="gone")
    with pytest.raises(WorkerLostError, match="no worker of its kind is left"):
        future.result(PATIENCE_SECONDS)
    assert pool.submit(Kind(), "restore").result(PATIENCE_SECONDS)


def test_a_worker_on_a_gpu_sees_that_alone_and_there_are_as_many_as_devices(open_ray: OpenRayStepPool) -> None:
    pool = open_ray(Build(), workers=None, devices=(0, 1))
    wait_until(pool, lambda: pool.state().workers == 2)
    assert {worker.gpus for worker in pool.workers()} == {("0",), ("1",)}
    assert pool.submit(Kind(), "restore").result(PATIENCE_SECONDS)[1] in ("0", "1")


def test_more_than_this_machine_has_is_refused_at_once(open_ray: OpenRayStepPool) -> None:
    pool = open_ray(Build(), workers=3)
    with pytest.raises(ConfigError, match=r"this machine has .*room for 2: ask for fewer workers"):
        pool.first_ready(PATIENCE_SECONDS)
    with pytest.raises(ConfigError):
        pool.submit(Sleep(), "side").result(PATIENCE_SECONDS)


def test_a_claim_gets_a_device_at_the_end_of_a_step_and_gives_it_back(
    open_ray: OpenRayStepPool, tmp_path: Path
) -> None:
    pool = open_ray(Build(), workers=2, devices=(0, 1))
    wait_until(pool, lambda: pool.state().workers == 2)
    end = tmp_path / "end"
    begun = [tmp_path / f"begun-{number}" for number in range(4)]
    futures = [pool.submit(Marked(path, end), "restore") for path in begun]
    wait_until(pool, lambda: all(path.exists() for path in begun))
    claim = Claim("live", 1, 1.0)
    futures += [pool.submit(Sleep(0.1), "restore") for _ in range(10)]
    time.sleep(3)
    assert pool.state().workers == 2, "a step is not interrupted"
    end.touch()
    for future in futures:
        future.result(PATIENCE_SECONDS)
    wait_until(pool, lambda: pool.state().workers == 1)
    time.sleep(3)
    state = pool.state()
    assert (state.workers, state.waiting, state.deaths) == (1, 0, 0), "nobody waits for the device that is claimed"
    assert pool.submit(Sleep(), "restore").result(PATIENCE_SECONDS)
    claim.close()
    wait_until(pool, lambda: pool.state().workers == 2)
