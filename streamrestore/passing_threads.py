"""Computing beside the thread that restores, without taking its time.

OpenMP gives each thread that ever computed a team of its own, which stays until that thread ends. While a process has
more of them than cores, all teams stop spinning for their next piece of work and sleep at once: on two cores, a single
tensor computed in the main thread makes the network in the other one a third slower for as long as both live.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_passing_thread(call: Callable[[], T]) -> T:
    """Make a call in a thread that ends with it, and its team too; its result, or what it raised."""
    with ThreadPoolExecutor(1) as once:
        return once.submit(call).result()
