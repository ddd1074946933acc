"""Things die, freeze and get lost under an archive run: it ends as an undisturbed one, and nothing is left over."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.archive import steps
from pipelines.archive.context import ArchiveContext
from pipelines.archive.steps import PlanItem, Planned, RestoreSegment, SegmentDone
from pipelines.exit_codes import ExitCode
from tests.apart import tell_story
from tests.pipelines.archive.runs import (
    Said,
    check_whole,
    contents,
    items_of,
    make_source,
    offset_pool,
    request_for,
    run,
)
from tests.pipelines.archive.scripted import Books, Script, ScriptedPool, make_item
from tests.pipelines.archive.test_every_order import run as run_script
from workers.archive import StepPoolState

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
