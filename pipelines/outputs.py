"""Which files are restored, and what their results are called."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.partial import partial_path
from streamrestore.errors import ConfigError, OutputError, SourceError
from streamrestore.image_sequence import Pattern, parse_pattern, suggest_pattern
from streamrestore.opening import PIPE
from streamrestore.places import IMAGES, image_pattern

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
    stem: Path | None = None
    """The output without its suffix, where that alone is left to what the plan chooses."""

    @property
    def piped(self) -> bool:
        """Whether it comes from standard input or goes to standard output."""
        return PIPE in (self.source, self.output)


def default_output(source: Path, tasks: Sequence[str], suffix: str, folder: Path | None) -> Path:
    """``clip.mp4`` restored by derain becomes ``clip.derain.mp4``, beside it or in ``folder``.

    Images keep their names and go into a folder of their own, ``shots.derain``; a video made of
    ``shots/frame_%06d.png`` is ``shots/frame.derain.mkv``.
    """
    done = "-".join(tasks)
    pattern = parse_pattern(source) if suffix.lower() in IMAGES or not source.exists() else None
    if pattern is not None:
        shots = source.parent.resolve()
        if suffix.lower() in IMAGES:
            return (folder or shots.parent) / f"{shots.name}.{done}" / source.with_suffix(suffix).name
        return (folder or source.parent) / f"{pattern.before.rstrip('._- ') or shots.name}.{done}{suffix}"
    return (folder or source.parent) / f"{source.stem}.{done}{suffix}"


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
    _check_pipes(files, output)
    if output is not None and output.suffix.lower() in IMAGES and parse_pattern(output) is None:
        raise ConfigError(
            f"{output} would be one image: give it a number, as in {output.stem}_%06d{output.suffix}, or write a video"
        )
    as_folder = output is not None and output != PIPE and (os.path.isdir(output) or not output.suffix)
    if output is None or as_folder:
        return tuple(Item(file, None, output) for file in files)
    if len(files) > 1:
        raise ConfigError(f"{len(files)} inputs cannot go into the one file {output}; give a folder: -o {output.stem}/")
    return (Item(files[0], output),)


def _check_pipes(files: Sequence[Path], output: Path | None) -> None:
    if PIPE in files and output is None:
        raise ConfigError("what comes from standard input has no name: name the output with -o")
    if len(files) > 1 and (PIPE in files or output == PIPE):
        raise ConfigError(f"{len(files)} inputs do not go through one pipe: restore them one by one")


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
        pattern = suggest_pattern(folder)
        if pattern is not None:
            raise SourceError(
                f"no video to restore in the folder {folder}, but images: name them as {folder / pattern}, "
                "with their rate, such as --framerate 24"
            )
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
    pattern = image_pattern(output)
    try:
        if pattern is not None:
            _check_images(source, output, pattern, overwrite=overwrite)
            return
        exists = output.exists()
        if output.is_dir():
            raise OutputError(f"{output} is a folder; name a file in it")
        if exists and output.samefile(source):
            raise ConfigError(f"{output} is the input itself; choose another output with -o")
        if exists and not overwrite:
            raise OutputError(f"{output} exists; overwrite it with -y, or choose another name with -o")
        _check_folder(output)
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror}; choose another place with -o") from error


def _check_images(source: Path, output: Path, pattern: Pattern, *, overwrite: bool) -> None:
    """As `check_output`, where the output is numbered images."""
    there = [name for name in _names_in(output.parent) if pattern.number(name) is not None]
    if there and source.name == output.name and source.parent.exists() and source.parent.samefile(output.parent):
        raise ConfigError(f"{output} is the input itself; choose another folder with -o")
    if there and not overwrite:
        raise OutputError(
            f"{len(there)} images {output} exist; overwrite them with -y, or choose another folder with -o"
        )
    _check_folder(output)


def _names_in(folder: Path) -> list[str]:
    return os.listdir(folder) if os.path.lexists(folder) else []


def _check_folder(output: Path) -> None:
    """Make the folder in which an output appears, and see that it can be written.

    Raises:
        OSError: It cannot.
    """
    partial = partial_path(output)
    partial.parent.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=partial.parent).close()
    partial.exists()  # or its name is too long
