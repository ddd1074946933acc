"""SIGTERM, as `ray job stop` and schedulers send it, ends a run in order when Ray is there, too."""

import os
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from pipelines.archive.state import read_states
from pipelines.exit_codes import ExitCode
from streamrestore.locations import parse_location
from streamrestore.weights import write_weights
from tests.apart import without_ray
from tests.networks import tiny_model
from tests.pipelines.archive.runs import make_source

PATIENCE_SECONDS = 100.0


@pytest.mark.ray
def test_a_run_on_ray_ends_in_order_at_sigterm(tmp_path: Path) -> None:
    source, target = make_source(tmp_path / "in", [f"{number}.mkv" for number in range(8)]), tmp_path / "out"
    options = ["-t", "derain", "--weights", str(write_weights(tiny_model(), tmp_path)), "--preset", "ultrafast"]
    options += ["--workers", "1", "--devices", "cpu"]
    process = subprocess.Popen(
        [os.path.join(sysconfig.get_path("scripts"), "streamrestore"), "archive", "run", source, target, *options],
        env=without_ray(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not list(target.rglob("*.segment.json")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=PATIENCE_SECONDS)[0]
    finally:
        process.kill()
        with process:  # also where its output was not read
            pass
    assert process.returncode == ExitCode.TERMINATED, said
    assert "the same command goes on" in said
    assert "SIGTERM received" not in said, "Ray's own handler, which lets nothing end in order"
    [state] = read_states(parse_location(str(target)))
    assert (state.ended, state.exit_code) == ("stopped", ExitCode.TERMINATED)
