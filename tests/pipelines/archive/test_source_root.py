"""What all sources are in, and what becomes of a run where that is gone."""

import shutil
from pathlib import Path

import pytest

from pipelines.archive.context import ArchiveContext
from pipelines.archive.source_root import check_root, common_root
from streamrestore.errors import MachineError, SourceError
from streamrestore.locations import parse_location
from tests.pipelines.archive.runs import offset_pool, request_for


@pytest.mark.parametrize(
    ("sources", "root"),
    [
        (["/in/a.mp4"], "/in"),
        (["/in/a.mp4", "/in/deep/b.mp4", "/in/deep/c.mp4"], "/in"),
        (["/in/one/a.mp4", "/in/other/b.mp4"], "/in"),
        (["/in/a.mp4", "/elsewhere/b.mp4"], None),
        (["/a.mp4", "/in/b.mp4"], None),
        (["s3://bucket/a.mp4", "s3://bucket/deep/b.mp4"], "s3://bucket"),
        (["s3://bucket/deep/a.mp4", "s3://bucket/deep/b.mp4"], "s3://bucket/deep"),
        (["s3://bucket/a.mp4", "s3://other/b.mp4"], None),
        (["s3://bucket/a.mp4", "/in/b.mp4"], None),
        (["https://server/in/a.mp4"], None),
        ([], None),
    ],
)
def test_the_folder_that_all_sources_are_in(sources: list[str], root: str | None) -> None:
    found = common_root(map(parse_location, sources))
    assert (None if found is None else found.url) == root


def test_a_mount_that_is_gone_leaves_an_empty_folder(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for _ in range(2):
        with pytest.raises(SourceError, match=r"in is gone or empty, .* the same command goes on"):
            check_root(parse_location(str(root)))
        root.mkdir(exist_ok=True)
    (root / "clip.mp4").touch()
    check_root(parse_location(str(root)))


def test_a_machine_without_the_sources_says_so_and_not_that_a_clip_is_gone(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "clip.mp4").touch()
    request = request_for(tmp_path / "out", source=source)
    context = ArchiveContext(request, "cpu", offset_pool)
    context.check()
    shutil.rmtree(source)
    with pytest.raises(MachineError, match=r"^on .*in is gone or empty"):
        context.check()
    with pytest.raises(MachineError):
        ArchiveContext(request, "cpu", offset_pool)
