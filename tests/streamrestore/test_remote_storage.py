"""Files in object stores, with what goes wrong there."""

import errno
import io
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import pytest

from streamrestore import remote_storage
from streamrestore.errors import ConfigError, DiskFullError, OutputError, SourceError, StorageError
from streamrestore.locations import Location, parse_location
from streamrestore.storage import Found, check_creating, find_all, storage_of
from tests.s3 import SLOW_SECONDS, Fault, S3Server, s3_server

NAMES = [
    "plain.mp4",
    "with space/and 'quotes\".mp4",
    "ünïcode/e\u0301.mp4",
    "signs/a?b#c%20d@e&f+g=h;i::j[k].mp4",
    "//slashes//x.mp4",
    "tab\there.mp4",
]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *args: 0.01)


@pytest.fixture
def bucket(server: S3Server) -> Iterator[Location]:
    server.fail()
    yield parse_location(server.bucket())
    server.fail()


def put(location: Location, content: bytes = b"content") -> Found:
    storage = storage_of(location)
    storage.write(location, content)
    found = storage.find(location)
    assert found is not None
    return found


@pytest.mark.parametrize("name", NAMES)
def test_names_of_all_kinds_are_written_found_and_read(bucket: Location, name: str) -> None:
    folder = bucket.child("a folder")
    storage = storage_of(folder)
    location = folder.child(name)
    storage.write(location, name.encode())
    [found] = storage.walk(folder, lambda folder: True)
    assert found == replace(put(location, name.encode()), name=name)
    assert storage.read(folder.child(found.name)) == name.encode()
    storage.delete(location)
    assert storage.find(location) is None
    assert storage.read(location) is None
    storage.delete(location)


def test_the_hint_is_another_one_when_the_content_is(bucket: Location) -> None:
    location = bucket.child("clip.mp4")
    first = put(location, b"one")
    assert put(location, b"one") == first
    assert put(location, b"two").hint != first.hint


def test_a_walk_leaves_out_folders_and_their_markers(bucket: Location) -> None:
    for name in ("in/a.mp4", "in/deep/b.mp4", "in/.hidden/c.mp4", "in/out/d.mp4", "inside.mp4"):
        put(bucket.child(name))
    storage = storage_of(bucket)
    storage.write(bucket.child("in/empty/"), b"")  # as consoles make folders
    found = storage.walk(bucket.child("in"), lambda folder: not folder.startswith("."), bucket.child("in/out"))
    assert sorted(file.name for file in found) == ["a.mp4", "deep/b.mp4"]


def test_many_are_looked_for_at_once(server: S3Server, bucket: Location) -> None:
    there = [bucket.child(f"many/{number}.mp4") for number in range(60)]
    few = [bucket.child(f"few/{number}.mp4") for number in range(3)]
    for location in (*there, *few):
        put(location)
    before = sum(server.requests.values())
    found = find_all([*there, *few, bucket.child("many/none.mp4"), bucket.child("few/none.mp4")])
    assert {location.url for location in (*there, *few)} == set(found)
    assert sum(server.requests.values()) - before < 12
    assert found[there[7].url].hint == put(there[7]).hint


# Created once


def create_at_once(location: Location, writers: int) -> list[int]:
    """Numbers of the writers that are told that they created it."""
    told = list[int]()
    barrier = threading.Barrier(writers)

    def create(number: int) -> None:
        barrier.wait()
        if storage_of(location).create(location, b"writer %d" % number):
            told.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def test_of_several_writers_one_creates(bucket: Location) -> None:
    for turn in range(20):
        location = bucket.child(f"records/{turn}.json")
        [winner] = create_at_once(location, 4)
        assert storage_of(location).read(location) == b"writer %d" % winner


def test_who_wrote_what_is_there_is_told_so_though_the_answer_was_lost(server: S3Server, bucket: Location) -> None:
    location = bucket.child("record.json")
    server.fail("answer lost", method="PUT")
    assert storage_of(location).create(location, b"mine")
    assert server.faults
    assert storage_of(location).read(location) == b"mine"
    server.fail("answer lost", method="PUT")
    assert not storage_of(location).create(location, b"another's")
    assert storage_of(location).read(location) == b"mine"


def test_whether_a_folder_holds_anything(bucket: Location) -> None:
    storage = storage_of(bucket)
    assert not storage.holds_any(bucket.child("deep"))
    storage.write(bucket.child("deep/er/file"), b"content")
    assert storage.holds_any(bucket.child("deep"))
    assert storage.holds_any(bucket)
    assert not storage.holds_any(parse_location("s3://no-such-bucket"))


def test_writers_that_meet_try_again(server: S3Server, bucket: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_storage, "_CONFLICT_SECONDS", (0.01, 0.01))
    server.fail("conflict", "conflict", method="PUT")
    assert storage_of(bucket).create(bucket.child("record.json"), b"1")
    server.fail("conflict", "conflict", "conflict", method="PUT")
    with pytest.raises(StorageError, match=r"record2.json could not be written"):
        storage_of(bucket).create(bucket.child("record2.json"), b"1")


def test_storage_that_does_not_create_is_told_from_storage_that_does(
    bucket: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_creating(bucket.child("state"))
    assert list(storage_of(bucket).walk(bucket, lambda folder: True)) == []
    files = remote_storage._file_system("s3", os.getpid())
    pipe = files.pipe_file
    monkeypatch.setattr(files, "pipe_file", lambda path, content, **how: pipe(path, content))
    with pytest.raises(OutputError, match="overwrites files that it was asked only to create"):
        check_creating(bucket.child("state"))


# Up and down


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(os.urandom(300_000))
    return path


def test_a_file_goes_up_and_comes_down(bucket: Location, clip: Path, tmp_path: Path) -> None:
    location, copy = bucket.child("tapes/clip 1.mp4"), tmp_path / "copy.mp4"
    storage = storage_of(location)
    storage.upload(clip, location)
    found = storage.find(location)
    assert found is not None
    assert found.size == clip.stat().st_size
    storage.download(location, copy, found.hint)
    assert copy.read_bytes() == clip.read_bytes()
    assert sorted(tmp_path.iterdir()) == [clip, copy]


def test_a_large_file_goes_up_in_parts(
    server: S3Server, bucket: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda size, chunksize=None: 5 << 20)
    big, copy = tmp_path / "big.mov", tmp_path / "copy.mov"
    big.write_bytes(os.urandom(12 << 20))
    location = bucket.child("big.mov")
    server.fail(None, "500", "reset", method="PUT")
    storage_of(location).upload(big, location)
    found = storage_of(location).find(location)
    assert found is not None
    server.fail("half", "reset", method="GET")
    storage_of(location).download(location, copy, found.hint)
    assert copy.read_bytes() == big.read_bytes()


@pytest.mark.parametrize("fault", ["500", "503", "reset", "half"])
def test_faults_that_pass_are_not_noticed(
    server: S3Server, bucket: Location, clip: Path, tmp_path: Path, fault: Fault
) -> None:
    location, copy = bucket.child("clip.mp4"), tmp_path / "copy.mp4"
    storage = storage_of(location)
    server.fail(fault, method="PUT")
    storage.upload(clip, location)
    server.fail(fault, method="HEAD")
    found = storage.find(location)
    assert found is not None
    server.fail(fault, method="GET")
    storage.download(location, copy, found.hint)
    assert copy.read_bytes() == clip.read_bytes()
    server.fail(fault, method="GET")
    assert storage.read(location) == clip.read_bytes()
    server.fail(fault, method="GET")
    assert [file.name for file in storage.walk(bucket, lambda folder: True)] == ["clip.mp4"]
    server.fail(fault, method="DELETE")
    storage.delete(location)
    assert storage.find(location) is None


def test_an_answer_that_does_not_come_is_asked_for_again(
    server: S3Server, bucket: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(remote_storage._OPTIONS["s3"]["config_kwargs"], "read_timeout", SLOW_SECONDS / 2)
    impatient = remote_storage._file_system.__wrapped__("s3", -1)
    monkeypatch.setattr(remote_storage, "_file_system", lambda scheme, process: impatient)
    location = bucket.child("clip.mp4")
    put(location)
    for method in ("HEAD", "GET"):
        server.fail("slow", method=method)
        before = server.requests[method]
        assert storage_of(location).find(location)
        assert storage_of(location).read(location) == b"content"
        assert server.requests[method] == before + 2


def test_a_server_that_never_answers_is_given_up(
    server: S3Server, bucket: Location, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_storage, "WRITE_SECONDS", 1)
    monkeypatch.setattr(remote_storage, "SLOWEST_BYTES", 1 << 30)
    storage, location, ended = storage_of(bucket), bucket.child("clip.mp4"), threading.Event()

    def hold(method: str, path: str) -> None:
        ended.wait(30)

    server.plan = hold
    try:
        with pytest.raises(StorageError, match="could not be written in several attempts: FSTimeoutError"):
            storage.create(location, b"content")
        with pytest.raises(StorageError, match="could not be written in several attempts"):
            storage.upload(clip, location)
    finally:
        ended.set()


def test_faults_that_stay_are_reported_as_such(server: S3Server, bucket: Location, clip: Path, tmp_path: Path) -> None:
    location, copy = bucket.child("clip.mp4"), tmp_path / "copy.mp4"
    found = put(location)
    server.plan = lambda method, path: "500"
    with pytest.raises(StorageError, match=r"clip.mp4 could not be read in several attempts: planned"):
        storage_of(location).download(location, copy, found.hint)
    with pytest.raises(StorageError, match=r"clip.mp4 could not be written"):
        storage_of(location).upload(clip, location)
    assert sorted(tmp_path.iterdir()) == [clip]


def test_a_source_that_was_replaced_is_not_taken(bucket: Location, tmp_path: Path) -> None:
    location, copy = bucket.child("clip.mp4"), tmp_path / "copy.mp4"
    found = put(location, b"as it was")
    put(location, b"as it is.")
    with pytest.raises(SourceError, match="was replaced, or its content changed, since it was listed: run"):
        storage_of(location).download(location, copy, found.hint)
    storage_of(location).delete(location)
    with pytest.raises(SourceError, match="does not exist"):
        storage_of(location).download(location, copy, found.hint)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_to_be_one(bucket: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = bucket.child("clip.mp4")
    found = put(location)
    storage = storage_of(location)

    def fill(key: str, path: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(remote_storage._file_system("s3", os.getpid()), "get_file", fill)
    with pytest.raises(DiskFullError, match="no space left"):
        storage.download(location, tmp_path / "copy.mp4", found.hint)


# What is not there, and what is not allowed


def test_a_bucket_that_is_not_there(server: S3Server, clip: Path) -> None:
    location = parse_location("s3://no-such-bucket/x/clip.mp4")
    storage = storage_of(location)
    assert storage.read(location) is None
    with pytest.raises(SourceError, match="there is no such bucket or file"):
        list(storage.walk(location, lambda folder: True))
    for write in (storage.write, storage.create):
        with pytest.raises(OutputError, match="cannot be written: there is no such bucket"):
            write(location, b"")
    with pytest.raises(OutputError, match="cannot be written: there is no such bucket"):
        storage.upload(clip, location)


def test_a_package_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"gs:// needs a package that is not installed: pip install 'gcsfs'"):
        storage_of(parse_location("gs://bucket/clip.mp4"))


def test_keys_that_are_not_there(bucket: Location, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    fresh = remote_storage._file_system.__wrapped__("s3", -1)
    fresh.connect(refresh=True)
    monkeypatch.setattr(remote_storage, "_file_system", lambda scheme, process: fresh)
    with pytest.raises(SourceError, match="give AWS_PROFILE, or AWS_ACCESS_KEY_ID"):
        storage_of(bucket).read(bucket.child("clip.mp4"))
    with pytest.raises(OutputError, match="give AWS_PROFILE, or AWS_ACCESS_KEY_ID"):
        storage_of(bucket).write(bucket.child("clip.mp4"), b"")


# Other storage


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server; gives its address, with a name and a password."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "clip 1.mp4").write_bytes(b"content")

    class Handler(SimpleHTTPRequestHandler):
        def send_head(self) -> io.BytesIO | BinaryIO | None:
            if "forbidden" in self.path:
                self.send_error(403)
                return None
            return super().send_head()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://name:secretword@127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_web_server_hands_out_what_it_has(site: str, tmp_path: Path) -> None:
    location = parse_location(f"{site}/clip%201.mp4?token=hidden")
    assert location.name == "clip 1.mp4"
    storage = storage_of(location)
    found = storage.find(location)
    assert found is not None
    assert found.size == 7
    storage.download(location, tmp_path / "copy.mp4", found.hint)
    assert (tmp_path / "copy.mp4").read_bytes() == b"content"


def test_no_message_shows_a_password(site: str, tmp_path: Path) -> None:
    for name in ("none.mp4?token=hidden", "forbidden.mp4?token=hidden"):
        location = parse_location(f"{site}/{name}")
        with pytest.raises(SourceError) as caught:
            storage_of(location).download(location, tmp_path / "copy.mp4", "")
        told = f"{caught.value} {location!r}"
        assert "secretword" not in told
        assert "hidden" not in told
    away = parse_location("http://name:secretword@127.0.0.1:9/clip.mp4")
    forbidden = parse_location(f"{site}/forbidden.mp4")
    with pytest.raises(
        SourceError, match=r"^http://\*\*\*@.*may not be read: .*: look at the rights of your key"
    ) as caught:
        storage_of(forbidden).find(forbidden)
    assert "secretword" not in str(caught.value)
    assert storage_of(location).find(parse_location(f"{site}/none.mp4")) is None
    with pytest.raises(StorageError, match=r"^http://\*\*\*@127.0.0.1:9/clip.mp4 could not be read"):
        storage_of(away).find(away)
