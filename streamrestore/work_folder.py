"""Where a job's finished segments wait for the others, whatever becomes of the process.

::

    OUTPUT.work/
        3f2a…/                   one job: everything its bytes depend on makes its name
            job.json             what that is, in words
            shots.json           what each shot needs, where that is found out by looking
            00000.8c1f….part     being written, and locked by who writes it
            00000.8c1f….segment  closed, synced, renamed
            00000.segment.json   the record of it; a segment without one does not exist

A job whose options, input, weights, code or machine changed has another name, so segments of
different jobs can never meet. Several processes, on several machines, may write segments of one
job, also the same one: the first record stays, and names the file that it is of.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, cast
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from streamrestore.encoder import writing_to
from streamrestore.frame import Stamp
from streamrestore.identity import key_of
from streamrestore.segment_file import PacketOrder
from streamrestore.shots import Shot

_SHOTS = TypeAdapter(tuple[Shot, ...])

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems say that do not link files, such as exFAT."""


class SegmentRecord(BaseModel):
    """A finished segment: that it is there, and what is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    file: Annotated[str, Field(pattern=r"^([0-9]{5,}\.[0-9a-f]{12}\.segment)?$")]
    """Its name in the folder; none where no frame is in it."""
    bytes: int
    sha256: str
    """Of its file."""
    order: PacketOrder
    stamps: tuple[Stamp, ...]
    seconds: float
    """From its first frame's arrival to its end."""


@dataclass(frozen=True, slots=True)
class OtherJob:
    """Another job's folder beside ours."""

    path: Path
    facts: Mapping[str, object]
    segments: int

    def differences(self, facts: Mapping[str, object]) -> list[str]:
        """What of its facts are not ours, such as ``strength: 1.0 -> 0.5``."""
        theirs, ours = dict(_leaves(self.facts)), dict(_leaves(_as_json(facts)))
        return [
            f"{name}: {theirs.get(name)} -> {ours.get(name)}"
            for name in sorted(theirs.keys() | ours.keys())
            if theirs.get(name) != ours.get(name)
        ]


class WorkFolder:
    """One job's folder."""

    def __init__(self, root: Path, facts: Mapping[str, object]) -> None:
        """Name a folder; nothing is made yet.

        Args:
            root: Shared by all jobs with the same output.
            facts: All that the job's bytes depend on, as JSON holds it.
        """
        self._root = root
        self._facts = facts
        self.path = root / key_of(facts)[:16]

    def open(self) -> None:
        """Make the folder, or take over what a process before left in it.

        Raises:
            OutputError: It cannot be made.
            DiskFullError: There is no space left.
        """
        with writing_to(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            write_once(self.path / "job.json", json.dumps(self._facts, indent=1, default=str).encode())
            remove_abandoned(self.path)

    def shots(self) -> tuple[Shot, ...] | None:
        """What was found of the shots; None if nobody has looked yet."""
        with suppress(ValidationError, OSError):
            return _SHOTS.validate_json(self._shots_file().read_bytes())
        return None

    def keep_shots(self, shots: tuple[Shot, ...]) -> None:
        """Keep what was found of the shots, so that nobody has to look again.

        Raises:
            OutputError: The folder is gone or cannot be written.
            DiskFullError: There is no space left.
        """
        with writing_to(self.path):
            write_last(self._shots_file(), _SHOTS.dump_json(shots, indent=1))

    def _shots_file(self) -> Path:
        return self.path / "shots.json"

    def record(self, index: int) -> SegmentRecord | None:
        """What is recorded of one segment, without a look into its file."""
        with suppress(ValidationError, OSError):
            return SegmentRecord.model_validate_json(self._record_file(index).read_bytes())
        return None

    def records(self) -> dict[int, SegmentRecord]:
        """What is recorded, by index, without a look into the files."""
        found = dict[int, SegmentRecord]()
        for file in sorted(self.path.glob("*.segment.json")):
            with suppress(ValidationError, OSError):
                record = SegmentRecord.model_validate_json(file.read_bytes())
                found[record.index] = record
        return found

    def finished(self) -> dict[int, SegmentRecord]:
        """The segments that are done, by index.

        One whose record or file is damaged does not count, and loses its record, so that it is made again.
        """
        intact = {index: record for index, record in self.records().items() if self._is_intact(record)}
        kept = {self._record_file(index) for index in intact}
        for file in self.path.glob("*.segment.json"):
            if file not in kept:
                with suppress(OSError):
                    file.unlink()
        return intact

    def _is_intact(self, record: SegmentRecord) -> bool:
        file = self.file_of(record)
        with suppress(OSError):
            return not record.stamps or (file.stat().st_size == record.bytes and sha256_of(file) == record.sha256)
        return False

    def count(self) -> int:
        """How many segments are recorded, without looking into their files."""
        return len(list(self.path.glob("*.segment.json")))

    def file_of(self, record: SegmentRecord) -> Path:
        """Where a finished segment's packets are."""
        return self.path / record.file

    @contextmanager
    def part(self, index: int) -> Iterator[Path]:
        """A file of this process's own to write a segment into.

        It is gone at the end unless `commit` made it a segment. What a killed process leaves is known by the lock
        that went with it.

        Raises:
            OutputError: The folder is gone or cannot be written.
            DiskFullError: There is no space left.
        """
        part = self.path / f"{index:05}.{uuid4().hex[:12]}.part"
        with writing_to(part):
            file = _create_locked(part)
        with file:
            try:
                yield part
            finally:
                with suppress(OSError):  # the next run removes it; what went wrong before matters more
                    part.unlink()

    def commit(
        self, part: Path | None, index: int, order: PacketOrder, stamps: Sequence[Stamp], seconds: float
    ) -> bool:
        """Make a written file a finished segment; it is one from the moment its record has its name.

        Args:
            part: The file, closed; it is renamed. None for a segment without frames.
            index: Of the segment.
            order: Of its packets.
            stamps: Of its frames.
            seconds: That it took.

        Returns:
            Whether it was the first; if not, the segment stays what it was.

        Raises:
            OutputError: The folder is gone or cannot be written.
            DiskFullError: There is no space left.
        """
        name, size, sha256 = "", 0, ""
        with writing_to(self.path):
            if part is not None:
                sync(part)
                file = part.replace(part.with_suffix(".segment"))
                name, size, sha256 = file.name, file.stat().st_size, sha256_of(file)
            record = SegmentRecord(
                index=index, file=name, bytes=size, sha256=sha256, order=order, stamps=tuple(stamps), seconds=seconds
            )
            content = record.model_dump_json(exclude_defaults=True).encode()
            first = write_once(self._record_file(index), content)
            if not first and part is not None:
                file.unlink()
        return first

    def adopt(self, record: SegmentRecord) -> None:
        """Record a segment that another machine has finished, and whose file is here already.

        Raises:
            OutputError: The folder is gone or cannot be written.
            DiskFullError: There is no space left.
        """
        path = self._record_file(record.index)
        with writing_to(path):
            write_once(path, record.model_dump_json(exclude_defaults=True).encode())

    def forget(self, record: SegmentRecord) -> None:
        """Remove a segment that is kept elsewhere."""
        self._record_file(record.index).unlink(missing_ok=True)
        if record.file:
            self.file_of(record).unlink(missing_ok=True)

    def _record_file(self, index: int) -> Path:
        return self.path / f"{index:05}.segment.json"

    def others(self) -> list[OtherJob]:
        """Jobs with the same output whose facts are not ours, left behind by runs that did not end."""
        found = list[OtherJob]()
        for file in sorted(self._root.glob("*/job.json")):
            if file.parent != self.path:
                with suppress(OSError, ValueError):
                    facts = json.loads(file.read_bytes())
                    found.append(OtherJob(file.parent, facts, len(list(file.parent.glob("*.segment.json")))))
        return found

    def sweep(self) -> None:
        """Remove the job's folder, and the root with the last of them."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            self._root.rmdir()


def sweep_jobs(root: Path, facts: Mapping[str, object]) -> None:
    """Remove the folders of all jobs that have these facts, whatever else is true of them; and the root with the last.

    Args:
        root: Shared by all jobs with the same output.
        facts: Some of those that make a job's name.
    """
    wanted = _as_json(facts)
    for file in root.glob("*/job.json"):
        with suppress(OSError, ValueError):
            found = json.loads(file.read_bytes())
            if all(found.get(name) == value for name, value in wanted.items()):
                shutil.rmtree(file.parent, ignore_errors=True)
    with suppress(OSError):
        root.rmdir()


def write_synced(path: Path, *pieces: bytes) -> None:
    """Write a small file, one piece after the other, so that after a crash there is all of it or none.

    For one writer at a time; for several there are `write_once` and `write_last`.

    Raises:
        OSError: It cannot be written.
    """
    with _written(path.with_name(f"{path.name}.part"), *pieces) as part:
        part.replace(path)
    sync(path.parent)


def write_once(path: Path, content: bytes) -> bool:
    """Write a small file as `write_synced` does, unless it is there already.

    Returns:
        Whether it was not. Of several writers at once, one is told so; where the file system has no links to
        decide by, the last one's content may stay.

    Raises:
        OSError: It cannot be written.
    """
    if path.exists():
        return False
    with _written(_own_part(path), content) as part:
        try:
            os.link(part, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            part.replace(path)
    sync(path.parent)
    return True


def write_last(path: Path, content: bytes) -> None:
    """Write a small file as `write_synced` does; of several writers at once, the last one's content stays.

    Raises:
        OSError: It cannot be written.
    """
    with _written(_own_part(path), content) as part:
        part.replace(path)
    sync(path.parent)


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes have left of files they were writing; their locks went with them."""
    for part in folder.glob("*.part"):
        with suppress(OSError), part.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _names(part, file):
                part.unlink()


def _own_part(path: Path) -> Path:
    return path.with_name(f"{path.name}.{uuid4().hex[:12]}.part")


@contextmanager
def _written(part: Path, *pieces: bytes) -> Iterator[Path]:
    """A file with its content, synced; removed at the end if it is still there."""
    try:
        with _create_locked(part) as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
            yield part
    finally:
        with suppress(OSError):
            part.unlink()


def _create_locked(part: Path) -> BinaryIO:
    """Create a file, or empty it, and lock it, so that nobody takes it for abandoned."""
    while True:
        file = part.open("wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if _names(part, file):
            return file
        file.close()  # somebody removed it before it was locked


def _names(path: Path, file: BinaryIO) -> bool:
    """Whether a path names the open file, and not another one or nothing."""
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, reach the disk.

    Raises:
        OSError: They cannot.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Of a whole file, read once.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _as_json(facts: Mapping[str, object]) -> Mapping[str, object]:
    return cast(Mapping[str, object], json.loads(json.dumps(facts, default=str)))


def _leaves(facts: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Every value of nested mappings by its path; a list is one value."""
    if isinstance(facts, Mapping):
        for key, value in facts.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, facts
