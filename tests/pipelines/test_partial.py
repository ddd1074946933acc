"""An output appears complete or not at all, and one run at a time writes it."""

from pathlib import Path

import pytest

from pipelines.partial import commit, hold_partial, partial_path
from streamrestore.errors import OutputError, VerificationError


def write_and_fail(output: Path, error: Exception) -> None:
    with hold_partial(output) as partial:
        partial.with_name(partial.name.replace("%03d", "001")).write_bytes(b"unfinished")
        raise error


def test_what_is_unfinished_says_so() -> None:
    assert partial_path(Path("a/clip.mp4")) == Path("a/clip.mp4.partial")


def test_two_runs_cannot_write_one_output(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    with hold_partial(output) as partial:
        partial.write_bytes(b"half")
        with pytest.raises(OutputError, match="another run is writing"), hold_partial(output):
            pass
        assert partial.read_bytes() == b"half"
        partial.rename(output)
        with hold_partial(output) as other:
            other.write_bytes(b"the next run")
    assert output.read_bytes() == b"half"
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_what_a_killed_run_left_is_taken_over(tmp_path: Path) -> None:
    partial_path(tmp_path / "out.mp4").write_bytes(b"left over")
    with hold_partial(tmp_path / "out.mp4") as partial:
        assert partial == tmp_path / "out.mp4.partial"
    assert list(tmp_path.iterdir()) == []


def test_what_failed_its_verification_stays(tmp_path: Path) -> None:
    with pytest.raises(VerificationError):
        write_and_fail(tmp_path / "out.mp4", VerificationError("not what it must be"))
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.partial"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_of_images_appears_at_once(tmp_path: Path) -> None:
    output = tmp_path / "shots" / "f_%03d.png"
    with hold_partial(output) as partial:
        assert partial == tmp_path / "shots.partial" / "f_%03d.png"
        (partial.parent / "f_001.png").write_bytes(b"1")
        with pytest.raises(OutputError, match="another run is writing"), hold_partial(output):
            pass
        assert names(tmp_path) == ["shots.partial"]
        commit(partial, output)
    assert names(tmp_path) == ["shots"]
    assert names(output.parent) == ["f_001.png"]


def test_images_go_into_a_folder_that_is_there_and_replace_a_longer_result(tmp_path: Path) -> None:
    output = tmp_path / "f_%03d.png"
    for name in ("f_001.png", "f_002.png", "f_003.png", "f_03.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"old")
    with hold_partial(output) as partial:
        for name in ("f_001.png", "f_002.png", "f_%03d.png.receipt.json"):
            (partial.parent / name).write_bytes(b"new")
        commit(partial, output)
    assert names(tmp_path) == ["f_%03d.png.receipt.json", "f_001.png", "f_002.png", "f_03.png", "notes.txt"]
    assert (tmp_path / "f_001.png").read_bytes() == b"new"
    assert (tmp_path / "f_03.png").read_bytes() == b"old"


def test_images_of_a_run_that_failed_are_removed(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no"):
        write_and_fail(tmp_path / "shots" / "f_%03d.png", OutputError("no"))
    assert names(tmp_path) == []
