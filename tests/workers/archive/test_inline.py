import subprocess
import sys
from pathlib import Path

import pytest

from streamrestore.errors import ConfigError, WorkerLostError
from tests.workers.archive.fakes import Break, Build, Compute, Frail, Kind, Sleep
from workers.archive import open_step_pool

PROJECT = Path(__file__).parents[3]

PROGRAM = """
import sys
from tests.workers.archive.fakes import Build, Sleep
from workers.archive import open_step_pool

pool = open_step_pool(Build(), workers=0)
assert pool.submit(Sleep(value=4), "restore").result(60)[0] == 4
pool.submit(Sleep(600), "side")
print(*sorted(name for name in sys.modules if name.partition(".")[0] == "ray"))
pool.close()
print(pool.state().workers)
"""


def test_without_workers_ray_is_not_even_imported_and_a_running_step_does_not_hold_up_the_end() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.stderr) == ("\n0\n", "")


def test_a_step_of_another_kind_fails_since_there_will_be_none() -> None:
    pool = open_step_pool(Build(kind="this"), workers=0)
    assert pool.submit(Kind(), "restore", kind="this").result(60)[0] == "this"
    with pytest.raises(WorkerLostError, match="another kind, that"):
        pool.submit(Sleep(), "restore", kind="that").result(60)
    pool.close()


def test_a_device_that_breaks_leaves_no_worker_as_a_thread_cannot_be_replaced(tmp_path: Path) -> None:
    pool = open_step_pool(Frail(tmp_path), workers=0)
    assert pool.submit(Compute(3), "restore").result(60) == 3
    for step in (Break(), Compute(), Sleep()):
        with pytest.raises(WorkerLostError, match=r"no worker is left, .*: the device fails"):
            pool.submit(step, "side").result(60)
    assert (pool.state().workers, pool.state().lost, pool.state().deaths) == (0, True, 1)
    pool.close()
    assert not pool.state().lost


def test_less_than_no_worker_is_refused() -> None:
    with pytest.raises(ConfigError, match="-1 workers were asked for"):
        open_step_pool(Build(), workers=-1)
