"""What is measured: folders of pairs, folders of clean pictures, or two files, as sets of pairs."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from pipelines.outputs import VIDEO_SUFFIXES
from streamrestore.degraded_pictures import read_blurred, read_clean, read_noisy, read_pair
from streamrestore.errors import ConfigError, SourceError
from streamrestore.pair_folders import STILL_SUFFIXES, by_stem, find_pairs, is_pair_folder
from streamrestore.pairs import PicturePair, VideoPair

_SUFFIXES = STILL_SUFFIXES | VIDEO_SUFFIXES


@dataclass(frozen=True, slots=True)
class Degrading:
    """How clean pictures become something to restore."""

    noise: float | None = None
    """Standard deviation of Gaussian noise, in 8-bit codes."""
    blur: bool = False
    seed: int = 0

    def __str__(self) -> str:
        if self.noise is not None:
            return f"Gaussian noise of sigma {self.noise:g}, seed {self.seed}"
        return f"motion blur, seed {self.seed}" if self.blur else "clean"

    @property
    def reads(self) -> Callable[[Path], tuple[Tensor, Tensor]]:
        """What makes a pair of a clean picture."""
        if self.noise is not None:
            return partial(read_noisy, sigma=self.noise, seed=self.seed)
        return partial(read_blurred, seed=self.seed) if self.blur else read_clean


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Pairs whose figures are averaged."""

    name: str
    degradation: str | None
    """What was done to clean pictures; None where the pairs came as they are."""
    pairs: tuple[PicturePair | VideoPair, ...]


def find_sets(data: Sequence[Path], degrading: Degrading) -> tuple[EvaluationSet, ...]:
    """Find what is to be measured, without reading it.

    Args:
        data: Folders, each of them a set; or two files, a degraded one and its target.
        degrading: What is done to clean pictures.

    Raises:
        ConfigError: The request makes no sense.
        SourceError: Something is not there, or is no pair.
    """
    if degrading.noise is not None and degrading.blur:
        raise ConfigError("--noise and --blur were both given: measure one after the other")
    for path in data:
        if not path.exists():
            raise SourceError(f"there is no {path}: name a folder, or two files")
    files = [path for path in data if not path.is_dir()]
    if not files:
        sets = tuple(_folder(folder, degrading) for folder in data)
        names = [each.name for each in sets]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two folders are called {name}: measure one after the other")
        return sets
    if len(data) != 2 or len(files) != 2:
        raise ConfigError(
            f"{files[0]} is no folder: give folders alone, or exactly two files, the degraded one and its target"
        )
    _refuse_degrading(degrading, "two files")
    degraded, target = files
    return (EvaluationSet(degraded.name, None, (_pair(degraded.stem, degraded, target),)),)


def _folder(folder: Path, degrading: Degrading) -> EvaluationSet:
    name = Path(os.path.abspath(folder)).name
    if not is_pair_folder(folder):
        return EvaluationSet(name, str(degrading), tuple(_clean(folder, degrading)))
    _refuse_degrading(degrading, f"{folder} with its input/ and target/")
    return EvaluationSet(name, None, tuple(_pair(*pair) for pair in find_pairs(folder, _SUFFIXES)))


def _pair(name: str, degraded: Path, target: Path) -> PicturePair | VideoPair:
    if _is_picture(degraded) != _is_picture(target):
        raise SourceError(f"{degraded} and {target} are a picture and a video: a pair is two of a kind")
    if _is_picture(target):
        return PicturePair(name, partial(read_pair, degraded, target), (degraded, target))
    return VideoPair(name, degraded, target)


def _clean(folder: Path, degrading: Degrading) -> list[PicturePair | VideoPair]:
    pairs = list[PicturePair | VideoPair]()
    for stem, path in sorted(by_stem(folder, _SUFFIXES).items()):
        if _is_picture(path):
            pairs.append(PicturePair(stem, partial(degrading.reads, path), (path,)))
        else:
            _refuse_degrading(degrading, f"the video {path}")
            pairs.append(VideoPair(stem, path, path))
    return pairs


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in STILL_SUFFIXES


def _refuse_degrading(degrading: Degrading, what: str) -> None:
    if degrading.noise is not None or degrading.blur:
        option = "--blur" if degrading.blur else "--noise"
        raise ConfigError(f"{option} is for folders of clean pictures, not for {what}: leave it out")
