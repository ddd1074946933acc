"""What the runs on a target were asked, and how far they are; so that other commands need not be told again."""

import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue, ValidationError

from pipelines.archive.request import STATE_FOLDER
from streamrestore import __version__
from streamrestore.errors import ConfigError, SourceError
from streamrestore.locations import Location
from streamrestore.storage import storage_of

KEEP_SECONDS = 2.0
"""How often a run says where it stands."""

FRESH_SECONDS = 30.0
"""A run whose progress is older than this is taken to have ended."""


class RunState(BaseModel):
    """One run: its options, and where it stands."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    host: str
    pid: int
    parameters: dict[str, JsonValue]
    """Of `pipelines.archive.cli.run_command`."""
    progress: dict[str, JsonValue]
    updated: AwareDatetime
    ended: str | None = None
    """How it ended, in a word; null while it goes on, or where it was killed."""
    exit_code: int | None = None
    """What its command ended with; null as for ``ended``."""
    job: str | None = None
    """Its id among Ray's jobs, where it was submitted as one."""

    @property
    def is_running(self) -> bool:
        """Whether it said something of itself a short while ago."""
        return self.ended is None and (datetime.now(UTC) - self.updated).total_seconds() < FRESH_SECONDS


class StateFile:
    """Where one run says how far it is; of several shards, each has its own."""

    def __init__(self, target: Location, parameters: Mapping[str, JsonValue], job: str | None = None) -> None:
        """Name the file; nothing is written yet.

        Args:
            target: The folder of the results.
            parameters: Of `pipelines.archive.cli.run_command`.
            job: The run's id among Ray's jobs, if it is one.
        """
        shard = parameters.get("shard")
        name = "all.json" if shard is None else f"{str(shard).replace('/', '-of-')}.json"
        self._place = target.child(f"{STATE_FOLDER}/runs/{name}")
        self._storage = storage_of(target)
        self._parameters = dict(parameters)
        self._job = job
        self._progress: Mapping[str, JsonValue] = {}
        self._ended: str | None = None
        self._kept = 0.0

    def keep(self, progress: Mapping[str, JsonValue], ended: str | None = None) -> None:
        """Keep where the run stands, unless that was a moment ago and it goes on.

        Raises:
            OutputError: It cannot be written.
            DiskFullError: There is no space left.
            StorageError: The storage is out of reach.
        """
        now = time.monotonic()
        if ended is None and now - self._kept < KEEP_SECONDS:
            return
        self._kept = now
        self._progress, self._ended = progress, ended
        self._write()

    def conclude(self, exit_code: int) -> None:
        """Keep what the run's command ends with; after the last `keep`.

        Raises:
            OutputError: It cannot be written.
            DiskFullError: There is no space left.
            StorageError: The storage is out of reach.
        """
        self._ended = self._ended or "failed"
        self._write(exit_code)

    def _write(self, exit_code: int | None = None) -> None:
        state = RunState(
            version=__version__,
            host=platform.node(),
            pid=os.getpid(),
            parameters=self._parameters,
            progress=dict(self._progress),
            updated=datetime.now(UTC),
            ended=self._ended,
            exit_code=exit_code,
            job=self._job,
        )
        self._storage.write(self._place, state.model_dump_json(indent=1).encode())


def read_states(target: Location) -> list[RunState]:
    """The last runs on a target, one for each shard; the newest first.

    Raises:
        ConfigError: There were none.
        StorageError: The storage is out of reach.
    """
    storage, folder = storage_of(target), target.child(f"{STATE_FOLDER}/runs")
    states = list[RunState]()
    with suppress(SourceError):
        for found in storage.walk(folder, lambda name: False):
            with suppress(ValidationError):
                states.append(RunState.model_validate_json(storage.read(folder.child(found.name)) or b""))
    if not states:
        raise ConfigError(
            f"{target} holds no archive: name the DST of `streamrestore archive run SRC DST`, or run that first"
        )
    return sorted(states, key=lambda state: state.updated, reverse=True)
