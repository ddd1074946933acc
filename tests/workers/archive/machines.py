"""Stories of a cluster whose machines come, die and freeze; each in a process of its own, as it needs a Ray of its own.

Machines are Ray's own processes on this one. All of them are ended by their process id.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

# So that a machine is missed after seconds; Ray reads this when its head starts.
os.environ |= {f"RAY_health_check_{name}": "1000" for name in ("initial_delay_ms", "period_ms", "timeout_ms")}
os.environ |= {"RAY_health_check_failure_threshold": "3", "RAY_AUTH_MODE": "disabled"}

import tests
from tests.workers.archive.fakes import Build, Marked, Share, Sleep
from workers.archive import Alike, StepPool, list_devices, open_step_pool
from workers.archive.claims import Claim
from workers.archive.watch import CLAIMS_SECONDS
from workers.quiet_ray import ray

PATIENCE_SECONDS = 100.0
STORE_BYTES = 100 << 20


def wait_until(pool: StepPool, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, repr(pool)
        time.sleep(0.05)


@contextmanager
def machines() -> Iterator["ray.cluster_utils.Cluster"]:
    """A head that does no work, and whatever is added."""
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(tests)  # type: ignore[no-untyped-call] # Ray's, without types
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call] # Ray's, without types


def come_and_die(folder: Path) -> None:
    """More workers are wanted than there is room for; a machine comes, dies with its steps, and another one comes."""
    with machines() as cluster:
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        pool = open_step_pool(Build(), workers=3, address=cluster.address)
        first = pool.first_ready(PATIENCE_SECONDS)
        assert pool.submit(Sleep(value=7), "restore").result(PATIENCE_SECONDS) == (7, first.pid)
        assert (pool.state().workers, pool.state().wanted, pool.state().waiting) == (1, 3, 2), repr(pool)

        second = cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
        wait_until(pool, lambda: pool.state().workers == 3)
        assert (pool.state().nodes, pool.state().waiting) == (2, 0), repr(pool)

        end, begun = folder / "end", [folder / str(number) for number in range(9)]
        futures = [pool.submit(Marked(path, end), "restore") for path in begun[:6]]
        futures += [pool.submit(Marked(path, end), "side") for path in begun[6:]]
        wait_until(pool, lambda: all(path.exists() for path in begun))
        cluster.remove_node(second, allow_graceful=False)
        wait_until(pool, lambda: pool.state().nodes == 1)
        end.touch()
        assert {future.result(PATIENCE_SECONDS) for future in futures} == {first.pid}
        state = pool.state()
        assert (state.deaths, state.redispatched, state.workers, state.waiting) == (2, 6, 1, 2), repr(pool)

        cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
        wait_until(pool, lambda: pool.state().workers == 3)
        pool.close()


def grow_and_freeze(folder: Path) -> None:
    """As many workers as there are cores, also of a machine that comes later; then that freezes."""
    with machines() as cluster:
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        pool = open_step_pool(Build(), workers=None, address=cluster.address)
        first = pool.first_ready(PATIENCE_SECONDS)
        assert pool.state().wanted == 1, repr(pool)

        second = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        wait_until(pool, lambda: pool.state().workers == 2)
        (late,) = set(pool.workers()) - {first}

        end, begun = folder / "end", [folder / str(number) for number in range(4)]
        futures = [pool.submit(Marked(path, end), "restore") for path in begun]
        wait_until(pool, lambda: all(path.exists() for path in begun))
        frozen = [late.pid, *(info.process.pid for infos in second.all_processes.values() for info in infos)]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        wait_until(pool, lambda: pool.state().nodes == 1)
        end.touch()
        assert {future.result(PATIENCE_SECONDS) for future in futures} == {first.pid}
        assert (pool.state().workers, pool.state().waiting) == (1, 1), repr(pool)
        pool.close()
        for pid in frozen:
            os.kill(pid, signal.SIGKILL)


def drain(folder: Path) -> None:
    """A machine is told to go: it ends the steps it has, gets no others, and goes; nothing is done twice."""
    with machines() as cluster:
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        pool = open_step_pool(Build(), workers=2, address=cluster.address)
        first = pool.first_ready(PATIENCE_SECONDS)
        second = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        wait_until(pool, lambda: pool.state().workers == 2)
        (other,) = set(pool.workers()) - {first}

        end, begun = folder / "end", [folder / str(number) for number in range(4)]
        futures = [pool.submit(Marked(path, end), "restore") for path in begun]
        wait_until(pool, lambda: all(path.exists() for path in begun))
        command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", cluster.address]
        command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "it is wanted back"]
        subprocess.run([*command, "--node-id", second.node_id], check=True)
        time.sleep(3 * CLAIMS_SECONDS)  # until the pool has seen it, which nothing tells
        late = [pool.submit(Sleep(), "restore") for _ in range(4)]
        end.touch()
        assert Counter(future.result(PATIENCE_SECONDS) for future in futures) == {first.pid: 2, other.pid: 2}
        assert {future.result(PATIENCE_SECONDS)[1] for future in late} == {first.pid}
        wait_until(pool, lambda: pool.state().waiting == 1)
        state = pool.state()
        assert (state.deaths, state.redispatched, state.nodes) == (0, 0, 1), repr(pool)
        wait_until(pool, lambda: not second.any_processes_alive() or "raylet" in dict(second.dead_processes()))

        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        wait_until(pool, lambda: pool.state().workers == 2)
        pool.close()


def wait_for_gpus(folder: Path) -> None:
    """GPUs are asked for where there are none; two workers share each that comes, and a claim is left a whole one."""
    with machines() as cluster:
        cluster.add_node(num_cpus=4, object_store_memory=STORE_BYTES)
        pool = open_step_pool(Build(), workers_per_gpu=2, devices="gpu", address=cluster.address)
        wait_until(pool, lambda: pool.state().waiting == 1)
        wait_until(pool, lambda: {"GPU": 0.5} in demands(cluster.address))

        for count in (1, 2):
            cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE_BYTES)
            wait_until(pool, lambda count=count: pool.state().workers == 2 * count)  # type: ignore[misc] # it has one
        assert pool.state().nodes == 2, repr(pool)
        assert [pool.submit(Share(), "restore").result(PATIENCE_SECONDS) for _ in range(4)] == [0.5] * 4

        claim = Claim("live", 1, 1.0)
        wait_until(pool, lambda: ray.available_resources().get("GPU") == 1.0)  # type: ignore[no-untyped-call] # Ray's
        wait_until(pool, lambda: pool.state().workers == 2)
        assert pool.state().nodes == 1, repr(pool)
        claim.close()
        wait_until(pool, lambda: pool.state().workers == 4)
        pool.close()


def demands(address: str) -> list[dict[str, float]]:
    """What an autoscaler is told that no machine has room for."""
    from ray.autoscaler.v2.sdk import get_cluster_status

    wanted = get_cluster_status(address).resource_demands.ray_task_actor_demand
    return [each.bundle for demand in wanted for each in demand.bundles_by_count]


def keep_to_cores(folder: Path) -> None:
    """A cluster that has no GPU yet is taken for one of cores, and says so; also when a GPU has come."""
    with machines() as cluster:
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        pool = open_step_pool(Build(), devices="auto", address=cluster.address)
        assert pool.first_ready(PATIENCE_SECONDS).gpus == ()
        assert "has no GPU" in pool.state().advice
        cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE_BYTES)
        wait_until(pool, lambda: pool.state().workers == 2)
        wait_until(pool, lambda: "has GPUs now" in pool.state().advice)
        assert {worker.gpus for worker in pool.workers()} == {()}
        pool.close()


def name_a_kind(folder: Path) -> None:
    """A cluster has GPUs of two kinds, and each may be asked for by its name."""
    with machines() as cluster:
        for kind, count in (("H200", 2), ("A10G", 1)):
            resources = {f"accelerator_type:{kind}": 1}
            cluster.add_node(num_cpus=1, num_gpus=count, resources=resources, object_store_memory=STORE_BYTES)
        assert list_devices(cluster.address, "gpu", 1) == (Alike("H200", 2, 1), Alike("A10G", 1, 1))
        nodes = set[str]()
        for kind in ("H200", "A10G"):
            pool = open_step_pool(Build(), workers=1, devices="gpu", address=cluster.address, accelerator=kind)
            nodes.add(pool.first_ready(PATIENCE_SECONDS).node)
            pool.close()
        assert len(nodes) == 2


STORIES = {
    "kinds": name_a_kind,
    "die": come_and_die,
    "drain": drain,
    "freeze": grow_and_freeze,
    "gpus": wait_for_gpus,
    "cores": keep_to_cores,
}


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        STORIES[sys.argv[1]](Path(temporary))
