"""A run whose processes are killed loses at most the segments in flight, with Ray's workers, too."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from streamrestore.checkpoint import write_safetensors
from tests.clips import Clip, make_clip
from tests.networks import tiny_model
from tests.pipelines.driver import Driver, in_segment

KILLED_IN = (1, 3, 2)
"""After how many more segments each run is killed."""

ORPHAN_SECONDS = 180.0
"""How long Ray's processes may outlive the one that started them."""

_MARK = "STREAMRESTORE_TEST_RUN"


def processes_of(run: str) -> dict[int, str]:
    """Command lines of the processes that a marked run started, by their number."""
    found = dict[int, str]()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile, or not ours
            if f"{_MARK}={run}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().decode()
    return found


def mark(run: str) -> str:
    return f"import os\nos.environ['{_MARK}'] = '{run}'\n"


@pytest.mark.ray
def test_a_driver_and_a_worker_that_are_killed_change_nothing(tmp_path: Path) -> None:
    weights = tmp_path / "tiny.safetensors"
    write_safetensors(tiny_model(scale=0.5, crop=96), weights)
    # A frame every three seconds: 15 segments of four.
    clip = Clip(size=(64, 96), pts=tuple(range(0, 60 * 90000, 90000)), gop=4, b_frames=1)
    source = make_clip(tmp_path / "in.mp4", clip)
    command: list[str | Path] = ["restore", source, "-t", "derain", "--weights", weights, "--stages", "1"]
    command += ["--devices", "cpu", "--progress", "plain"]
    undisturbed, output = tmp_path / "undisturbed.mp4", tmp_path / "out.mp4"
    with Driver(tmp_path / "log") as driver:
        assert driver.run(*command, "--workers", "0", "-o", undisturbed).code == 0
        command += ["--workers", "1", "-o", output]
        for kept in KILLED_IN:
            name = f"{tmp_path}-{kept}"
            ended = driver.run(*command, before=mark(name) + in_segment(kept, signal.SIGKILL))
            killed = time.monotonic()
            assert ended.code == -signal.SIGKILL, ended.said
            while processes_of(name):
                assert time.monotonic() - killed < ORPHAN_SECONDS, processes_of(name)
                time.sleep(0.1)
        name = f"{tmp_path}-last"
        run = driver.start(*command, before=mark(name) + in_segment(1, signal.SIGSTOP))
        with run.held_still():
            [worker] = [pid for pid, line in processes_of(name).items() if line.startswith("ray::RestorerActor")]
            os.kill(worker, signal.SIGKILL)
        ended = run.wait()
    assert ended.code == 0, ended.said
    assert f"{sum(KILLED_IN)} of 15 segments" in ended.said
    assert "workers that died on the way and were replaced: 1" in ended.said
    assert output.read_bytes() == undisturbed.read_bytes()
