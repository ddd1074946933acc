import threading
from concurrent.futures import Future, wait
from functools import partial

import pytest

from workers.archive.futures import StepFuture


def test_what_waits_is_cancelled_and_what_a_worker_has_is_not() -> None:
    future = StepFuture()
    assert future.begin()
    assert (future.running(), future.cancel()) == (True, False)
    future.wait_again()
    assert (future.running(), future.cancel(), future.cancel()) == (False, True, True)
    assert not future.begin()
    assert wait([future], timeout=0).done


def test_it_ends_once_whatever_follows() -> None:
    settled, failed, abandoned = StepFuture(), StepFuture(), StepFuture()
    settled.settle(1)
    failed.fail(KeyError("first"))
    abandoned.begin()
    abandoned.abandon()
    for future in (settled, failed, abandoned):
        future.settle(2)
        future.fail(ValueError("later"))
        future.abandon()
        assert not future.begin()
        assert future.done()
    assert settled.result() == 1
    assert not settled.cancel()
    with pytest.raises(KeyError):
        failed.result()
    assert abandoned.cancelled()


def test_of_those_who_end_it_at_once_one_does() -> None:
    for _ in range(200):
        future = StepFuture()
        ended = list[Future[int]]()
        future.add_done_callback(ended.append)
        threads = [threading.Thread(target=end) for end in (partial(future.settle, 1), future.abandon, future.cancel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ended == [future]
