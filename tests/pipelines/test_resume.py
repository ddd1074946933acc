"""What ends a run costs at most the segment in progress, and nothing that is resumed can be told from the rest."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from av.packet import Packet
from av.video.stream import VideoStream

from pipelines.outputs import Item
from pipelines.planning import FileOptions, prepare_file
from streamrestore import assembly
from streamrestore.assembly import FinishedSegment
from streamrestore.carry import CarryPlan
from streamrestore.checkpoint import write_safetensors
from streamrestore.encoding import Encoding, EncodingRequest
from streamrestore.errors import OutputError, RestoreError, StoppedError, VerificationError
from streamrestore.frame import Chunk, Restored
from streamrestore.probing import SourceInfo
from tests.clips import Clip, make_clip
from tests.networks import OffsetRestorer, tiny_model
from tests.pipelines.driver import Driver
from tests.pipelines.runs import Notes, options, restore
from workers import RestorerPool, open_pool

SLOW = tuple(range(0, 60 * 30000, 30000))
"""One frame a second for a minute: six segments of ten frames."""

LOSSY = options(encoding=EncodingRequest(preset="ultrafast"))


@dataclass
class Limited:
    """Restores so many chunks, then calls something."""

    chunks: int
    then: Callable[[], None]

    def __call__(self) -> "Limited":
        return self

    def restore(self, chunk: Chunk) -> Restored:
        if self.chunks == 0:
            self.then()
        self.chunks -= 1
        return OffsetRestorer(3).restore(chunk)


@pytest.fixture
def whole() -> Iterator[RestorerPool]:
    pool = open_pool(partial(OffsetRestorer, 3), workers=0)
    yield pool
    pool.close()


def interrupt(source: Path, output: Path, wanted: FileOptions, *, chunks: int) -> Notes:
    """Restore so many chunks of four frames, then stop as Ctrl-C would."""
    stop, notes = threading.Event(), Notes()
    pool = open_pool(Limited(chunks, stop.set), workers=0)
    with pytest.raises(StoppedError):
        restore(source, output, pool, wanted, notes=notes, stop=stop)
    pool.close()
    return notes


def job_folders(output: Path) -> list[Path]:
    return sorted(output.with_name(f"{output.name}.work").glob("*"))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_resumed_job_is_the_same_bit_for_bit(tmp_path: Path, whole: RestorerPool, suffix: str) -> None:
    clip = Clip(pts=SLOW, b_frames=2, gop=7, sound="aac")
    source = make_clip(tmp_path / f"in{suffix}", clip)
    undisturbed, output = tmp_path / f"undisturbed{suffix}", tmp_path / f"out{suffix}"
    restore(source, undisturbed, whole, LOSSY)
    said = interrupt(source, output, LOSSY, chunks=7)
    assert not output.exists()
    assert any("segments are done and kept in" in note for note in said.notes)
    notes = Notes()
    finished = restore(source, output, whole, LOSSY, notes=notes)
    assert any("going on from an earlier run" in note for note in notes.notes)
    assert finished.frames_before > 0
    assert finished.frames_before + finished.progress.frames == 60
    assert output.read_bytes() == undisturbed.read_bytes()
    receipts = [f"{path.name}.receipt.json" for path in (undisturbed, output)]
    assert {path.name for path in tmp_path.iterdir()} == {source.name, undisturbed.name, output.name, *receipts}


def test_a_changed_option_is_another_job_and_says_so(tmp_path: Path, whole: RestorerPool) -> None:
    source, output = make_clip(tmp_path / "in.mkv", Clip(pts=SLOW)), tmp_path / "out.mkv"
    interrupt(source, output, LOSSY, chunks=7)
    [theirs] = job_folders(output)
    notes = Notes()
    changed = replace(LOSSY, encoding=EncodingRequest(preset="ultrafast", crf=30))
    assert restore(source, output, whole, changed, notes=notes).frames_before == 0
    [note] = [note for note in notes.notes if "another job" in note]
    assert "encoding.crf: None -> 30" in note
    assert str(theirs) in note
    assert job_folders(output) == [theirs]


def test_another_input_under_the_same_name_is_another_job(tmp_path: Path, whole: RestorerPool) -> None:
    source, output = make_clip(tmp_path / "in.mkv", Clip(pts=SLOW)), tmp_path / "out.mkv"
    interrupt(source, output, LOSSY, chunks=7)
    make_clip(source, Clip(pts=SLOW, tags={"title": "another"}))
    notes = Notes()
    assert restore(source, output, whole, LOSSY, notes=notes).frames_before == 0
    assert any("another job (input.bytes" in note for note in notes.notes)


def test_restart_forgets_what_was_done(tmp_path: Path, whole: RestorerPool) -> None:
    source, output = make_clip(tmp_path / "in.mkv", Clip(pts=SLOW)), tmp_path / "out.mkv"
    interrupt(source, output, LOSSY, chunks=7)
    assert restore(source, output, whole, replace(LOSSY, restart=True)).frames_before == 0
    assert job_folders(output) == []


def test_keep_leaves_segments_that_a_later_run_may_use(tmp_path: Path, whole: RestorerPool) -> None:
    source, output = make_clip(tmp_path / "in.mkv", Clip(pts=SLOW)), tmp_path / "out.mkv"
    restore(source, output, whole, replace(LOSSY, keep=True))
    before = output.read_bytes()
    assert len(job_folders(output)) == 1
    again = restore(source, output, whole, replace(LOSSY, overwrite=True))
    assert (again.progress.frames, again.frames_before) == (0, 60)
    assert output.read_bytes() == before
    assert job_folders(output) == []


def test_a_finished_output_is_not_made_again(tmp_path: Path, whole: RestorerPool) -> None:
    source, output = make_clip(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    job = prepare_file(Item(source, output), LOSSY)
    assert not job.done
    restore(source, output, whole, LOSSY)
    assert prepare_file(Item(source, output), LOSSY).done
    for changed in (replace(LOSSY, stop_seconds=0.2), replace(LOSSY, encoding=EncodingRequest(crf=30))):
        with pytest.raises(OutputError, match="exists"):
            prepare_file(Item(source, output), changed)
    output.write_bytes(output.read_bytes() + b"more")
    with pytest.raises(OutputError, match="exists"):
        prepare_file(Item(source, output), LOSSY)


def test_what_is_not_verified_does_not_get_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, output = make_clip(tmp_path / "in.mkv", Clip(pts=SLOW)), tmp_path / "out.mkv"
    packets = assembly._timed_packets

    def forgetful(
        info: SourceInfo, encoding: Encoding, plan: CarryPlan, segments: Sequence[FinishedSegment]
    ) -> "Iterator[Packet[VideoStream]]":
        yield from islice(packets(info, encoding, plan, segments), 59)

    monkeypatch.setattr(assembly, "_timed_packets", forgetful)
    pool = open_pool(partial(OffsetRestorer, 3), workers=0)
    with pytest.raises(VerificationError, match=r"frames.*60.*59"):
        restore(source, output, pool, LOSSY)
    assert not output.exists()
    assert not output.with_name("out.mkv.receipt.json").exists()
    assert output.with_name("out.mkv.partial").exists()
    monkeypatch.undo()
    assert restore(source, output, pool, LOSSY).frames_before == 60
    pool.close()
    assert not output.with_name("out.mkv.partial").exists()


def test_segments_may_wait_elsewhere(tmp_path: Path, whole: RestorerPool) -> None:
    source, output = make_clip(tmp_path / "in.mkv", Clip(pts=SLOW)), tmp_path / "out" / "out.mkv"
    scratch = tmp_path / "scratch"
    wanted = replace(LOSSY, work_dir=scratch)
    interrupt(source, output, wanted, chunks=7)
    assert not list(output.parent.iterdir())
    done = len(list(scratch.glob("out.mkv.*/*/*.segment")))
    assert done >= 2
    assert restore(source, output, whole, wanted).frames_before == 10 * done
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("damage", ["a flipped bit", "a missing file", "half a record"])
def test_a_segment_that_is_not_as_it_was_is_done_again(tmp_path: Path, whole: RestorerPool, damage: str) -> None:
    source, output = make_clip(tmp_path / "in.mkv", Clip(pts=SLOW)), tmp_path / "out.mkv"
    restore(source, tmp_path / "undisturbed.mkv", whole, LOSSY)
    interrupt(source, output, LOSSY, chunks=9)
    [folder] = job_folders(output)
    done = len(list(folder.glob("*.segment")))
    [segment] = folder.glob("00001.*.segment")
    if damage == "a flipped bit":
        content = bytearray(segment.read_bytes())
        content[len(content) // 2] ^= 1
        segment.write_bytes(content)
    elif damage == "a missing file":
        segment.unlink()
    else:
        record = folder / "00001.segment.json"
        record.write_bytes(record.read_bytes()[:100])
    assert restore(source, output, whole, LOSSY).frames_before == 10 * (done - 1)
    assert output.read_bytes() == (tmp_path / "undisturbed.mkv").read_bytes()


def test_a_part_of_a_video_is_resumed_too(tmp_path: Path, whole: RestorerPool) -> None:
    source, output = make_clip(tmp_path / "in.mp4", Clip(pts=SLOW, sound="aac")), tmp_path / "out.mp4"
    part = options(encoding=EncodingRequest(preset="ultrafast"), start_seconds=7.5, stop_seconds=44.0)
    restore(source, tmp_path / "undisturbed.mp4", whole, part)
    interrupt(source, output, part, chunks=5)
    assert 0 < restore(source, output, whole, part).frames_before < 36
    assert output.read_bytes() == (tmp_path / "undisturbed.mp4").read_bytes()


def test_two_runs_of_one_job_do_not_meet(tmp_path: Path, whole: RestorerPool) -> None:
    source, output = make_clip(tmp_path / "in.mkv", Clip(pts=SLOW)), tmp_path / "out.mkv"
    second = list[OutputError]()

    def run_again() -> None:
        with pytest.raises(OutputError, match="another run is writing") as told:
            restore(source, output, whole, LOSSY)
        second.append(told.value)

    pool = open_pool(Limited(3, run_again), workers=0)
    restore(source, output, pool, LOSSY)
    pool.close()
    assert len(second) == 1
    assert output.exists()


def test_a_failure_keeps_what_is_done(tmp_path: Path, whole: RestorerPool) -> None:
    source, output = make_clip(tmp_path / "in.mkv", Clip(pts=SLOW)), tmp_path / "out.mkv"

    def fail() -> None:
        raise RestoreError("the device is on fire")

    notes = Notes()
    pool = open_pool(Limited(7, fail), workers=0)
    with pytest.raises(RestoreError, match="on fire"):
        restore(source, output, pool, replace(LOSSY, on_error="fail"), notes=notes)
    pool.close()
    assert "2 of 6 segments are done and kept" in notes.notes[-1]
    assert restore(source, output, whole, LOSSY).frames_before == 20


KILLS = 20


def test_a_driver_killed_twenty_times_loses_nothing(tmp_path: Path) -> None:
    write_safetensors(tiny_model(scale=0.5, crop=96), tmp_path / "tiny.safetensors")
    # A frame every three seconds: 28 segments of four frames, more or less.
    clip = Clip(size=(64, 96), pts=tuple(range(0, 100 * 90000, 90000)), gop=6, b_frames=2, sound="aac")
    source = make_clip(tmp_path / "in.mp4", clip)
    command: list[str | Path] = ["restore", source, "-t", "derain", "--weights", tmp_path / "tiny.safetensors"]
    command += ["--stages", "1", "--workers", "0", "--devices", "cpu", "--progress", "none", "-o"]
    undisturbed, output = tmp_path / "undisturbed.mp4", tmp_path / "out.mp4"
    chance = random.Random(20)
    kept = list[int]()
    with Driver(tmp_path / "log") as driver:
        began = time.monotonic()
        assert driver.run(*command, undisturbed).code == 0
        seconds = time.monotonic() - began
        while len(kept) < KILLS:
            run = driver.start(*command, output)
            time.sleep(chance.uniform(0.05, 0.5) * seconds)
            run.send(signal.SIGKILL)
            code = run.wait().code
            assert code in (0, -signal.SIGKILL)
            if code:
                kept.append(len(list(tmp_path.glob("out.mp4.work/*/*.segment.json"))))
            if output.exists():  # it came to its end; the next one begins anew
                assert output.read_bytes() == undisturbed.read_bytes()
                output.unlink()
        output.unlink(missing_ok=True)
        assert driver.run(*command, output).code == 0
    assert max(kept) > 0
    assert output.read_bytes() == undisturbed.read_bytes()
    assert not output.with_name("out.mp4.work").exists()
    assert not output.with_name("out.mp4.partial").exists()
