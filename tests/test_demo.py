"""The demo finds the video that was restored, and not what lies beside it."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest


def test_the_receipt_is_not_taken_for_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("demo_run", Path(__file__).parents[1] / "demo" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)

    def command(*_: object, **__: object) -> subprocess.CompletedProcess[bytes]:
        for seconds, name in enumerate(("clip.derain.mkv", "clip.derain.mp4", "clip.derain.mp4.receipt.json")):
            (tmp_path / name).touch()
            os.utime(tmp_path / name, (seconds, seconds))
        return subprocess.CompletedProcess([], 0)

    monkeypatch.setattr(demo, "OUT", tmp_path)
    monkeypatch.setattr(subprocess, "run", command)
    code, video = demo.restore(Path("clip.mp4"), "derain")
    assert (code, video.suffix) == (0, ".mp4")
