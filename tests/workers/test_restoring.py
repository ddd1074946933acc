"""The thread that restores: order, shared batches, overlap, errors and cancelling."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field, replace

import pytest

from streamrestore.errors import RestoreError
from streamrestore.frame import Chunk, Restored
from tests.workers.fakes import FailingBuild, Script, ScriptedRestorer, chunk_of, value_of
from workers.restoring import RestoringThread

PATIENCE_SECONDS = 60.0


@dataclass
class Diary:
    """A restorer of batches that writes down what happens, and works when it is told to."""

    events: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    may_begin: threading.Event = field(default_factory=threading.Event)
    bad: frozenset[int] = frozenset()
    overlaps: bool = True

    def restore(self, chunk: Chunk) -> Restored:
        (restored,) = self.begin([chunk])()
        return restored

    def begin(self, chunks: Sequence[Chunk]) -> Callable[[], tuple[Restored, ...]]:
        values = tuple(value_of(chunk.planes) for chunk in chunks)
        self.events.append(("begin", values))
        assert self.may_begin.wait(PATIENCE_SECONDS)

        def results() -> tuple[Restored, ...]:
            self.events.append(("end", values))
            if self.bad.intersection(values):
                raise RestoreError(f"{values}")
            return tuple(Restored((chunk.planes[0] + 1,), 0.0) for chunk in chunks)

        return results


def batches_of(chunk: Chunk, patches: int) -> Chunk:
    """With room for so many patches in a batch; each of the two frames has one."""
    return replace(chunk, plan=replace(chunk.plan, batch=patches))


def restored(thread: RestoringThread, chunks: Sequence[Chunk], diary: Diary) -> list[int]:
    futures = [thread.submit(chunk) for chunk in chunks]
    diary.may_begin.set()
    return [value_of(future.result(PATIENCE_SECONDS).planes) for future in futures]


def test_the_next_chunk_is_begun_before_the_last_one_is_waited_for() -> None:
    diary = Diary()
    thread = RestoringThread(lambda: diary, "restore")
    assert restored(thread, [chunk_of(value) for value in range(4)], diary) == [1, 2, 3, 4]
    thread.stop(PATIENCE_SECONDS)
    begins = [values for event, values in diary.events if event == "begin"]
    ends = [values for event, values in diary.events if event == "end"]
    assert begins == ends == [(0,), (1,), (2,), (3,)]
    for value in range(3):
        assert diary.events.index(("begin", (value + 1,))) < diary.events.index(("end", (value,)))


def test_a_restorer_that_does_not_work_by_itself_ends_a_chunk_before_the_next() -> None:
    diary = Diary(overlaps=False)
    thread = RestoringThread(lambda: diary, "restore")
    assert restored(thread, [chunk_of(value) for value in range(3)], diary) == [1, 2, 3]
    thread.stop(PATIENCE_SECONDS)
    assert [event for event, _ in diary.events] == ["begin", "end"] * 3


def test_a_chunk_that_nobody_follows_is_answered_at_once() -> None:
    diary = Diary()
    thread = RestoringThread(lambda: diary, "restore")
    for value in range(3):
        assert restored(thread, [chunk_of(value)], diary) == [value + 1]
    thread.stop(PATIENCE_SECONDS)


def test_chunks_that_wait_fill_a_batch_and_no_more_than_one() -> None:
    diary = Diary()
    thread = RestoringThread(lambda: diary, "restore")
    # The first is begun alone, as nobody else was there; two frames each, so three fill a batch of six.
    first = thread.submit(batches_of(chunk_of(0), 6))
    while not diary.events:
        time.sleep(0.001)
    others = [thread.submit(batches_of(chunk_of(value), 6)) for value in range(1, 9)]
    diary.may_begin.set()
    assert [value_of(future.result(PATIENCE_SECONDS).planes) for future in (first, *others)] == list(range(1, 10))
    thread.stop(PATIENCE_SECONDS)
    assert [values for event, values in diary.events if event == "begin"] == [(0,), (1, 2, 3), (4, 5, 6), (7, 8)]


def test_only_chunks_of_one_kind_share_a_batch_and_order_is_kept() -> None:
    diary = Diary()
    thread = RestoringThread(lambda: diary, "restore")
    first = thread.submit(batches_of(chunk_of(0), 8))
    while not diary.events:
        time.sleep(0.001)
    chunks = [batches_of(chunk_of(value), 8) for value in range(1, 7)]
    chunks[2] = replace(chunks[2], tasks=("derain",))
    chunks[4] = batches_of(chunk_of(5, (16, 16)), 8)
    others = [thread.submit(chunk) for chunk in chunks]
    diary.may_begin.set()
    assert wait([first, *others], PATIENCE_SECONDS).not_done == set()
    thread.stop(PATIENCE_SECONDS)
    begins = [values for event, values in diary.events if event == "begin"]
    assert begins == [(0,), (1, 2), (3,), (4,), (5,), (6,)]


def test_a_batch_waits_for_others_as_long_as_it_may() -> None:
    diary = Diary()
    diary.may_begin.set()
    thread = RestoringThread(lambda: diary, "restore", fill_seconds=PATIENCE_SECONDS)
    first = thread.submit(batches_of(chunk_of(1), 4))
    time.sleep(0.05)
    second = thread.submit(batches_of(chunk_of(2), 4))
    assert wait([first, second], PATIENCE_SECONDS / 2).not_done == set(), "full, it waits no longer"
    assert diary.events[0] == ("begin", (1, 2))
    thread.stop(PATIENCE_SECONDS)


def test_a_batch_does_not_wait_for_others_for_ever() -> None:
    diary = Diary()
    diary.may_begin.set()
    thread = RestoringThread(lambda: diary, "restore", fill_seconds=0.005)
    assert value_of(thread.submit(batches_of(chunk_of(1), 64)).result(PATIENCE_SECONDS).planes) == 2
    thread.stop(PATIENCE_SECONDS)


def test_a_chunk_that_fails_takes_none_along() -> None:
    diary = Diary(bad=frozenset({2}))
    thread = RestoringThread(lambda: diary, "restore")
    first = thread.submit(batches_of(chunk_of(0), 8))
    while not diary.events:
        time.sleep(0.001)
    futures = [thread.submit(batches_of(chunk_of(value), 8)) for value in (1, 2, 3)]
    diary.may_begin.set()
    assert value_of(futures[0].result(PATIENCE_SECONDS).planes) == 2
    with pytest.raises(RestoreError, match=r"\(2,\)"):
        futures[1].result(PATIENCE_SECONDS)
    assert value_of(futures[2].result(PATIENCE_SECONDS).planes) == 4
    assert first.done()
    thread.stop(PATIENCE_SECONDS)


def test_a_restorer_that_cannot_be_built_says_so_to_every_chunk() -> None:
    thread = RestoringThread(FailingBuild(RestoreError("no weights")), "restore")
    with pytest.raises(RestoreError, match="no weights"):
        thread.built.result(PATIENCE_SECONDS)
    for future in [thread.submit(chunk_of(value)) for value in range(3)]:
        with pytest.raises(RestoreError, match="no weights"):
            future.result(PATIENCE_SECONDS)
    thread.stop(PATIENCE_SECONDS)


def test_stop_cancels_what_waits_and_what_runs_and_what_is_being_built() -> None:
    building, go_on = threading.Event(), threading.Event()

    def build() -> ScriptedRestorer:
        building.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return ScriptedRestorer(Script())

    thread = RestoringThread(build, "restore")
    assert building.wait(PATIENCE_SECONDS)
    futures = [thread.submit(chunk_of(value)) for value in range(3)]
    assert (thread.running, thread.waiting) == (0, 3)
    thread.stop()
    thread.stop()
    assert thread.built.cancelled()
    assert all(future.cancelled() for future in futures)
    go_on.set()
    thread.stop(PATIENCE_SECONDS)
    with pytest.raises(RuntimeError, match="restore was stopped"):
        thread.submit(chunk_of(1))


def test_a_cancelled_chunk_is_not_restored() -> None:
    diary = Diary()
    thread = RestoringThread(lambda: diary, "restore")
    futures = [thread.submit(chunk_of(value)) for value in range(4)]
    while not diary.events:
        time.sleep(0.001)
    futures[2].cancel()
    diary.may_begin.set()
    assert value_of(futures[3].result(PATIENCE_SECONDS).planes) == 4
    assert ("begin", (2,)) not in diary.events
    thread.stop(PATIENCE_SECONDS)


def test_a_chunk_that_is_cancelled_while_another_kind_is_begun_is_not_restored() -> None:
    diary = Diary()
    thread = RestoringThread(lambda: diary, "restore", fill_seconds=PATIENCE_SECONDS)
    first = thread.submit(batches_of(chunk_of(1), 8))
    other = thread.submit(chunk_of(2))
    while not diary.events:
        time.sleep(0.001)
    other.cancel()
    diary.may_begin.set()
    assert value_of(first.result(PATIENCE_SECONDS).planes) == 2
    assert value_of(thread.submit(chunk_of(3)).result(PATIENCE_SECONDS).planes) == 4
    assert ("begin", (2,)) not in diary.events
    thread.stop(PATIENCE_SECONDS)
