"""Things die, freeze and get lost under an archive run: it ends as an undisturbed one, and nothing is left over."""

import os
import random
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from pipelines.archive import steps
from pipelines.archive.context import ArchiveContext
from pipelines.archive.request import ArchiveRequest
from pipelines.archive.steps import PlanItem, Planned, RestoreSegment, SegmentDone
from pipelines.exit_codes import ExitCode
from pipelines.pools import PoolOptions
from streamrestore.errors import DeviceLostError, WorkerLostError
from streamrestore.frame import Chunk, Restored
from tests.apart import tell_story
from tests.networks import OffsetRestorer
from tests.pipelines.archive.runs import (
    Said,
    check_whole,
    contents,
    items_of,
    ledger_of,
    make_source,
    offset_pool,
    request_for,
    run,
)
from tests.pipelines.archive.scripted import Books, Script, ScriptedPool, make_item
from tests.pipelines.archive.test_every_order import run as run_script
from workers import RestorerPool, open_pool
from workers.archive import StepPoolState, open_step_pool

PROJECT = Path(__file__).parents[3]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("story", ["two", "three", "everything"])
def test_a_cluster_on_which_things_die_makes_the_same(tmp_path: Path, story: str) -> None:
    tell_story("tests.pipelines.archive.stories", story, tmp_path, timeout=280)


@pytest.mark.parametrize("what", ["damaged", "gone"])
def test_a_finished_segment_whose_file_is_lost_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    source, target = make_source(tmp_path / "in", ["a.mkv"]), tmp_path / "out"
    run(items_of(source), request_for(tmp_path / "undisturbed"))
    monkeypatch.setattr("pipelines.archive.failures.PAUSE_SECONDS", 0.01)
    finish, lost = steps.FinishItem._finish, list[Path]()

    def lose(self: steps.FinishItem, context: ArchiveContext) -> object:
        if not lost:
            lost.append(next((target / ".streamrestore" / "work").rglob("00002.*.segment")))
            if what == "gone":
                lost[0].unlink()
            else:
                content = bytearray(lost[0].read_bytes())
                content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
                lost[0].write_bytes(content)
        return finish(self, context)

    monkeypatch.setattr(steps.FinishItem, "_finish", lose)
    said = Said()
    assert run(items_of(source), request_for(target), said=said) is ExitCode.DONE, said.failures
    assert lost
    assert contents(target) == contents(tmp_path / "undisturbed")
    check_whole(target, items_of(source))


def test_a_segment_that_is_given_again_after_its_item_was_done_leaves_nothing(tmp_path: Path) -> None:
    source, target = make_source(tmp_path / "in", ["a.mkv"]), tmp_path / "out"
    request, [item] = request_for(target), items_of(source)
    context = ArchiveContext(request, "cpu", offset_pool)
    planned = PlanItem(item)(context)
    assert isinstance(planned, Planned)
    assert run([item], request) is ExitCode.DONE
    late = RestoreSegment(item, planned, 1)(context)
    assert isinstance(late, SegmentDone)
    check_whole(target, [item])


class FrailContext(ArchiveContext):
    """Its device breaks after some chunks, until its process ends, or for good."""

    def __init__(self, request: ArchiveRequest, folder: Path, chunks: int, *, for_good: bool) -> None:
        self._broken = folder / ("all" if for_good else str(os.getpid()))
        super().__init__(request, "cpu", partial(frail_pool, self._broken, folder / "gone", chunks))

    def check(self) -> None:
        check_frail(self._broken)


def check_frail(broken: Path) -> None:
    if broken.exists():
        raise DeviceLostError("cuda:0 fails with whatever it is given: CUDA error: an illegal memory access")


def frail_pool(broken: Path, gone: Path, chunks: int, options: PoolOptions) -> RestorerPool:
    return open_pool(partial(FrailRestorer, broken, gone, chunks), workers=0)


@dataclass
class FrailRestorer:
    """Breaks its device, but for one that came after another one had."""

    broken: Path
    gone: Path
    left: int

    def restore(self, chunk: Chunk) -> Restored:
        self.left -= 1
        if self.left < 0 and not self.gone.exists():
            self.gone.touch()
            self.broken.touch()
        check_frail(self.broken)
        return OffsetRestorer(3).restore(chunk)


@pytest.mark.ray
@pytest.mark.timeout(240)
def test_a_device_that_breaks_until_its_process_ends_costs_nothing(tmp_path: Path, ray_cluster: None) -> None:
    source, target, request = make_source(tmp_path / "in"), tmp_path / "out", request_for(tmp_path / "out")
    run(items_of(source), request_for(tmp_path / "undisturbed"))
    pool = open_step_pool(partial(FrailContext, request, tmp_path, 5, for_good=False), workers=1)
    said = Said()
    try:
        assert run(items_of(source), request, pool, said=said) is ExitCode.DONE, said.failures
        assert pool.state().deaths == 1
    finally:
        pool.close()
    assert contents(target) == contents(tmp_path / "undisturbed")
    check_whole(target, items_of(source))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.ray)])
def test_a_device_that_stays_broken_ends_the_run_and_puts_nothing_into_quarantine(
    tmp_path: Path, request: pytest.FixtureRequest, workers: int
) -> None:
    if workers:
        request.getfixturevalue("ray_cluster")
    source, target, wanted = make_source(tmp_path / "in"), tmp_path / "out", request_for(tmp_path / "out")
    pool = open_step_pool(partial(FrailContext, wanted, tmp_path, 2, for_good=True), workers=workers)
    try:
        with pytest.raises(WorkerLostError, match=r"no worker is left, .*cuda:0 fails with whatever it is given"):
            run(items_of(source), wanted, pool)
    finally:
        pool.close()
    assert not list(ledger_of(target).failed())
    assert run(items_of(source), wanted) is ExitCode.DONE
    check_whole(target, items_of(source))


def test_a_network_that_could_not_be_loaded_is_tried_again_by_the_next_step(tmp_path: Path) -> None:
    source, target, request = make_source(tmp_path / "in", ["a.mkv"]), tmp_path / "out", request_for(tmp_path / "out")
    failing = iter([OSError("no room at this moment")])

    def build() -> OffsetRestorer:
        for error in failing:
            raise error
        return OffsetRestorer(3)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipelines.archive.failures.PAUSE_SECONDS", 0.01)
        assert run(items_of(source), request, start=lambda options: open_pool(build, workers=0)) is ExitCode.DONE
    check_whole(target, items_of(source))


def test_who_waits_for_a_machine_is_told_so_once() -> None:
    class Waiting(ScriptedPool):
        looks = 0

        def state(self) -> StepPoolState:
            self.looks += 1
            return super().state() if self.looks > 20 else replace(super().state(), workers=0, waiting=2)

    items = [make_item(0)]
    books, said = Books({items[0].id: Script()}), Said()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipelines.archive.run.ROOM_SECONDS", 0.0)
        run_script(items, books, Waiting(books, random.Random(0)), said=said)
    assert sum("no machine has had room" in note for note in said.notes) == 1


def test_what_workers_chose_to_run_on_is_told_once_and_again_when_there_is_more_to_say() -> None:
    class Choosing(ScriptedPool):
        looks = 0

        def state(self) -> StepPoolState:
            self.looks += 1
            return replace(super().state(), advice="" if self.looks < 3 else "cores" if self.looks < 9 else "GPUs now")

    items = [make_item(number) for number in range(9)]
    books, said = Books({item.id: Script() for item in items}), Said()
    run_script(items, books, Choosing(books, random.Random(0)), said=said)
    assert [note for note in said.notes if "clip" not in note] == ["cores", "GPUs now"]
