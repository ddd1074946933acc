"""Run the file pipeline on a pool, and read back what came out."""

import threading
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import numpy as np

from pipelines.engine import Progress
from pipelines.file import restore_file
from pipelines.outputs import Item
from pipelines.planning import FileOptions, Network, prepare_file
from pipelines.progress import Finished
from streamrestore.devices import Device, Precision
from streamrestore.encoding import EncodingRequest
from streamrestore.source import open_source
from tests.networks import tiny_model
from workers import RestorerPool

LOSSLESS = EncodingRequest(codec="ffv1")


@dataclass
class Notes:
    """A reporter that remembers."""

    looked: list[tuple[Path, int | None]] = field(default_factory=list)
    begun: list[tuple[Path, Path, int | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def look(self, source: Path, frames: int | None) -> None:
        self.looked.append((source, frames))

    def begin(self, source: Path, output: Path, frames: int | None) -> None:
        self.begun.append((source, output, frames))

    def update(self, progress: Progress) -> None: ...

    def finish(self, finished: Finished) -> None:
        self.finished.append(finished)

    def fail(self, source: Path, message: str) -> None:
        self.failures.append(message)

    def note(self, message: str) -> None:
        self.notes.append(message)


CPU = Device("cpu", 0, "a CPU", 1 << 30, bf16=False)


def options(
    *, crop: int = 32, patch: int | None = None, encoding: EncodingRequest = LOSSLESS, **times: float
) -> FileOptions:
    return FileOptions(
        network=Network((tiny_model(crop=crop),), CPU, Precision.FP32),
        patch=patch,
        encoding=encoding,
        start_seconds=times.get("start_seconds"),
        stop_seconds=times.get("stop_seconds"),
    )


def restore(
    source: Path,
    output: Path,
    pool: RestorerPool,
    wanted: FileOptions | None = None,
    *,
    notes: Notes | None = None,
    stop: threading.Event | None = None,
) -> Finished:
    """Restore one file, as the command line would."""
    wanted = wanted or options()
    job = prepare_file(Item(source, output), wanted)
    return restore_file(job, pool, notes or Notes(), stop or threading.Event())


def read(path: Path) -> list[tuple[Fraction, list[np.ndarray]]]:
    """(seconds, planes) of every frame."""
    source = open_source(path)
    return [(frame.pts * source.info.time_base, list(frame.planes)) for frame in source.frames()]


def times(path: Path) -> list[Fraction]:
    return [time for time, _ in read(path)]


def sound(path: Path) -> list[bytes]:
    """The bytes of every audio packet."""
    with av.open(f"file:{path}") as container:
        packets = container.demux(container.streams.audio) if container.streams.audio else []
        return [bytes(packet) for packet in packets if packet.size]
