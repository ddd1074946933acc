"""Headers say what there is to do, without a picture being decoded or a remote file downloaded."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from streamrestore.errors import SourceError, StorageError, UnsupportedError
from streamrestore.headers import read_header
from streamrestore.locations import parse_location
from streamrestore.probing import probe
from tests.clips import Clip, make_clip
from tests.s3 import Fault, S3Server, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.avi"])
def test_headers_say_what_opening_a_file_says(tmp_path: Path, name: str) -> None:
    path = make_clip(tmp_path / name, Clip(size=(50, 70), sound=None if name.endswith("avi") else "aac"))
    header, info = read_header(parse_location(str(path))), probe(path)
    assert (header.height, header.width) == (info.video.height, info.video.width) == (50, 70)
    assert header.codec == info.codec == "h264"
    assert header.pixel_format_name == info.pixel_format_name
    assert header.frames == info.estimated_frames
    assert header.seconds == info.duration_seconds
    assert len(header.companions) == len(info.other_streams)
    assert (header.companion_bytes > 0) == (name in ("clip.mp4", "clip.ts"))  # others do not say it of this sound


def test_names_that_look_like_addresses_or_options_are_names(tmp_path: Path) -> None:
    odd = tmp_path / "http:"
    odd.mkdir()
    make_clip(tmp_path / "clip.mkv").rename(odd / "-i ü #1.mkv")
    assert read_header(parse_location(str(odd / "-i ü #1.mkv"))).width == 64


def test_what_is_no_video_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    whole = make_clip(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.mp4").mkdir()
    for name, words in {
        "text.mp4": "no video or picture",
        "empty.mp4": "is empty",
        "cut.mp4": "no video or picture",
        "gone.mp4": "does not exist",
        "folder.mp4": "not a regular file",
    }.items():
        with pytest.raises(SourceError, match=words):
            read_header(parse_location(str(tmp_path / name)))


def test_sound_alone_is_no_clip(data_dir: Path) -> None:
    with pytest.raises(UnsupportedError, match="no video stream"):
        read_header(parse_location(str(data_dir / "video" / "sample_audio_only.mp4")))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_remote_clip_is_not_downloaded_for_its_headers(server: S3Server, tmp_path: Path, name: str) -> None:
    """The headers of an MP4 are at its end."""
    path = make_clip(tmp_path / name)
    if name.endswith("mp4"):
        content = path.read_bytes()
        media = content.index(b"mdat") - 4
        hole = (8 << 20).to_bytes(4, "big") + b"free" + bytes((8 << 20) - 8)
        assert content.index(b"moov") > media
        path.write_bytes(content[:media] + hole + content[media:])
    bucket = server.bucket()
    fsspec.filesystem("s3").put(str(path), f"{bucket}/{name}")
    local, before = read_header(parse_location(str(path))), server.requests["GET"]
    assert read_header(parse_location(f"{bucket}/{name}")) == local
    assert 1 <= server.requests["GET"] - before <= 6


def test_a_remote_clip_that_is_gone_or_out_of_reach_says_so(server: S3Server, tmp_path: Path) -> None:
    bucket = server.bucket()
    with pytest.raises(SourceError, match="no such bucket or file"):
        read_header(parse_location(f"{bucket}/gone.mp4"))
    fsspec.filesystem("s3").put(str(make_clip(tmp_path / "clip.mkv")), f"{bucket}/clip.mkv")
    faults: list[Fault | None] = ["500"] * 40
    server.fail(*faults, method="GET")
    with pytest.raises(StorageError, match="in several attempts"):
        read_header(parse_location(f"{bucket}/clip.mkv"))
    server.fail()
