"""RestorerActor: one process, one device, one restorer.

Ray ships this class by value, because a worker's import path may hold another package of our
name: see `RestorerActor.__init__`. Nothing of ours may be imported when the class is unpacked,
so streamrestore is named in annotations only.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from workers.actor_process import build_here, prepare_process
from workers.quiet_ray import ray
from workers.restoring import RestoringThread

if TYPE_CHECKING:
    from streamrestore.frame import Chunk, Restored
    from workers.contract import BuildRestorer


class WorkerInfo(NamedTuple):
    """Where a worker runs."""

    pid: int
    host: str
    gpus: tuple[str, ...]
    """Ids of the GPUs it was given, as CUDA counts them on that host; none on a CPU."""


class RestorerActor:
    """Holds a restorer and calls it from one thread.

    Ray calls `restore` in several threads, so that one chunk is unpacked and another one's
    result packed while a third computes; the one thread that restores takes them from there.
    """

    def __init__(
        self, build: tuple[ray.ObjectRef[BuildRestorer]], hidden_folder: str | None, fill_seconds: float
    ) -> None:
        """Clean the import path, then start to build the restorer.

        Args:
            build: A reference to what builds the restorer, wrapped so that Ray does not unpack
                it (and import streamrestore) before the path is clean.
            hidden_folder: A folder not to import from, see `prepare_process`.
            fill_seconds: How long a batch that is not full waits for others' chunks.
        """
        gpus = prepare_process(hidden_folder)
        self._info = WorkerInfo(os.getpid(), socket.gethostname(), gpus)
        self._thread = RestoringThread(lambda: build_here(build[0]), "restore", fill_seconds)

    def ready(self) -> WorkerInfo:
        """Wait until the restorer is built.

        Raises:
            Exception: Whatever building it raised, in its own class.
        """
        self._thread.built.result()
        return self._info

    def restore(self, chunk: Chunk) -> Restored:
        """Restore a chunk.

        Raises:
            Exception: Whatever the restorer raised, in its own class.
        """
        return self._thread.submit(chunk).result()
