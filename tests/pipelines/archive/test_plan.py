"""A plan says what a run would do, writes nothing where its results go, and is not far from what a run takes."""

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import av
import fsspec
import pytest
from rich.console import Console
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner, Result

from pipelines.archive.cli import archive_app
from pipelines.archive.command import RunParameters, make_request, run_archive
from pipelines.archive.context import ArchiveContext
from pipelines.archive.header_survey import network_by_options, survey_headers
from pipelines.archive.listing import list_items
from pipelines.archive.plan import plan_archive
from pipelines.archive.plan_report import plan_document, print_plan
from pipelines.archive.trial import Trial, TryClips
from pipelines.exit_codes import ExitCode
from streamrestore.devices import choose_devices, find_devices
from streamrestore.errors import ConfigError, SourceError
from tests.clips import Clip, make_clip
from tests.s3 import S3Server, s3_server
from workers.archive import Alike

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of two sizes, one with sound, and what cannot be read."""
    folder = tmp_path_factory.mktemp("footage")
    (folder / "deep").mkdir()
    make_clip(folder / "a.mkv", Clip(pts=tuple(range(0, 60 * 1000, 1000)), size=(96, 128), gop=12, sound="aac"))
    make_clip(folder / "deep" / "b ü.mp4", Clip(size=(96, 128)))
    make_clip(folder / "small.mp4", Clip(pts=tuple(range(0, 5 * 1001, 1001))))
    (folder / "text.mp4").write_text("not a video")
    (folder / "notes.txt").write_text("left alone")
    return folder


def wanted(source: Path | str, target: Path | str, **options: object) -> RunParameters:
    return RunParameters.model_validate(
        {"source": str(source), "target": str(target), "task": ["derain"], "devices": "cpu", "preset": "ultrafast"}
        | {"progress": "none", "workers": 0, "codec": "h264"}
        | options
    )


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(
        archive_app, ["plan", *map(str, arguments)], catch_exceptions=False, env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0, result.output
    return result


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_it_says_what_there_is_to_do_and_writes_nothing(footage: Path, tmp_path: Path) -> None:
    before = tree(footage)
    plan = plan_archive(wanted(footage, tmp_path / "out"))
    assert tree(footage) == before
    assert tree(tmp_path) == []
    assert plan.work.items == 3
    assert plan.work.frames == pytest.approx(60 + 12 + 5, abs=2), "Matroska says how long all of it is, sound and all"
    assert plan.work.segments == 3
    assert plan.work.video_seconds == pytest.approx(77 / 30, rel=0.05)
    assert [(kind.codec, kind.height, work.items) for kind, work in plan.kinds] == [("h264", 96, 2), ("h264", 48, 1)]
    assert (plan.standing.done, plan.standing.failed, plan.listing.others) == (0, 0, 1)
    [unreadable] = plan.survey.unreadable
    assert unreadable.name == "text.mp4"
    assert "no video" in unreadable.reason
    [device] = plan.devices
    assert set(device.trial.clips) == {"a.mkv", "deep/b ü.mp4"}, "the size that most work is in"
    assert 8 <= device.trial.measured.frames <= 36
    assert not device.trial.cropped
    assert device.forecast.device_seconds > 0


def test_what_a_run_has_done_or_given_up_is_not_to_do(footage: Path, tmp_path: Path) -> None:
    options = wanted(footage, tmp_path / "out")
    plan = plan_archive(options)
    assert run_archive(options) is ExitCode.SOME_FAILED
    before = {path: path.stat().st_mtime_ns for path in tree(tmp_path)}
    again = plan_archive(options)
    assert (again.standing.done, again.standing.failed, again.work.items) == (3, 1, 0)
    assert again.devices == ()
    assert {path: path.stat().st_mtime_ns for path in tree(tmp_path)} == before
    other = plan_archive(wanted(footage, tmp_path / "out", crf=30))
    assert (other.standing.done, other.work.items) == (0, 3), "what was asked for otherwise is done again"
    # Of a few short clips, whose sizes differ from clip to clip; hours are measured in benchmarks.
    made = sum(path.stat().st_size for path in tmp_path.rglob("*.m*") if path.suffix in (".mkv", ".mp4"))
    assert made / 4 <= plan.devices[0].forecast.output_bytes <= made * 4


def test_programs_are_given_all_of_it(footage: Path, tmp_path: Path) -> None:
    arguments = (footage, tmp_path / "out", "-t", "derain", "--devices", "cpu", "-preset", "ultrafast", "--workers", 3)
    document = json.loads(invoke(*arguments, "--json").stdout)
    assert document["schema"] == 1
    assert document["items"] == {
        "found": 4, "of_all_shards": 4, "done": 0, "quarantined": 0, "to_do": 3, "unreadable": 1, "length_unknown": 0,
        "other_files": 1,
    }  # fmt: skip
    assert set(document["work"]) == {"frames", "segments", "video_hours", "bytes"}
    assert {(kind["width"], kind["height"]) for kind in document["kinds"]} == {(128, 96), (64, 48)}
    assert sum(kind["work_share"] for kind in document["kinds"]) == pytest.approx(1)
    [device] = document["devices"]
    assert device["kind"] == "cpu"
    assert device["workers"] == 3
    assert device["hours"] == pytest.approx(device["device_hours"] / 3)
    assert device["bottleneck"] in device["stage_hours"]
    assert [each["source"] for each in document["unreadable"]] == ["text.mp4"]
    assert not (tmp_path / "out").exists()


def test_people_are_told_how_far_to_trust_it(footage: Path, tmp_path: Path) -> None:
    shown = invoke(footage, tmp_path / "out", "-t", "derain", "--devices", "cpu", "-preset", "ultrafast").stdout
    for words in (
        "4 clips; 3 to do",
        "1 cannot be read",
        "frames in about 3 segments",
        "128x96",
        "predicted from",
        "half or twice",
        "text.mp4",
    ):
        assert words in shown


def test_a_plan_takes_every_option_of_a_run() -> None:
    group = get_command(archive_app)
    assert isinstance(group, TyperGroup)
    run, plan = (
        {option for parameter in group.commands[name].params for option in parameter.opts} for name in ("run", "plan")
    )
    assert plan - run == {"--json", "--sample"}
    assert run <= plan


def test_before_and_after_are_shown_beside_each_other(footage: Path, tmp_path: Path) -> None:
    plan = plan_archive(wanted(footage, tmp_path / "out"), tmp_path / "look")
    pictures = {strip.clip: strip.picture for strip in plan.strips}
    assert set(pictures) == {"a.mkv", "deep/b ü.mp4", "small.mp4"}
    assert pictures["deep/b ü.mp4"] == tmp_path / "look" / "deep" / "b ü.png"
    with av.open(str(pictures["a.mkv"])) as picture:
        frame = next(picture.decode(video=0)).to_ndarray(format="rgb24")
    line = 4
    assert frame.shape == (3 * 96 + 2 * line, 2 * 128 + line, 3)
    for row in range(3):
        before, after = (frame[row * (96 + line) :][:96, left : left + 128].astype(int) for left in (0, 128 + line))
        assert 0 < abs(before - after).mean() < 40, "restored, and still the same picture"
    assert not (tmp_path / "out").exists()


def test_frames_too_large_for_the_device_are_tried_in_part(tmp_path: Path) -> None:
    make_clip(tmp_path / "in.mkv", Clip(size=(720, 1280)))
    listing = list_items(str(tmp_path / "*.mkv"), str(tmp_path / "out"))
    items, request = listing.items, make_request(wanted(tmp_path, tmp_path / "out"), listing)
    found = TryClips(items, seconds=0.5)(ArchiveContext(request, "cpu"))
    assert isinstance(found, Trial)
    assert found.cropped
    whole = 720 * 1280 * request.network.on(choose_devices("cpu", find_devices()), items[0].options).flops_per_pixel
    assert 0 < found.measured.flops / found.measured.frames < whole
    assert found.measured.pixels >= 2 * 720 * 1280, "all of each frame was decoded and encoded"


def test_clips_that_break_when_they_are_decoded_are_told_apart(tmp_path: Path) -> None:
    """Their headers are whole."""
    (tmp_path / "in").mkdir()
    path = make_clip(tmp_path / "in" / "clip.mp4")
    content = path.read_bytes()
    media, index = content.index(b"mdat") + 4, content.index(b"moov") - 4
    assert media < index
    path.write_bytes(content[:media] + bytes(index - media) + content[index:])
    plan = plan_archive(wanted(tmp_path / "in", tmp_path / "out"))
    assert plan.work.frames == 12
    assert plan.devices == ()
    [reason] = plan.untried
    assert reason.startswith("clip.mp4: ")
    [detail] = plan.details
    assert detail.refused
    assert json.dumps(plan_document(plan, None))


def test_a_manifest_row_counts_for_the_part_that_it_asks_for(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mkv", Clip(pts=tuple(range(0, 90 * 1000, 1000))))
    rows = [
        {"source": "clip.mkv", "start": 1.0, "output": "part"},
        {"source": "clip.mkv", "output": "whole", "stages": 1},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    plan = plan_archive(wanted(tmp_path / "list.jsonl", tmp_path / "out"))
    assert plan.work.items == 2
    assert plan.work.frames == pytest.approx(90 + 60, abs=3)
    assert plan_archive(wanted(tmp_path / "list.jsonl", tmp_path / "out", shard="1/2")).listing.total == 2


def test_what_is_impossible_is_refused_as_by_a_run(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no video to restore"):
        plan_archive(wanted(tmp_path, tmp_path / "out"))
    make_clip(tmp_path / "clip.mkv")
    with pytest.raises(ConfigError, match="patch"):
        plan_archive(wanted(tmp_path, tmp_path / "out", patch="-1"))


def test_containers_that_cannot_hold_something_are_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make_clip(tmp_path / "in" / "film.mkv", Clip(sound="flac", subtitles=((0, 200, "Hm"),)))
    rows = [json.dumps({"source": "in/film.mkv", "output": f"{name}.ts"}) for name in ("first", "second")]
    (tmp_path / "list.jsonl").write_text("\n".join(rows))
    plan = plan_archive(wanted(tmp_path / "list.jsonl", tmp_path / "out"))
    [detail] = plan.details
    assert detail.refused
    assert "cannot hold" in detail.notes[0]
    said = io.StringIO()
    print_plan(plan, 1, Console(file=said, width=200))
    assert "film.mkv and 1 clip like it: cannot be restored" in said.getvalue()


def test_on_a_cluster_its_own_machines_try_and_are_counted(ray_cluster: None, footage: Path, tmp_path: Path) -> None:
    """A connection that is there is shared: the address is not used."""
    plan = plan_archive(wanted(footage, tmp_path / "out", address="127.0.0.1:6379", workers=None))
    [device] = plan.devices
    assert device.trial.measured.frames >= 8
    assert device.workers(None) == 1, "of two cores"
    assert plan.where == "127.0.0.1:6379"
    assert not (tmp_path / "out").exists()


def test_each_kind_of_device_of_a_cluster_tries(
    ray_cluster: None, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.archive.plan.list_devices", lambda *_: (Alike("", 3, 1), Alike("", 1, 1)))
    plan = plan_archive(wanted(footage, tmp_path / "out", address="127.0.0.1:6379", workers=None))
    assert [device.workers(None) for device in plan.devices] == [3, 1]
    said = io.StringIO()
    print_plan(plan, None, Console(file=said, width=200))
    assert "all of these devices together" in said.getvalue()
    assert all(1 / device.hours(None) < sum(1 / each.hours(None) for each in plan.devices) for device in plan.devices)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


def test_clips_in_an_object_store(server: S3Server, footage: Path, tmp_path: Path) -> None:
    bucket = server.bucket()
    fsspec.filesystem("s3").put(f"{footage}/", f"{bucket}/in/", recursive=True)
    plan = plan_archive(wanted(f"{bucket}/in", f"{bucket}/out", scratch=tmp_path))
    assert (plan.work.items, plan.work.frames) == (3, plan_archive(wanted(footage, tmp_path)).work.frames)
    assert [each.name for each in plan.survey.unreadable] == ["text.mp4"]
    assert plan.devices[0].trial.measured.frames >= 8
    assert fsspec.filesystem("s3").find(f"{bucket}/out") == []


def test_what_is_held_does_not_grow_with_the_number_of_clips(tmp_path: Path) -> None:
    """Less than a kilobyte for each; the items themselves are there before."""
    (tmp_path / "in").mkdir()
    first = make_clip(tmp_path / "in" / "0.mkv", Clip(pts=(0, 1001)))
    for number in range(1, 400):
        (tmp_path / "in" / f"{number}.mkv").hardlink_to(first)
    listing = list_items(str(tmp_path / "in"), str(tmp_path / "out"))
    items, request = listing.items, make_request(wanted(tmp_path / "in", tmp_path / "out"), listing)
    choice = choose_devices("cpu", find_devices())
    network_of = network_by_options(lambda item: request.network.on(choice, item.options))
    survey_headers(items[:100], network_of, None)
    tracemalloc.start()
    survey = survey_headers(items, network_of, None)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sum(work.items for work in survey.kinds.values()) == 400
    assert held < 400 * 1000 / 4
