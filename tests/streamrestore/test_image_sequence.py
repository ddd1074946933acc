"""Patterns of images: what they name, and that no missing image goes unnoticed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.errors import SourceError
from streamrestore.image_sequence import Images, Pattern, find_images, parse_pattern, suggest_pattern


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"image")


def find(path: Path) -> Images:
    pattern = parse_pattern(path)
    assert pattern is not None
    return find_images(path, pattern)


def test_a_pattern_has_one_place_in_its_name() -> None:
    assert parse_pattern(Path("50%d/f_%06d.dpx")) == Pattern(Path("50%d"), "f_", 6, ".dpx")
    assert parse_pattern(Path("%d.png")) == Pattern(Path(), "", 1, ".png")
    assert parse_pattern(Path("50%d/clip.mp4")) is None
    assert parse_pattern(Path("100%.png")) is None


@given(st.integers(0, 10**8), st.integers(1, 9), st.text("ab%.", max_size=3), st.text("ab%.", max_size=3))
def test_names_and_numbers_go_both_ways(number: int, digits: int, before: str, after: str) -> None:
    pattern = Pattern(Path("x"), before, digits, after)
    assert pattern.number(pattern.file(number).name) == number


def test_only_names_of_the_pattern_count(tmp_path: Path) -> None:
    touch(tmp_path, "f_0007.dpx", "f_0008.dpx", "f_009.dpx", "f_0010.DPX", "f_00011.dpx", "g_0009.dpx", "f_-001.dpx")
    images = find(tmp_path / "f_%04d.dpx")
    assert (images.first, images.count) == (7, 2)
    assert [path.name for path in images.files()] == ["f_0007.dpx", "f_0008.dpx"]


def test_numbers_may_outgrow_their_zeros(tmp_path: Path) -> None:
    touch(tmp_path, "f_98.png", "f_99.png", "f_100.png")
    assert find(tmp_path / "f_%02d.png").count == 3


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "f_001.png", "f_002.png", "f_005.png")
    with pytest.raises(SourceError, match=r"f_003\.png is missing: .*from f_001\.png to f_005\.png, 2 of them"):
        find(tmp_path / "f_%03d.png")
    with pytest.raises(SourceError, match=r"there are no images .*g_%03d\.png"):
        find(tmp_path / "g_%03d.png")
    with pytest.raises(SourceError, match="cannot be read"):
        find(tmp_path / "nowhere" / "f_%03d.png")


def test_an_empty_image_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "f_1.png", "f_2.png")
    (tmp_path / "f_2.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"f_2\.png is empty"):
        find(tmp_path / "f_%d.png")


def test_a_folder_of_one_kind_of_images_has_a_name(tmp_path: Path) -> None:
    assert suggest_pattern(tmp_path) is None
    touch(tmp_path, "shot1_0001.png", "shot1_0002.png", "notes.txt")
    assert suggest_pattern(tmp_path) == "shot1_%04d.png"
    touch(tmp_path, "poster.jpg")
    assert suggest_pattern(tmp_path) is None
