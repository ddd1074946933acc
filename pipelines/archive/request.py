"""What an archive run was asked to do, as it travels to every worker."""

import getpass
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.archive.items import ItemOptions
from pipelines.planning import FileOptions, Network
from streamrestore.assessor import TASKS_IN_ORDER, ShotAssessor
from streamrestore.checkpoint import Model
from streamrestore.devices import Device, DeviceChoice, DeviceKind, choose_precision
from streamrestore.encoding import AUTOMATIC, EncodingRequest
from streamrestore.identity import key_of
from streamrestore.locations import Location
from streamrestore.tasks import Stages, Task

STATE_FOLDER = ".streamrestore"
"""In the target: what is done, what failed, segments that wait."""


def default_scratch() -> Path:
    """Where this user's copies of what is not in a machine's file systems are, unless somebody says."""
    return Path(tempfile.gettempdir()) / f"streamrestore-{getpass.getuser()}"


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """What is to restore frames, on whatever a worker has."""

    models: Mapping[DeviceKind, Mapping[tuple[Task, str | None], Model]]
    """For each kind of device that a worker may have: weights by their task and what they are asked for by, None
    for those of the run."""
    tasks: tuple[Task, ...]
    """The chain; empty where each shot is given what it needs."""
    precision: str = "auto"
    stages: Stages = 3
    local_pooling: bool = False
    strength: float = 1.0
    assessor: ShotAssessor | None = None
    """Tells what shots need; None where neither the run nor any of its items leaves that open."""

    def chain(self, item: ItemOptions) -> tuple[Task, ...]:
        """The tasks of an item; none where each shot is given what it needs."""
        wanted = self.tasks if item.task is None else item.task
        return tuple(task for task in wanted if task != "auto")

    def on(self, choice: DeviceChoice, item: ItemOptions) -> Network:
        """The network that restores an item.

        Args:
            choice: The devices of a worker.
            item: What its row of the manifest asks for.

        Raises:
            ConfigError: The precision is unknown.
        """
        models, tasks = self.models[choice.kind], self.chain(item)
        wanted = zip(tasks, item.weights or (None,) * len(tasks), strict=True)
        return Network(
            models=tuple(models[task, name] for task, name in wanted)
            or tuple(models[task, None] for task in TASKS_IN_ORDER),
            device=choice.devices[0],
            precision=choose_precision(self.precision, choice)[0],
            stages=item.stages or self.stages,
            local_pooling=self.local_pooling,
            strength=self.strength if item.strength is None else item.strength,
            assessor=None if tasks else self.assessor,
        )


@dataclass(frozen=True, slots=True)
class ArchiveRequest:
    """All that a worker must know of a run, beside the item it is given."""

    target: Location
    """The folder of the results."""
    scratch: Path
    """On a disk of each machine, by the same name: for copies of what is not in its file systems."""
    network: NetworkRequest
    source: Location | None = None
    """The folder that all sources are in; None where there is none."""
    encoding: EncodingRequest = AUTOMATIC
    patch: int | None = None
    deinterlace: bool = False
    overwrite: bool = False
    cache_bytes: int = 50 << 30
    """Beyond which copies of sources that nobody uses are deleted."""

    @property
    def root(self) -> Path:
        """Where results are made: in the target itself, or where that is not in a file system, in its stead."""
        if self.target.is_local:
            return self.target.path
        return self.scratch / "targets" / key_of({"target": self.target.url})[:16]

    def options(self, network: Network, item: ItemOptions) -> FileOptions:
        """What is asked for of an item.

        Args:
            network: As `NetworkRequest.on` gives it.
            item: What its row of the manifest asks for.
        """
        encoding = replace(
            self.encoding,
            codec=item.codec or self.encoding.codec,
            crf=self.encoding.crf if item.crf is None else item.crf,
            preset=item.preset or self.encoding.preset,
            pixel_format_name=item.pix_fmt or self.encoding.pixel_format_name,
        )
        return FileOptions(
            network=network,
            patch=self.patch,
            encoding=encoding,
            start_seconds=item.start,
            stop_seconds=item.stop,
            deinterlace=self.deinterlace if item.deinterlace is None else item.deinterlace,
            overwrite=self.overwrite,
            work_dir=self.root / STATE_FOLDER / "work",
        )

    def keys(self, item: ItemOptions) -> frozenset[str]:
        """Names for what is asked for of an item, one for each kind of device: their weights may differ."""
        choices = (DeviceChoice((Device(kind, 0, "", 0, bf16=False),), "") for kind in self.network.models)
        return frozenset(options_key(self.options(self.network.on(choice, item), item)) for choice in choices)


def options_key(options: FileOptions) -> str:
    """A name for what is asked for, whatever the input."""
    return key_of(options.facts())
