"""What all training runs here do alike: recipes, the course of the learning rate, and a folder that survives a kill."""

import io
import json
import math
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError

from streamrestore.checkpoint import write_durably
from streamrestore.encoder import writing_to
from streamrestore.errors import ConfigError, DeviceMemoryError, ModelError, OutputError
from streamrestore.training.data import Example, fingerprint

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Recipe = TypeVar("_Recipe")


class Schedule(Protocol):
    """What a learning rate is computed from."""

    @property
    def steps(self) -> int: ...  # noqa: D102 - as in a recipe

    @property
    def warmup_steps(self) -> int: ...  # noqa: D102

    @property
    def learning_rate(self) -> float: ...  # noqa: D102

    @property
    def final_learning_rate(self) -> float: ...  # noqa: D102


def learning_rate(schedule: Schedule, step: int) -> float:
    """Linear warm-up, then half a cosine down to the final rate (section 4 of the paper)."""
    if step < schedule.warmup_steps:
        return schedule.learning_rate * (step + 1) / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
    span = schedule.learning_rate - schedule.final_learning_rate
    return schedule.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * done))


def read_recipe(path: Path, kind: type[_Recipe]) -> _Recipe:
    """Read a recipe file.

    Args:
        path: In TOML.
        kind: A dataclass; its fields are the settings, with their types and ranges.

    Raises:
        ConfigError: The file cannot be read, or a setting is missing, unknown or not what it may be.
    """
    try:
        return TypeAdapter(kind).validate_python(tomllib.loads(path.read_bytes().decode()))
    except OSError as error:
        raise ConfigError(f"the recipe {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        mistakes = (f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in error.errors())
        raise ConfigError(f"{path} is no training recipe: {'; '.join(mistakes)}") from error
    except ValueError as error:  # neither TOML nor, perhaps, text
        raise ConfigError(f"{path} is no training recipe: {error}") from error


class RunFolder:
    """The folder of one run: ``checkpoint.pt``, and ``log.jsonl`` of the steps up to it.

    The checkpoint has the log in it, and the file is written from there: whenever a run is killed, no line
    of the log is lost, torn or there twice once it has gone on.
    """

    def __init__(self, path: Path, recipe: "DataclassInstance", examples: list[Example], device: str) -> None:
        """Make the folder where there is none.

        Args:
            path: Where.
            recipe: As a checkpoint's recipe, pictures and kind of device must be for a run to go on from it.
            examples: The pictures to train on and to hold out.
            device: A torch device name.

        Raises:
            OutputError: It cannot be made.
        """
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} cannot be written to: it is a file, and a folder is wanted")
        with writing_to(path):
            path.mkdir(parents=True, exist_ok=True)
        self._checkpoint, self._log = path / "checkpoint.pt", path / "log.jsonl"
        self._begun_with = {
            "recipe": asdict(recipe),
            "set of pictures": fingerprint(examples),
            # Each kind has random numbers of its own.
            "kind of device": torch.device(device).type,
        }
        self._lines = list[dict[str, Any]]()

    def load(self) -> dict[str, Any] | None:
        """The state to go on from, its tensors on the CPU; None where there is no checkpoint.

        Raises:
            ModelError: The checkpoint is damaged, or of something else.
            ConfigError: It was begun with something else.
        """
        if not self._checkpoint.exists():
            return None
        try:
            # On the CPU, where AdamW keeps its counts of steps: it would read each from a GPU in every step.
            kept = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
            begun_with, self._lines, state = kept["begun_with"], kept["log"], kept["state"]
        except Exception as error:
            # Broad, because broken bytes lead the reader anywhere.
            raise ModelError(
                f"{self._checkpoint} is damaged, or no checkpoint of this version: remove it, or train into an "
                "empty folder"
            ) from error
        for what, wanted in self._begun_with.items():
            if begun_with.get(what) != wanted:
                raise ConfigError(
                    f"{self._checkpoint} was begun with another {what}: train into an empty folder, or go on with "
                    f"the {what} it was begun with"
                )
        self._write_log()
        return dict(state)

    def save(self, state: dict[str, Any], line: dict[str, Any] | None = None) -> None:
        """Write all that is needed to go on exactly from here, and a line of the log if there is one.

        Raises:
            OutputError: The folder cannot be written.
            DiskFullError: There is no space left.
        """
        if line is not None:
            self._lines.append(line)
        content = io.BytesIO()
        torch.save({"begun_with": self._begun_with, "log": self._lines, "state": state}, content)
        with writing_to(self._checkpoint):
            write_durably(self._checkpoint, content.getvalue())
        self._write_log()

    def _write_log(self) -> None:
        with writing_to(self._log):
            write_durably(self._log, "".join(json.dumps(line) + "\n" for line in self._lines).encode())


def finite(loss: float) -> float:
    """The loss, if it is a number.

    Raises:
        ConfigError: It is not; nor are the weights then.
    """
    if not math.isfinite(loss):
        raise ConfigError(f"training ran astray, its loss is {loss}: lower the recipe's learning rate and begin anew")
    return loss


@contextmanager
def enough_memory(device: str) -> Iterator[None]:
    """Turn what torch raises where memory does not suffice into our error.

    Raises:
        DeviceMemoryError: It does not.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"{device} has too little memory for this: make batch or crop of the recipe smaller, or give fewer pictures"
        ) from error
