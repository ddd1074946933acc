"""Folders of pairs, as the field's data sets are: degraded in ``input/``, clean in ``target/``, matched by name."""

from collections.abc import Iterator, Set
from pathlib import Path

from streamrestore.errors import SourceError
from streamrestore.image_sequence import IMAGE_SUFFIXES

STILL_SUFFIXES = IMAGE_SUFFIXES | {".webp"}
"""Of pictures that may stand alone."""


def is_pair_folder(folder: Path) -> bool:
    """Whether it is meant to hold pairs: it has one of the two folders at least."""
    return (folder / "input").is_dir() or (folder / "target").is_dir()


def find_pairs(folder: Path, suffixes: Set[str]) -> Iterator[tuple[str, Path, Path]]:
    """The pairs of a folder, by name: name without suffix, degraded, clean.

    Args:
        folder: With ``input/`` and ``target/``.
        suffixes: Of the files that count, in small letters.

    Raises:
        SourceError: There are none, one is alone, or two have one name; or the folder cannot be read.
    """
    inputs, targets = (by_stem(folder / name, suffixes) for name in ("input", "target"))
    for stem in sorted(inputs.keys() ^ targets.keys()):
        there, missing = (inputs[stem], "target") if stem in inputs else (targets[stem], "input")
        raise SourceError(
            f"{there} has no counterpart in {folder / missing}: the two of a pair have the same name, "
            "but for what follows the last dot"
        )
    for stem in sorted(inputs):
        yield stem, inputs[stem], targets[stem]


def by_stem(folder: Path, suffixes: Set[str]) -> dict[str, Path]:
    """The files directly in a folder, by name without suffix.

    Args:
        folder: Where to look.
        suffixes: Of the files that count, in small letters.

    Raises:
        SourceError: There are none, or two of one name; or the folder cannot be read.
    """
    found = dict[str, Path]()
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    except OSError as error:
        raise SourceError(
            f"the folder {folder} cannot be read: {error.strerror}; a folder of pairs has input/ and target/"
        ) from error
    for path in paths:
        if path.stem in found:
            raise SourceError(
                f"{found[path.stem]} and {path} have the same name but for their suffix: keep one of them"
            )
        found[path.stem] = path
    if not found:
        known = " ".join(sorted(suffixes))
        raise SourceError(
            f"nothing to read in the folder {folder}; looked for {known}, or for folders input/ and target/"
        )
    return found
