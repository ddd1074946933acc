"""Ray itself: start it or join it, in the background; what it offers."""

import logging
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import streamrestore
import workers
from streamrestore.errors import ConfigError, WorkerStartError
from workers.futures import SerialThread
from workers.quiet_ray import ray, ray_errors
from workers.ray_failures import last_line

STORE_BYTES = 4 << 30
"""Ray's object store on this machine, if there is room: a window of 4K frames for 8 GPUs."""

LEAST_STORE_BYTES = 100 << 20
"""Ray refuses less than 75 MiB."""

KNOCK_SECONDS = 10.0
"""How long a cluster's head may take to accept a connection."""

CLOSE_SECONDS = 30.0
"""How long closing waits for Ray; the processes die with ours in any case."""

_ACCELERATOR = "accelerator_type:"
"""How the resource begins that Ray gives each machine with GPUs that it knows."""

_CONNECT_ERRORS = (OSError, RuntimeError, ValueError, ray_errors.RayError)


@dataclass(frozen=True, slots=True)
class Node:
    """What one machine of a cluster has."""

    cpus: float
    gpus: float
    accelerator: str = ""
    """What its GPUs are, as Ray says it, such as ``H200``; empty where it does not."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a running cluster has, busy or not."""

    nodes: tuple[Node, ...]
    store_bytes: int
    """Object store of the machine we run on."""

    def check(self, count: int, *, cpus: float, gpus: float) -> None:
        """Refuse workers that can never be placed; Ray would wait for ever instead.

        Args:
            count: Workers that are wanted.
            cpus: CPUs each one asks for.
            gpus: GPUs, or the share of one, each one asks for.

        Raises:
            ConfigError: They do not all fit.
        """
        fitting = sum(workers_on(node, cpus=cpus, gpus=gpus) for node in self.nodes)
        if fitting < count:
            have = f"{sum(node.cpus for node in self.nodes):g} CPUs and {sum(node.gpus for node in self.nodes):g} GPUs"
            where = "this machine has" if len(self.nodes) == 1 else f"the {len(self.nodes)} machines have"
            raise ConfigError(
                f"{count} workers with {cpus:g} CPUs and {gpus:g} GPUs each were asked for, but {where} {have}, "
                f"which is room for {fitting}: ask for fewer workers"
            )


def nodes_among(nodes: Iterable[Mapping[str, Any]], leaving: Collection[str] = ()) -> tuple[Node, ...]:
    """What there is of a list of nodes as Ray has it, without those that are about to leave."""
    alive = [node["Resources"] for node in nodes if node["Alive"] and node["NodeID"] not in leaving]
    return tuple(
        Node(resources.get("CPU", 0.0), resources.get("GPU", 0.0), _accelerator(resources)) for resources in alive
    )


def _accelerator(resources: Mapping[str, float]) -> str:
    named = (name.removeprefix(_ACCELERATOR) for name in resources if name.startswith(_ACCELERATOR))
    return next(named, "") if resources.get("GPU") else ""


def workers_on(node: Node, *, cpus: float, gpus: float) -> int:
    """How many workers fit one machine."""
    # The smallest step of Ray's resources is 1/10000; without it 1 // (1/3) would be 2.
    step = 1e-4
    limits = [have / want + step for have, want in ((node.cpus, cpus), (node.gpus, gpus)) if want > 0]
    return int(min(limits, default=sys.maxsize))


def gpu_share(count: int, gpus: int) -> float:
    """The part of a GPU each of ``count`` workers asks for.

    Always 1/n: Ray places other fractions so that the last worker finds no room.
    """
    return 1 / -(-count // gpus) if gpus else 0.0


class Cluster:
    """A connection to Ray, made in the background; ends what it started and nothing else."""

    def __init__(
        self,
        *,
        address: str | None = None,
        cpus: int | None = None,
        gpus: Sequence[int] = (),
        store_bytes: int | None = None,
    ) -> None:
        """Start to connect. Where this process is connected to Ray already, share that.

        Args:
            address: A cluster's ``host:port`` to join; ``local`` starts Ray on this machine, for
                this process alone. None does what ``RAY_ADDRESS`` says, or else starts one.
            cpus: Of a Ray started here; None counts them.
            gpus: Of a Ray started here, as CUDA counts them in this process.
            store_bytes: Object store of a Ray started here; None takes `STORE_BYTES`, or what
                there is room for.

        Raises:
            ConfigError: The address cannot be used, or another package took the place of ours.
        """
        refuse_foreign_package()
        address = address or os.environ.get("RAY_ADDRESS") or "local"
        if address.startswith("ray://"):
            raise ConfigError(
                f"{address} is a Ray Client address, through which frames are too slow: run this on a machine "
                "of the cluster with the address host:port"
            )
        connect = partial(_join, address)
        if address == "local":
            connect = partial(_start, cpus, tuple(gpus), store_bytes or _store_bytes())
        self.hidden_folder = _hidden_folder()
        """The working directory, where workers are not to import from it because we do not either."""
        self.joined = address != "local"
        """Whether the machines are not this one alone, and others may come; Ray may run here for us already."""
        self._owns_ray = False
        # Linux kills Ray's processes when the *thread* that started them ends: it lives on here.
        self._thread = SerialThread("ray")
        self.started: Future[Capacity] = self._thread.submit(partial(self._connect, connect))
        """What there is, or a `ConfigError` or `WorkerStartError` that says why there is nothing."""

    def close(self) -> None:
        """Leave Ray, and end it where it was started here; may be called twice."""
        with suppress(RuntimeError):
            wait([self._thread.submit(self._leave)], CLOSE_SECONDS)
        self._thread.stop()

    def _connect(self, connect: Callable[[], None]) -> Capacity:
        # Workers must run this code, whatever else is called `workers` where they look.
        ray.cloudpickle.register_pickle_by_value(workers)  # type: ignore[no-untyped-call] # Ray's, without types
        if not ray.is_initialized():
            connect()
            self._owns_ray = True
        here = ray.get_runtime_context().get_node_id()
        alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call] # Ray's, without types
        stores = [int(node["Resources"]["object_store_memory"]) for node in alive if node["NodeID"] == here]
        return Capacity(nodes_among(alive), stores[0])

    def _leave(self) -> None:
        if self._owns_ray:
            self._owns_ray = False
            ray.shutdown()


def _start(cpus: int | None, gpus: tuple[int, ...], store_bytes: int) -> None:
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        # Else Ray writes ~/.ray/auth_token, and from then on other clusters fail for the lack of it.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    # Else Ray keeps objects that nobody needs any more until there are a hundred of them, or for a
    # second: several times the memory, and every frame written to pages that no cache holds.
    os.environ.setdefault("RAY_free_objects_batch_size", "1")
    try:
        with _visible_to_cuda(gpus):
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=len(gpus),
                object_store_memory=store_bytes,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except Exception as error:  # a bare one is what Ray raises where its processes are not up in time
        raise WorkerStartError(
            f"Ray could not be started on this machine: {last_line(error)}; /tmp/ray/session_latest/logs may say why, "
            "and --workers 0 does without Ray"
        ) from error


def _join(address: str) -> None:
    try:
        if address != "auto":
            _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except _CONNECT_ERRORS as error:
        raise WorkerStartError(
            f"the Ray cluster at {address} could not be joined: {last_line(error)}; check the address, and that "
            "RAY_AUTH_MODE and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) are those of the cluster"
        ) from error


def _knock(address: str) -> None:
    """Raise where nobody listens: Ray would try for minutes, and say so on standard error."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


@contextmanager
def _visible_to_cuda(gpus: tuple[int, ...]) -> Iterator[None]:
    """Let processes started meanwhile see these GPUs only: Ray numbers what it finds from 0."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus:
        names = before.split(",") if before else None
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names[gpu] if names else str(gpu) for gpu in gpus)
    try:
        yield
    finally:
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
        elif gpus:
            del os.environ["CUDA_VISIBLE_DEVICES"]


def _store_bytes() -> int:
    """Bytes for an object store that neither RAM nor shared memory is too small for."""
    room = [STORE_BYTES, int(0.3 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    with suppress(FileNotFoundError):
        room.append(int(0.9 * shutil.disk_usage("/dev/shm").free))
    return max(LEAST_STORE_BYTES, min(room))


def refuse_foreign_package() -> None:
    """Make sure that ``workers`` and ``streamrestore`` were installed together.

    Raises:
        ConfigError: Another distribution's package called ``workers`` took the place of ours.
    """
    ours, core = (Path(str(package.__file__)).parents[1] for package in (workers, streamrestore))
    if ours != core:
        raise ConfigError(
            f"the package workers comes from {ours}, but streamrestore from {core}: another distribution has "
            "a package of that name; install streamrestore in an environment of its own"
        )


def _hidden_folder() -> str | None:
    here = os.path.abspath(os.curdir)
    return None if here in {os.path.abspath(folder) for folder in sys.path} else here
