"""Where results go, and that nothing is overwritten."""

from pathlib import Path

import pytest

from pipelines.outputs import Item, check_output, default_output, plan_items
from streamrestore.errors import ConfigError, OutputError, SourceError


def test_default_names_say_what_was_done() -> None:
    assert default_output(Path("a/clip.mp4"), ["derain"], ".mp4", None) == Path("a/clip.derain.mp4")
    assert default_output(Path("a/clip.avi"), ["denoise", "deblur"], ".mkv", Path("out")) == Path(
        "out/clip.denoise-deblur.mkv"
    )


def test_a_folder_stands_for_its_videos_without_earlier_results(tmp_path: Path) -> None:
    for name in ("b.MKV", "a.mp4", "a.derain.mp4", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "sub.mp4").mkdir()
    items = plan_items([tmp_path], None, ["derain"])
    assert [item.source.name for item in items] == ["a.mp4", "b.MKV"]
    assert [item.source.name for item in plan_items([tmp_path], None, ["deblur"])] == ["a.derain.mp4", "a.mp4", "b.MKV"]


def test_an_input_named_twice_is_restored_once(tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    file.touch()
    assert plan_items([file, tmp_path, file], None, ["derain"]) == (Item(file, None),)
    assert plan_items([tmp_path / "." / ".." / tmp_path.name / "a.mp4", file], None, ["derain"])[1:] == ()


def test_output_is_a_file_or_a_folder(tmp_path: Path) -> None:
    one, two = tmp_path / "1.mp4", tmp_path / "2.mp4"
    assert plan_items([one], tmp_path / "x.mkv", ["derain"]) == (Item(one, tmp_path / "x.mkv"),)
    assert plan_items([one], tmp_path, ["derain"]) == (Item(one, None, tmp_path),)
    assert plan_items([one, two], tmp_path / "new", ["derain"]) == tuple(
        Item(path, None, tmp_path / "new") for path in (one, two)
    )
    with pytest.raises(ConfigError, match=r"2 inputs cannot go into the one file .*x\.mkv"):
        plan_items([one, two], tmp_path / "x.mkv", ["derain"])


def test_no_input_and_an_empty_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no input was given"):
        plan_items([], None, ["derain"])
    with pytest.raises(SourceError, match="no video to restore in the folder"):
        plan_items([tmp_path], None, ["derain"])


def test_existing_outputs_are_kept_unless_asked(tmp_path: Path) -> None:
    source, output = tmp_path / "a.mp4", tmp_path / "b.mp4"
    source.write_bytes(b"source")
    output.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists; overwrite it with -y"):
        check_output(source, output, overwrite=False)
    check_output(source, output, overwrite=True)
    assert output.read_bytes() == b"precious"


def test_the_input_is_never_the_output(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(b"source")
    link = tmp_path / "link.mp4"
    link.hardlink_to(source)
    for output in (source, link):
        with pytest.raises(ConfigError, match="is the input itself"):
            check_output(source, output, overwrite=True)


def test_an_output_that_cannot_be_written_is_said_before_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write .*b\.mp4"):
        check_output(tmp_path / "a.mp4", tmp_path / "file" / "b.mp4", overwrite=False)
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path / "a.mp4", tmp_path, overwrite=True)


def test_a_name_that_is_too_long_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="File name too long"):
        check_output(tmp_path / "a.mp4", tmp_path / ("x" * 250 + ".mp4"), overwrite=False)
    assert plan_items([tmp_path / ("x" * 300)], None, ["derain"])


def test_missing_folders_are_made(tmp_path: Path) -> None:
    check_output(tmp_path / "a.mp4", tmp_path / "new" / "deep" / "b.mp4", overwrite=False)
    assert list((tmp_path / "new" / "deep").iterdir()) == []
