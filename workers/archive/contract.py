"""What every pool of steps offers, whatever it runs on."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Lane = Literal["restore", "side"]
"""What a step mostly uses: ``restore`` is for the device, ``side`` for everything else a worker does beside it."""

LANES: dict[Lane, int] = {"restore": 2, "side": 1}
"""Steps of each lane that a worker runs at once. Of two that restore, one computes while the other opens its source
or closes its output; they share one model, so more would only wait for each other."""

ClusterDevices = Literal["auto", "cpu", "gpu"]
"""What workers run on of a cluster: ``gpu`` is its GPUs, also if it has none yet, ``cpu`` its cores, and ``auto`` its
GPUs, or its cores if it has no GPU when it is joined."""


class StepContext(Protocol):
    """What a worker holds for all its steps; made once in each, and used by several threads at once."""

    @property
    def kind(self) -> str:
        """What the bytes of a result depend on of this worker, as one name."""
        ...

    def check(self) -> None:
        """Look whether steps can be run here at all, after one has failed.

        Raises:
            DeviceLostError: The device does not work, and only a new process may help.
            MachineError: The machine lacks what every step needs.
        """
        ...


BuildContext = Callable[[], StepContext]
"""Builds the context inside the worker that will use it; picklable for workers in other processes."""

Step = Callable[[Any], Any]
"""Called with the context of the worker that runs it; picklable, as is what it returns. It may be run again, and twice
at once, so all that remains of it must be the same then."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Where a worker runs."""

    pid: int
    host: str
    node: str
    """Ray's id of the machine; empty without Ray."""
    gpus: tuple[str, ...]
    """Ids of the GPUs it was given, as CUDA counts them on that host; none on a CPU."""
    kind: str
    """Of its context."""


@dataclass(frozen=True, slots=True)
class Alike:
    """Devices of a cluster that are alike."""

    accelerator: str
    """What GPUs are, as Ray says it, such as ``H200``; empty where it does not, and for cores."""
    count: int
    """GPUs, or workers that there are cores for."""
    machines: int


@dataclass(frozen=True, slots=True)
class StepPoolState:
    """A pool at one moment, for progress lines and tests."""

    workers: int
    """Ready to run steps, or running some."""
    wanted: int
    """Workers there would be if there were room for all."""
    waiting: int
    """Workers that no machine has had room for yet."""
    busy: int
    """Steps that are being run."""
    queued: int
    """Steps that wait for a worker."""
    deaths: int
    """Workers lost so far."""
    redispatched: int
    """Steps given to another worker so far, because theirs was lost or took too long."""
    nodes: int
    """Machines with a worker that is ready."""
    lost: bool
    """Whether no worker is left and none will come: every step fails."""
    last_loss: str = ""
    """Why the last worker was lost."""
    advice: str = ""
    """What the pool chose to run on, and how to have it otherwise, where the choice was left to it."""


class StepPool(Protocol):
    """Runs steps on one or more workers. Thread-safe.

    Steps of a lane are begun in the order in which they were submitted, as far as workers of their kind are free, and
    end in any order. Where there are several machines, a worker prefers steps of groups that its machine has begun to
    those that another one has, but takes these rather than none. A pool does not bound how much it is given.
    """

    def submit(
        self,
        step: Step,
        lane: Lane,
        *,
        seconds: float | None = None,
        kind: str | None = None,
        group: str | None = None,
    ) -> "Future[Any]":
        """Queue a step.

        Args:
            step: Called in a worker.
            lane: What it mostly uses.
            seconds: What it is expected to take. Far beyond that its worker is ended, and it is run again elsewhere.
            kind: Only workers of this kind run it.
            group: A name for all steps that read the same source; None: it reads none that others do.

        Returns:
            The step's result or its own error; `WorkerLostError` where workers kept dying with it, or none that may
            run it is left; one that can run no step counts as dead. It can be cancelled until a worker begins with the
            step, and is cancelled by `close`.

        Raises:
            RuntimeError: The pool is closed.
        """
        ...

    def workers(self) -> tuple[WorkerInfo, ...]:
        """The workers that are ready now."""
        ...

    def state(self) -> StepPoolState:
        """What the pool is doing now."""
        ...

    def first_ready(self, timeout_seconds: float) -> WorkerInfo:
        """Wait until one worker has built its context; the others may follow at any time.

        Raises:
            ConfigError: The machine cannot hold the workers that were asked for.
            WorkerStartError: None could be started, or none was ready in time.
        """
        ...

    def close(self) -> None:
        """Stop the workers at once and cancel every step; may be called twice."""
        ...
