"""A run whose processes are killed loses at most the segments in flight, with Ray's workers, too."""

import os
import random
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from streamrestore.checkpoint import write_safetensors
from tests.clips import Clip, make_clip
from tests.networks import tiny_model
from tests.pipelines.driver import Driver

KILLS = 3
ORPHAN_SECONDS = 60.0
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
    return f"import os\nos.environ['{_MARK}'] = '{run}'"


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
    chance = random.Random(3)

    def segments() -> int:
        return len(list(tmp_path.glob("out.mp4.work/*/*.segment.json")))

    def more_segments_than(before: int) -> bool:
        return segments() > before

    with Driver(tmp_path / "log") as driver:
        assert driver.run(*command, "--workers", "0", "-o", undisturbed).code == 0
        command += ["--workers", "1", "-o", output]
        for number in range(KILLS):
            name, kept = f"{tmp_path}-{number}", segments()
            run = driver.start(*command, before=mark(name))
            run.await_that(partial(more_segments_than, kept))
            time.sleep(chance.uniform(0, 0.1))
            run.send(signal.SIGKILL)
            killed = time.monotonic()
            assert run.wait().code == -signal.SIGKILL
            while processes_of(name):
                assert time.monotonic() - killed < ORPHAN_SECONDS, processes_of(name)
                time.sleep(0.1)
        name, kept = f"{tmp_path}-last", segments()
        run = driver.start(*command, before=mark(name))
        run.await_that(partial(more_segments_than, kept))
        [worker] = [pid for pid, line in processes_of(name).items() if line.startswith("ray::RestorerActor")]
        os.kill(worker, signal.SIGKILL)
        ended = run.wait()
    assert ended.code == 0, ended.said
    assert f"{kept} of 15 segments" in ended.said
    assert "workers that died on the way and were replaced: 1" in ended.said
    assert output.read_bytes() == undisturbed.read_bytes()
