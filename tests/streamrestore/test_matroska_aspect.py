"""A pixel aspect ratio written into finished Matroska and WebM files."""

import zlib
from fractions import Fraction
from pathlib import Path

import av
import pytest

from streamrestore.ebml import read_elements, read_header
from streamrestore.errors import SinkError
from streamrestore.matroska_aspect import write_aspect
from tests.clips import Clip, make_clip

FFV1 = Clip(codec="ffv1", options={}, pts=(0, 1001, 2002))
VP9 = Clip(codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}, pts=(0, 1001, 2002))


def packets(path: Path) -> list[tuple[int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux() if packet.size]


@pytest.mark.parametrize("ratio", [Fraction(16, 15), Fraction(64, 45), Fraction(8, 9), Fraction(224, 225)])
@pytest.mark.parametrize(("clip", "suffix"), [(FFV1, ".mkv"), (VP9, ".webm"), (VP9, ".mkv")])
def test_the_ratio_is_read_back_and_nothing_else_moves(
    tmp_path: Path, clip: Clip, suffix: str, ratio: Fraction
) -> None:
    path = make_clip(tmp_path / f"clip{suffix}", clip)
    before, size = packets(path), path.stat().st_size
    write_aspect(path, ratio)
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        assert video.sample_aspect_ratio == ratio
        assert (video.width, video.height) == (64, 48)
        container.seek(1_000_000)  # by the index at the end, which the table of contents leads to
        assert next(container.decode(video)).pts is not None
    assert (packets(path), path.stat().st_size) == (before, size)


def test_a_file_with_much_in_it(tmp_path: Path) -> None:
    full = Clip(
        codec="ffv1",
        options={},
        sound="aac",
        subtitles=((0, 100, "Hello"),),
        attachment=b"font" * 1000,
        chapters=((0, 200, "One"), (200, 400, "Two")),
        tags={"title": "A film"},
        colour=(1, 1, 1, 1),
    )
    path = make_clip(tmp_path / "full.mkv", full)
    before = packets(path)
    write_aspect(path, Fraction(16, 11))
    write_aspect(path, Fraction(12, 11))
    assert packets(path) == before
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(12, 11)
        assert container.streams.video[0].codec_context.colorspace == 1
        assert container.metadata["title"] == "A film"
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One", "Two"]
        assert sorted(stream.type for stream in container.streams) == ["attachment", "audio", "subtitle", "video"]


def test_checksums_and_the_table_of_contents_are_right(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", FFV1)
    write_aspect(path, Fraction(16, 15))
    data = path.read_bytes()
    start, header = read_header(data)
    for element in header:
        if element.body[:1] == b"\xbf":
            assert int.from_bytes(element.body[2:6], "little") == zlib.crc32(element.body[6:])
    for entry in read_elements(header[0].body)[1:]:
        target, position = read_elements(entry.body)
        at = start + int.from_bytes(position.body, "big")
        assert data[at : at + len(target.body)] == target.body


def test_another_file_is_refused_untouched(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    before = path.read_bytes()
    with pytest.raises(SinkError, match="its header is an unknown one"):
        write_aspect(path, Fraction(16, 15))
    assert path.read_bytes() == before
