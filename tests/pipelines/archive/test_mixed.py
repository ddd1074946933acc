"""An archive of all that archives have: every clip is done and verified, or in quarantine with a reason."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.archive.listing import list_items
from pipelines.exit_codes import ExitCode
from streamrestore.checkpoint import write_safetensors
from tests.networks import tiny_model
from tests.pipelines.archive.mixed import DONE, EITHER, REAL, make_mixed
from tests.pipelines.archive.runs import OFFSET_IN_COMMAND, check_whole, ledger_of
from tests.pipelines.driver import Driver


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with Driver(tmp_path_factory.mktemp("driver") / "log") as driver:
        yield driver


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    write_safetensors(tiny_model(), path)
    return path


def check_archive(driver: Driver, source: Path, target: Path, weights: Path, ends: dict[str, str]) -> None:
    command: list[str | Path] = ["archive", "run", source, target, "-t", "derain", "--weights", weights]
    command += ["--workers", "0", "--progress", "plain"]
    ended = driver.run(*command, before=OFFSET_IN_COMMAND)
    assert ended.code == 6, ended.said
    assert "Traceback" not in ended.said
    items = list_items(str(source), str(target)).items
    assert {item.name for item in items} == set(ends)
    check_whole(target, items)
    done = {record.source for record in ledger_of(target).done()}
    failed = {record.source: record for record in ledger_of(target).failed()}
    for name, end in ends.items():
        if end == DONE:
            assert name in done, failed[name]
        elif end != EITHER:
            assert re.search(end, failed[name].reason), failed[name]
    for record in failed.values():
        assert record.exit_code == ExitCode.INPUT, record
        assert record.traceback
        assert shlex.split(record.command)[:2] == ["streamrestore", "restore"]
    check_end = driver.run("archive", "verify", target)
    assert check_end.code == 0, check_end.said
    assert f"{len(done)} of {len(done)} results are what their receipts say" in check_end.said
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*.m*")}
    again = driver.run(*command, before=OFFSET_IN_COMMAND)
    assert again.code == 6, again.said
    assert f"{len(done)} of them done before, {len(failed)} in quarantine" in again.said
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*.m*")} == before
    report = json.loads(driver.run("archive", "report", target, "--json").said)
    assert sorted(row["source"] for row in report) == sorted(ends)


def test_clips_of_all_kinds_end_done_or_in_quarantine(tmp_path: Path, driver: Driver, weights: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    ends = make_mixed(source)
    assert len(ends) >= 30
    check_archive(driver, source, target, weights, ends)
    # What is said of a clip in quarantine is what the command says that restores it alone.
    [huge] = [record for record in ledger_of(target).failed() if record.source == "huge.mp4"]
    ended = driver.run(*shlex.split(huge.command)[1:], "--workers", "0")
    assert (ended.code, huge.reason in ended.said) == (huge.exit_code, True), ended.said


def test_real_clips_end_done_or_in_quarantine(tmp_path: Path, driver: Driver, weights: Path, data_dir: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in REAL:
        (source / name).symlink_to(data_dir / "video" / name)
    check_archive(driver, source, target, weights, REAL)
