"""Copies of remote files on a machine's disk."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamrestore import remote_storage
from streamrestore.errors import DiskFullError, SourceError
from streamrestore.locations import Location, parse_location
from streamrestore.source_cache import SourceCache
from streamrestore.storage import storage_of
from tests.s3 import S3Server, s3_server

ROOMY = 1 << 30


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(server: S3Server) -> Iterator[Location]:
    server.fail()
    yield parse_location(server.bucket())
    server.fail()


def put(location: Location, content: bytes) -> str:
    """Gives its hint."""
    storage = storage_of(location)
    storage.write(location, content)
    found = storage.find(location)
    assert found is not None
    return found.hint


def copies(root: Path) -> dict[str, bytes]:
    """What is in a cache, by name."""
    return {file.name: file.read_bytes() for file in root.glob("*/file/*")}


def test_a_local_file_is_used_where_it_is(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"content")
    with SourceCache(tmp_path / "cache", 0).fetch(parse_location(str(clip)), "", 7) as path:
        assert path == clip
    assert not (tmp_path / "cache").exists()


def test_a_file_is_downloaded_once(server: S3Server, bucket: Location, tmp_path: Path) -> None:
    location = bucket.child("tapes/clip 1.MP4")
    hint = put(location, b"content")
    before = server.requests["GET"]
    for _ in range(3):
        with SourceCache(tmp_path, ROOMY).fetch(location, hint, 7) as path:
            assert path.name == "clip 1.MP4"
            assert path.read_bytes() == b"content"
    assert server.requests["GET"] == before + 1


def test_files_of_one_name_are_kept_apart_and_so_are_contents(bucket: Location, tmp_path: Path) -> None:
    cache, places = SourceCache(tmp_path, ROOMY), [bucket.child("a/clip.mp4"), bucket.child("b/clip.mp4")]
    hints = [put(place, place.key.encode()) for place in places]
    for place, hint in zip(places, hints, strict=True):
        with cache.fetch(place, hint) as path:
            assert path.read_bytes() == place.key.encode()
    new = put(places[0], b"new")
    with cache.fetch(places[0], new) as path:
        assert path.read_bytes() == b"new"
    with cache.fetch(places[1], hints[1]) as path:
        assert path.read_bytes() == places[1].key.encode()


def test_of_several_that_ask_one_downloads(server: S3Server, bucket: Location, tmp_path: Path) -> None:
    location, contents = bucket.child("clip.mp4"), list[bytes]()
    hint = put(location, os.urandom(100_000))
    server.fail("slow", method="GET")
    before = server.requests["GET"]

    def fetch() -> None:
        with SourceCache(tmp_path, ROOMY).fetch(location, hint) as path:
            contents.append(path.read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(contents) == 6
    assert len(set(contents)) == 1
    assert server.requests["GET"] == before + 1


def test_what_was_not_used_for_longest_makes_room(bucket: Location, tmp_path: Path) -> None:
    cache, places = SourceCache(tmp_path, 250), [bucket.child(f"{number}.mp4") for number in range(4)]
    hints = [put(place, b"x" * 100) for place in places]

    def fetch(number: int) -> None:
        with cache.fetch(places[number], hints[number], 100):
            pass

    for number in (0, 1, 0, 2):
        fetch(number)
    assert sorted(copies(tmp_path)) == ["0.mp4", "2.mp4"]
    with cache.fetch(places[0], hints[0], 100) as used, cache.fetch(places[1], hints[1], 100):
        # Neither is deleted, though that is more than there should be.
        fetch(3)
        assert used.exists()
        assert sorted(copies(tmp_path)) == ["0.mp4", "1.mp4", "3.mp4"]
    fetch(2)
    assert len(copies(tmp_path)) == 2
    assert cache.clear() == 200
    assert copies(tmp_path) == {}


FETCH = """
import sys
from pathlib import Path
from streamrestore.locations import parse_location
from streamrestore.source_cache import SourceCache
root, url, hint, size = sys.argv[1:]
with SourceCache(Path(root), 1 << 30).fetch(parse_location(url), hint, int(size)) as path:
    print(path, flush=True)
    sys.stdin.read()
"""


def start_fetching(root: Path, location: Location, hint: str, size: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", FETCH, str(root), location.url, hint, str(size)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_process_that_is_killed_keeps_nobody_waiting(server: S3Server, bucket: Location, tmp_path: Path) -> None:
    location = bucket.child("clip.mp4")
    hint = put(location, b"x" * 100)
    stuck, release = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> None:
        if method == "GET" and path.endswith("clip.mp4") and not stuck.is_set():
            stuck.set()
            release.wait(30)

    server.plan = hold
    with start_fetching(tmp_path, location, hint, 100) as first:
        assert stuck.wait(30)
        first.kill()
    release.set()
    with SourceCache(tmp_path, ROOMY).fetch(location, hint, 100) as path:
        assert path.read_bytes() == b"x" * 100
    assert list(copies(tmp_path)) == ["clip.mp4"]


def test_what_another_process_uses_is_not_deleted(bucket: Location, tmp_path: Path) -> None:
    location = bucket.child("clip.mp4")
    hint = put(location, b"x" * 100)
    with start_fetching(tmp_path, location, hint, 100) as other:
        assert other.stdout is not None
        path = Path(other.stdout.readline().strip())
        assert SourceCache(tmp_path, 0).clear() == 0
        assert path.exists()
        other.kill()
    assert SourceCache(tmp_path, 0).clear() == 100


def test_what_downloads_left_is_swept(server: S3Server, bucket: Location, tmp_path: Path) -> None:
    one, other = bucket.child("one.mp4"), bucket.child("other.mp4")
    hints = [put(place, b"content") for place in (one, other)]
    with SourceCache(tmp_path, ROOMY).fetch(one, hints[0], 7) as path:
        pass
    path.rename(path.with_name("0123456789ab.part"))
    with SourceCache(tmp_path, ROOMY).fetch(other, hints[1], 7):
        pass
    assert list(copies(tmp_path)) == ["other.mp4"]


def test_a_source_that_cannot_be_had_leaves_nothing(bucket: Location, tmp_path: Path) -> None:
    cache = SourceCache(tmp_path, ROOMY)
    hint = put(bucket.child("clip.mp4"), b"content")
    put(bucket.child("clip.mp4"), b"another")
    for name in ("clip.mp4", "none.mp4"):
        with pytest.raises(SourceError), cache.fetch(bucket.child(name), hint, 7):
            pass
    assert copies(tmp_path) == {}
    cache.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_full_disk_is_emptied_of_what_nobody_uses(
    bucket: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, old, new = SourceCache(tmp_path, ROOMY), bucket.child("old.mp4"), bucket.child("new.mp4")
    hints = [put(old, b"x" * 100), put(new, b"y" * 100)]
    with cache.fetch(old, hints[0], 100):
        pass
    download = remote_storage.RemoteStorage.download

    def download_if_room(self: remote_storage.RemoteStorage, location: Location, file: Path, hint: str) -> None:
        if copies(tmp_path):
            raise DiskFullError(f"{file}: no space left: free some and start again")
        download(self, location, file, hint)

    monkeypatch.setattr(remote_storage.RemoteStorage, "download", download_if_room)
    with cache.fetch(new, hints[1], 100):
        assert list(copies(tmp_path)) == ["new.mp4"]
        with pytest.raises(DiskFullError, match="no space left"), cache.fetch(old, hints[0], 100):
            pass


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("clip.mp4", "clip.mp4"),
        (".mp4", "mp4"),
        ("..", "source"),
        ("no suffix", "no suffix"),
        ("ü" * 400 + ".mp4", "ü" * 98 + ".mp4"),
        ("a." + "ü" * 400, ("a." + "ü" * 400)[:101]),
    ],
)
def test_names_that_file_systems_do_not_hold_are_changed(
    bucket: Location, tmp_path: Path, name: str, kept: str
) -> None:
    location = bucket.child(f"in/{name}")
    if name == "..":
        location = Location(f"{bucket.url}/in/..", f"{bucket.url}/in/..")
    hint = put(location, b"content")
    with SourceCache(tmp_path, ROOMY).fetch(location, hint) as path:
        assert path.name == kept
        assert path.read_bytes() == b"content"


def test_a_copy_is_found_where_there_is_one_and_nothing_is_downloaded_where_there_is_none(
    server: S3Server, bucket: Location, tmp_path: Path
) -> None:
    cache, location = SourceCache(tmp_path, ROOMY), bucket.child("clip.mp4")
    hint = put(location, b"content")
    before = server.requests["GET"]
    with cache.find(location, hint) as copy:
        assert copy is None
    assert not copies(tmp_path)
    assert server.requests["GET"] == before
    with cache.fetch(location, hint, 7):
        pass
    with cache.find(location, hint) as copy:
        assert copy is not None
        assert copy.read_bytes() == b"content"
        assert cache.clear() == 0, "it is in use"
    with cache.find(location, "another") as copy:
        assert copy is None


def test_a_copy_that_is_just_coming_is_waited_for_and_a_broken_one_is_none(
    server: S3Server, bucket: Location, tmp_path: Path
) -> None:
    cache, location = SourceCache(tmp_path, ROOMY), bucket.child("clip.mp4")
    hint = put(location, b"content")
    server.fail("slow", method="GET")
    before = server.requests["GET"]

    def fetch() -> None:
        with cache.fetch(location, hint):
            pass

    thread = threading.Thread(target=fetch)
    thread.start()
    while server.requests["GET"] == before:
        time.sleep(0.01)
    with cache.find(location, hint) as copy:
        assert copy is not None
        assert copy.read_bytes() == b"content"
    thread.join()
    assert server.requests["GET"] == before + 1
    [file] = tmp_path.glob("*/file/*")
    file.rename(file.with_name("clip.mp4.part"))
    with cache.find(location, hint) as copy:
        assert copy is None
