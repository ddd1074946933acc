"""A passing thread leaves nothing behind that would slow down the others."""

import os
import subprocess
import sys

import pytest

from streamrestore.passing_threads import in_passing_thread

PROGRAM = """
import os, sys, time
import torch
from streamrestore.mprnet import Widths
from streamrestore.costs import flops_per_pixel
from streamrestore.passing_threads import in_passing_thread

torch.set_num_threads(4)
work = lambda: torch.ones(1 << 22).add(1)
before = len(os.listdir("/proc/self/task"))
if sys.argv[1] == "passing":
    in_passing_thread(work)
    flops_per_pixel(Widths(40, 20, 16, 8), 3)
else:
    work()
for _ in range(300):  # they end a moment after the thread that led them
    left = len(os.listdir("/proc/self/task")) - before
    if not left:
        break
    time.sleep(0.01)
print(left)
"""


def threads_left(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted as Linux shows them")
def test_what_is_computed_in_passing_leaves_no_team_of_threads() -> None:
    assert threads_left("passing") == 0
    assert threads_left("here") > 0


def test_an_error_is_raised_where_it_is_asked_for() -> None:
    with pytest.raises(ZeroDivisionError):
        in_passing_thread(lambda: 1 / 0)
    assert in_passing_thread(lambda: 5) == 5
