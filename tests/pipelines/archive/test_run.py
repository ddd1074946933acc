"""Every item of a run ends done or in quarantine, whatever happens on the way."""

import threading
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from pipelines.archive import steps
from pipelines.archive.context import ArchiveContext
from pipelines.archive.failures import ATTEMPTS
from pipelines.archive.items import ItemOptions
from pipelines.archive.progress import ArchiveProgress
from pipelines.exit_codes import ExitCode
from pipelines.outputs import Item
from pipelines.planning import FileOptions, prepare_file
from pipelines.pools import PoolOptions
from streamrestore.assembly import FinishedSegment
from streamrestore.devices import choose_devices, find_devices
from streamrestore.encoding import EncodingRequest
from streamrestore.errors import DeviceMemoryError, DiskFullError, StoppedError
from streamrestore.frame import Chunk, Restored
from streamrestore.receipt import read_receipt, receipt_path
from tests.clips import Clip, make_clip
from tests.networks import OffsetRestorer
from tests.pipelines.archive.runs import (
    SLOW,
    Said,
    check_whole,
    contents,
    items_of,
    ledger_of,
    make_source,
    request_for,
    run,
)
from tests.pipelines.runs import restore
from workers import RestorerPool, open_pool


def test_a_tree_becomes_a_tree_of_the_same_bytes_as_restore_makes(tmp_path: Path) -> None:
    source, target = make_source(tmp_path / "in"), tmp_path / "out"
    items, request = items_of(source), request_for(tmp_path / "out")
    said = Said()
    assert run(items, request, said=said) is ExitCode.DONE
    check_whole(target, items)
    assert set(contents(target)) == {"a.mkv", "deep/b.mp4", "deep/c.mkv"}
    assert said.progress.frames == 180
    assert said.progress.segments == said.progress.segments_done
    assert said.progress.bytes_ended == pytest.approx(said.progress.bytes)
    pool = open_pool(partial(OffsetRestorer, 3), workers=0)
    choice = choose_devices("cpu", find_devices())
    options = replace(request.options(request.network.on(choice, ItemOptions()), ItemOptions()), work_dir=None)
    restore(source / "deep/b.mp4", tmp_path / "alone.mp4", pool, options)
    pool.close()
    assert (tmp_path / "alone.mp4").read_bytes() == (target / "deep/b.mp4").read_bytes()
    assert not list((target / ".streamrestore" / "work").glob("*"))


def test_run_again_nothing_is_done_again(tmp_path: Path) -> None:
    source, target = make_source(tmp_path / "in"), tmp_path / "out"
    run(items_of(source), request_for(target))
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*.m*")}
    said = Said()
    assert run(items_of(source), request_for(target), said=said) is ExitCode.DONE
    assert not said.records
    assert said.progress.done_before == 3
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*.m*")} == before


def test_an_output_or_a_record_that_is_gone_is_found_or_made_again(tmp_path: Path) -> None:
    source, target = make_source(tmp_path / "in"), tmp_path / "out"
    run(items_of(source), request_for(target))
    before = contents(target)
    (target / "a.mkv").unlink()
    (target / "a.mkv.receipt.json").unlink()
    records = sorted((target / ".streamrestore" / "done").iterdir())
    [lost] = [path for path in records if '"deep/c.mkv"' in path.read_text()]
    lost.unlink()
    said = Said()
    assert run(items_of(source), request_for(target), said=said) is ExitCode.DONE
    assert {record.source: record.frames for record in said.records} == {"a.mkv": 60, "deep/c.mkv": 60}
    assert said.progress.frames == 60, "what has an output and a receipt is not restored again"
    assert contents(target) == before


def test_a_source_that_changed_is_another_item_to_do(tmp_path: Path) -> None:
    source, target = make_source(tmp_path / "in", ["a.mkv"]), tmp_path / "out"
    run(items_of(source), request_for(target))
    make_clip(source / "a.mkv", Clip(pts=SLOW[:20]))
    assert run(items_of(source), request_for(target)) is ExitCode.SOME_FAILED
    [failed] = ledger_of(target).failed()
    assert failed.exit_code == ExitCode.OUTPUT
    assert "-y" in failed.reason
    assert run(items_of(source), request_for(target, overwrite=True)) is ExitCode.DONE
    [done] = ledger_of(target).done()
    assert done.frames == 20
    assert not list(ledger_of(target).failed())


def test_what_cannot_be_restored_is_in_quarantine_and_the_others_are_done(tmp_path: Path) -> None:
    source, target = make_source(tmp_path / "in", ["good.mkv"]), tmp_path / "out"
    (source / "text.mp4").write_text("not a video")
    (source / "empty.mp4").write_bytes(b"")
    whole = make_clip(tmp_path / "whole.mp4", Clip(pts=SLOW)).read_bytes()
    (source / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # its index was at the end
    said = Said()
    items = items_of(source)
    assert run(items, request_for(target), said=said) is ExitCode.SOME_FAILED
    check_whole(target, items)
    assert {record.source: (record.exit_code, record.attempts) for record in said.failures} == dict.fromkeys(
        ("text.mp4", "empty.mp4", "cut.mp4"), (ExitCode.INPUT, 1)
    )
    for record in ledger_of(target).failed():
        assert record.reason
        assert "Traceback" in record.traceback
    # They stay there, without another attempt, until somebody asks.
    said = Said()
    assert run(items, request_for(target), said=said) is ExitCode.SOME_FAILED
    assert (said.failures, said.progress.failed_before) == ([], 3)
    for record in ledger_of(target).failed():
        ledger_of(target).release(record.id)
    (source / "cut.mp4").write_bytes(whole)
    assert run(items_of(source), request_for(target)) is ExitCode.SOME_FAILED
    assert {record.source for record in ledger_of(target).done()} == {"good.mkv", "cut.mp4"}


def test_the_source_itself_in_place_of_what_cannot_be_restored(tmp_path: Path) -> None:
    source, target = make_source(tmp_path / "in", ["good.mkv"]), tmp_path / "out"
    (source / "text.mp4").write_text("not a video")
    items = items_of(source)
    assert run(items, request_for(target), on_failure="copy-source") is ExitCode.SOME_FAILED
    check_whole(target, items)
    [failed] = ledger_of(target).failed()
    assert failed.copied == "text.mp4"
    assert (target / "text.mp4").read_text() == "not a video"


@dataclass
class Stubborn:
    """Runs out of memory while patches are large."""

    largest: int

    def restore(self, chunk: Chunk) -> Restored:
        if max(chunk.plan.patch) > self.largest:
            raise DeviceMemoryError("one patch does not fit")
        return OffsetRestorer(3).restore(chunk)


def test_a_patch_that_does_not_fit_begins_the_item_again_with_smaller_ones(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    make_clip(source / "a.mkv", Clip(pts=SLOW, size=(192, 192)))

    def start(options: PoolOptions) -> RestorerPool:
        return open_pool(partial(Stubborn, 20), workers=0)

    said = Said()
    assert run(items_of(source), request_for(target), said=said, start=start) is ExitCode.DONE
    assert any("smaller" in note for note in said.notes)
    assert max(read_receipt(receipt_path(target / "a.mkv")).plan.patch) <= 20
    assert said.progress.segments == said.progress.segments_done


def test_a_stop_keeps_what_is_finished_and_the_same_command_goes_on(tmp_path: Path) -> None:
    source, target = make_source(tmp_path / "in"), tmp_path / "out"
    run(items_of(source), request_for(tmp_path / "undisturbed"))
    stop = threading.Event()

    def stop_amid(progress: ArchiveProgress) -> None:
        if progress.segments_done >= 4:
            stop.set()

    said = Said(on_update=stop_amid)
    with pytest.raises(StoppedError, match="the same command goes on"):
        run(items_of(source), request_for(target), said=said, stop=stop)
    again = Said()
    assert run(items_of(source), request_for(target), said=again) is ExitCode.DONE
    assert again.progress.frames < 180 - 20
    assert contents(target) == contents(tmp_path / "undisturbed")
    check_whole(target, items_of(source))


def test_a_segment_that_disappears_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = make_source(tmp_path / "in", ["a.mkv"]), tmp_path / "out"
    run(items_of(source), request_for(tmp_path / "undisturbed"))
    finish = steps.FinishItem._finish
    lost = list[Path]()

    def lose(self: steps.FinishItem, context: ArchiveContext) -> object:
        if not lost:
            lost.append(next((target / ".streamrestore" / "work").rglob("00002.segment.json")))
            lost[0].unlink()
        return finish(self, context)

    monkeypatch.setattr(steps.FinishItem, "_finish", lose)
    said = Said()
    assert run(items_of(source), request_for(target), said=said) is ExitCode.DONE
    assert lost
    assert said.progress.frames > 60
    assert said.progress.segments == said.progress.segments_done
    assert contents(target) == contents(tmp_path / "undisturbed")


def test_storage_that_stutters_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = make_source(tmp_path / "in", ["a.mkv"]), tmp_path / "out"
    monkeypatch.setattr("pipelines.archive.failures.PAUSE_SECONDS", 0.01)
    failing = iter([OSError(5, "Input/output error")] * (ATTEMPTS - 1))
    prepare = prepare_file

    def stutter(item: Item, options: FileOptions) -> object:
        for error in failing:
            raise error
        return prepare(item, options)

    monkeypatch.setattr(steps, "prepare_file", stutter)
    assert run(items_of(source), request_for(target)) is ExitCode.DONE


def test_a_full_disk_ends_the_run_and_puts_nothing_into_quarantine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = make_source(tmp_path / "in"), tmp_path / "out"
    monkeypatch.setattr("pipelines.archive.failures.PAUSE_SECONDS", 0.01)

    def full(*_: object) -> FinishedSegment:
        raise DiskFullError("no space left")

    monkeypatch.setattr(steps, "join_segments", full)
    with pytest.raises(DiskFullError):
        run(items_of(source), request_for(target))
    assert not list(ledger_of(target).failed())
    monkeypatch.undo()
    said = Said()
    assert run(items_of(source), request_for(target), said=said) is ExitCode.DONE
    assert said.progress.frames < 180


def test_two_runs_on_one_tree_make_it_together(tmp_path: Path) -> None:
    source, target = make_source(tmp_path / "in"), tmp_path / "out"
    run(items_of(source), request_for(tmp_path / "undisturbed"))
    codes = list[ExitCode]()
    both = [threading.Thread(target=lambda: codes.append(run(items_of(source), request_for(target)))) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(120)
    assert codes == [ExitCode.DONE, ExitCode.DONE]
    check_whole(target, items_of(source))
    assert contents(target) == contents(tmp_path / "undisturbed")


def test_an_item_may_ask_for_something_else(tmp_path: Path) -> None:
    source, target = make_source(tmp_path / "in", ["a.mkv"]), tmp_path / "out"
    items = items_of(source, ItemOptions(start=10.0, stop=20.0, strength=0.0, codec="ffv1"))
    assert run(items, request_for(target, encoding=EncodingRequest())) is ExitCode.DONE
    receipt = read_receipt(receipt_path(target / "a.mkv"))
    assert len(receipt.frames) == 10
    assert (receipt.plan.codec, receipt.settings["strength"]) == ("ffv1", 0.0)
