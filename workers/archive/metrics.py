"""What Ray shows of a pool of steps beside its own metrics, at every node's metrics port."""

from workers.archive.contract import Lane, StepPoolState
from workers.quiet_ray import ray_metrics


class StepMetrics:
    """Counts steps, and says how many workers there are; for a process that is connected to Ray."""

    def __init__(self) -> None:
        self._steps = ray_metrics.Counter(
            "streamrestore_archive_steps",
            "Steps by lane, and by how they ended: done, failed, or requeued since their worker was lost.",
            tag_keys=("lane", "outcome"),
        )
        self._workers = ray_metrics.Gauge(
            "streamrestore_archive_workers", "Workers by state: ready, or waiting for a machine.", tag_keys=("state",)
        )
        self._queued = ray_metrics.Gauge("streamrestore_archive_queued_steps", "Steps that wait for a worker.")

    def count(self, lane: Lane, outcome: str) -> None:
        """A step has ended, or waits again."""
        self._steps.inc(1, {"lane": lane, "outcome": outcome})

    def show(self, state: StepPoolState) -> None:
        """Where the pool stands."""
        self._workers.set(state.workers, {"state": "ready"})
        self._workers.set(state.waiting, {"state": "waiting"})
        self._queued.set(state.queued)
