"""Stories of an archive on a cluster on which things die; each in a process of its own, as it needs a Ray of its own.

Machines are Ray's own processes on this one, and all that is killed is killed by its process id. After each story the
results are what an undisturbed run makes, and nothing is left over.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

# So that a machine is missed after seconds; Ray reads this when its head starts.
os.environ |= {f"RAY_health_check_{name}": "1000" for name in ("initial_delay_ms", "period_ms", "timeout_ms")}
os.environ |= {"RAY_health_check_failure_threshold": "3", "RAY_AUTH_MODE": "disabled"}

import fsspec

import tests
from pipelines.archive.context import ArchiveContext
from pipelines.archive.items import ArchiveItem
from pipelines.archive.listing import list_items
from pipelines.archive.progress import ArchiveProgress
from pipelines.archive.request import ArchiveRequest
from pipelines.exit_codes import ExitCode
from pipelines.pools import PoolOptions
from streamrestore.checkpoint import write_safetensors
from streamrestore.devices import CPU_THREADS
from streamrestore.frame import Chunk, Restored
from tests.networks import OffsetRestorer, tiny_model
from tests.pipelines.archive.runs import (
    Said,
    check_whole,
    contents,
    items_of,
    make_long_source,
    make_source,
    offset_pool,
    request_for,
    run,
)
from tests.pipelines.driver import Driver
from tests.s3 import s3_server
from workers import RestorerPool, open_pool
from workers.archive import StepPool, open_step_pool
from workers.quiet_ray import ray

PATIENCE_SECONDS = 150.0
STORE_BYTES = 100 << 20

CLIPS = ("a.mkv", "deep/b.mp4", "deep/c.mkv", "d.mp4")


@dataclass(frozen=True)
class Sleepy:
    """Takes its time over every chunk; a segment is one."""

    seconds: float

    def restore(self, chunk: Chunk) -> Restored:
        time.sleep(self.seconds)
        return OffsetRestorer(3).restore(chunk)


def sleepy_pool(options: PoolOptions) -> RestorerPool:
    return open_pool(partial(Sleepy, 0.3), workers=0)


@contextmanager
def machines(count: int, cpus: int = 1) -> Iterator[tuple["ray.cluster_utils.Cluster", list[Any]]]:
    """A head that does no work, and some machines of one worker each."""
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(tests)  # type: ignore[no-untyped-call] # Ray's, without types
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster, [add_machine(cluster, cpus) for _ in range(count)]
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call] # Ray's, without types


def add_machine(cluster: "ray.cluster_utils.Cluster", cpus: int = 1) -> Any:  # noqa: ANN401 - Ray's
    return cluster.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES)


def processes_of(machine: Any, pool: StepPool) -> list[int]:  # noqa: ANN401 - Ray's
    """Ray's own processes on a machine, and our workers there."""
    own = [info.process.pid for infos in machine.all_processes.values() for info in infos]
    return own + [worker.pid for worker in pool.workers() if worker.node == machine.node_id]


def kill(pids: list[int], number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@dataclass
class Archive:
    """Clips, and what is to be made of them."""

    items: list[ArchiveItem]
    expected: dict[str, str]
    folder: Path
    address: str

    def run(self, name: str, disturb: Callable[[StepPool, ArchiveProgress], None]) -> None:
        """Restore all clips on the cluster; ``disturb`` is called all the while."""
        target = self.folder / name
        request, began = request_for(target), time.monotonic()
        build = partial(ArchiveContext, request, "cpu", sleepy_pool)
        pool = open_step_pool(build, workers=None, address=self.address)

        def look(progress: ArchiveProgress) -> None:
            assert time.monotonic() - began < PATIENCE_SECONDS, f"{progress.words()}: {pool!r}"
            disturb(pool, progress)

        said = Said(on_update=look)
        try:
            assert run(self.items, request, pool, said=said) is ExitCode.DONE, said.failures
        finally:
            pool.close()
        assert contents(target) == self.expected
        check_whole(target, self.items)
        progress = said.progress
        assert progress.segments == progress.segments_done > 0, progress


@dataclass(frozen=True)
class BuildFar:
    """Builds the context of a machine that shares no disk with others, and copies nothing that it need not."""

    request: ArchiveRequest
    scratch: Path

    def __call__(self) -> ArchiveContext:
        from streamrestore import reading_apart

        reading_apart.LEAST_BYTES = 1 << 20
        scratch = self.scratch / ray.get_runtime_context().get_node_id()
        return ArchiveContext(replace(self.request, scratch=scratch), "cpu", offset_pool)


def from_a_bucket(folder: Path) -> None:
    """Two machines restore long clips of a bucket; each is copied by one of them, and the other one reads parts."""
    source = make_long_source(folder / "in")
    assert run(items_of(source), request_for(folder / "undisturbed")) is ExitCode.DONE
    with s3_server() as server, machines(2) as (cluster, _):
        bucket, target = server.bucket(), folder / "out"
        fsspec.filesystem("s3").put(f"{source}/", f"{bucket}/in/", recursive=True)
        items = list(list_items(f"{bucket}/in", str(target)).items)
        request, before = request_for(target), server.sent_bytes
        pool = open_step_pool(BuildFar(request, folder / "scratch"), workers=2, address=cluster.address)
        said, began = Said(), time.monotonic()
        try:
            while pool.state().nodes < 2:
                assert time.monotonic() - began < PATIENCE_SECONDS, repr(pool)
                time.sleep(0.1)
            assert run(items, request, pool, said=said) is ExitCode.DONE, said.failures
        finally:
            pool.close()
        copied = [path.stat().st_size for path in (folder / "scratch").glob("*/sources/*/file/*")]
        read = server.sent_bytes - before - sum(copied)
    assert contents(target) == contents(folder / "undisturbed")
    check_whole(target, items)
    assert said.progress.segments_done == said.progress.segments > 30
    # One more for each clip that is joined by the machine that did not plan it, for having nothing else to do.
    assert len(items) <= len(copied) < 2 * len(items), copied
    assert read > 1 << 20, "nothing was read in parts"


def make_archive(folder: Path, address: str) -> Archive:
    source = make_source(folder / "in", CLIPS)
    items, undisturbed = items_of(source), folder / "undisturbed"
    assert run(items, request_for(undisturbed)) is ExitCode.DONE
    check_whole(undisturbed, items)
    return Archive(items, contents(undisturbed), folder, address)


def two_machines(folder: Path) -> None:
    """Workers are killed at random."""
    with machines(2) as (cluster, _):
        archive, chance, kills = make_archive(folder, cluster.address), random.Random(7), [0]

        def kill_some(pool: StepPool, progress: ArchiveProgress) -> None:
            workers = pool.workers()
            if progress.segments_done >= 5 * (kills[0] + 1) and kills[0] < 4 and workers:
                kills[0] += 1
                kill([chance.choice(workers).pid])

        archive.run("workers are killed", kill_some)
        assert kills[0] == 4


def three_machines(folder: Path) -> None:
    """A machine dies, another one comes, and a third one freezes and thaws."""
    with machines(3) as (cluster, nodes):
        archive, done = make_archive(folder, cluster.address), list[str]()
        frozen, frozen_at = list[int](), [0.0]

        def come_and_go(pool: StepPool, progress: ArchiveProgress) -> None:
            if not done and progress.segments_done >= 3 and len(pool.workers()) == 3:
                done.append("killed")
                kill(processes_of(nodes[0], pool))
            elif done == ["killed"] and progress.segments_done >= 6:
                done.append("added")
                add_machine(cluster)
            elif done == ["killed", "added"] and progress.segments_done >= 9:
                done.append("frozen")
                frozen.extend(processes_of(nodes[1], pool))
                frozen_at[0] = time.monotonic()
                kill(frozen, signal.SIGSTOP)
            elif len(done) == 3 and pool.state().nodes <= 2 and time.monotonic() - frozen_at[0] > 1:
                done.append("noticed")
            elif len(done) == 4 and progress.done >= 2:
                done.append("thawed")
                kill(frozen, signal.SIGCONT)

        try:
            archive.run("machines die, come and freeze", come_and_go)
        finally:
            kill(frozen)
        assert done[:4] == ["killed", "added", "frozen", "noticed"], done


def everything(folder: Path) -> None:
    """The command itself is killed again and again, and at last all machines with it."""
    weights = folder / "tiny.safetensors"
    write_safetensors(tiny_model(scale=0.5, crop=96), weights)
    source = make_source(folder / "in", CLIPS[:3])
    items, target = items_of(source), folder / "out"
    command: list[str | Path] = ["archive", "run", source, target, "-t", "derain", "--weights", weights]
    command += ["--stages", "1", "--devices", "cpu", "--preset", "ultrafast", "--progress", "plain"]
    undisturbed = folder / "undisturbed"

    def has_ended(least: int) -> bool:
        """Whether there are so many segments, also of clips that are done."""
        state = target / ".streamrestore"
        done = len(list((state / "done").glob("*.json")))
        return 6 * done + len(list((state / "work").rglob("*.segment.json"))) >= least

    with Driver(folder / "log") as driver:
        done = driver.run(*[undisturbed if word is target else word for word in command], "--workers", "0")
        assert done.code == 0, done.said
        with machines(2, CPU_THREADS) as (cluster, nodes):
            for least in (2, 7):
                has_come_so_far = partial(has_ended, least)
                going = driver.start(*command, "--address", cluster.address)
                going.await_that(has_come_so_far)
                going.send(signal.SIGKILL)
                assert going.wait().code == -signal.SIGKILL
            going = driver.start(*command, "--address", cluster.address)
            going.await_that(partial(has_ended, 12))
            for node in nodes:
                kill([info.process.pid for infos in node.all_processes.values() for info in infos])
            going.send(signal.SIGKILL)
            assert going.wait().code == -signal.SIGKILL
        assert not (target / ".streamrestore" / "failed").exists()
        with machines(1, CPU_THREADS) as (cluster, _):
            done = driver.run(*command, "--address", cluster.address)
        assert done.code == 0, done.said
    assert contents(target) == contents(undisturbed)
    check_whole(target, items)


if __name__ == "__main__":
    stories = {"two": two_machines, "three": three_machines, "everything": everything, "far": from_a_bucket}
    stories[sys.argv[1]](Path(sys.argv[2]))
