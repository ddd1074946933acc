"""``streamrestore weights`` says what there is, and fails where a file is not what it was."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pipelines.weights_cli import weights_app
from streamrestore import weights
from streamrestore.errors import ConfigError
from streamrestore.mprnet import MPRNet, Widths


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMRESTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "SHIPPED_FOLDER", tmp_path / "shipped")
    path = tmp_path / "given.pth"
    torch.save(MPRNet(Widths(8, 4, 4, 1)).state_dict(), path)
    return path


def test_import_list_verify(given: Path) -> None:
    run = CliRunner().invoke
    assert "No weights are at hand" in run(weights_app, ["list"]).output

    imported = run(weights_app, ["import", str(given), "--task", "derain", "--crop", "64", "--name", "mine"])
    assert imported.exit_code == 0
    entry = weights.list_weights()[0]
    assert entry.sha256 in imported.output
    assert "licence: unknown" in imported.output

    listed = run(weights_app, ["list"])
    assert listed.exit_code == 0
    for word in ("mine", "derain", "imported", "8/4/4 x1", "64 px", entry.sha256[:12]):
        assert word in listed.output

    verified = run(weights_app, ["verify"])
    assert (verified.exit_code, "FAILED" in verified.output) == (0, False)
    entry.path.write_bytes(entry.path.read_bytes()[:-1])
    verified = run(weights_app, ["verify"])
    assert verified.exit_code == 1
    assert "FAILED" in verified.stdout
    assert str(entry.path) in verified.stderr
    assert "delete its folder and import it again" in verified.stderr


def test_errors_reach_the_caller(given: Path) -> None:
    result = CliRunner().invoke(weights_app, ["import", str(given)])
    assert isinstance(result.exception, ConfigError)


def test_unknown_tasks_are_usage_errors(given: Path) -> None:
    assert CliRunner().invoke(weights_app, ["import", str(given), "--task", "dehaze"]).exit_code == 2


def test_help_does_not_wait_for_torch() -> None:
    script = "import sys, pipelines.weights_cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
