"""Archives whose clips come from an object store, and whose results go to one."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from pipelines.archive.checking import find_problems
from pipelines.archive.context import ArchiveContext
from pipelines.archive.items import ArchiveItem
from pipelines.archive.ledger import Ledger
from pipelines.archive.listing import list_items
from pipelines.archive.progress import ArchiveProgress
from pipelines.archive.records import DoneRecord
from pipelines.archive.request import ArchiveRequest
from pipelines.archive.shelf import RemoteShelf
from pipelines.archive.steps import FinishItem, PlanItem, Planned, RestoreSegment
from pipelines.exit_codes import ExitCode
from streamrestore import reading_apart
from streamrestore.errors import SourceError, StoppedError, StorageError
from streamrestore.locations import parse_location
from tests.apart import tell_story
from tests.pipelines.archive.runs import (
    Said,
    contents,
    items_of,
    make_long_source,
    make_source,
    offset_pool,
    request_for,
    run,
)
from tests.s3 import Fault, S3Server, s3_server

CLIPS = ["a.mkv", "deep er/b.mp4", "ü.mkv"]

FRAMES = 180

NUISANCES: tuple[Fault | None, ...] = ("500", None, None, "reset", None, "503", None, None, None, "answer lost", None)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(server: S3Server) -> str:
    server.fail()
    return server.bucket()


@pytest.fixture
def local(tmp_path: Path) -> dict[str, str]:
    """What a run in folders makes."""
    source = make_source(tmp_path / "in", CLIPS)
    run(items_of(source), request_for(tmp_path / "undisturbed"))
    return contents(tmp_path / "undisturbed")


def upload(folder: Path, url: str) -> None:
    fsspec.filesystem("s3").put(f"{folder}/", f"{url}/", recursive=True)


def remote(scratch: Path, url: str) -> ArchiveRequest:
    return replace(request_for(scratch), target=parse_location(url), scratch=scratch)


def items(url: str, target: str) -> tuple[ArchiveItem, ...]:
    return list_items(url, target).items


def results(url: str, folder: Path) -> dict[str, str]:
    fsspec.filesystem("s3").get(f"{url}/", f"{folder}/", recursive=True)
    return contents(folder)


def left_over(url: str) -> list[str]:
    return [name for name in fsspec.filesystem("s3").find(url) if "/work/" in name]


def test_from_one_bucket_to_another_the_bytes_are_those_of_folders(
    tmp_path: Path, bucket: str, server: S3Server, local: dict[str, str]
) -> None:
    upload(tmp_path / "in", f"{bucket}/in")
    target, said = f"{bucket}/out", Said()
    request = remote(tmp_path / "scratch", target)
    assert run(items(f"{bucket}/in", target), request, said=said) is ExitCode.DONE
    assert said.progress.frames == FRAMES
    assert results(target, tmp_path / "got") == local
    assert not left_over(target)
    records = list(Ledger(request.target).done())
    assert len(records) == len(CLIPS)
    for record in records:
        assert find_problems(request.target, record) == []
        receipt = json.loads((tmp_path / "got" / f"{record.output}.receipt.json").read_text())
        assert receipt["source"]["path"] == f"{bucket}/in/{record.source}"
    # Nothing of results stays on the machine.
    assert not [path for path in (tmp_path / "scratch" / "targets").rglob("*") if path.is_file()]
    before = server.requests["PUT"]
    said = Said()
    assert run(items(f"{bucket}/in", target), request, said=said) is ExitCode.DONE
    assert said.progress.done_before == len(CLIPS)
    assert server.requests["PUT"] - before <= 3, "only the run's own state"


def test_what_a_run_leaves_that_is_killed_before_it_keeps_a_record_is_removed_by_the_next(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_source(tmp_path / "in", CLIPS[:1])
    upload(tmp_path / "in", f"{bucket}/in")
    target = f"{bucket}/out"
    request = remote(tmp_path / "scratch", target)
    monkeypatch.setattr(RemoteShelf, "clear", lambda self: None)
    run(items(f"{bucket}/in", target), request)
    monkeypatch.undo()
    assert left_over(target)
    fsspec.filesystem("s3").rm(f"{target}/.streamrestore/done", recursive=True)
    said = Said()
    assert run(items(f"{bucket}/in", target), request, said=said) is ExitCode.DONE
    assert said.progress.frames == 0
    assert not left_over(target)


def test_a_store_that_stutters_all_the_time_loses_nothing(
    tmp_path: Path, bucket: str, server: S3Server, local: dict[str, str]
) -> None:
    upload(tmp_path / "in", f"{bucket}/in")
    target = f"{bucket}/out"
    found = items(f"{bucket}/in", target)
    server.fail(*NUISANCES * 40)
    said = Said()
    assert run(found, remote(tmp_path / "scratch", target), said=said) is ExitCode.DONE, said.failures
    assert server.faults > 20
    server.fail()
    assert results(target, tmp_path / "got") == local
    assert not left_over(target)


def test_a_store_that_is_out_of_reach_for_good_ends_the_run_and_puts_nothing_into_quarantine(
    tmp_path: Path, bucket: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.archive.failures.PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    make_source(tmp_path / "in", CLIPS[:1])
    upload(tmp_path / "in", f"{bucket}/in")
    listing = list_items(f"{bucket}/in", str(tmp_path / "out"))
    request = replace(request_for(tmp_path / "out"), source=listing.root)
    server.plan = lambda method, path: "500"
    with pytest.raises(StorageError, match=r"/in could not be read in several attempts"):
        run(listing.items, request)
    assert not list(Ledger(request.target).failed())
    server.fail()
    assert run(listing.items, request) is ExitCode.DONE


def test_a_run_that_was_stopped_goes_on_on_another_machine(tmp_path: Path, bucket: str, local: dict[str, str]) -> None:
    upload(tmp_path / "in", f"{bucket}/in")
    target, stop = f"{bucket}/out", threading.Event()

    def stop_amid(progress: ArchiveProgress) -> None:
        if progress.segments_done >= 5:
            stop.set()

    with pytest.raises(StoppedError):
        run(items(f"{bucket}/in", target), remote(tmp_path / "one", target), said=Said(on_update=stop_amid), stop=stop)
    said = Said()
    assert run(items(f"{bucket}/in", target), remote(tmp_path / "two", target), said=said) is ExitCode.DONE
    assert said.progress.frames < FRAMES
    assert results(target, tmp_path / "got") == local
    assert not left_over(target)


def test_two_runs_on_one_bucket_make_it_together(tmp_path: Path, bucket: str, local: dict[str, str]) -> None:
    upload(tmp_path / "in", f"{bucket}/in")
    target, codes = f"{bucket}/out", list[ExitCode]()
    both = [
        threading.Thread(
            target=lambda name=name: codes.append(run(items(f"{bucket}/in", target), remote(tmp_path / name, target)))
        )
        for name in ("one", "two")
    ]
    for each in both:
        each.start()
    for each in both:
        each.join(240)
    assert codes == [ExitCode.DONE, ExitCode.DONE]
    assert results(target, tmp_path / "got") == local


def test_a_result_that_is_there_is_known_by_its_receipt_and_another_file_is_not_overwritten(
    tmp_path: Path, bucket: str, local: dict[str, str]
) -> None:
    upload(tmp_path / "in", f"{bucket}/in")
    target, store = f"{bucket}/out", fsspec.filesystem("s3")
    request = remote(tmp_path / "scratch", target)
    run(items(f"{bucket}/in", target), request)
    for record in Ledger(request.target).done():
        store.rm(f"{target}/.streamrestore/done/{record.id}.json")
    store.pipe_file(f"{target}/a.mkv", b"somebody else's")
    said = Said()
    assert run(items(f"{bucket}/in", target), request, said=said) is ExitCode.SOME_FAILED
    assert {record.source for record in said.records} == set(CLIPS) - {"a.mkv"}
    assert said.progress.frames == 0
    [failed] = said.failures
    assert (failed.source, failed.exit_code) == ("a.mkv", ExitCode.OUTPUT)
    assert store.cat_file(f"{target}/a.mkv") == b"somebody else's"


@pytest.fixture
def far(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a run in folders makes of long clips, which are in the bucket, too."""
    monkeypatch.setattr(reading_apart, "LEAST_BYTES", 1 << 20)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *args: 0.01)
    source = make_long_source(tmp_path / "in")
    run(items_of(source), request_for(tmp_path / "undisturbed"))
    upload(tmp_path / "in", f"{bucket}/in")
    return contents(tmp_path / "undisturbed")


def two_contexts(tmp_path: Path) -> tuple[ArchiveContext, ArchiveContext]:
    """Of two machines with one target."""
    request = request_for(tmp_path / "out")
    one, two = (
        ArchiveContext(replace(request, scratch=tmp_path / name), "cpu", offset_pool) for name in ("one", "two")
    )
    return one, two


def test_a_machine_that_has_no_copy_reads_the_parts_it_needs(
    tmp_path: Path, bucket: str, server: S3Server, far: dict[str, str]
) -> None:
    (one, two), target = two_contexts(tmp_path), str(tmp_path / "out")
    for item in items(f"{bucket}/in", target):
        planned = PlanItem(item)(one)
        assert isinstance(planned, Planned)
        assert planned.by_ranges
        *far_ones, near_one = planned.missing
        assert len(far_ones) > 8
        for index in far_ones:
            before = server.sent_bytes
            RestoreSegment(item, planned, index)(two)
            assert server.sent_bytes - before < 0.3 * item.size
        before = server.requests["GET"]
        RestoreSegment(item, planned, near_one)(one)
        assert isinstance(FinishItem(item, planned, datetime.now(UTC))(one), DoneRecord)
        assert server.requests["GET"] == before, "it has a copy"
    assert not list((tmp_path / "two" / "sources").glob("*/file/*"))
    assert contents(tmp_path / "out") == far


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(200)
def test_machines_of_a_cluster_copy_a_source_once_and_read_parts_of_it(tmp_path: Path) -> None:
    tell_story("tests.pipelines.archive.stories", "far", tmp_path, timeout=180)


def test_a_part_that_cannot_be_read_is_no_segment_and_is_read_again(
    tmp_path: Path, bucket: str, server: S3Server, far: dict[str, str]
) -> None:
    (one, two), target = two_contexts(tmp_path), str(tmp_path / "out")
    for item in items(f"{bucket}/in", target):
        planned = PlanItem(item)(one)
        assert isinstance(planned, Planned)
        for index in planned.missing:
            faults: list[Fault | None] = [*[None] * (1 + index % 6), "500", "500", "500", "500"]
            server.fail(*faults, method="GET")
            with pytest.raises(StorageError, match="could not be read"):
                RestoreSegment(item, planned, index)(two)
            server.fail()
            RestoreSegment(item, planned, index)(two)
        assert isinstance(FinishItem(item, planned, datetime.now(UTC))(one), DoneRecord)
    assert contents(tmp_path / "out") == far


def test_a_source_that_is_replaced_while_its_parts_are_read_is_found_out(
    tmp_path: Path, bucket: str, far: dict[str, str]
) -> None:
    one, two = two_contexts(tmp_path)
    item = items(f"{bucket}/in", str(tmp_path / "out"))[0]
    planned = PlanItem(item)(one)
    assert isinstance(planned, Planned)
    RestoreSegment(item, planned, 3)(two)
    fsspec.filesystem("s3").pipe_file(item.source.url, b"another one")
    with pytest.raises(SourceError, match="was replaced"):
        RestoreSegment(item, planned, 4)(two)


def test_a_small_source_is_downloaded_whole(
    tmp_path: Path, bucket: str, far: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    one, two = two_contexts(tmp_path)
    item = items(f"{bucket}/in", str(tmp_path / "out"))[0]
    planned = PlanItem(item)(one)
    assert isinstance(planned, Planned)
    assert not planned.by_ranges
    RestoreSegment(item, planned, 3)(two)
    assert len(list((tmp_path / "two" / "sources").glob("*/file/*"))) == 1


def test_from_folders_to_a_bucket_and_back(tmp_path: Path, bucket: str, local: dict[str, str]) -> None:
    target = f"{bucket}/out"
    assert run(items(str(tmp_path / "in"), target), remote(tmp_path / "scratch", target)) is ExitCode.DONE
    assert results(target, tmp_path / "got") == local
    upload(tmp_path / "in", f"{bucket}/in")
    back = tmp_path / "back"
    request = replace(request_for(back), scratch=tmp_path / "scratch")
    assert run(items(f"{bucket}/in", str(back)), request) is ExitCode.DONE
    assert contents(back) == local
