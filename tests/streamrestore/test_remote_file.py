"""Parts of a video are read out of an object store: the same frames as those of the local file, or an error."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import fsspec
import numpy as np
import pytest

from streamrestore import reading_apart
from streamrestore.errors import SourceError, StorageError
from streamrestore.frame import Frame
from streamrestore.landmarks import find_landmarks
from streamrestore.locations import parse_location
from streamrestore.opening import Opening
from streamrestore.probing import probe
from streamrestore.ranges import RangeReader
from streamrestore.reading_apart import pays
from streamrestore.remote_file import RemoteFile
from streamrestore.scan import scan_times
from streamrestore.segments import plan_segments
from streamrestore.source import Source, Trim, open_source, reopen
from streamrestore.storage import storage_of
from tests.clips import make_noise
from tests.s3 import Fault, S3Server, s3_server

CLIPS: dict[str, dict[str, str]] = {
    "moov at end.mp4": {},
    "moov in front.mp4": {"movflags": "faststart"},
    "open gop.mkv": {},
    "clip.ts": {},
}

FRAMES = 600
SEGMENT_FRAMES = 60


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _small_and_quick(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reading_apart, "LEAST_BYTES", 1 << 20)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *args: 0.001)
    yield
    server.fail()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, muxing in CLIPS.items():
        make_noise(folder / name, FRAMES, gop=8, muxing=muxing, open_gop=name.startswith("open"))
    return folder


def put(server: S3Server, path: Path) -> RemoteFile:
    location = parse_location(f"{server.bucket()}/tape 1/{path.name}")
    storage_of(location).upload(path, location)
    found = storage_of(location).find(location)
    assert found is not None
    return RemoteFile(location, found.hint, found.size)


def parts_of(source: Source) -> list[Trim]:
    segments = plan_segments(scan_times(source), source.info.time_base, most_frames=SEGMENT_FRAMES)
    return [Trim(segment.start_pts, segment.stop_pts) for segment in segments]


def elsewhere(source: Source, remote: RemoteFile) -> Source:
    return reopen(source.parts, Opening(Path(remote.location.shown), content=remote))


def assert_same(got: list[Frame], wanted: list[Frame]) -> None:
    assert [frame.pts for frame in got] == [frame.pts for frame in wanted]
    for one, other in zip(got, wanted, strict=True):
        assert (one.duration, one.defects, one.lost) == (other.duration, other.defects, other.lost)
        assert all(np.array_equal(*planes) for planes in zip(one.planes, other.planes, strict=True))


@pytest.mark.parametrize("name", CLIPS)
def test_every_part_has_the_frames_of_the_local_file_and_fetches_little_more_than_itself(
    server: S3Server, folder: Path, name: str
) -> None:
    source = open_source(folder / name)
    source.locate()
    remote, parts = put(server, folder / name), parts_of(source)
    assert len(parts) >= 10
    far = elsewhere(source, remote)
    assert pays(source, parts[len(parts) // 2])
    for part in parts:
        before, asked = server.sent_bytes, server.requests.copy()
        assert_same(list(far.frames(part)), list(source.frames(part)))
        # What is read before, to make sure that it was found, is nearly as much as itself in so short a segment.
        assert server.sent_bytes - before < 0.3 * remote.size
        assert server.requests["GET"] - asked["GET"] <= 30
        assert server.requests["HEAD"] - asked["HEAD"] <= 4


def test_a_part_that_is_not_found_by_a_seek_or_is_most_of_a_file_does_not_pay(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, muxing in {"clip.flv": {}, "clip.avi": {}, "parts.mp4": {"movflags": "frag_keyframe+empty_moov"}}.items():
        source = open_source(make_noise(tmp_path / name, FRAMES, gop=8, muxing=muxing))
        assert not pays(source, parts_of(source)[5]), name
    source = open_source(folder / "moov at end.mp4")
    parts = parts_of(source)
    assert pays(source, parts[5])
    assert not pays(source, Trim(parts[4].start_pts, None))
    monkeypatch.setattr(reading_apart, "LEAST_BYTES", (folder / "moov at end.mp4").stat().st_size + 1)
    assert not pays(source, parts[5])


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("fault", ["500", "reset", "half"])
def test_a_range_that_cannot_be_fetched_is_no_end_and_no_damage(
    server: S3Server, folder: Path, name: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever it is: what comes are all frames that there are before, and then the error."""
    monkeypatch.setattr(fsspec.filesystem("s3").__class__, "retries", 1)
    source = open_source(folder / name)
    source.locate()
    remote, part = put(server, folder / name), parts_of(source)[5]
    wanted = list(source.frames(part))
    before = server.requests["GET"]
    list(elsewhere(source, remote).frames(part))
    needed = server.requests["GET"] - before
    assert needed > 3
    for good in range(needed):
        got, left = list[Frame](), [good]

        def plan(method: str, path: str, left: list[int] = left) -> Fault | None:
            left[0] -= method == "GET"
            return fault if method == "GET" and left[0] < 0 else None

        server.plan = plan
        with pytest.raises(StorageError, match="could not be read in several attempts"):
            got.extend(elsewhere(source, remote).frames(part))
        assert_same(got, wanted[: len(got)])
        server.fail()


@dataclass
class Stumbling:
    """A local file of which one range cannot be fetched, and all others can; a `Content`."""

    path: Path
    bad: int
    """The number of that range, from when it was opened."""
    fetched: int = 0

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def open(self) -> RangeReader:
        content, numbers = self.path.read_bytes(), count()

        def fetch(start: int, stop: int) -> bytes:
            self.fetched += 1
            if next(numbers) == self.bad:
                raise StorageError("out of reach")
            return content[start:stop]

        return RangeReader(fetch, len(content))

    def check(self) -> None: ...


@pytest.mark.parametrize("name", CLIPS)
def test_one_range_that_cannot_be_fetched_is_never_passed_over(folder: Path, name: str) -> None:
    source = open_source(folder / name)
    source.locate()
    for part in parts_of(source)[4:6]:
        whole = Stumbling(source.info.path, -1)
        wanted = list(reopen(source.parts, Opening(Path(name), content=whole)).frames(part))
        for bad in range(whole.fetched):
            got = list[Frame]()
            far = reopen(source.parts, Opening(Path(name), content=Stumbling(source.info.path, bad)))
            with pytest.raises(StorageError, match="out of reach"):
                got.extend(far.frames(part))
            assert_same(got, wanted[: len(got)])
    for bad in range(5):
        content = Stumbling(source.info.path, bad)
        with pytest.raises(StorageError, match="out of reach"):
            find_landmarks(replace(source.info, opened=Opening(Path(name), content=content)))


def test_faults_that_pass_are_not_noticed(server: S3Server, folder: Path) -> None:
    source = open_source(folder / "open gop.mkv")
    source.locate()
    remote, part = put(server, folder / "open gop.mkv"), parts_of(source)[5]
    server.fail("500", "half", None, "reset", "503", None, "half", method="GET")
    got = list(elsewhere(source, remote).frames(part))
    server.fail()
    assert_same(got, list(source.frames(part)))


def test_a_file_that_is_replaced_is_not_read_on(server: S3Server, folder: Path) -> None:
    path = folder / "moov in front.mp4"
    source = open_source(path)
    source.locate()
    remote, parts = put(server, path), parts_of(source)
    far = elsewhere(source, remote)
    frames = far.frames(Trim(parts[1].start_pts, None))
    next(frames)
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    storage_of(remote.location).write(remote.location, bytes(content))
    with pytest.raises(SourceError, match="was replaced, or its content changed, since it was listed"):
        list(frames)
    with pytest.raises(SourceError, match="was replaced"):
        list(far.frames(parts[1]))
    with pytest.raises(SourceError, match="was replaced"):
        elsewhere(source, remote)
    storage_of(remote.location).delete(remote.location)
    with pytest.raises(SourceError, match="is gone"):
        elsewhere(source, remote)


def test_an_opening_says_of_a_remote_file_what_it_says_of_a_local_one(server: S3Server, folder: Path) -> None:
    path = folder / "open gop.mkv"
    local, remote = Opening(path), Opening(Path("name"), content=put(server, path))
    assert remote.bytes() == local.bytes()
    assert remote.sha256() == local.sha256()
    assert remote.beginning(1000) == local.beginning(1000)
    assert list(remote.files()) == []
    assert remote.stat() == remote.stat()
    here, there = probe(local), probe(remote)
    assert there.opening == remote
    assert (there.video, there.time_base, there.chroma_location) == (here.video, here.time_base, here.chroma_location)
