"""SegmentWorker: one process, one device, one context, and the steps that are run with it.

Ray ships this class by value, as it does `RestorerActor`: see there.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from workers.actor_process import build_here, prepare_process
from workers.archive.running import run_step
from workers.quiet_ray import ray

if TYPE_CHECKING:
    from workers.archive.contract import BuildContext, Step


class Place(NamedTuple):
    """Where a worker was placed."""

    pid: int
    host: str
    node: str
    gpus: tuple[str, ...]


class SegmentWorker:
    """Builds a context and runs steps with it, in as many threads as Ray calls it in."""

    def __init__(self, build: tuple[ray.ObjectRef[BuildContext]], hidden_folder: str | None) -> None:
        """Clean the import path; the context is built by `build`.

        Args:
            build: A reference to what builds the context, wrapped so that Ray does not unpack it before that.
            hidden_folder: As for `RestorerActor`.
        """
        gpus = prepare_process(hidden_folder)
        node = ray.get_runtime_context().get_node_id()
        self._place = Place(os.getpid(), socket.gethostname(), node, gpus)
        self._build = build

    def place(self) -> Place:
        """Where this is: the first answer of a worker that Ray found room for."""
        return self._place

    def build(self) -> str:
        """Build the context, before any step; gives its kind.

        Raises:
            Exception: Whatever building it raised, in its own class.
        """
        self._context = build_here(self._build[0])
        return self._context.kind

    def run(self, step: Step) -> Any:  # noqa: ANN401 - a step's own
        """Run a step.

        Raises:
            DeviceLostError, MachineError: No step can be run here: this worker is to be replaced.
            Exception: Whatever the step raised, in its own class.
        """
        return run_step(step, self._context)
