"""Run an archive in this process or on Ray, with restorers whose results can be foretold."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from pipelines.archive.context import ArchiveContext
from pipelines.archive.items import ArchiveItem, ItemOptions, item_id
from pipelines.archive.ledger import Ledger
from pipelines.archive.progress import ArchiveProgress
from pipelines.archive.records import DoneRecord, FailedRecord
from pipelines.archive.request import STATE_FOLDER, ArchiveRequest, NetworkRequest
from pipelines.archive.run import ArchiveRun, OnFailure
from pipelines.archive.standing import find_standing
from pipelines.archive.state import StateFile
from pipelines.exit_codes import ExitCode
from pipelines.pools import PoolOptions
from streamrestore.encoding import EncodingRequest
from streamrestore.locations import Location, parse_location
from tests.clips import Clip, make_clip, make_noise
from tests.networks import OffsetRestorer, tiny_model
from workers import RestorerPool, open_pool
from workers.archive import StepPool, open_step_pool

SLOW = tuple(range(0, 60 * 30000, 30000))
"""One frame a second for a minute: six segments of ten frames."""

FAST = EncodingRequest(preset="ultrafast")

START_SECONDS = 60.0


def offset_pool(options: PoolOptions, offset: int = 3) -> RestorerPool:
    """In place of the networks that were asked for."""
    return open_pool(partial(OffsetRestorer, offset), workers=0)


OFFSET_IN_COMMAND = """
from pipelines.archive.context import ArchiveContext
from tests.pipelines.archive.runs import offset_pool
ArchiveContext.__init__.__defaults__ = (*ArchiveContext.__init__.__defaults__[:-1], offset_pool)
"""
"""Code after which the command uses `offset_pool`, too, in its own process."""


def request_for(
    target: Path, *, encoding: EncodingRequest = FAST, overwrite: bool = False, source: Path | None = None
) -> ArchiveRequest:
    """To derain everything."""
    model = tiny_model(crop=32)
    network = NetworkRequest({"cpu": {("derain", None): model}}, ("derain",), precision="fp32")
    return ArchiveRequest(
        parse_location(str(target)),
        target / "scratch",
        network,
        encoding=encoding,
        overwrite=overwrite,
        source=None if source is None else parse_location(str(source)),
    )


def items_of(folder: Path, options: ItemOptions | None = None) -> list[ArchiveItem]:
    """Every file of a folder and those below it."""
    found = list[ArchiveItem]()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name, size = path.relative_to(folder).as_posix(), path.stat().st_size
            hint, stem = f"{size}:{path.stat().st_mtime_ns}", name.rpartition(".")[0]
            place = Location(str(path), str(path))
            found.append(ArchiveItem(item_id(name), place, name, size, hint, stem, options=options or ItemOptions()))
    return found


@dataclass
class Said:
    """A reporter that remembers."""

    records: list[DoneRecord] = field(default_factory=list)
    failures: list[FailedRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    progress: ArchiveProgress = field(default_factory=ArchiveProgress)
    on_update: Callable[[ArchiveProgress], None] = lambda progress: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def begin(self, progress: ArchiveProgress) -> None: ...

    def update(self, progress: ArchiveProgress) -> None:
        self.progress = progress
        self.on_update(progress)

    def done(self, record: DoneRecord) -> None:
        self.records.append(record)

    def failed(self, record: FailedRecord) -> None:
        self.failures.append(record)

    def note(self, message: str) -> None:
        self.notes.append(message)


def run(
    items: Iterable[ArchiveItem],
    request: ArchiveRequest,
    pool: StepPool | None = None,
    *,
    said: Said | None = None,
    stop: threading.Event | None = None,
    on_failure: OnFailure = "quarantine",
    start: Callable[[PoolOptions], RestorerPool] = offset_pool,
) -> ExitCode:
    """Run an archive as the command would; in this process where no pool is given."""
    steps = pool or open_step_pool(partial(ArchiveContext, request, "cpu", start), workers=0)
    state = StateFile(request.target, {})
    try:
        driver = ArchiveRun(lambda: steps, request, said or Said(), state=state, on_failure=on_failure, command=str)
        return driver.run(find_standing(items, request), stop or threading.Event())
    finally:
        if pool is None:
            steps.close()


def make_source(folder: Path, clips: Sequence[str] = ("a.mkv", "deep/b.mp4", "deep/c.mkv")) -> Path:
    """Clips of six segments each, every one with other pictures."""
    for number, name in enumerate(clips):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        make_clip(folder / name, Clip(pts=tuple(pts + number for pts in SLOW), gop=7, b_frames=2))
    return folder


def make_long_source(folder: Path) -> Path:
    """Clips of ten segments each, of 1.7 MB: large enough for machines that have no copy to read a part of them."""
    folder.mkdir(parents=True)
    for name, muxing in {"end.mp4": {}, "front.mp4": {"movflags": "faststart"}, "open gop.mkv": {}}.items():
        make_noise(folder / name, 600, rate=6, gop=8, open_gop=name.startswith("open"), muxing=muxing)
    return folder


def contents(target: Path) -> dict[str, str]:
    """SHA-256 of every video of a target by its name; nothing of what belongs to runs."""
    return {
        path.relative_to(target).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(target.rglob("*"))
        if path.is_file() and path.suffix != ".json" and STATE_FOLDER not in path.parts
    }


def ledger_of(target: Path) -> Ledger:
    """Of a folder."""
    return Ledger(parse_location(str(target)))


def check_whole(target: Path, items: Sequence[ArchiveItem]) -> None:
    """Every item ended once, what is done has an output and a receipt, and nothing is left over."""
    ledger = ledger_of(target)
    done, failed = list(ledger.done()), list(ledger.failed())
    assert sorted([record.id for record in done] + [record.id for record in failed]) == sorted(
        item.id for item in items
    )
    for record in done:
        output = target / record.output
        assert output.stat().st_size == record.bytes
        assert output.with_name(f"{output.name}.receipt.json").exists()
    assert sorted(contents(target)) == sorted(
        [record.output for record in done] + [record.copied for record in failed if record.copied]
    )
    assert not list((target / STATE_FOLDER / "work").glob("*"))
    assert not [path for path in target.rglob("*") if path.suffix in (".part", ".partial")]
