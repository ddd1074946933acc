"""Pipes: the beginning can be read again, and nobody at the other end keeps a process from stopping."""

import os
import threading
from collections.abc import Iterator

import pytest

from streamrestore.errors import OutputError, StoppedError
from streamrestore.pipes import PipeWriter, ReplayedPipe


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """(reading, writing) descriptors."""
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue  # the test closed it


def read_all(pipe: ReplayedPipe) -> bytes:
    return b"".join(iter(lambda: pipe.read(3), b""))


def test_the_beginning_is_given_again_until_it_is_forgotten(ends: tuple[int, int]) -> None:
    pipe = ReplayedPipe(ends[0], threading.Event())
    os.write(ends[1], b"0123456789")
    os.close(ends[1])
    assert pipe.read(4) == b"0123"
    pipe.rewind()
    assert pipe.read(2) == b"01"
    assert pipe.beginning(3) == b"012"
    pipe.forget()
    pipe.rewind()
    assert read_all(pipe) == b"0123456789"
    with pytest.raises(ValueError, match="cannot be read again"):
        pipe.rewind()
    pipe.release()
    pipe.release()


def test_a_silent_writer_does_not_keep_us(ends: tuple[int, int]) -> None:
    stop = threading.Event()
    pipe = ReplayedPipe(ends[0], stop)
    stop.set()
    with pytest.raises(StoppedError, match="waiting for standard input"):
        pipe.read(1)
    pipe.release()


def test_all_is_written_and_a_reader_that_leaves_is_named(ends: tuple[int, int]) -> None:
    writer = PipeWriter(ends[1], threading.Event())
    data = os.urandom(300_000)
    received = bytearray()

    def read() -> None:
        while len(received) < len(data):
            received.extend(os.read(ends[0], 1 << 16))

    reader = threading.Thread(target=read)
    reader.start()
    assert writer.write(data) == len(data)
    reader.join()
    assert received == data
    os.close(ends[0])
    with pytest.raises(OutputError, match="closed it before the end"):
        writer.write(b"more")


def test_a_reader_that_takes_nothing_does_not_keep_us(ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamrestore.pipes._PATIENCE_SECONDS", 0.1)
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError, match="nobody read"):
        PipeWriter(ends[1], stop).write(bytes(1 << 22))
