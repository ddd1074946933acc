"""What a job's command is, what the job is called, and what its end means."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import cli
from pipelines.archive import submit_cli
from pipelines.archive.state import StateFile
from pipelines.archive.submit_cli import default_name
from pipelines.exit_codes import ExitCode
from streamrestore.errors import WorkerLostError
from streamrestore.locations import parse_location
from workers.archive.jobs import JobEnd, number_job
from workers.archive.own_job import own_job


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    """What would have been submitted: address, name and command; from a folder of its own."""
    found = list[tuple[str, ...]]()

    def submit(address: str, name: str, entrypoint: str, target: str, *, wait: bool) -> int:
        found.append((address, name, entrypoint))
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(submit_cli, "_submit", submit)
    return found


def submit(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["streamrestore", "archive", "submit", *arguments])
    return cli.run_command()


def test_the_command_is_that_of_run_with_places_of_the_cluster(
    submitted: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "own.safetensors").touch()
    given = ["in put", "s3://bucket/out", "-t", "derain,denoise", "--weights", "own.safetensors", "--weights", "named"]
    given += ["-c:v", "ffv1", "-e", "slices=4", "-e", "g=1", "-y", "--on-error", "copy-source", "--shard", "3/8"]
    given += ["--strength", "0.5", "--address", "http://head:8265", "--scratch", "local"]
    assert submit(monkeypatch, *given) == 0
    [(address, name, command)] = submitted
    assert (address, name) == ("http://head:8265", default_name("s3://bucket/out", "3/8"))
    words = shlex.split(command)
    assert words[:5] == ["streamrestore", "archive", "run", str(tmp_path / "in put"), "s3://bucket/out"]
    options = iter(words[5:])
    found = [(name, None if name == "-y" else next(options)) for name in options]
    assert sorted(found, key=str) == sorted(
        [
            ("-t", "derain,denoise"),
            ("--weights", str(tmp_path / "own.safetensors")),
            ("--weights", "named"),
            ("-c:v", "ffv1"),
            ("-e", "slices=4"),
            ("-e", "g=1"),
            ("-y", None),
            ("--on-error", "copy-source"),
            ("--shard", "3/8"),
            ("--strength", "0.5"),
            ("--scratch", str(tmp_path / "local")),
            ("--address", "auto"),
        ],
        key=str,
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("in", "out", "--address", "http://head:8265", "--nonsense"), "No such option"),
        (("in", "--address", "http://head:8265"), "Missing argument"),
        (("in", "out"), "Missing option"),
        (("in", "out", "--address", "http://head:8265", "--stages", "9"), "--stages"),
        (("https://me:secret@host/clips.jsonl", "out", "--address", "http://head:8265"), "***@host"),
        (("https://host/clips.jsonl?signature=secret", "out", "--address", "http://head:8265"), "***"),
        (("in", "s3://key:secret@bucket/out", "--address", "http://head:8265"), "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_what_is_wrong_or_secret_is_refused_before_anything_is_sent(
    submitted: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert submit(monkeypatch, *given) == ExitCode.USAGE
    assert not submitted
    shown = capsys.readouterr().err
    assert said in shown
    assert "secret" not in shown


def test_an_address_of_another_kind_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(monkeypatch, "in", "out", "--address", "head:6379") == ExitCode.USAGE
    assert "http://head:8265" in capsys.readouterr().err


def test_runs_on_one_target_have_one_name_and_those_of_its_shards_others() -> None:
    name = default_name("/mnt/Restored Tapes", None)
    assert name.startswith("archive-restored-tapes-")
    assert name == default_name("/mnt/Restored Tapes/", None)
    assert len({name, default_name("/srv/Restored Tapes", None), default_name("/mnt/Restored Tapes", "1/2")}) == 3


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ({}, (None, "nightly")),
        ({"other": False, "nightly-2": False, "nightly-run": False}, (None, "nightly")),
        ({"nightly": False}, ("nightly", "nightly-run2")),
        ({"nightly": True}, (None, "nightly-run2")),
        ({"nightly": True, "nightly-run10": True, "nightly-run9": True}, (None, "nightly-run11")),
        ({"nightly": True, "nightly-run2": False}, ("nightly-run2", "nightly-run3")),
    ],
)
def test_one_job_of_a_name_runs_at_a_time(jobs: dict[str, bool], expected: tuple[str | None, str]) -> None:
    assert number_job("nightly", jobs) == expected


def test_the_end_of_a_job_is_the_end_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, end = str(tmp_path), JobEnd(None, stopped=False, message="its machine died")
    assert submit_cli._code_of(replace(end, code=6), "job", target) == ExitCode.SOME_FAILED
    assert submit_cli._code_of(replace(end, stopped=True), "job", target) == ExitCode.TERMINATED
    with pytest.raises(WorkerLostError, match="PATH"):
        submit_cli._code_of(replace(end, code=127), "job", target)
    for code in (None, -9, 137):
        with pytest.raises(WorkerLostError, match=r"its machine died; .* submit it again"):
            submit_cli._code_of(replace(end, code=code), "job", target)
    # What Ray did not see, the run has kept.
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"metadata": {"job_submission_id": "job"}}')
    state = StateFile(parse_location(target), {}, own_job())
    state.keep({})
    state.conclude(ExitCode.NO_SPACE)
    assert submit_cli._code_of(end, "job", target) == ExitCode.NO_SPACE
    with pytest.raises(WorkerLostError):
        submit_cli._code_of(end, "another job", target)


def test_a_process_that_is_no_job_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "{}", "[]", '{"metadata": null}'):
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", value)
        assert own_job() is None
