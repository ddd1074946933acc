"""Several files through one pool: clashes, failures, signals."""

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from pipelines.exit_codes import ExitCode
from pipelines.outputs import Item, plan_items
from pipelines.restore import restore_files
from pipelines.signals import StopRequest
from streamrestore.encoding import EncodingRequest
from streamrestore.errors import ConfigError, WorkerStartError
from tests.clips import make_clip
from tests.networks import offset_restorer
from tests.pipelines.runs import Notes, options
from workers import PoolState, RestorerPool, open_pool

FAST = options(encoding=EncodingRequest(preset="ultrafast"))


def start() -> RestorerPool:
    return open_pool(offset_restorer, workers=0)


def run(
    items: tuple[Item, ...], notes: Notes, start: Callable[[], RestorerPool] = start, request: StopRequest | None = None
) -> ExitCode:
    return restore_files(items, FAST, start, notes, request or StopRequest())


def test_two_inputs_never_become_one_output(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        make_clip(tmp_path / folder / "clip.mp4")
    notes = Notes()
    items = plan_items([tmp_path / "a" / "clip.mp4", tmp_path / "b" / "clip.mp4"], tmp_path / "out", ["derain"])
    overwriting = replace(FAST, overwrite=True)
    assert restore_files(items, overwriting, start, notes, StopRequest()) is ExitCode.SOME_FAILED
    assert [each.source for each in notes.finished] == [tmp_path / "a" / "clip.mp4"]
    assert "restore them into different folders" in notes.failures[0]


def test_an_output_never_becomes_a_later_input(tmp_path: Path) -> None:
    first, second = make_clip(tmp_path / "a.mp4"), make_clip(tmp_path / "a.derain.mp4")
    before = second.read_bytes()
    notes = Notes()
    code = restore_files((Item(first, second), Item(second, None)), FAST, start, notes, StopRequest())
    assert code is ExitCode.SOME_FAILED
    assert second.read_bytes() == before
    assert [each.output.name for each in notes.finished] == ["a.derain.derain.mp4"]


def test_workers_that_cannot_start_end_the_run_at_once(tmp_path: Path) -> None:
    clips = [make_clip(tmp_path / name) for name in ("a.mp4", "b.mp4")]

    def broken() -> None:
        raise ConfigError("no such device")

    notes = Notes()
    with pytest.raises(WorkerStartError, match="no such device"):
        run(plan_items(clips, None, ["derain"]), notes, partial(open_pool, broken, workers=0))  # type: ignore[arg-type]
    assert notes.failures == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_a_stop_request_does_not_wait_for_workers_to_start(tmp_path: Path) -> None:
    hang = threading.Event()

    def hanging() -> None:
        hang.wait(60)
        raise ConfigError("nobody waits so long")

    request = StopRequest()
    threading.Timer(0.3, request.event.set).start()
    notes = Notes()
    code = run(
        plan_items([make_clip(tmp_path / "a.mp4")], None, ["derain"]),
        notes,
        partial(open_pool, hanging, workers=0),  # type: ignore[arg-type]
        request,
    )
    hang.set()
    assert code is ExitCode.INTERRUPTED
    assert "stopped before" in notes.failures[0]


def test_no_worker_is_started_for_inputs_that_are_not_there(tmp_path: Path) -> None:
    def never() -> RestorerPool:
        raise AssertionError("a pool was started")

    notes = Notes()
    assert run((Item(tmp_path / "missing.mp4", None),), notes, never) is ExitCode.INPUT
    assert "does not exist" in notes.failures[0]


def test_files_after_a_bad_one_are_restored_on_the_same_workers(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    make_clip(tmp_path / "b.mp4")
    make_clip(tmp_path / "c.mp4")
    started = list[RestorerPool]()

    def counted() -> RestorerPool:
        started.append(start())
        return started[-1]

    notes = Notes()
    assert run(plan_items([tmp_path], None, ["derain"]), notes, counted) is ExitCode.SOME_FAILED
    assert [each.source.name for each in notes.finished] == ["b.mp4", "c.mp4"]
    assert len(started) == 1


class _Bereaved:
    """A pool that lost a worker on the way."""

    def __init__(self) -> None:
        self._pool = start()

    def __getattr__(self, name: str) -> object:
        return getattr(self._pool, name)

    def state(self) -> PoolState:
        return replace(self._pool.state(), deaths=1)


def test_dead_workers_are_told_of(tmp_path: Path) -> None:
    notes = Notes()
    items = plan_items([make_clip(tmp_path / "a.mp4")], None, ["derain"])
    assert run(items, notes, cast("Callable[[], RestorerPool]", _Bereaved)) is ExitCode.DONE
    assert "workers that died on the way and were replaced: 1; no frame was lost" in notes.notes
