"""Which files are restored, and what their results are called."""

import fcntl
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from streamrestore.errors import ConfigError, OutputError, SourceError, VerificationError

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"}
    | {".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
"""What is taken for a video in a folder; a file given by name may be called anything."""


@dataclass(frozen=True, slots=True)
class Item:
    """One file to restore."""

    source: Path
    output: Path | None
    """As asked for; None puts it beside the input under `default_output`'s name."""
    folder: Path | None = None
    """Where the default name goes instead of beside the input."""


def default_output(source: Path, tasks: Sequence[str], suffix: str, folder: Path | None) -> Path:
    """``clip.mp4`` restored by derain becomes ``clip.derain.mp4``, beside it or in ``folder``."""
    return (folder or source.parent) / f"{source.stem}.{'-'.join(tasks)}{suffix}"


def plan_items(inputs: Sequence[Path], output: Path | None, tasks: Sequence[str]) -> tuple[Item, ...]:
    """Turn what was asked for into one item per file, in the order they are restored.

    Args:
        inputs: Files and folders; a folder stands for the videos directly in it, sorted by
            name, without earlier results of the same task.
        output: A file for a single input; a folder, or a name without suffix, for any number; or None.
        tasks: Names of the chain of tasks.

    Raises:
        ConfigError: There is no input, or several of them share one output file.
        SourceError: A folder holds no video.
    """
    if not inputs:
        raise ConfigError("no input was given; try: streamrestore restore INPUT -t derain")
    # os.path: unlike pathlib it takes a name that is too long for one that is not there.
    files = [file for given in inputs for file in (_videos(given, tasks) if os.path.isdir(given) else [given])]
    files = list({os.path.realpath(file): file for file in reversed(files)}.values())[::-1]
    if output == Path("-"):
        raise ConfigError("-o - would be a pipe, which is not supported: name a file")
    as_folder = output is not None and (os.path.isdir(output) or not output.suffix)
    if output is None or as_folder:
        return tuple(Item(file, None, output) for file in files)
    if len(files) > 1:
        raise ConfigError(f"{len(files)} inputs cannot go into the one file {output}; give a folder: -o {output.stem}/")
    return (Item(files[0], output),)


def _videos(folder: Path, tasks: Sequence[str]) -> list[Path]:
    ending = "." + "-".join(tasks)
    try:
        found = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.stem.endswith(ending)
        )
    except OSError as error:
        raise SourceError(f"the folder {folder} cannot be read: {error.strerror}") from error
    if not found:
        known = " ".join(sorted(VIDEO_SUFFIXES))
        raise SourceError(
            f"no video to restore in the folder {folder} (its own folders are not searched); looked for {known}"
        )
    return found


def check_output(source: Path, output: Path, *, overwrite: bool) -> None:
    """Make sure that writing ``output`` is allowed and loses nothing; makes its folder.

    Raises:
        ConfigError: The output would replace the input.
        OutputError: It exists and may not be overwritten, or its folder cannot be written.
    """
    try:
        exists = output.exists()
        if output.is_dir():
            raise OutputError(f"{output} is a folder; name a file in it")
        if exists and output.samefile(source):
            raise ConfigError(f"{output} is the input itself; choose another output with -o")
        if exists and not overwrite:
            raise OutputError(f"{output} exists; overwrite it with -y, or choose another name with -o")
        output.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output.parent).close()
        partial_path(output).exists()  # or its name is too long
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror}; choose another place with -o") from error


def partial_path(output: Path) -> Path:
    """What the output is called until it is complete: ``clip.mp4.partial``, in the same folder."""
    return output.with_name(output.name + ".partial")


@contextmanager
def hold_partial(output: Path) -> Iterator[Path]:
    """Hold the name that an output has until it is complete, against other runs.

    What is left under that name at the end is deleted, unless it failed its verification: then it
    stays, to be looked at. What a killed run left is taken over: its lock went with its process.

    Raises:
        OutputError: Another run is writing this output, or its folder cannot be written.
    """
    partial = partial_path(output)
    try:
        file = partial.open("ab")
    except OSError as error:
        raise OutputError(f"cannot write {partial}: {error.strerror}; choose another place with -o") from error
    with file:
        if not _lock(file) or not _names(partial, file):
            raise OutputError(f"another run is writing {output}; wait for it, or choose another output with -o")
        keep = False
        try:
            yield partial
        except VerificationError:
            keep = True
            raise
        finally:
            # Once it was renamed, the name may already be another run's.
            if not keep and _names(partial, file):
                partial.unlink()


def _lock(file: BinaryIO) -> bool:
    """Take a lock that ends with this process; False if another one has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _names(path: Path, file: BinaryIO) -> bool:
    """Whether a path names the open file, and not another one or nothing."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False
