"""How many workers there are to be, and what each asks Ray for. Decides and never acts."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from workers.archive.contract import Alike, ClusterDevices
from workers.cluster import Capacity, Node, gpu_share, workers_on

Devices = ClusterDevices | Sequence[int]
"""What workers run on; GPUs of this machine have numbers."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The decision."""

    workers: int
    """How many there are to be at first."""
    cpus: float
    """CPUs each one asks for."""
    gpus: float
    """GPUs, or the share of one, each one asks for."""
    grows: bool
    """Whether there are to be more where machines join later."""
    chosen: bool = False
    """Whether it was left to us to choose between GPUs and cores."""

    @property
    def sharing(self) -> int:
        """How many workers a device holds."""
        return round(1 / self.gpus) if self.gpus else 1

    def room(self, nodes: Sequence[Node]) -> int:
        """How many workers machines have room for, busy or not."""
        return sum(workers_on(node, cpus=self.cpus, gpus=self.gpus) for node in nodes)

    def places(self, gpus: float) -> int:
        """How many workers so many GPUs are worth, if others are to have them: whole ones."""
        # Of shares such as 1/3, only some digits are told.
        return ceil(gpus - 1e-3) * self.sharing if self.gpus else 0

    def advice(self, nodes: Iterable[Node]) -> str:
        """What to tell a user who left the choice to us, with the machines that there are now; else nothing."""
        if not self.chosen:
            return ""
        if self.gpus:
            return "the cluster's GPUs restore; with --devices cpu, its cores would"
        if any(node.gpus for node in nodes):
            return (
                "the cluster has GPUs now, but had none when this began, and goes on with its cores, since GPUs make "
                "other bytes: to use them, stop this, and give the same command again with --devices gpu"
            )
        return (
            "the cluster has no GPU, so its cores restore, to the end; with --devices gpu, workers wait for GPUs, "
            "and an autoscaler sees what is missing"
        )


def place_workers(
    capacity: Capacity,
    *,
    workers: int | None,
    workers_per_gpu: int | None = None,
    devices: Devices,
    threads: int,
    joined: bool,
) -> Placement:
    """Decide.

    Args:
        capacity: Of the cluster as it is now.
        workers: How many are wanted; None for as many as devices have room for, now and later.
        workers_per_gpu: How many share a GPU; None for one, or where no other machines may come, as many as it takes to
            have room for ``workers``.
        devices: What they run on.
        threads: Cores that a worker on a CPU is to have.
        joined: Whether other machines may come. Else what is not there now will never be.

    Raises:
        ConfigError: No machine, or not this one, can hold them.
    """
    chosen, gpus_here = devices == "auto", sum(int(node.gpus) for node in capacity.nodes)
    if devices == "cpu" or (chosen and not gpus_here):
        cpus, gpus = float(threads), 0.0
    elif workers_per_gpu is not None:
        cpus, gpus = 0.0, 1 / workers_per_gpu
    else:
        # A cluster has as many whole GPUs as are wanted, or will have.
        cpus, gpus = 0.0, 1.0 if joined or workers is None else gpu_share(workers, gpus_here)
    # One at least, so that a cluster that has none now knows what is asked for.
    present = max(1, sum(workers_on(node, cpus=cpus, gpus=gpus) for node in capacity.nodes))
    wanted = present if workers is None else workers
    placement = Placement(wanted, cpus, gpus, grows=joined and workers is None, chosen=chosen)
    if not joined:
        capacity.check(placement.workers, cpus=cpus, gpus=gpus)
    return placement


def group_devices(nodes: Sequence[Node], devices: Devices, threads: int) -> tuple[Alike, ...]:
    """Which devices a run would have on machines as they are now, those that are most first.

    Args:
        nodes: The machines.
        devices: As of `place_workers`.
        threads: As of `place_workers`.
    """
    with_gpus = [node for node in nodes if int(node.gpus)]
    if devices == "cpu" or (devices == "auto" and not with_gpus):
        counts = [count for node in nodes if (count := workers_on(node, cpus=threads, gpus=0.0))]
        return (Alike("", sum(counts), len(counts)),) if counts else ()
    gpus, machines = Counter[str](), Counter(node.accelerator for node in with_gpus)
    for node in with_gpus:
        gpus[node.accelerator] += int(node.gpus)
    return tuple(Alike(name, count, machines[name]) for name, count in gpus.most_common())
