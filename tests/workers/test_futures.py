import threading
import time
import weakref
from concurrent.futures import wait
from functools import partial

import pytest

from workers.futures import SerialThread

PATIENCE_SECONDS = 60.0


def test_calls_are_made_in_order_by_one_thread() -> None:
    thread = SerialThread("one")
    made = list[int]()
    futures = [thread.submit(partial(made.append, number)) for number in range(100)]
    wait(futures, PATIENCE_SECONDS)
    assert made == list(range(100))
    assert thread.submit(threading.current_thread).result().name == "one"
    thread.stop(PATIENCE_SECONDS)


def test_an_error_is_raised_where_it_is_awaited_and_the_thread_goes_on() -> None:
    thread = SerialThread("one")

    def end() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        thread.submit(end).result(PATIENCE_SECONDS)
    assert thread.submit(lambda: 5).result(PATIENCE_SECONDS) == 5
    thread.stop(PATIENCE_SECONDS)


def test_stop_cancels_what_waits_and_what_runs_and_drops_the_late_result() -> None:
    thread = SerialThread("one")
    running, go_on = threading.Event(), threading.Event()

    def slow() -> int:
        running.set()
        go_on.wait(PATIENCE_SECONDS)
        return 1

    first, second = thread.submit(slow), thread.submit(slow)
    assert running.wait(PATIENCE_SECONDS)
    assert (thread.running, thread.waiting) == (True, 1)
    thread.stop()
    thread.stop()
    assert wait([first, second], PATIENCE_SECONDS).not_done == set()
    go_on.set()
    thread.stop(PATIENCE_SECONDS)
    assert first.cancelled()
    assert second.cancelled()
    with pytest.raises(RuntimeError, match="one was stopped"):
        thread.submit(slow)


def test_a_cancelled_call_is_not_made() -> None:
    thread = SerialThread("one")
    go_on = threading.Event()
    made = list[int]()
    thread.submit(lambda: go_on.wait(PATIENCE_SECONDS))
    cancelled = thread.submit(lambda: made.append(1))
    assert cancelled.cancel()
    go_on.set()
    thread.submit(lambda: made.append(2)).result(PATIENCE_SECONDS)
    assert made == [2]
    assert wait([cancelled], PATIENCE_SECONDS).not_done == set()
    thread.stop(PATIENCE_SECONDS)


def test_nothing_of_the_last_call_is_kept() -> None:
    class Large:
        pass

    thread = SerialThread("one")
    large = Large()
    seen = weakref.ref(large)
    thread.submit(partial(id, large)).result(PATIENCE_SECONDS)
    del large
    deadline = time.monotonic() + PATIENCE_SECONDS
    while seen() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen() is None
    thread.stop(PATIENCE_SECONDS)
