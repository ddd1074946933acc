"""A thread that looks at the cluster: which machines there are, which of them are to go, and what is claimed.

It may hang with the cluster's head; the pool's own thread must not.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from workers.archive.claims import claimed_gpus
from workers.cluster import Node, nodes_among
from workers.quiet_ray import ray, ray_errors

CLAIMS_SECONDS = 1.0
"""How often claims are looked for."""

LOOKS_PER_NODES = 5
"""Machines come and go less often; a list of a thousand takes a while."""

STOP_SECONDS = 5.0
"""How long stopping waits for an answer of the cluster's head."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A cluster at one moment."""

    nodes: tuple[Node, ...]
    """That stay."""
    leaving: frozenset[str]
    """Ray's ids of machines that drain: their owner is about to take them away, and Ray starts nothing there."""
    claimed_gpus: float


class ClusterWatch:
    """Tells every second what there is."""

    def __init__(self, tell: Callable[[Sight], None]) -> None:
        """Start to look.

        Args:
            tell: Called in the thread that looks.
        """
        self._tell = tell
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more, before Ray is left: one that is asked when it is not there any more starts a new one."""
        self._stopped.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        looks, nodes, leaving = 0, tuple[Node, ...](), frozenset[str]()
        while not self._stopped.wait(CLAIMS_SECONDS):
            try:
                claimed = claimed_gpus(ray.util.list_named_actors(all_namespaces=True))
                # There is no public way to ask; Ray's own Serve asks in this one.
                left, leaving = leaving, frozenset(ray._private.state.state.get_draining_nodes())
                if looks % LOOKS_PER_NODES == 0 or left != leaving:
                    nodes = nodes_among(ray.nodes(), leaving)  # type: ignore[no-untyped-call] # Ray's, without types
            except ray_errors.RayError:
                continue  # its head is not to be reached at this moment
            looks += 1
            self._tell(Sight(nodes, leaving, claimed))
