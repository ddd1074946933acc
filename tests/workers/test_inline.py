import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]

PROGRAM = """
import sys
from tests.workers.fakes import Script, chunk_of, value_of
from workers import open_pool, plan_window

pool = open_pool(Script(), workers=0)
pool.ready(60)
assert value_of(pool.submit(chunk_of(4)).result(60).planes) == 5
window = plan_window(1, 100, pool.budget_bytes)
print(repr(pool), pool.state().workers, *sorted(name for name in sys.modules if name.partition(".")[0] == "ray"))
pool.close()
print(pool.state().workers)
"""


def test_without_workers_ray_is_not_even_imported() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["<InlinePool: 0 busy, 0 queued> 1", "0"]


def test_a_busy_pool_does_not_hold_up_the_end_of_the_process() -> None:
    program = """
from tests.workers.fakes import Script, chunk_of
from workers import open_pool

pool = open_pool(Script(seconds={1: 600.0}), workers=0)
pool.ready(60)
pool.submit(chunk_of(1))
pool.close()
print("closed")
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.stderr, done.returncode) == ("closed\n", "", 0)
