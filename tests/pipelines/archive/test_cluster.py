"""A run that is submitted to a cluster of two machines, one of which dies on the way; as docs/cluster.md begins."""

import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from pipelines.archive.state import RunState, read_states
from pipelines.exit_codes import ExitCode
from streamrestore.locations import parse_location
from streamrestore.weights import write_weights
from tests.networks import tiny_model
from tests.pipelines.archive.machines import Machine, two_machines
from tests.pipelines.archive.runs import check_whole, contents, items_of, make_source

COMMAND = Path(sysconfig.get_path("scripts")) / "streamrestore"

RUN_SECONDS = 150.0

CLIPS = tuple(f"reel {number}/take.mkv" for number in range(4))


def archive(*arguments: str | Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a command."""
    return subprocess.Popen(
        [COMMAND, "archive", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_until_amid(target: Path, process: subprocess.Popen[str], machine: Machine) -> RunState:
    """Wait until a machine has a worker and the first segment is finished; where the run stands."""
    deadline = time.monotonic() + RUN_SECONDS
    while not (machine.works() and list(target.rglob("*.segment.json"))):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    [state] = read_states(parse_location(str(target)))
    return state


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_submitted_run_outlives_a_machine(tmp_path: Path) -> None:
    source, target, alone = make_source(tmp_path / "in", CLIPS), tmp_path / "out", tmp_path / "alone"
    (source / "text.mp4").write_text("not a video")
    weights = write_weights(tiny_model(), tmp_path)
    options: tuple[str | Path, ...] = ("-t", "derain", "--weights", weights, "--preset", "ultrafast")
    with two_machines() as cluster:
        submit: tuple[str | Path, ...] = ("submit", source, target, *options, "--address", cluster.dashboard)
        running = archive(*submit, environment=cluster.environment)
        try:
            state = wait_until_amid(target, running, cluster.other)
            cluster.other.kill()
            assert state.ended is None
            assert state.job is not None

            again = archive(*submit, environment=cluster.environment)
            said = again.communicate(timeout=RUN_SECONDS)[0]
            assert again.returncode == ExitCode.USAGE, said
            assert f"{state.job} runs already" in said

            log = running.communicate(timeout=RUN_SECONDS)[0]
        finally:
            running.kill()
            with running:  # also where its output was not read
                pass
        # One clip is none, and only the run itself knows that.
        assert running.returncode == ExitCode.SOME_FAILED, log
        assert log.count("done: ") == len(CLIPS), log
    [state] = read_states(parse_location(str(target)))
    assert (state.ended, state.exit_code) == ("complete", ExitCode.SOME_FAILED)
    check_whole(target, items_of(source))
    local = archive("run", source, alone, *options, "--workers", "0", "--devices", "cpu")
    assert (local.communicate(timeout=RUN_SECONDS), local.returncode)[1] == ExitCode.SOME_FAILED
    assert contents(target) == contents(alone)
