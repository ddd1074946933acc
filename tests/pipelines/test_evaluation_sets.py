"""Which pairs are measured, and what is said where there are none."""

from pathlib import Path

import pytest
import torch

from pipelines.evaluation_sets import Degrading, find_sets
from streamrestore.errors import ConfigError, SourceError
from streamrestore.pairs import PicturePair, VideoPair, unrestored
from streamrestore.side_by_side import write_png

NOTHING = Degrading()


def draw(path: Path, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(torch.full((3, 32, 40), value, dtype=torch.uint8), path)
    return path


def test_pairs_are_matched_by_name_without_suffix(tmp_path: Path) -> None:
    draw(tmp_path / "input" / "b.png", 1)
    draw(tmp_path / "input" / "a.png", 2)
    draw(tmp_path / "target" / "a.png", 3)
    (tmp_path / "target" / "b.BMP").write_bytes(draw(tmp_path / "other.png", 4).read_bytes())
    (tmp_path / "input" / "notes.txt").touch()
    (found,) = find_sets([tmp_path], NOTHING)
    assert (found.name, found.degradation) == (tmp_path.name, None)
    triples = [next(pair.triples(unrestored)) for pair in found.pairs]
    assert [pair.name for pair in found.pairs] == ["a", "b"]
    assert [(int(each.degraded[0, 0, 0]), int(each.target[0, 0, 0])) for each in triples] == [(2, 3), (1, 4)]


@pytest.mark.parametrize(
    ("degrading", "words"),
    [
        (NOTHING, "clean"),
        (Degrading(noise=12.5, seed=7), "Gaussian noise of sigma 12.5, seed 7"),
        (Degrading(blur=True, seed=7), "motion blur, seed 7"),
    ],
)
def test_clean_pictures_are_degraded_as_asked(tmp_path: Path, degrading: Degrading, words: str) -> None:
    draw(tmp_path / "a.png")
    (found,) = find_sets([tmp_path], degrading)
    assert found.degradation == words
    (pair,) = found.pairs
    assert isinstance(pair, PicturePair)
    triple = next(pair.triples(unrestored))
    # A flat picture stays as it is, however it is blurred.
    assert torch.equal(triple.degraded, triple.target) == (degrading.noise is None)


def test_folders_are_sets_and_two_files_a_pair(tmp_path: Path) -> None:
    draw(tmp_path / "one" / "a.png")
    (tmp_path / "two").mkdir()
    for name in ("a.mp4", "b.mkv"):
        (tmp_path / "two" / name).touch()
    one, two = find_sets([tmp_path / "one", tmp_path / "two"], NOTHING)
    assert (one.name, two.name, len(one.pairs)) == ("one", "two", 1)
    videos = [tmp_path / "two" / name for name in ("a.mp4", "b.mkv")]
    assert two.pairs == tuple(VideoPair(path.stem, path, path) for path in videos)
    (both,) = find_sets(videos, NOTHING)
    assert (both.name, both.degradation, both.pairs) == ("a.mp4", None, (VideoPair("a", *videos),))


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    picture = draw(tmp_path / "pairs" / "input" / "a.png")
    (tmp_path / "pairs" / "target").mkdir()
    (tmp_path / "empty").mkdir()
    video = tmp_path / "videos" / "clip.mp4"
    video.parent.mkdir()
    video.touch()
    noise, blur = Degrading(noise=25), Degrading(blur=True)
    wrong: list[tuple[list[Path], Degrading, type[Exception], str]] = [
        ([tmp_path / "nothing"], NOTHING, SourceError, "there is no .*nothing: name a folder, or two files"),
        ([tmp_path / "empty"], NOTHING, SourceError, "nothing to read .* or for folders input/ and target/"),
        ([tmp_path / "pairs"], NOTHING, SourceError, "nothing to read in the folder .*target"),
        ([tmp_path / "empty"] * 2, NOTHING, SourceError, "nothing to read"),
        ([video.parent] * 2, NOTHING, ConfigError, "two folders are called videos"),
        ([picture], NOTHING, ConfigError, "a.png is no folder: give folders alone, or exactly two files"),
        ([picture, tmp_path / "pairs"], NOTHING, ConfigError, "a.png is no folder"),
        ([picture, video], NOTHING, SourceError, "are a picture and a video: a pair is two of a kind"),
        ([picture, picture], noise, ConfigError, "--noise is for folders of clean pictures, not for two files"),
        ([tmp_path / "pairs"], blur, ConfigError, "--blur .* not for .*pairs with its input/ and target/"),
        ([video.parent], noise, ConfigError, "--noise .* not for the video .*clip.mp4"),
        ([video.parent], Degrading(noise=1, blur=True), ConfigError, "were both given"),
    ]
    for data, degrading, error, words in wrong:
        with pytest.raises(error, match=words):
            find_sets(data, degrading)
    draw(tmp_path / "pairs" / "target" / "b.png")
    with pytest.raises(SourceError, match=r"input/a\.png has no counterpart in .*target"):
        find_sets([tmp_path / "pairs"], NOTHING)
    (tmp_path / "pairs" / "input" / "a.jpg").touch()
    with pytest.raises(SourceError, match="have the same name but for their suffix"):
        find_sets([tmp_path / "pairs"], NOTHING)
    target = tmp_path / "lonely" / "target"
    target.mkdir(parents=True)
    with pytest.raises(SourceError, match="lonely/input cannot be read: No such file or directory; a folder of pairs"):
        find_sets([target.parent], NOTHING)
