"""A password in the name of a source is in no file of the target."""

import json
from pathlib import Path

import pytest

from pipelines.archive.cli import retry_command
from pipelines.archive.command import RunParameters, kept_parameters
from pipelines.archive.state import StateFile, read_states
from streamrestore.errors import ConfigError
from streamrestore.locations import parse_location

SECRET = "hunter2"


def test_a_source_with_a_password_is_not_kept_and_must_be_named_again(tmp_path: Path) -> None:
    target = parse_location(str(tmp_path))
    wanted = RunParameters(source=f"https://me:{SECRET}@host/clips.jsonl?token={SECRET}", target=str(tmp_path))
    StateFile(target, kept_parameters(wanted)).keep({})
    assert SECRET not in json.dumps([state.model_dump(mode="json") for state in read_states(target)])
    assert all(SECRET not in path.read_text() for path in tmp_path.rglob("*.json"))
    with pytest.raises(ConfigError, match="the same `archive run` command again"):
        retry_command(str(tmp_path), failed=True)


def test_any_other_source_is_kept(tmp_path: Path) -> None:
    assert kept_parameters(RunParameters(source="/footage", target=str(tmp_path)))["source"] == "/footage"
