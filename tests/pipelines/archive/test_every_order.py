"""Whatever order steps end in and whatever fails, a run ends, and each of its items is done or in quarantine, once."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.archive.items import ArchiveItem
from pipelines.archive.progress import ArchiveProgress
from pipelines.archive.records import DoneRecord
from pipelines.archive.run import ArchiveRun, OnFailure
from pipelines.archive.standing import find_standing
from pipelines.exit_codes import ExitCode
from streamrestore.errors import (
    ConfigError,
    DecodeError,
    DeviceMemoryError,
    DiskFullError,
    HeldError,
    OutputError,
    RestoreError,
    SinkError,
    SourceError,
    StoppedError,
    StorageError,
    UnsupportedError,
    VerificationError,
    WorkerLostError,
    WorkerStartError,
)
from tests.pipelines.archive.runs import Said
from tests.pipelines.archive.scripted import Books, Script, ScriptedPool, check_accounts, make_item

KINDS: list[Callable[[str], Exception]] = [
    ConfigError,
    DecodeError,
    DeviceMemoryError,
    HeldError,
    OutputError,
    OSError,
    RestoreError,
    RuntimeError,
    SinkError,
    SourceError,
    StorageError,
    UnsupportedError,
    VerificationError,
    WorkerLostError,
    WorkerStartError,
]
"""What a step may raise and only its item suffers from."""

STEPS = ("plan", "segment", "finish", "copy")

_errors = st.builds(lambda kind, step: kind(f"{step} failed"), st.sampled_from(KINDS), st.sampled_from(STEPS))
_full = st.just(DiskFullError("no space left"))


def scripts(errors: st.SearchStrategy[Exception] = _errors) -> st.SearchStrategy[Script]:
    failures = st.dictionaries(st.sampled_from(STEPS), st.lists(errors, max_size=7), max_size=3)
    return st.builds(Script, st.integers(1, 4), failures, st.lists(st.integers(0, 3), max_size=2))


class Silence:
    """In place of the file that says how far a run is."""

    ended: str | None = None

    def keep(self, progress: object, ended: str | None = None) -> None:
        self.ended = ended


@contextmanager
def no_time(books: Books) -> Iterator[None]:
    """Pauses last no time, and records are kept in memory."""
    with (
        patch("pipelines.archive.failures.PAUSE_SECONDS", 0.0),
        patch("pipelines.archive.run._TICK_SECONDS", 0.0),
        patch("pipelines.archive.run.Ledger", lambda target: books),
        patch("pipelines.archive.standing.Ledger", lambda target: books),
    ):
        yield


def run(
    items: list[ArchiveItem],
    books: Books,
    pool: ScriptedPool,
    *,
    said: Said | None = None,
    stop: threading.Event | None = None,
    on_failure: OnFailure = "quarantine",
) -> tuple[ExitCode, ArchiveProgress]:
    said = said or Said()
    with no_time(books):
        driver = ArchiveRun(lambda: pool, books.request, said, state=Silence(), on_failure=on_failure)  # type: ignore[arg-type]
        try:
            standing = find_standing(items, books.request)  # type: ignore[arg-type]
            return driver.run(standing, stop or threading.Event()), driver.progress
        finally:
            pool.close()


def check_progress(progress: ArchiveProgress, code: ExitCode, items: list[ArchiveItem], books: Books) -> None:
    assert (progress.items, progress.done, progress.failed) == (
        len(items),
        len(books.records),
        len(books.quarantine),
    )
    assert progress.segments == progress.segments_done
    assert progress.bytes == sum(item.size for item in items)
    assert progress.bytes_ended == pytest.approx(progress.bytes)
    assert code == (ExitCode.SOME_FAILED if books.quarantine else ExitCode.DONE)


def make_books(wanted: list[Script]) -> tuple[list[ArchiveItem], Books]:
    items = [make_item(number, size=(number * 37) % 11) for number in range(len(wanted))]
    return items, Books({item.id: script for item, script in zip(items, wanted, strict=True)})


ENOUGH = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@ENOUGH
@given(
    wanted=st.lists(scripts(), min_size=1, max_size=6),
    seed=st.integers(0, 9999),
    workers=st.integers(1, 4),
    on_failure=st.sampled_from(["quarantine", "copy-source"]),
    before=st.sets(st.integers(0, 5)),
)
def test_every_item_ends_once_and_is_counted_once(
    wanted: list[Script],
    seed: int,
    workers: int,
    on_failure: OnFailure,
    before: set[int],
) -> None:
    chance, (items, books) = random.Random(seed), make_books(wanted)
    earlier = [items[number] for number in before if number < len(items)]
    if earlier:
        run(earlier, books, ScriptedPool(books, chance, workers))
    said = Said()
    code, progress = run(items, books, ScriptedPool(books, chance, workers), said=said, on_failure=on_failure)
    check_accounts(books, items)
    check_progress(progress, code, items, books)
    ended = [record.id for record in (*said.records, *said.failures)]
    assert len(ended) == len(set(ended)) == len(items) - len(earlier)
    code, progress = run(items, books, ScriptedPool(books, chance, workers))
    assert (progress.done_before, progress.failed_before) == (progress.done, progress.failed)
    check_progress(progress, code, items, books)


@ENOUGH
@given(
    wanted=st.lists(scripts(_errors | _full), min_size=1, max_size=5),
    seed=st.integers(0, 9999),
    workers=st.integers(1, 3),
    stops=st.lists(st.integers(0, 30), max_size=3),
    losses=st.lists(st.integers(1, 15), max_size=2),
)
def test_runs_that_are_stopped_or_lose_their_workers_or_their_disk_go_on(
    wanted: list[Script],
    seed: int,
    workers: int,
    stops: list[int],
    losses: list[int],
) -> None:
    chance, (items, books) = random.Random(seed), make_books(wanted)
    for _ in range(100):
        stop, looks = threading.Event(), iter(range(stops.pop()) if stops else iter(int, 1))

        def look(progress: ArchiveProgress, looks: Iterator[int] = looks, stop: threading.Event = stop) -> None:
            if next(looks, None) is None:
                stop.set()

        pool = ScriptedPool(books, chance, workers, losses.pop() if losses else None)
        quarantined = set(books.quarantine)
        try:
            code, progress = run(items, books, pool, said=Said(on_update=look), stop=stop)
        except StoppedError:
            assert stop.is_set()
        except DiskFullError:
            assert all("no space" not in record.reason for record in books.quarantine.values())
        except WorkerLostError:
            assert pool.lost
        else:
            break
        assert quarantined <= set(books.quarantine)
    else:
        pytest.fail("it does not come to an end")
    check_accounts(books, items)
    check_progress(progress, code, items, books)


@pytest.mark.parametrize("kind", [OSError, SinkError, DiskFullError, StorageError])
def test_a_copy_that_fails_for_a_while_is_tried_again(kind: Callable[[str], Exception]) -> None:
    script = Script(errors={"plan": [SourceError("no video")], "copy": [kind("not now"), kind("not now")]})
    items, books = make_books([script])
    code, progress = run(items, books, ScriptedPool(books, random.Random(0)), on_failure="copy-source")
    check_progress(progress, code, items, books)
    [record] = books.quarantine.values()
    assert (record.reason, record.copied) == ("no video", items[0].name)


def test_an_item_whose_copy_cannot_be_written_is_not_planned_again_for_that() -> None:
    script = Script(errors={"finish": [VerificationError("differs")] * 9, "copy": [OutputError("exists")] * 9})
    items, books = make_books([script])
    run(items, books, ScriptedPool(books, random.Random(0)), on_failure="copy-source")
    [record] = books.quarantine.values()
    assert (record.reason, record.copied) == ("differs", None)
    assert len(script.errors["copy"]) == 8


@pytest.mark.parametrize("step", ["plan", "segment", "finish"])
def test_storage_that_is_out_of_reach_for_a_while_puts_nothing_into_quarantine(step: str) -> None:
    script = Script(errors={step: [StorageError("out of reach"), StorageError("out of reach")]})
    items, books = make_books([script])
    assert run(items, books, ScriptedPool(books, random.Random(0)))[0] is ExitCode.DONE


def test_an_item_that_was_done_once_and_is_in_quarantine_now_stays_there() -> None:
    items, books = make_books([Script(errors={"plan": [OutputError("exists")] * 9})])
    books.records[items[0].id] = record_of_another(books, items[0])
    for failed_before in (0, 1):
        books.records[items[0].id] = record_of_another(books, items[0])
        pool = ScriptedPool(books, random.Random(0))
        code, progress = run(items, books, pool)
        assert (code, progress.failed, progress.failed_before) == (ExitCode.SOME_FAILED, 1, failed_before)


def record_of_another(books: Books, item: ArchiveItem) -> DoneRecord:
    return books.record(replace(item, hint="another content"))
