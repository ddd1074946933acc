"""The command as people use it: in processes that are stopped, starved, killed, run twice at once and run again."""

import csv
import io
import json
import os
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipelines.archive.listing import list_items
from streamrestore.checkpoint import write_safetensors
from streamrestore.receipt import read_receipt, receipt_path
from tests.clips import Clip, make_clip
from tests.networks import tiny_model
from tests.pipelines.archive.runs import check_whole, contents, ledger_of
from tests.pipelines.driver import Driver, Ended, in_segment, signalled
from tests.pipelines.test_faults import SmallDisk, mounted

__all__ = ["mounted"]

CLIP = Clip(size=(32, 48), pts=tuple(range(0, 16 * 90000, 90000)), gop=4, b_frames=1)
"""A frame every three seconds: four segments of four."""

NAMES = ("a.mp4", "deep/b.mkv", "deep/c.mp4")

QUICKLY = "import pipelines.archive.failures as failures\nfailures.PAUSE_SECONDS = 0.05\n"
"""Code after which what fails is tried again soon."""


@dataclass(frozen=True)
class Bench:
    """A tree of clips, weights, and what an undisturbed run makes of them."""

    source: Path
    weights: Path
    expected: dict[str, str]

    def arguments(self, target: Path | str, *more: str | Path, source: Path | str | None = None) -> list[str | Path]:
        network: list[str | Path] = ["-t", "derain", "--weights", self.weights, "--stages", "1"]
        how = ["--workers", "0", "--devices", "cpu", "--preset", "ultrafast", "--progress", "plain"]
        return ["archive", "run", source or self.source, target, *network, *how, *more]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, driver: Driver) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    weights = folder / "tiny.safetensors"
    write_safetensors(tiny_model(scale=0.5), weights)
    for number, name in enumerate(NAMES):
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        make_clip(folder / "in" / name, replace(CLIP, pts=tuple(pts + number for pts in CLIP.pts)))
    bench = Bench(folder / "in", weights, {})
    check_end(driver.run(*bench.arguments(folder / "out")), 0)
    return Bench(folder / "in", weights, contents(folder / "out"))


def check_end(ended: Ended, code: int, *words: str) -> None:
    """It ended with this code, and said each of these things, in lines that a user can read."""
    assert ended.code == code, ended.said
    for word in words:
        assert re.search(word, ended.said), ended.said
    assert "Traceback" not in ended.said


def check_goes_on(driver: Driver, bench: Bench, target: Path, *more: str | Path) -> None:
    """The same command ends well, and gives what an undisturbed run gives."""
    assert not list(ledger_of(target).failed())
    check_end(driver.run(*bench.arguments(target, *more)), 0)
    check_done(bench, target)


def check_done(bench: Bench, target: Path) -> None:
    assert contents(target) == bench.expected
    check_whole(target, list_items(str(bench.source), str(target)).items)


def test_a_run_and_all_that_is_said_of_it_afterwards(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    target = tmp_path / "out"
    check_end(driver.run(*bench.arguments(target)), 0, "3 items", "done: deep/b.mkv: 16 frames")
    check_done(bench, target)
    check_end(driver.run(*bench.arguments(target)), 0, "3 items, 3 of them done before")
    check_end(driver.run("archive", "status", target), 0, "complete", "3 clips are done, 48 frames\n", "0/0")
    status = json.loads(driver.run("archive", "status", target, "--json").said)
    assert (status["done"], status["failed"], status["runs"][0]["running"]) == (3, [], False)
    check_end(driver.run("archive", "verify", target), 0, "3 of 3 results")
    rows = list(csv.DictReader(io.StringIO(driver.run("archive", "report", target, "--csv").said)))
    assert [(row["source"], row["state"], row["frames"]) for row in rows] == [(name, "done", "16") for name in NAMES]
    check_end(driver.run("archive", "index", target), 0, "3 records")
    output = target / "a.mp4"
    output.write_bytes(output.read_bytes()[:-1] + b"?")
    check_end(driver.run("archive", "verify", target), 5, r"MISMATCH: a\.mp4: .*SHA-256", "2 of 3 results")
    output.unlink()
    check_end(driver.run("archive", "verify", target), 5, r"MISMATCH: a\.mp4: it is gone")
    check_goes_on(driver, bench, target)


@pytest.mark.parametrize("command", ["status", "report", "verify", "index", "retry"])
def test_a_target_without_an_archive_is_refused(tmp_path: Path, driver: Driver, command: str) -> None:
    more = ["--failed"] if command == "retry" else []
    check_end(driver.run("archive", command, tmp_path / "nothing", *more), 2, "holds no archive")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--precision", "nonsense"], "nonsense"),
        (["--codec", "nonsense"], "nonsense"),
        (["-e", "nonsense"], "nonsense"),
        (["--patch", "nonsense"], "nonsense"),
        (["--shard", "4/3"], "4/3"),
        (["--devices", "gpu"], "there is no GPU here"),
        (["--devices", "0,1", "--address", "head:6379"], "give auto, cpu or gpu"),
        (["--workers-per-gpu", "2"], "2 workers were asked for on each GPU"),
        (["-t", "dehaze"], "dehaze"),
    ],
)
def test_options_that_are_wrong_for_all_clips_put_none_into_quarantine(
    tmp_path: Path, driver: Driver, bench: Bench, options: list[str], words: str
) -> None:
    check_end(driver.run(*bench.arguments(tmp_path / "out", *options)), 2, words)
    assert not list(ledger_of(tmp_path / "out").failed())


@pytest.mark.ray
def test_workers_of_an_archive_make_the_bytes_of_restore(
    tmp_path: Path, driver: Driver, bench: Bench, device: str
) -> None:
    """With the weights and the precision that users have."""
    options = ["-t", "derain", "--stages", "1", "--devices", "0" if device == "cuda" else "cpu", "--workers"]
    check_end(driver.run("archive", "run", bench.source, tmp_path / "archive", *options, "1"), 0)
    for name in NAMES:
        output = tmp_path / "alone" / name
        output.parent.mkdir(parents=True, exist_ok=True)
        check_end(driver.run("restore", bench.source / name, *options, "0", "-o", output), 0)
    assert contents(tmp_path / "archive") == contents(tmp_path / "alone")


def test_clips_are_taken_out_of_quarantine_from_any_folder(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(bench.source, source)
    (source / "a.mp4").write_text("no video")
    (source / "deep/b.mkv").write_text("no video")
    at_home = f"import os\nos.chdir({str(tmp_path)!r})\n"
    ended = driver.run(*bench.arguments("out", source="in"), before=at_home)
    check_end(ended, 6, "failed: .*a.mp4", "failed: .*b.mkv")
    check_end(driver.run("archive", "status", target), 0, "2 clips are in quarantine", "archive retry")
    check_end(driver.run("archive", "retry", target), 2, "--failed")
    check_end(driver.run("archive", "retry", target, "c.mp4"), 2, "c.mp4 is not in quarantine")
    shutil.copy2(bench.source / "a.mp4", source / "a.mp4")
    check_end(
        driver.run("archive", "retry", target, "a.mp4"), 6, "done: a.mp4", "1 in quarantine", "1 clip is in quarantine"
    )
    shutil.copy2(bench.source / "deep/b.mkv", source / "deep/b.mkv")
    check_end(driver.run("archive", "retry", target, "--failed"), 0, "done: deep/b.mkv")
    assert contents(target) == bench.expected
    check_whole(target, list_items(str(source), str(target)).items)


def test_clips_are_tried_again_on_the_cluster_that_is_named(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.mp4").write_text("no video")
    check_end(driver.run(*bench.arguments(target, source=source)), 6)
    ended = driver.run("archive", "retry", target, "--failed", "--address", "127.0.0.1:1")
    check_end(ended, 1, "error: the Ray cluster at 127.0.0.1:1 could not be joined")
    assert not list(ledger_of(target).failed())


def test_the_source_in_place_of_what_cannot_be_restored(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(bench.source, source)
    (source / "a.mp4").write_text("no video")
    check_end(driver.run(*bench.arguments(target, "--on-error", "copy-source", source=source)), 6)
    assert (target / "a.mp4").read_text() == "no video"
    check_whole(target, list_items(str(source), str(target)).items)
    check_end(driver.run("archive", "verify", target), 0, "2 of 2 results")


def test_a_manifest_whose_clips_ask_for_different_things(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    manifest, target = tmp_path / "clips.jsonl", tmp_path / "out"
    rows: Sequence[dict[str, object]] = [
        {"source": str(bench.source / "a.mp4"), "output": "short", "start": 0, "stop": 12, "codec": "h264"},
        {"source": str(bench.source / "a.mp4"), "output": "best/whole.mkv", "crf": 10},
        {"source": "gone.mp4", "strength": 0.5},
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    check_end(driver.run(*bench.arguments(target, source=manifest)), 6, "gone.mp4 does not exist")
    check_whole(target, list_items(str(manifest), str(target)).items)
    short = read_receipt(receipt_path(target / "short.mp4"))
    assert (len(short.frames), short.plan.codec) == (4, "h264")
    assert len(read_receipt(receipt_path(target / "best/whole.mkv")).frames) == 16


def test_outputs_of_other_requests_are_made_again_only_if_that_is_asked_for(
    tmp_path: Path, driver: Driver, bench: Bench
) -> None:
    target = tmp_path / "out"
    check_end(driver.run(*bench.arguments(target)), 0)
    check_end(driver.run(*bench.arguments(target, "--crf", "30")), 6, "exists; overwrite it with -y")
    assert contents(target) == bench.expected
    check_counts(driver, target, done=0, failed=3)
    # With the first options they are done, and not in quarantine for what is not asked for any more.
    check_end(driver.run(*bench.arguments(target)), 0, "3 of them done before")
    check_counts(driver, target, done=3, failed=0)
    check_done(bench, target)
    check_end(driver.run(*bench.arguments(target, "--crf", "30", "-y")), 0)
    assert not list(ledger_of(target).failed())
    assert contents(target) != bench.expected
    check_end(driver.run(*bench.arguments(target, "-y")), 0)
    check_done(bench, target)


def check_counts(driver: Driver, target: Path, *, done: int, failed: int) -> None:
    """What all commands say of a target's clips, each of which counts once."""
    status = json.loads(driver.run("archive", "status", target, "--json").said)
    assert (status["done"], len(status["failed"])) == (done, failed)
    report = json.loads(driver.run("archive", "report", target, "--json").said)
    assert Counter(row["state"] for row in report) == Counter(done=done, failed=failed)
    check_end(driver.run("archive", "verify", target), 0, f"{done} of {done} results")


# Several at once


def test_two_runs_at_once_make_it_together(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    target = tmp_path / "out"
    with Driver(tmp_path / "log") as second:
        one, other = driver.start(*bench.arguments(target)), second.start(*bench.arguments(target))
        check_end(one.wait(), 0)
        check_end(other.wait(), 0)
    check_done(bench, target)


def test_shards_make_the_whole(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    target = tmp_path / "out"
    for number in (3, 1, 2):
        ended = driver.run(*bench.arguments(target, "--shard", f"{number}/3"))
        assert ended.code == 0 or "no video" in ended.said, ended.said
    check_done(bench, target)
    status = json.loads(driver.run("archive", "status", target, "--json").said)
    assert len(status["runs"]) == 3
    assert sum(run["items"] for run in status["runs"]) == 3


# Stopped and killed

MOMENTS = {
    "plans a clip": ("pipelines.archive.steps", "prepare_file", 2),
    "finishes a segment": ("streamrestore.work_folder", "write_once", 5),
    "joins segments": ("streamrestore.assembly", "segment_packets", 3),
    "keeps a record": ("streamrestore.local_storage", "write_once", 1),
}


@pytest.mark.parametrize(
    ("number", "code", "moment"),
    [
        *((signal.SIGINT, 130, moment) for moment in MOMENTS),
        *((signal.SIGKILL, -9, moment) for moment in MOMENTS),
        (signal.SIGTERM, 143, "finishes a segment"),
    ],
)
def test_a_run_that_is_stopped_or_killed_goes_on(
    tmp_path: Path, driver: Driver, bench: Bench, moment: str, number: signal.Signals, code: int
) -> None:
    module, name, calls = MOMENTS[moment]
    ended = driver.run(*bench.arguments(tmp_path / "out"), before=signalled(number, module, name, calls))
    words = [] if number is signal.SIGKILL else ["stopped with [123] of 3 items to go; the same command goes on"]
    check_end(ended, code, *words)
    check_goes_on(driver, bench, tmp_path / "out")


def test_a_second_ctrl_c_does_not_wait_for_the_segments_in_hand(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    hang = """
import threading, streamrestore.restorer as module
module.Restorer.begin = lambda *_: [print("hanging", flush=True), threading.Event().wait(60)]
"""
    run = driver.start(*bench.arguments(tmp_path / "out"), before=hang)
    run.await_that(lambda: "hanging" in run.said())
    run.send(signal.SIGINT)
    run.await_that(lambda: "Ctrl-C again stops at once" in run.said())
    began = time.monotonic()
    run.send(signal.SIGINT)
    check_end(run.wait(), 130, "the same command goes on")
    assert time.monotonic() - began < 30
    check_goes_on(driver, bench, tmp_path / "out")


@pytest.mark.ray
def test_a_run_with_workers_is_stopped_as_one_without(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for copy in range(12):  # so that there is something to stop
        (source / f"{copy}.mp4").symlink_to(bench.source / "a.mp4")
    run = driver.start(*bench.arguments(target, "--workers", "1", source=source))
    run.await_that(lambda: list((target / ".streamrestore").glob("done/*.json")))
    run.send(signal.SIGINT)
    check_end(run.wait(), 130, "to go; the same command goes on")
    assert not list(ledger_of(target).failed())
    check_end(driver.run(*bench.arguments(target, source=source)), 0, "12 items, [1-9][0-9]* of them done before")
    assert set(contents(target).values()) == {bench.expected["a.mp4"]}
    check_whole(target, list_items(str(source), str(target)).items)


AT_EXIT = f"import atexit, os, signal\natexit.register(os.kill, os.getpid(), {signal.SIGTERM:d})\n"


@pytest.mark.ray
@pytest.mark.parametrize(
    "late",
    [
        pytest.param(signalled(signal.SIGINT, "workers.archive.pool", "RayStepPool.close", 1), id="workers are there"),
        pytest.param(signalled(signal.SIGTERM, "pipelines.progress", "Silent.__exit__", 1), id="workers are ended"),
        pytest.param(AT_EXIT, id="the process ends"),
    ],
)
def test_a_signal_that_comes_when_all_is_done_changes_nothing(
    tmp_path: Path, driver: Driver, bench: Bench, late: str
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    shutil.copy2(bench.source / "a.mp4", source)
    check_end(driver.run(*bench.arguments(target, "--workers", "1", source=source), before=late), 0, "done: a.mp4")
    assert contents(target) == {"a.mp4": bench.expected["a.mp4"]}


@pytest.mark.ray
def test_a_run_is_stopped_while_its_workers_start(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    run = driver.start(*bench.arguments(tmp_path / "out", "--workers", "1"))
    run.await_that(lambda: list((tmp_path / "out/.streamrestore/runs").glob("*.json")))
    run.send(signal.SIGINT)
    check_end(run.wait(), 130, "stopped with 3 of 3 items to go; the same command goes on")


# A target that goes away


def _allow(target: Path, mode: int) -> None:
    for folder, _, _ in os.walk(target):
        Path(folder).chmod(mode)


def test_a_target_that_becomes_read_only_ends_the_run(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    target = tmp_path / "out"
    run = driver.start(*bench.arguments(target), before=QUICKLY + in_segment(2, signal.SIGSTOP))
    with run.held_still():
        _allow(target, 0o555)
    check_end(run.wait(), 4, "cannot (be written|write)")
    assert run.wait().said.count("error: ") == 1
    _allow(target, 0o755)
    check_goes_on(driver, bench, target)


def test_a_folder_of_results_that_becomes_read_only_ends_the_run(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    target = tmp_path / "out"
    run = driver.start(*bench.arguments(target), before=QUICKLY + in_segment(2, signal.SIGSTOP))
    with run.held_still():
        target.chmod(0o555)
    check_end(run.wait(), 4, "cannot (be written|write)")
    target.chmod(0o755)
    check_goes_on(driver, bench, target)


# A source that goes away


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.ray)])
def test_a_source_that_is_unmounted_ends_the_run_and_puts_nothing_into_quarantine(
    tmp_path: Path, driver: Driver, bench: Bench, workers: str
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(bench.source, source)
    how = ["--workers", workers]
    run = driver.start(*bench.arguments(target, *how, source=source), before=QUICKLY)
    run.await_that(lambda: list((target / ".streamrestore").rglob("*.segment.json")))
    source.rename(tmp_path / "unmounted")
    source.mkdir()
    check_end(run.wait(), 3, "/in is gone or empty, so that no clip can be read: mount it")
    assert run.wait().said.count("error: ") == 1
    assert not list(ledger_of(target).failed())
    source.rmdir()
    (tmp_path / "unmounted").rename(source)
    check_end(driver.run(*bench.arguments(target, source=source)), 0)
    assert contents(target) == bench.expected


def test_clips_that_vanish_from_a_source_that_is_there_are_in_quarantine(
    tmp_path: Path, driver: Driver, bench: Bench
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    shutil.copytree(bench.source, source)
    run = driver.start(*bench.arguments(target, source=source), before=QUICKLY + in_segment(2, signal.SIGSTOP))
    with run.held_still():
        shutil.rmtree(source / "deep")
    check_end(run.wait(), 6, "failed: .*deep/[bc].* does not exist", "done: a.mp4", "2 clips are in quarantine")


def test_a_target_that_cannot_be_made_is_said_at_once(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    check_end(driver.run(*bench.arguments(closed / "out")), 4, "cannot be written: Permission denied")
    (tmp_path / "file").touch()
    check_end(driver.run(*bench.arguments(tmp_path / "file")), 2, "is a file")


def test_a_full_disk_ends_the_run_and_it_goes_on_when_there_is_room(mounted: SmallDisk, bench: Bench) -> None:
    mounted.resize(60 << 10)
    ended = mounted.driver.run(*bench.arguments(mounted.place / "out"), before=QUICKLY)
    check_end(ended, 7, "no space left")
    assert not list((mounted.folder / "out/.streamrestore").glob("failed/*"))
    mounted.resize(10 << 20)
    check_end(mounted.driver.run(*bench.arguments(mounted.place / "out")), 0)
    assert contents(mounted.folder / "out") == bench.expected
