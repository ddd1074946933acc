"""Which clips are found in folders, by globs, in manifests and in buckets, and what their results are called."""

import csv
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.archive.items import AS_THE_RUN, MISSING, ArchiveItem, ItemOptions, item_id
from pipelines.archive.listing import Listing, list_items
from pipelines.archive.shards import Shard
from streamrestore.errors import ConfigError, SourceError
from streamrestore.locations import Location, parse_location
from streamrestore.storage import Unread, storage_of
from tests.s3 import S3Server, s3_server


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")
    return folder


def stems(listing: Listing) -> dict[str, str]:
    """Stems of results, by names of sources."""
    return {item.name: item.stem for item in listing.items}


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    return make(tmp_path / "footage", "1998/tape 3.mxf", "1998/tape 'four'\n.mp4", "rain.MP4", "notes.txt")


@pytest.fixture
def into(tmp_path: Path) -> str:
    return str(tmp_path / "restored")


# Folders


def test_a_folder_is_searched_through_all_its_folders(footage: Path, into: str) -> None:
    listing = list_items(str(footage), into)
    assert stems(listing) == {
        "1998/tape 'four'\n.mp4": "1998/tape 'four'\n",
        "1998/tape 3.mxf": "1998/tape 3",
        "rain.MP4": "rain",
    }
    assert (listing.total, listing.others, listing.unread) == (3, 1, ())
    tape = listing.items[1]
    assert tape.source.path == footage / "1998/tape 3.mxf"
    assert (tape.id, tape.size, tape.suffix, tape.options) == (item_id("1998/tape 3.mxf"), 7, None, AS_THE_RUN)


def test_ids_are_the_same_wherever_the_folder_is(footage: Path, into: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = [item.id for item in list_items(str(footage), into).items]
    footage.rename(footage.with_name("moved"))
    monkeypatch.chdir(footage.parent)
    assert [item.id for item in list_items("moved/", "elsewhere").items] == here


def test_a_hint_changes_with_its_file(footage: Path, into: str) -> None:
    def hint() -> str:
        return list_items(str(footage), into).items[-1].hint

    before = hint()
    assert hint() == before
    (footage / "rain.MP4").write_bytes(b"another content")
    assert hint() != before


def test_what_is_hidden_and_what_is_ours_is_left_out(footage: Path, into: str) -> None:
    make(footage, ".hidden/a.mp4", "1998/._tape 3.mxf", ".streamrestore/work/b.mp4", "1998/.streamrestore/c.mp4")
    assert len(list_items(str(footage), into).items) == 3


def test_earlier_results_in_the_source_folder_are_left_out(footage: Path) -> None:
    make(footage, "restored/rain.mp4", "restored/1998/tape 3.mkv", "restored 2/b.mp4")
    assert "restored 2/b.mp4" in stems(list_items(str(footage), f"{footage}/restored"))
    assert len(list_items(str(footage), f"{footage}/1998/../restored/").items) == 4
    (footage.parent / "link").symlink_to(footage / "restored")
    assert len(list_items(str(footage), f"{footage.parent}/link").items) == 4


def test_links_are_followed_but_not_in_circles(footage: Path, into: str, tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "deep/a.mp4")
    (footage / "linked").symlink_to(tmp_path / "elsewhere")
    (footage / "self").symlink_to(".")
    (footage / "1998/up").symlink_to("..")
    (tmp_path / "elsewhere/deep/back").symlink_to(footage)
    (footage / "around").symlink_to("around")
    (footage / "rain too.mp4").symlink_to("rain.MP4")
    assert sorted(stems(list_items(str(footage), into))) == [
        "1998/tape 'four'\n.mp4",
        "1998/tape 3.mxf",
        "linked/deep/a.mp4",
        "rain too.mp4",
        "rain.MP4",
    ]


def test_what_is_called_a_video_and_is_none_is_an_item_all_the_same(footage: Path, into: str) -> None:
    """So that it ends in quarantine, and is not lost."""
    (footage / "broken.mp4").symlink_to("nowhere")
    os.mkfifo(footage / "pipe.mp4")
    items = {item.name: item for item in list_items(str(footage), into).items}
    for name in ("broken.mp4", "pipe.mp4"):
        assert (items[name].hint, items[name].size) == (MISSING, 0)


def test_names_that_are_no_text_are_kept_apart_and_can_be_recorded(footage: Path, into: str) -> None:
    raw = os.fsencode(footage) + b"/caf\xe9.mp4"
    Path(os.fsdecode(raw)).touch()
    make(footage, "caf\\xe9.mp4")
    items = [item for item in list_items(str(footage), into).items if "caf" in item.name]
    assert {item.name for item in items} == {"caf\\xe9.mp4"}
    assert len({item.id for item in items} | {item.stem for item in items}) == 4
    assert {os.fsencode(item.source.path) for item in items} == {raw, raw.replace(b"\xe9", b"\\xe9")}
    json.dumps([item.stem for item in items], ensure_ascii=False).encode()


def test_a_folder_that_cannot_be_read_is_reported(footage: Path, into: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def fail(path: Path) -> Iterator["os.DirEntry[str]"]:
        if path.name == "1998":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    listing = list_items(str(footage), into)
    assert listing.unread == (Unread("1998", "Permission denied"),)
    assert len(listing.items) == 1


def test_names_that_meet_are_told_apart(tmp_path: Path, into: str) -> None:
    make(tmp_path / "in", "a.avi", "a.mov", "b.avi", "b/c.mp4", "B/C.mp4")
    found = stems(list_items(str(tmp_path / "in"), into))
    assert found["a.avi"] == "a.avi"
    assert found["a.mov"] == "a.mov"
    assert found["b.avi"] == "b"
    assert found["b/c.mp4"].startswith("b/c.mp4.")
    assert found["B/C.mp4"].startswith("B/C.mp4.")


def test_shards_are_parts_of_one_listing(footage: Path, into: str) -> None:
    make(footage, *(f"many/{number}.{suffix}" for number in range(40) for suffix in ("avi", "mov")))
    whole = list_items(str(footage), into)
    parts = [list_items(str(footage), into, Shard(index, 3)) for index in (1, 2, 3)]
    assert all(part.total == whole.total == 83 for part in parts)
    assert sorted((item for part in parts for item in part.items), key=lambda item: item.name) == list(whole.items)


def test_thousands_of_files_are_listed_in_a_moment(tmp_path: Path, into: str) -> None:
    folder = tmp_path / "many"
    for number in range(3000):
        if number % 100 == 0:
            (folder / str(number)).mkdir(parents=True)
        (folder / f"{number - number % 100}/{number}.mp4").touch()
    began = time.process_time()
    assert len(list_items(str(folder), into).items) == 3000
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("none", "out", "none is no folder: name one, a glob, a manifest"),
        ("footage/rain.MP4", "out", "is one file: .* restored by: streamrestore restore FILE"),
        ("footage/notes", "out", "no video to restore in .*; looked for .3gp"),
        ("footage", "footage/rain.MP4", "is a file: name the folder that the results go into"),
        ("footage", "footage", "is what is restored: name another folder for the results"),
        ("footage", "https://host/out", "cannot be written to: give a folder, or a URL such as s3://"),
        ("footage", "s3://key:secret@bucket/out", r"^s3://\*\*\*@bucket/out: keys and passwords"),
        ("https://host/footage", "out", "cannot be searched: list its clips in a manifest"),
        ("s3://*/x.mp4", "out", "a wildcard stands for no bucket"),
        ("s4://bucket/x", "out", "there is no such storage: give a path, or a URL of s3://"),
        ("none.jsonl", "out", "none.jsonl does not exist"),
    ],
)
def test_what_cannot_be_listed_is_said(
    footage: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, message: str
) -> None:
    (footage / "notes").mkdir()
    monkeypatch.chdir(footage.parent)
    with pytest.raises((ConfigError, SourceError), match=message):
        list_items(source, target)


# Globs


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["a.mp4"]),
        ("**", ["a.mp4", "x/b.mp4", "x/b.mkv", "x/y/c.mp4", "z[1]/d.mp4"]),
        ("**/*.mp4", ["a.mp4", "x/b.mp4", "x/y/c.mp4", "z[1]/d.mp4"]),
        ("x/*", ["b.mp4", "b.mkv"]),
        ("*/*.mp4", ["x/b.mp4", "z[1]/d.mp4"]),
        ("x/**/?.mp4", ["b.mp4", "y/c.mp4"]),
        ("**/y/**/*.mp4", ["x/y/c.mp4"]),
        ("[ax]/b.*", ["x/b.mp4", "x/b.mkv"]),
        ("**/*.txt", ["x/n.txt"]),
        ("z[1]", ["d.mp4"]),
        ("z[[]1]/*", ["z[1]/d.mp4"]),
        ("*/.h/*", ["x/.h/e.mp4"]),
    ],
)
def test_globs_find_what_shells_do(tmp_path: Path, into: str, pattern: str, found: list[str]) -> None:
    folder = make(
        tmp_path / "in", "a.mp4", "x/b.mp4", "x/b.mkv", "x/n.txt", "x/y/c.mp4", "x/.h/e.mp4", ".h.mp4", "z[1]/d.mp4"
    )
    assert sorted(stems(list_items(f"{folder}/{pattern}", into))) == sorted(found)


def test_a_glob_is_not_searched_for_where_it_cannot_be(
    tmp_path: Path, into: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, looked = make(tmp_path / "in", "x/a.mp4", "x/deep/er/b.mp4", "y/c.mp4"), list[str]()
    scandir = os.scandir

    def look(path: Path) -> Iterator["os.DirEntry[str]"]:
        looked.append(os.path.relpath(path, folder))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", look)
    assert len(list_items(f"{folder}/x*/*.mp4", into).items) == 1
    assert looked == [".", "x"]


# Manifests

ROWS: list[dict[str, object]] = [
    {"source": "1998/tape 3.mxf", "task": "denoise", "crf": 14, "x_shelf": "B 7"},
    {"source": "rain.MP4", "output": "best/rain.mkv", "task": "derain,deblur", "start": "0:01.5", "stop": 8},
    {"source": "rain.MP4", "output": "best/rain 2", "strength": 0.5, "deinterlace": True, "stages": 2},
    {"source": "1998/tape 'four'\n.mp4"},
    {"source": "none.mp4", "task": "auto", "weights": "a,b,c", "codec": "ffv1", "preset": "slow", "pix_fmt": "yuv420p"},
]


def write_manifest(path: Path, rows: Iterable[dict[str, object]]) -> Path:
    rows = list(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    match path.suffix:
        case ".csv":
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)
        case ".parquet":
            # One type a column, as of Parquet.
            typed = [row | ({"stop": str(row["stop"])} if "stop" in row else {}) for row in rows]
            pq.write_table(pa.table({column: [row.get(column) for row in typed] for column in columns}), path)
        case _:
            path.write_text("".join(f"{json.dumps(row)}\n\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["list.jsonl", "LIST.NDJSON", "list.csv", "list.parquet"])
def test_a_manifest_says_what_is_asked_for_of_each_clip(footage: Path, into: str, name: str) -> None:
    listing = list_items(str(write_manifest(footage / name, ROWS)), into)
    items = {item.stem: item for item in listing.items}
    assert {stem: (item.name, item.suffix) for stem, item in items.items()} == {
        "1998/tape 3": ("1998/tape 3.mxf", None),
        "best/rain": ("rain.MP4", ".mkv"),
        "best/rain 2": ("rain.MP4", None),
        "1998/tape 'four'\n": ("1998/tape 'four'\n.mp4", None),
        "none": ("none.mp4", None),
    }
    assert items["1998/tape 3"].options == ItemOptions(task=("denoise",), crf=14)
    assert items["best/rain"].options == ItemOptions(task=("derain", "deblur"), start=1.5, stop=8.0)
    assert items["best/rain 2"].options == ItemOptions(strength=0.5, deinterlace=True, stages=2)
    assert items["1998/tape 'four'\n"].options is AS_THE_RUN
    assert items["none"].options == ItemOptions(
        task=("auto",), weights=("a", "b", "c"), codec="ffv1", preset="slow", pix_fmt="yuv420p"
    )
    assert (items["none"].hint, items["none"].size) == (MISSING, 0)
    assert items["best/rain"].source.path == footage / "rain.MP4"
    assert items["best/rain"].size == 7
    assert len({item.id for item in listing.items}) == 5


def test_an_item_is_the_same_by_folder_and_by_manifest(footage: Path, into: str) -> None:
    by_folder = {item.name: item.id for item in list_items(str(footage), into).items}
    manifest = write_manifest(footage / "list.jsonl", [{"source": name} for name in by_folder])
    assert {item.name: item.id for item in list_items(str(manifest), into).items} == by_folder


def test_sources_elsewhere_keep_their_whole_paths(footage: Path, into: str, tmp_path: Path) -> None:
    make(tmp_path / "other", "a.mp4")
    rows: list[dict[str, object]] = [
        {"source": "../other/a.mp4"},
        {"source": f"{footage}/./1998/tape 3.mxf"},
        {"source": "https://name:secretword@host/tapes/c%20d.mp4?token=hidden", "output": "web"},
        {"source": "https://name:secretword@host/tapes/c%20d.mp4?token=hidden"},
    ]
    listing = _without_network(str(write_manifest(footage / "list.jsonl", rows)), into)
    assert stems(listing) == {
        f"{tmp_path}/other/a.mp4": f"{tmp_path}/other/a"[1:],
        "1998/tape 3.mxf": "1998/tape 3",
        "https://***@host/tapes/c%20d.mp4?token=***": "host/tapes/c d",
    }
    assert len(listing.items) == 4
    assert "secretword" not in repr(listing)
    assert "hidden" not in repr(listing)


def _without_network(source: str, target: str) -> Listing:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streamrestore.remote_storage.RemoteStorage.find_all", lambda self, locations: iter(()))
        return list_items(source, target)


def test_names_that_meet_in_a_manifest_are_told_apart(tmp_path: Path, into: str) -> None:
    folder = make(tmp_path / "in", "a.avi", "a.mov", "b.avi")
    rows: list[dict[str, object]] = [
        {"source": "a.avi"},
        {"source": "a.mov"},
        {"source": "b.avi"},
        {"source": "a.avi", "output": "B"},
        {"source": "a.avi", "output": "./x//a.mp4"},
        {"source": "a.avi", "output": "x/a.mkv"},
    ]
    listing = list_items(str(write_manifest(folder / "list.csv", rows)), into)
    assert sorted(f"{item.stem}{item.suffix or ''}" for item in listing.items) == [
        "B",
        "a.avi",
        "a.mov",
        "b.avi",
        "x/a.mkv",
        "x/a.mp4",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"source": "rain.MP4"}, "line 3: rain.MP4 is listed already, in list.jsonl, line 1: list it once"),
        ({"source": "./1998/../rain.MP4"}, "line 3: rain.MP4 is listed already, in list.jsonl, line 1"),
        ({"source": "b.mp4", "output": "X/A.mp4"}, "line 3: its output 'X/A.mp4' is that of list.jsonl, line 2, 'x/a'"),
        ({"source": "b.mp4", "output": "/abs"}, "line 3: output '/abs' leaves the target: give a name in it"),
        ({"source": "b.mp4", "output": "x/../../y"}, "leaves the target"),
        ({"source": "b.mp4", "output": "s3://bucket/y"}, "leaves the target"),
        ({"source": "b.mp4", "output": "x/"}, "is a folder: name a file in it"),
        ({"source": "b.mp4", "output": ".streamrestore/y"}, "is among our own files"),
        ({"source": "b.mp4", "output": "./.streamrestore/y"}, "is among our own files"),
        ({"source": "b.mp4", "output": "x/%06d.png"}, "would be images: name a video"),
        ({"output": "x"}, "line 3: source is missing: name the clip"),
        ({"source": ""}, "line 3: source is '': string should have at least 1 character"),
        ({"source": "s4://x"}, "line 3: source: .*there is no such storage"),
        ({"source": "b.mp4", "taks": "derain"}, "no column 'taks': give source, output, task, .*; columns of your own"),
        ({"source": "b.mp4", "task": "sharpen"}, "line 3: task is 'sharpen': 'sharpen' is no task: give derain"),
        ({"source": "b.mp4", "task": 7}, "line 3: task is 7: give a task, or a chain"),
        ({"source": "b.mp4", "task": ["derain", "derain"]}, "has a task twice"),
        ({"source": "b.mp4", "crf": "low"}, "line 3: crf is 'low': input should be a valid integer"),
        ({"source": "b.mp4", "stages": 4}, "stages is 4: input should be less than or equal to 3"),
        ({"source": "b.mp4", "strength": 1.5}, "strength is 1.5: input should be less than or equal to 1"),
        ({"source": "b.mp4", "strength": float("nan")}, "strength is nan: input should be a finite number"),
        ({"source": "b.mp4", "start": "late"}, "start is 'late': give seconds, or HH:MM:SS.mmm"),
        ({"source": "b.mp4", "start": 5, "stop": "0:05"}, "stop is 5 s, which is not after start, 5 s"),
        ({"source": "b.mp4", "task": "derain,deblur", "weights": ["w"]}, "weights names 1 for 2 tasks"),
    ],
)
def test_a_row_that_is_wrong_is_named(footage: Path, into: str, row: dict[str, object], message: str) -> None:
    manifest = footage / "list.jsonl"
    rows: list[object] = [{"source": "rain.MP4"}, {"source": "a.mp4", "output": "x/a"}, row]
    manifest.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(ConfigError, match=message):
        list_items(str(manifest), into)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.jsonl", b'{"source": "a.mp4"}\n{"source"', r"^list.jsonl, line 2 is no JSON"),
        ("list.jsonl", b'"a.mp4"\n', "line 1 is 'a.mp4': give"),
        ("list.jsonl", b'{"source": "caf\xe9.mp4"}', "line 1 is no JSON"),
        ("list.jsonl", b"\n \n", "list.jsonl lists no clip"),
        ("list.csv", b"", "list.csv lists no clip"),
        ("list.csv", b"source\n", "list.csv lists no clip"),
        ("list.csv", b"file,task\na.mp4,derain\n", "line 1 names no column 'source', but 'file', 'task'"),
        ("list.csv", b"source,task,task\n", "line 1 names the column 'task' twice"),
        ("list.csv", b'source,crf\n\n"two\nlines",7\na.mp4,1,2\n', "line 5 has 3 cells for 2 columns"),
        ("list.csv", b'source,crf\n"two\nlines",x\n', "line 2: crf is 'x'"),
        ("list.csv", b"source\na.mp4\ncaf\xe9.mp4\n", "line 3 is no UTF-8"),
        ("list.csv", b'source\n"a.mp4', "line 2 is no CSV"),
        ("list.parquet", b"PAR1 not", "is no Parquet file that can be read"),
    ],
)
def test_a_manifest_that_is_none_is_said_to_be_none(
    footage: Path, into: str, name: str, content: bytes, message: str
) -> None:
    (footage / name).write_bytes(content)
    with pytest.raises((ConfigError, SourceError), match=message):
        list_items(str(footage / name), into)


def test_a_row_of_parquet_is_named_by_its_number(footage: Path, into: str) -> None:
    manifest = write_manifest(footage / "list.parquet", [{"source": "a.mp4", "crf": 1}, {"source": "b.mp4", "crf": -1}])
    with pytest.raises(ConfigError, match=r"list.parquet, row 2: crf is -1"):
        list_items(str(manifest), into)


@pytest.mark.parametrize("content", ["source;x_a\nrain.MP4;1,2\n", "\ufeffsource\tcrf\r\nrain.MP4\t17\r\n"])
def test_tables_as_spreadsheets_save_them_are_read(footage: Path, into: str, content: str) -> None:
    (footage / "list.csv").write_text(content, encoding="utf-8", newline="")
    [item] = list_items(str(footage / "list.csv"), into).items
    assert item.name == "rain.MP4"


def test_an_output_in_the_place_of_a_source_is_refused(footage: Path) -> None:
    rows: list[dict[str, object]] = [{"source": "rain.MP4", "output": "1998/tape 3.mxf"}, {"source": "1998/tape 3.mxf"}]
    manifest = write_manifest(footage / "list.jsonl", rows[:1])
    [item] = list_items(str(manifest), str(footage)).items
    assert item.stem == "1998/tape 3"
    manifest = write_manifest(footage / "list.jsonl", rows)
    with pytest.raises(ConfigError, match=r"rain.MP4 would be restored to .*1998/tape 3.mxf, which may be the place"):
        list_items(str(manifest), str(footage))


def test_ten_thousand_rows_are_read_in_a_moment(tmp_path: Path, into: str) -> None:
    rows = [{"source": f"tapes/{number}.mp4", "task": "denoise,deblur", "crf": 17} for number in range(10_000)]
    for name in ("list.jsonl", "list.csv", "list.parquet"):
        manifest = write_manifest(tmp_path / name, rows)
        began = time.process_time()
        assert len(list_items(str(manifest), into).items) == 10_000
        assert time.process_time() - began < 3


# Buckets


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(server: S3Server) -> Location:
    folder = parse_location(server.bucket()).child("in")
    for name in ("rain.mp4", "a b/c?d#e.MKV", "a b/.hidden.mp4", "x//y.mp4", "out/old.mp4", "notes.txt"):
        storage_of(folder).write(folder.child(name), b"content")
    return folder


def test_a_bucket_is_searched_as_a_folder_is(bucket: Location) -> None:
    listing = list_items(bucket.url, bucket.child("out").url)
    assert stems(listing) == {
        "x//y.mp4": "x/_/y",
        "a b/c?d#e.MKV": "a b/c?d#e",
        "rain.mp4": "rain",
    }
    assert listing.others == 1
    for item in listing.items:
        assert item.size == 7
        assert storage_of(item.source).read(item.source) == b"content"
        found = storage_of(item.source).find(item.source)
        assert found is not None
        assert found.hint == item.hint


def test_a_bucket_is_searched_by_a_glob(bucket: Location, into: str) -> None:
    assert list(stems(list_items(f"{bucket.url}/**/*.mp4", into))) == ["out/old.mp4", "rain.mp4", "x//y.mp4"]
    assert list(stems(list_items(f"{bucket.url}/o*/*", into))) == ["out/old.mp4"]


def test_a_manifest_in_a_bucket_names_what_is_beside_it(bucket: Location, into: str, footage: Path) -> None:
    rows = [
        {"source": "rain.mp4"},
        {"source": "../in/./out/old.mp4"},
        {"source": "../elsewhere/none.mp4"},
        {"source": f"{bucket.url}/a b/c?d#e.MKV"},
        {"source": f"{footage}/rain.MP4"},
    ]
    manifest = bucket.child("list.jsonl")
    storage_of(manifest).write(manifest, "\n".join(map(json.dumps, rows)).encode())
    items = {item.stem: item for item in list_items(manifest.url, into).items}
    name = bucket.parent.key
    assert {stem: (item.name, item.hint == MISSING) for stem, item in items.items()} == {
        "rain": ("rain.mp4", False),
        "out/old": ("out/old.mp4", False),
        f"{name}/elsewhere/none": (f"{bucket.parent}/elsewhere/none.mp4", True),
        "a b/c?d#e": ("a b/c?d#e.MKV", False),
        f"{footage}/rain"[1:]: (f"{footage}/rain.MP4", False),
    }
    storage_of(manifest).write(manifest, b'{"source": "../../other/a.mp4"}')
    with pytest.raises(ConfigError, match=r"list.jsonl, line 1: source: '../other/a.mp4' leaves s3://"):
        list_items(manifest.url, into)


def test_a_result_in_the_place_of_its_source_is_refused_in_buckets_too(bucket: Location) -> None:
    with pytest.raises(ConfigError, match="is what is restored: name another folder"):
        list_items(bucket.url, f"{bucket.url}/")
    manifest = bucket.child("list.jsonl")
    storage_of(manifest).write(manifest, b'{"source": "rain.mp4"}')
    with pytest.raises(ConfigError, match="which may be the place of the source"):
        list_items(manifest.url, bucket.url)
    with pytest.raises(SourceError, match="no video to restore in"):
        list_items(f"{bucket.url}/none", f"{bucket.url}/out")


def test_items_are_small(footage: Path, into: str) -> None:
    item: ArchiveItem = list_items(str(footage), into).items[0]
    assert not hasattr(item, "__dict__")
    assert not hasattr(item.source, "__dict__")
