"""What files are called, here and elsewhere, and what of that is shown."""

import pickle
from pathlib import Path

import pytest

from streamrestore.errors import ConfigError
from streamrestore.locations import from_any_folder, parse_location


@pytest.mark.parametrize("text", ["tapes/a b.mp4", "./tapes/a b.mp4", "file://tapes/a b.mp4"])
def test_a_path_begins_where_this_process_works(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    location = parse_location(text)
    assert location.is_local
    assert location.path == tmp_path / "tapes/a b.mp4"
    assert (location.scheme, location.name, str(location)) == ("file", "a b.mp4", location.url)
    assert location.parent.child("c.mp4").path == tmp_path / "tapes/c.mp4"
    assert parse_location(text, parse_location("/footage")).path == Path("/footage/tapes/a b.mp4")


def test_names_in_a_bucket_are_what_they_are() -> None:
    location = parse_location("s3://bucket/tapes/me@home?#50%20.mp4")
    assert (location.scheme, location.key) == ("s3", "bucket/tapes/me@home?#50%20.mp4")
    assert location.name == "me@home?#50%20.mp4"
    assert location.parent.child("a b.mp4").url == "s3://bucket/tapes/a b.mp4"
    assert location.parent.parent.key == "bucket"
    with pytest.raises(ValueError, match="is no local file"):
        location.path  # noqa: B018 - it raises


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.mp4", "s3://bucket/in/a.mp4"),
        ("./x//a.mp4", "s3://bucket/in/x/a.mp4"),
        ("x//a.mp4", "s3://bucket/in/x//a.mp4"),
        ("../a.mp4", "s3://bucket/a.mp4"),
        ("x/../../y/a.mp4", "s3://bucket/y/a.mp4"),
        ("/footage/a.mp4", "/footage/a.mp4"),
        ("s3://other/a.mp4", "s3://other/a.mp4"),
    ],
)
def test_a_path_may_begin_in_a_bucket(text: str, found: str) -> None:
    assert parse_location(text, parse_location("s3://bucket/in/")).url == found


def test_no_secret_of_an_address_is_shown() -> None:
    location = parse_location("https://name:secretword@host:81/tapes/a%20b.mp4?X-Amz-Signature=0123abcd")
    assert location.key == location.url
    assert location.name == "a b.mp4"
    for shown in (str(location), repr(location), repr(location.parent.child("c d.mp4"))):
        assert "secretword" not in shown
        assert "0123abcd" not in shown
    assert location.parent.child("c d.mp4").url == "https://name:secretword@host:81/tapes/c%20d.mp4"
    assert pickle.loads(pickle.dumps(location)) == location


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no file: give a path, or a URL such as s3://"),
        ("a\0b", "names no file"),
        ("s3://", "s3:// names no bucket"),
        ("s3:///key", "s3:// names no bucket"),
        ("s3://AKIA123:secretword@bucket/x", r"^s3://\*\*\*@bucket/x: keys and passwords do not belong in a URL"),
        ("smb://name:secretword@host/x", r"^smb://\*\*\*: there is no such storage: give a path, or a URL of s3://"),
        ("https://name:secret@word/x@host/y", "percent-encode"),
    ],
)
def test_what_is_no_location_is_refused_without_its_secrets(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_location(text)
    assert "secret" not in str(caught.value)


def test_a_path_does_not_leave_its_bucket() -> None:
    with pytest.raises(ConfigError, match=r"'../a.mp4' leaves s3://bucket: name it by its URL"):
        parse_location("../../a.mp4", parse_location("s3://bucket/in"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("file:///footage/a", "/footage/a"),
        ("/footage/../b", "/b"),
        ("s3://bucket/a/../b", "s3://bucket/a/../b"),
        ("https://${USER_OF_CLIPS}@host/clips.jsonl", "https://${USER_OF_CLIPS}@host/clips.jsonl"),
    ],
)
def test_what_is_named_from_any_folder(text: str, named: str) -> None:
    assert from_any_folder(text) == named


def test_a_relative_path_is_named_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_any_folder("in/*.mp4") == str(tmp_path / "in" / "*.mp4")
