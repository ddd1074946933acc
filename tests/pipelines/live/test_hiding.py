"""Secrets leave the command line that other users see; tried on a real process, looked at from outside."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.live import hiding
from pipelines.live.hiding import hide_arguments

PROJECT = Path(__file__).parents[3]
PROGRAM = """
import sys
from pipelines.live.hiding import hide_arguments
from streamrestore.live.addresses import parse_address
print("ready", flush=True)
sys.stdin.readline()
secrets = [secret for text in sys.argv[1:3] for secret in parse_address(text).secrets]
print(hide_arguments(secrets), sys.argv[1:], flush=True)
sys.stdin.readline()
print(sorted(sys.orig_argv[-len(sys.argv) + 1:]) == sorted(sys.argv[1:]), flush=True)
"""
ARGUMENTS = ["rtsp://admin:top-sécret@cam/x", "rtmp://host/app/key_1234", "--to", "top-sécret", "nothing"]
HIDDEN = ["rtsp://****************@cam/x", "rtmp://host/app/********", "--to", "**********", "nothing"]

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="arguments are hidden on Linux only")


@contextmanager
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, *ARGUMENTS]
    with subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as running:
        try:
            # Before it runs, its command line may be empty.
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            yield running
        finally:
            running.kill()


def command_line(running: subprocess.Popen[str]) -> list[str]:
    return Path(f"/proc/{running.pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")


def go_on(running: subprocess.Popen[str]) -> str:
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write("\n")
    running.stdin.flush()
    return running.stdout.readline().strip()


@LINUX
def test_others_see_no_secret_in_the_command_line() -> None:
    with process() as running:
        before = command_line(running)
        assert before[-len(ARGUMENTS) :] == ARGUMENTS
        assert go_on(running) == f"True {HIDDEN}"
        after = command_line(running)
        assert "cret" not in "".join(after[-len(ARGUMENTS) :])
        # As many bytes as before: what is not ASCII takes several.
        assert after[-len(ARGUMENTS) :] == [
            "rtsp://*****************@cam/x",
            "rtmp://host/app/********",
            "--to",
            "***********",
            "nothing",
        ]
        assert after[: -len(ARGUMENTS)] == before[: -len(ARGUMENTS)]
        assert go_on(running) == "True"
        assert running.wait(10) == 0


@LINUX
def test_the_environment_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXT_IN_MEMORY", "key_1234")
    with process() as running:
        go_on(running)
        environment = Path(f"/proc/{running.pid}/environ").read_bytes()
        assert b"NEXT_IN_MEMORY=key_1234\0" in environment


def test_nothing_is_written_where_the_system_does_not_say_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["streamrestore", "rtsp://a:secret@cam"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "rtsp://a:secret@cam"])
    monkeypatch.setattr(hiding, "_PROCESS", tmp_path)
    assert not hide_arguments(["secret"])
    assert sys.argv == ["streamrestore", "rtsp://a:******@cam"]
    assert sys.orig_argv == ["python", "rtsp://a:******@cam"]
    (tmp_path / "cmdline").write_bytes(b"streamrestore\0rtsp://a:secret@cam\0")
    for fields in ("1 (a) b)", "1 (a) b) S" + " 0" * 60, "1 (a) b) S" + " 4096" * 60, "1 (a b) S" + " -" * 60):
        (tmp_path / "stat").write_text(fields)
        assert not hide_arguments(["secret"])
