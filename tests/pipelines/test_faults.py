"""Whatever goes wrong around a run, it says so in one line and its exit code, and goes on from what is kept."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipelines.engine import DRAIN_SECONDS
from streamrestore.checkpoint import write_safetensors
from tests.clips import Clip, make_clip
from tests.networks import tiny_model
from tests.pipelines.driver import Driver, Ended, in_segment, signalled

SEGMENTS = 6
CLIP = Clip(size=(32, 48), pts=tuple(range(0, 4 * SEGMENTS * 90000, 90000)), gop=4, b_frames=1)
"""A frame every three seconds: a segment has four."""


@dataclass(frozen=True)
class Bench:
    """A clip, weights, and what an undisturbed run makes of them."""

    source: Path
    weights: Path
    expected: bytes
    segments_bytes: int
    """What its segments take on a tmpfs."""

    def arguments(self, output: Path, *more: str | Path, source: Path | None = None) -> list[str | Path]:
        network: list[str | Path] = ["-t", "derain", "--weights", self.weights, "--stages", "1"]
        where = ["--workers", "0", "--devices", "cpu", "--progress", "plain"]
        return ["restore", source or self.source, *network, *where, "-o", output, *more]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, driver: Driver) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    weights = folder / "tiny.safetensors"
    write_safetensors(tiny_model(scale=0.5, crop=96), weights)
    bench = Bench(make_clip(folder / "in.mp4", CLIP), weights, b"", 0)
    ended = driver.run(*bench.arguments(folder / "out.mp4", "--keep"))
    assert ended.code == 0, ended.said
    segments = sum(on_disk(path.stat().st_size) for path in folder.glob("*.work/*/*"))
    return replace(bench, expected=(folder / "out.mp4").read_bytes(), segments_bytes=segments)


def on_disk(size: int) -> int:
    """What a file of so many bytes takes on a tmpfs."""
    page = os.sysconf("SC_PAGE_SIZE")
    return -(-size // page) * page


def records(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.work/*/*.segment.json"))


def check_end(ended: Ended, code: int, *words: str) -> None:
    """It ended with this code, and said each of these things, in lines that a user can read."""
    assert ended.code == code, ended.said
    for word in words:
        assert re.search(word, ended.said), ended.said
    assert "Traceback" not in ended.said
    assert ended.said.count("error: ") == (code != 0), ended.said


def check_resumed(driver: Driver, bench: Bench, output: Path, *more: str | Path, source: Path | None = None) -> None:
    """The same command ends well, uses what was kept, and gives what an undisturbed run gives."""
    kept = len(records(output.parent))
    ended = driver.run(*bench.arguments(output, *more, source=source))
    check_end(ended, 0)
    assert ("going on from an earlier run" in ended.said) == (kept > 0), ended.said
    assert output.read_bytes() == bench.expected
    left = sorted(path.name for path in output.parent.glob(f"{output.name}*"))
    assert left == [output.name, f"{output.name}.receipt.json"]


# A disk that is full


class SmallDisk:
    """A file system of few bytes, which only the runs of one driver see."""

    def __init__(self, place: Path, driver: Driver, enter: list[str]) -> None:
        self.driver = driver
        self.place = place
        """The disk, as runs see it."""
        self.folder = Path(f"/proc/{driver.pid}/root{place}")
        """The disk, as seen from here."""
        self._enter = enter

    def resize(self, size: int) -> None:
        subprocess.run([*self._enter, "mount", "-o", f"remount,size={size}", self.place], check=True)

    def clear(self) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    spaces = next((each for each in ("-Urm", "-m") if _may_mount(each)), None)
    if spaces is None:
        pytest.skip("this machine lets us mount no file system of our own: neither in a user namespace nor as root")
    place, log = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("driver") / "log"
    mount = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
    with Driver(log, ["unshare", spaces, "sh", "-c", mount, str(place)]) as driver:
        assert driver.run("--version").code == 0  # when that is answered it is mounted
        user = ["-U", "--preserve-credentials"] if "U" in spaces else []
        yield SmallDisk(place, driver, ["nsenter", "-t", str(driver.pid), *user, "-m"])


def _may_mount(spaces: str) -> bool:
    command = ["unshare", spaces, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def disk(mounted: SmallDisk) -> Iterator[SmallDisk]:
    yield mounted
    mounted.clear()


@pytest.mark.parametrize("when", ["segments", "assembly", "receipt"])
def test_a_full_disk_is_said_and_what_is_done_is_kept(disk: SmallDisk, bench: Bench, when: str) -> None:
    output_bytes = on_disk(len(bench.expected))
    room = {
        "segments": bench.segments_bytes // 2,
        "assembly": bench.segments_bytes + output_bytes // 2,
        "receipt": bench.segments_bytes + output_bytes,
    }[when]
    disk.resize(room)
    output = disk.place / "out.mp4"
    ended = disk.driver.run(*bench.arguments(output))
    check_end(ended, 7, "no space left", "the same command goes on from there", r"still to be written .* MB")
    kept = len(records(disk.folder))
    assert 0 < kept < SEGMENTS if when == "segments" else kept == SEGMENTS
    assert [path.name for path in disk.folder.iterdir()] == ["out.mp4.work"]
    disk.resize(10 * room)
    check_end(disk.driver.run(*bench.arguments(output)), 0, f"{kept} of {SEGMENTS} segments")
    assert (disk.folder / "out.mp4").read_bytes() == bench.expected


# Files and folders that go away


@dataclass(frozen=True)
class Fault:
    """What happens to a run after its second segment, how it must end, and how things are put right."""

    strike: Callable[[Path, Path], object]
    """Given the folder of the output, and the source."""
    code: int
    words: tuple[str, ...]
    mend: Callable[[Path, Path], object] = lambda folder, source: None


def _allow(folder: Path, mode: int) -> None:
    for path in (folder, *folder.glob("*.work"), *folder.glob("*.work/*")):
        path.chmod(mode | 0o555)


def _replace(clip: Clip) -> Callable[[Path, Path], object]:
    return lambda _, source: make_clip(source.with_suffix(".new.mp4"), clip).replace(source)


FAULTS = {
    "the output's folder is removed": Fault(lambda folder, _: shutil.rmtree(folder), 4, ("is its folder still there",)),
    "the output's folder becomes read-only": Fault(
        lambda folder, _: _allow(folder, 0),
        4,
        ("cannot be written", "the same command goes on from there"),
        lambda folder, _: _allow(folder, 0o200),
    ),
    "the folder of segments is removed": Fault(
        lambda folder, _: shutil.rmtree(folder / "out.mp4.work"), 4, ("is its folder still there",)
    ),
    "a finished segment is removed": Fault(
        lambda folder, _: next(folder.glob("*.work/*/00000.*.segment")).unlink(), 1, (".segment cannot be read",)
    ),
    "a segment's record is removed": Fault(
        lambda folder, _: records(folder)[0].unlink(), 4, ("finished segments are gone", "makes them again")
    ),
    "the source is removed": Fault(
        lambda _, source: source.rename(source.with_suffix(".away")),
        3,
        ("cannot be read", "the same command goes on from there"),
        lambda _, source: source.with_suffix(".away").rename(source),
    ),
    "the source is truncated": Fault(
        lambda _, source: os.truncate(source, source.stat().st_size // 2),
        3,
        ("was replaced, or its (size|content) changed", "the same command goes on from there"),
        _replace(CLIP),
    ),
    "the source is replaced": Fault(
        _replace(replace(CLIP, sound="aac")), 3, ("was replaced", "the same command goes on"), _replace(CLIP)
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_what_goes_away_under_a_run_is_said_and_it_goes_on_when_it_is_back(
    tmp_path: Path, driver: Driver, bench: Bench, what: str
) -> None:
    fault = FAULTS[what]
    folder, source = tmp_path / "out", tmp_path / "in.mp4"
    shutil.copy(bench.source, source)
    run = driver.start(*bench.arguments(folder / "out.mp4", source=source), before=in_segment(2, signal.SIGSTOP))
    with run.held_still():
        fault.strike(folder, source)
    check_end(run.wait(), fault.code, *fault.words)
    assert not (folder / "out.mp4").exists()
    fault.mend(folder, source)
    check_resumed(driver, bench, folder / "out.mp4", source=source)


# Signals

MOMENTS = {
    "looks at the input": ("pipelines.planning", "scan_times", 1),
    "starts its worker": ("pipelines.restore", "_await_workers", 1),
    "decodes": ("streamrestore.source", "copy_planes", 5),
    "finishes a segment": ("streamrestore.work_folder", "write_once", 4),
    "joins segments": ("streamrestore.assembly", "segment_packets", 3),
    "reads the result back": ("streamrestore.verification", "planes_md5", 9),
}


@pytest.mark.parametrize(
    ("number", "moment"),
    [*((signal.SIGINT, moment) for moment in MOMENTS), (signal.SIGTERM, "decodes"), (signal.SIGTERM, "joins segments")],
)
def test_a_signal_ends_a_run_soon_and_the_same_command_goes_on(
    tmp_path: Path, driver: Driver, bench: Bench, moment: str, number: signal.Signals
) -> None:
    module, name, calls = MOMENTS[moment]
    output = tmp_path / "out" / "out.mp4"
    ended = driver.run(*bench.arguments(output), before=signalled(number, module, name, calls))
    check_end(ended, 128 + number, "stopped before")
    kept = len(records(output.parent))
    assert ("the same command goes on from there" in ended.said) == (kept > 0)
    assert {path.name for path in output.parent.glob("*")} == ({"out.mp4.work"} if kept else set())
    check_resumed(driver, bench, output)


def test_a_second_ctrl_c_does_not_wait_for_the_frames_in_flight(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    output = tmp_path / "out" / "out.mp4"
    hang = """
import threading, streamrestore.restorer as module
module.Restorer.begin = lambda *_: [print("hanging", flush=True), threading.Event().wait(60)]
"""
    run = driver.start(*bench.arguments(output), before=hang)
    run.await_that(lambda: "hanging" in run.said())
    run.send(signal.SIGINT)
    run.await_that(lambda: "Ctrl-C again stops at once" in run.said())
    began = time.monotonic()
    run.send(signal.SIGINT)
    check_end(run.wait(), 130, "stopped before .*; the same command finishes it")
    assert time.monotonic() - began < DRAIN_SECONDS
    check_resumed(driver, bench, output)


def test_a_signal_that_comes_when_all_is_verified_changes_nothing(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    output = tmp_path / "out.mp4"
    before = signalled(signal.SIGTERM, "pipelines.file", "commit", 1)
    check_end(driver.run(*bench.arguments(output), before=before), 0)
    assert output.read_bytes() == bench.expected


# Other runs, and what they leave behind


def test_two_processes_on_one_job_do_not_meet(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    output = tmp_path / "out.mp4"
    with Driver(tmp_path / "log") as second:
        first = driver.start(*bench.arguments(output), before=in_segment(1, signal.SIGSTOP))
        with first.held_still():
            check_end(second.run(*bench.arguments(output)), 4, "another run is writing", "wait for it")
            check_end(second.run(*bench.arguments(tmp_path / "other.mp4")), 0)
        check_end(first.wait(), 0)
    assert output.read_bytes() == (tmp_path / "other.mp4").read_bytes() == bench.expected


def test_what_a_killed_run_leaves_is_taken_over(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    output = tmp_path / "out.mp4"
    before = signalled(signal.SIGKILL, "streamrestore.verification", "planes_md5", 2)
    assert driver.run(*bench.arguments(output), before=before).code == -signal.SIGKILL
    assert output.with_name("out.mp4.partial").stat().st_size > 0
    (tmp_path / "out.mp4.work" / "half").mkdir()
    check_end(driver.run(*bench.arguments(output)), 0, f"{SEGMENTS} of {SEGMENTS} segments")
    assert output.read_bytes() == bench.expected
    assert not output.with_name("out.mp4.partial").exists()


def test_an_output_that_is_not_as_it_must_be_exits_5_and_keeps_its_unfinished_name(
    tmp_path: Path, driver: Driver, bench: Bench
) -> None:
    output = tmp_path / "out.mp4"
    forgetful = """
import streamrestore.assembly as module
from itertools import islice
real = module._timed_packets
module._timed_packets = lambda *arguments: islice(real(*arguments), 23)
"""
    check_end(driver.run(*bench.arguments(output), before=forgetful), 5, "frames.*24.*23", "goes on from there")
    assert not output.exists()
    assert output.with_name("out.mp4.partial").exists()
    check_resumed(driver, bench, output)


# Which job it is


def interrupt(driver: Driver, bench: Bench, output: Path) -> None:
    """Kill a run after its third segment."""
    ended = driver.run(*bench.arguments(output), before=in_segment(3, signal.SIGKILL))
    assert ended.code == -signal.SIGKILL
    assert len(records(output.parent)) == 3


@pytest.mark.parametrize(
    ("more", "difference"),
    [(["--crf", "30"], "encoding.crf: None -> 30"), (["--strength", "0.5"], r"strength: 1.0 -> 0.5")],
)
def test_another_option_is_another_job(
    tmp_path: Path, driver: Driver, bench: Bench, more: list[str], difference: str
) -> None:
    output = tmp_path / "out.mp4"
    interrupt(driver, bench, output)
    check_end(driver.run(*bench.arguments(output, *more)), 0, "another job", difference, "begins anew")
    assert output.read_bytes() != bench.expected
    output.unlink()
    check_end(driver.run(*bench.arguments(output)), 0, f"3 of {SEGMENTS} segments")
    assert output.read_bytes() == bench.expected


def test_other_weights_and_another_input_are_other_jobs(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    source = tmp_path / "in.mp4"
    shutil.copy(bench.source, source)
    mine = replace(bench, source=source)
    output = tmp_path / "out.mp4"
    interrupt(driver, mine, output)
    write_safetensors(tiny_model(1, scale=0.5, crop=96), tmp_path / "other.safetensors")
    others = replace(mine, weights=tmp_path / "other.safetensors")
    check_end(driver.run(*others.arguments(output)), 0, r"another job \(weights.derain: ")
    output.unlink()
    make_clip(source, replace(CLIP, tags={"title": "another"}))
    check_end(driver.run(*mine.arguments(output)), 0, r"another job \(input\.")


def test_restart_keep_and_work_dir(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    output, scratch = tmp_path / "out" / "out.mp4", tmp_path / "scratch"
    output.parent.mkdir()
    elsewhere = ["--work-dir", str(scratch)]
    ended = driver.run(*bench.arguments(output, *elsewhere), before=in_segment(3, signal.SIGINT))
    check_end(ended, 130, f"kept in {scratch}")
    assert list(output.parent.iterdir()) == []
    ended = driver.run(*bench.arguments(output, *elsewhere, "--restart", "--keep"))
    check_end(ended, 0)
    assert "going on" not in ended.said
    assert len(list(scratch.rglob("*.segment.json"))) == SEGMENTS
    output.unlink()
    check_end(driver.run(*bench.arguments(output, *elsewhere)), 0, f"{SEGMENTS} of {SEGMENTS} segments")
    assert output.read_bytes() == bench.expected
    assert list(scratch.iterdir()) == []


def test_what_is_done_is_not_done_again_and_needs_no_worker(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    output = tmp_path / "out.mp4"
    check_end(driver.run(*bench.arguments(output)), 0)
    no_worker = "import pipelines.pools as module\nmodule.open_pool = None\n"
    check_end(driver.run(*bench.arguments(output), before=no_worker), 0, "is done already, as its receipt says")
    check_end(driver.run(*bench.arguments(output, "--crf", "30")), 4, "exists; overwrite it with -y")
    output.with_name("out.mp4.receipt.json").unlink()
    check_end(driver.run(*bench.arguments(output)), 4, "exists; overwrite it with -y")
    assert output.read_bytes() == bench.expected


def test_an_output_can_be_verified_again_at_any_time(tmp_path: Path, driver: Driver, bench: Bench) -> None:
    source, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
    shutil.copy(bench.source, source)
    check_end(driver.run(*bench.arguments(output, source=source)), 0)
    check_end(driver.run("verify", output), 0, "verified: .* 0 mismatches")
    source.rename(tmp_path / "moved.mp4")
    check_end(driver.run("verify", output), 0, "--source names it")
    ended = driver.run("verify", output, "--source", tmp_path / "moved.mp4", "--json")
    check_end(ended, 0)
    assert json.loads(ended.said)["verified"] is True
    content = bytearray(output.read_bytes())
    content[len(content) // 2] ^= 1
    output.write_bytes(content)
    ended = driver.run("verify", output)
    assert ended.code == 5
    assert "MISMATCH: SHA-256 of the output" in ended.said
    output.with_name("out.mp4.receipt.json").unlink()
    check_end(driver.run("verify", output), 3, "there is no receipt")
