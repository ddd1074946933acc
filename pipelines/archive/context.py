"""What a worker holds for all the steps it runs: its device, and the networks on it."""

import platform
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.archive.items import ArchiveItem
from pipelines.archive.ledger import Ledger
from pipelines.archive.outbox import Outbox
from pipelines.archive.request import STATE_FOLDER, ArchiveRequest
from pipelines.archive.shelf import LocalShelf, RemoteShelf, Shelf, clear_remote
from pipelines.archive.source_root import check_root
from pipelines.planning import FileJob, FileOptions, Network, request_facts
from pipelines.pools import START_SECONDS, PoolOptions, start_pool
from streamrestore.devices import DeviceChoice, choose_devices, find_devices, given_device
from streamrestore.errors import MachineError, SourceError, StorageError, WorkerStartError
from streamrestore.identity import key_of, machine_kind
from streamrestore.opening import Opening
from streamrestore.remote_file import RemoteFile
from streamrestore.soundness import check_device
from streamrestore.source_cache import SourceCache
from streamrestore.work_folder import WorkFolder, sweep_jobs
from workers import RestorerPool

CHAINS_KEPT = 2
"""Chains of networks that stay on the device when no step uses them: a run has one, but for manifests."""


class ArchiveContext:
    """Made once in each worker; its steps run in several threads."""

    def __init__(
        self,
        request: ArchiveRequest,
        devices: str | None = None,
        start: Callable[[PoolOptions], RestorerPool] = start_pool,
    ) -> None:
        """Look whether the device works and sources are there; networks are loaded by the first step that needs them.

        Args:
            request: What the run was asked to do.
            devices: Of this process: ``auto``, ``cpu`` or the number of a GPU; None for what it was given.
            start: Starts a pool in this process.

        Raises:
            ConfigError: There is no such device.
            DeviceLostError, MachineError: As `check`.
        """
        self.request = request
        self._choice: DeviceChoice = choose_devices(devices or given_device(), find_devices())
        self.check()
        self.kind = machine_kind(self._choice.devices[0])
        self.ledger = Ledger(request.target)
        self.outbox = Outbox(request)
        self._cache = SourceCache(request.scratch / "sources", request.cache_bytes)
        self._start = start
        self._lock = threading.Lock()
        self._pools: dict[str, RestorerPool] = {}
        """By what the network is, the one used last comes last."""
        self._users = Counter[str]()

    @property
    def device(self) -> str:
        """What restores, for people."""
        return self._choice.devices[0].name

    def check(self) -> None:
        """Look whether the device works, and whether sources are seen from here.

        Raises:
            DeviceLostError: The device does not work.
            MachineError: Not even the folder of all sources is seen from this machine.
        """
        check_device(self._choice.devices[0].label())
        if self.request.source is not None:
            # Storage that is out of reach is so for others, too, and for a while.
            with suppress(StorageError):
                try:
                    check_root(self.request.source)
                except SourceError as error:
                    raise MachineError(f"on {platform.node()}, {error}") from error

    def network(self, item: ArchiveItem) -> Network:
        """What restores an item.

        Raises:
            ConfigError: The precision is unknown.
        """
        return self.request.network.on(self._choice, item.options)

    def options(self, item: ArchiveItem) -> FileOptions:
        """What is asked for of an item.

        Raises:
            ConfigError: The precision is unknown.
        """
        return self.request.options(self.network(item), item.options)

    @contextmanager
    def pool(self, network: Network) -> Iterator[RestorerPool]:
        """A pool of this process that runs a network; shared by all steps that use the same one.

        Raises:
            WorkerStartError: It could not be started.
        """
        key = key_of({**network.facts(), "precision": network.precision})
        with self._lock:
            pool = self._pools.pop(key, None) or self._start(PoolOptions(network, self._choice, workers=0))
            self._pools[key] = pool
            self._users[key] += 1
        try:
            pool.ready(START_SECONDS)
            yield pool
        except WorkerStartError:
            with self._lock:
                # The next step is to try it again, and not to be told the same.
                if self._pools.get(key) is pool:
                    self._pools.pop(key).close()
            raise
        finally:
            with self._lock:
                self._users[key] -= 1
                idle = [key for key in self._pools if not self._users[key]]
                for key in idle[: max(0, len(self._pools) - CHAINS_KEPT)]:
                    self._pools.pop(key).close()

    @contextmanager
    def source(self, item: ArchiveItem) -> Iterator[Path]:
        """An item's source as a file of this machine, for as long as it is open.

        Raises:
            SourceError: It is gone, was replaced, or may not be read.
            StorageError: Its storage is out of reach.
            DiskFullError: There is no space for a copy.
        """
        with self._cache.fetch(item.source, item.hint, item.size) as path:
            yield path

    @contextmanager
    def opening(self, item: ArchiveItem, *, by_ranges: bool) -> Iterator[Opening]:
        """How an item's source is opened to read a part of it, for as long as this is open.

        Args:
            item: It.
            by_ranges: Whether it is read where it is, if this machine has no copy; else one is made.

        Raises:
            SourceError, StorageError, DiskFullError: As `source`.
        """
        if not by_ranges:
            with self.source(item) as path:
                yield Opening(path)
            return
        with self._cache.find(item.source, item.hint) as copy:
            if copy is not None:
                yield Opening(copy)
            else:
                yield Opening(Path(item.source.shown), content=RemoteFile(item.source, item.hint, item.size))

    def forget(self, item: ArchiveItem, job: FileJob) -> None:
        """Remove what a run that was killed has left of the work on an item that is done.

        Args:
            item: It.
            job: Of it, done; its segments are not known.
        """
        sweep_jobs(job.work_root(), request_facts(job.identity, job.options))
        if not self.request.target.is_local:
            clear_remote(self.request.target.child(f"{STATE_FOLDER}/work/{item.id}"))

    def shelf(self, item: ArchiveItem, folder: WorkFolder) -> Shelf:
        """Where the finished segments of an item are for all machines."""
        if self.request.target.is_local:
            return LocalShelf(folder)
        return RemoteShelf(folder, self.request.target.child(f"{STATE_FOLDER}/work/{item.id}/{folder.path.name}"))
