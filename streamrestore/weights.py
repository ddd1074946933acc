"""The weights at hand: those in the package, and those a user imported into a cache folder.

Each file has its SHA-256 beside it, in the format of ``sha256sum``. An imported pair lives in a
folder of its own that appears by one rename, so processes that import at once cannot mix:
one wins, and the others find what it wrote.
"""

import errno
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from streamrestore.assessor import TASKS_IN_ORDER
from streamrestore.checkpoint import Model, read_checkpoint, write_durably, write_safetensors
from streamrestore.devices import DeviceKind
from streamrestore.errors import ConfigError, ModelError, OutputError
from streamrestore.mprnet import Widths
from streamrestore.tasks import Task

Origin = Literal["shipped", "imported"]

SHIPPED_FOLDER = Path(__file__).parent / "data" / "weights"
"""Part of the package; need not exist."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """One network that can be asked for by name."""

    name: str
    origin: Origin
    path: Path
    task: Task
    crop: int
    """Side of its training crops, in pixels."""
    widths: Widths
    source: str
    license: str
    sha256: str
    """Of the file as it is now."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify_weights` found of one file."""

    name: str
    origin: Origin
    path: Path
    problem: str | None
    """None: the file is what was shipped or imported, complete and finite."""


def cache_folder() -> Path:
    """Where imported weights are: ``$STREAMRESTORE_CACHE/weights``, else in the user's cache folder."""
    if own := os.environ.get("STREAMRESTORE_CACHE"):
        return Path(own).expanduser() / "weights"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    base = Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".cache"
    return base / "streamrestore" / "weights"


def list_weights() -> list[WeightsEntry]:
    """All weights at hand: the shipped ones, then the imported ones, by name.

    Raises:
        ModelError: A file is damaged.
    """
    return [_entry(origin, path, read_checkpoint(path)) for origin, path in _files()]


def find_weights(task: Task, requested: str | None = None, device: DeviceKind = "cpu") -> Model:
    """Read the weights to use.

    Args:
        task: What they must be for.
        requested: A name of `list_weights`, or the path of a file that says its task and
            training crop; None takes those shipped for the task, else those imported for it.
        device: What they will run on: where several are shipped, ``TASK-standard`` is for a CUDA GPU,
            ``TASK-compact`` for anything else.

    Raises:
        ModelError: There are none, several, or they are damaged.
        ConfigError: The file is for another task, or does not say its task and crop.
    """
    if requested is not None:
        return read_weights(requested, task=task)
    for wanted in ("shipped", "imported"):
        models = [read_checkpoint(path) for origin, path in _files() if origin == wanted]
        models = [model for model in models if model.task == task]
        if wanted == "shipped":
            suited = f"{task}-standard" if device == "cuda" else f"{task}-compact"
            models = [model for model in models if model.name == suited] or models
        if len(models) > 1:
            raise ModelError(f"several weights are for {task}: name one of {_names(models)}")
        if models:
            return models[0]
    raise ModelError(
        f"no weights for {task} are at hand: give a file, or import one: streamrestore weights import FILE. "
        "The authors of MPRNet publish theirs, for non-commercial use, at github.com/swz30/MPRNet"
    )


def find_weights_for_all(requested: Sequence[str] = (), device: DeviceKind = "cpu") -> tuple[Model, ...]:
    """Read weights for every task.

    Args:
        requested: As of `find_weights`, for some of the tasks; each file says which one it is for.
        device: As of `find_weights`.

    Returns:
        A model for each of `TASKS_IN_ORDER`.

    Raises:
        ModelError: There are none for a task, several, or they are damaged.
        ConfigError: A file does not say its task and crop, or two are for the same task.
    """
    given = [read_weights(name) for name in requested]
    by_task = {model.task: model for model in given}
    if len(by_task) < len(given):
        said = ", ".join(f"{model.name} for {model.task}" for model in given)
        raise ConfigError(f"two of the weights are for one task ({said}): give at most one for each")
    return tuple(by_task.get(task) or find_weights(task, device=device) for task in TASKS_IN_ORDER)


def read_weights(requested: str, *, task: Task | None = None) -> Model:
    """Read the weights that a user names.

    Args:
        requested: A name of `list_weights`, or the path of a file that says its task and training crop.
        task: What they must be for; None takes any.

    Raises:
        ModelError: There are none of that name, or they are damaged.
        ConfigError: The file is for another task, or does not say its task and crop.
    """
    files = {path.stem: path for _, path in _files()}
    path = files.get(requested, Path(requested))
    if requested not in files and not path.is_file():
        raise ModelError(f"{requested} is neither a file nor one of the weights at hand: {', '.join(files) or 'none'}")
    return read_checkpoint(path, task=task)


def import_weights(
    path: Path, *, task: Task | None = None, crop: int | None = None, name: str | None = None
) -> WeightsEntry:
    """Check a weights file and keep a copy in the cache folder.

    Args:
        path: A ``.pth`` of the published layout, or safetensors.
        task: What it is for; known for the authors' own files and for ours.
        crop: Side of its training crops in pixels; known for the same.
        name: What to call it; None takes ``mprnet-TASK`` for the authors' own files, else the
            file's name without suffix.

    Returns:
        The entry; the one that is there already if it holds the same weights.

    Raises:
        ModelError: The file cannot be read, or is no complete, finite MPRNet.
        ConfigError: Task or crop are unknown or contradict the file, or the name cannot be used.
        OutputError: The cache folder cannot be written.
    """
    model = read_checkpoint(path, task=task, crop=crop)
    model = replace(model, name=name or model.name)
    if not _NAME.fullmatch(model.name):
        raise ConfigError(f"weights cannot be called {model.name!r}: take letters, digits, . _ and -, with --name")
    if (SHIPPED_FOLDER / f"{model.name}.safetensors").exists():
        raise ConfigError(f"{model.name} is the name of weights in the package: choose another with --name")
    folder = cache_folder() / model.name
    try:
        _publish(model, folder)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error.strerror}; STREAMRESTORE_CACHE names another cache folder"
        ) from error
    written = folder / f"{model.name}.safetensors"
    try:
        present = read_checkpoint(written)
    except ModelError as error:
        raise ModelError(f"an earlier import is damaged: {error}. Delete {folder} and import again") from error
    if not _same(present, model):
        raise ConfigError(f"other weights were imported as {model.name} already: choose another name with --name")
    return _entry("imported", written, present)


def write_weights(model: Model, folder: Path) -> Path:
    """Write ``NAME.safetensors`` and its SHA-256 file into a folder that exists.

    Raises:
        OSError: They cannot be written.
    """
    path = folder / f"{model.name}.safetensors"
    sha256 = write_safetensors(model, path)
    write_durably(_sha256_file(path), f"{sha256}  {path.name}\n".encode())
    return path


def verify_weights() -> list[Verdict]:
    """Hash and check every file at hand: SHA-256, keys, shapes, finiteness."""
    return [Verdict(path.stem, origin, path, _problem(path)) for origin, path in _files()]


def _files() -> Iterator[tuple[Origin, Path]]:
    for path in sorted(SHIPPED_FOLDER.glob("*.safetensors")):
        yield "shipped", path
    for folder in sorted(cache_folder().glob("[!.]*")):
        if folder.is_dir():
            yield "imported", folder / f"{folder.name}.safetensors"


def _entry(origin: Origin, path: Path, model: Model) -> WeightsEntry:
    return WeightsEntry(
        model.name, origin, path, model.task, model.crop, model.widths, model.source, model.license, model.sha256
    )


def _names(models: list[Model]) -> str:
    return ", ".join(model.name for model in models)


def _publish(model: Model, folder: Path) -> None:
    """Make the folder with the pair of files, unless it is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=folder.parent) as scratch:
        pair = Path(scratch) / folder.name
        pair.mkdir()
        write_weights(model, pair)
        try:
            pair.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _same(one: Model, other: Model) -> bool:
    return (one.task, one.crop, one.widths) == (other.task, other.crop, other.widths) and all(
        torch.equal(value, other.tensors[name]) for name, value in one.tensors.items()
    )


def _problem(path: Path) -> str | None:
    try:
        recorded = _sha256_file(path).read_text().split()
        found = read_checkpoint(path).sha256
    except OSError as error:
        return f"has no readable SHA-256 file: {error.strerror}"
    except (ModelError, ConfigError) as error:
        return str(error)
    return None if recorded[:1] == [found] else f"has SHA-256 {found}, not what was recorded: the file was changed"


def _sha256_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
