"""How many workers there are to be, and what each asks Ray for. Decides and never acts."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from workers.cluster import Capacity, Node, gpu_share, workers_on

Devices = Literal["auto", "cpu"] | Sequence[int]
"""What workers run on: ``cpu``, or GPUs. Those of a joined cluster are its own, whatever numbers are given here;
``auto`` is for such a cluster, and means its GPUs, or its cores where it has none."""


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

    def room(self, nodes: Sequence[Node]) -> int:
        """How many workers machines have room for, busy or not."""
        return sum(workers_on(node, cpus=self.cpus, gpus=self.gpus) for node in nodes)

    def places(self, gpus: float) -> int:
        """How many workers so many GPUs are worth, if others are to have them: whole ones."""
        # Of shares such as 1/3, only some digits are told.
        return 0 if not self.gpus else round(ceil(gpus - 1e-3) / self.gpus)


def place_workers(
    capacity: Capacity, *, workers: int | None, devices: Devices, threads: int, joined: bool
) -> Placement:
    """Decide.

    Args:
        capacity: Of the cluster as it is now.
        workers: How many are wanted; None for as many as there are devices, now and later.
        devices: What they run on.
        threads: Cores that a worker on a CPU is to have.
        joined: Whether other machines may come. Else what is not there now will never be.

    Raises:
        ConfigError: No machine, or not this one, can hold them.
    """
    if devices == "auto":
        devices = (0,) if any(node.gpus for node in capacity.nodes) else "cpu"
    if devices == "cpu":
        cpus, gpus = float(threads), 0.0
    else:
        # Of a cluster, each worker takes a whole GPU: it has as many as are wanted, or will have.
        cpus, gpus = 0.0, 1.0 if joined or workers is None else gpu_share(workers, len(devices))
    # One at least, so that a cluster that has none now knows what is asked for.
    present = max(1, sum(workers_on(node, cpus=cpus, gpus=gpus) for node in capacity.nodes))
    placement = Placement(present if workers is None else workers, cpus, gpus, grows=joined and workers is None)
    if not joined:
        capacity.check(placement.workers, cpus=cpus, gpus=gpus)
    return placement
