"""Files of this computer, by the same words as those of object stores."""

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from streamrestore.errors import DiskFullError, SinkError, SourceError
from streamrestore.locations import Location, parse_location
from streamrestore.storage import check_creating, find_all, storage_of


@pytest.fixture
def folder(tmp_path: Path) -> Location:
    return parse_location(str(tmp_path / "folder"))


def test_small_files_are_written_read_and_deleted(folder: Location) -> None:
    storage, record = storage_of(folder), folder.child("state/record 1.json")
    assert storage.read(record) is None
    assert storage.find(record) is None
    storage.write(record, b"one")
    storage.write(record, b"two")
    assert storage.read(record) == b"two"
    found = storage.find(record)
    assert found is not None
    assert (found.name, found.size) == ("record 1.json", 3)
    assert find_all([record, folder.child("none"), folder]) == {record.url: found}
    storage.delete(record)
    storage.delete(record)
    assert list(storage.walk(folder, lambda name: True)) == []


def test_whether_a_folder_holds_anything(folder: Location) -> None:
    storage = storage_of(folder)
    assert not storage.holds_any(folder)
    folder.path.mkdir()
    assert not storage.holds_any(folder)
    folder.child("deep").path.mkdir()
    assert storage.holds_any(folder)
    (folder.path / "file").touch()
    with pytest.raises(SourceError, match="file cannot be read: Not a directory"):
        storage.holds_any(folder.child("file"))


def test_of_several_writers_one_creates(folder: Location) -> None:
    check_creating(folder)
    record, told, barrier = folder.child("record.json"), list[int](), threading.Barrier(8)

    def create(number: int) -> None:
        barrier.wait()
        if storage_of(record).create(record, b"writer %d" % number):
            told.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = told
    assert storage_of(record).read(record) == b"writer %d" % winner
    assert os.listdir(folder.path) == ["record.json"]


def test_a_file_goes_there_and_comes_back_whole(folder: Location, tmp_path: Path) -> None:
    clip, copy, place = tmp_path / "clip.mp4", tmp_path / "copy.mp4", folder.child("tapes/clip.mp4")
    clip.write_bytes(b"content" * 1000)
    storage = storage_of(folder)
    storage.upload(clip, place)
    found = storage.find(place)
    assert found is not None
    storage.download(place, copy, found.hint)
    assert copy.read_bytes() == clip.read_bytes()
    place.path.write_bytes(b"another")
    copy.unlink()
    with pytest.raises(SourceError, match="was replaced, or its content changed, since it was listed"):
        storage.download(place, copy, found.hint)
    storage.delete(place)
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        storage.download(place, copy, found.hint)
    assert sorted(tmp_path.iterdir()) == [clip, folder.path]
    assert os.listdir(place.path.parent) == []


def test_a_disk_that_is_full_leaves_nothing_behind(
    folder: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "clip.mp4"
    clip.touch()

    def fill(source: Path, target: Path) -> None:
        target.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(DiskFullError, match="no space left"):
        storage_of(folder).upload(clip, folder.child("clip.mp4"))
    assert os.listdir(folder.path) == []


def test_what_cannot_be_is_said(folder: Location, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    storage, below = storage_of(folder), parse_location(str(tmp_path / "file/record.json"))
    for write in (storage.write, storage.create):
        with pytest.raises(SinkError, match="File exists"):
            write(below, b"")
    with pytest.raises(SourceError, match="cannot be read: Is a directory"):
        storage.read(parse_location(str(tmp_path)))
    with pytest.raises(SourceError, match="is no folder: name one"):
        list(storage.walk(folder, lambda name: True))
