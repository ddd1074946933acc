"""Ranges of a file are fetched as they are read, and one that cannot be is never taken for the file's end."""

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.errors import StorageError
from streamrestore.ranges import FIRST_BYTES, LARGEST_BYTES, RangeReader

CONTENT = bytes(range(251)) * 20_000
"""5 MB."""

MOVES = st.lists(
    st.tuples(st.sampled_from(["seek", "skip", "end", "read"]), st.integers(0, len(CONTENT)) | st.integers(0, 70_000))
)


def reader_of(content: bytes, fetched: list[tuple[int, int]]) -> RangeReader:
    def fetch(start: int, stop: int) -> bytes:
        assert 0 <= start < stop <= len(content)
        fetched.append((start, stop))
        return content[start:stop]

    return RangeReader(fetch, len(content))


@given(moves=MOVES)
def test_it_reads_as_a_file_does(moves: list[tuple[str, int]]) -> None:
    fetched = list[tuple[int, int]]()
    with reader_of(CONTENT, fetched) as reader:
        file = io.BytesIO(CONTENT)
        for move, number in moves:
            if move == "read":
                assert reader.read(number) == file.read(number)
            elif move == "seek":
                assert reader.seek(number) == file.seek(number)
            elif move == "skip":
                assert reader.seek(number, 1) == file.seek(number, 1)
            else:
                assert reader.seek(-number, 2) == file.seek(-number, 2)
            assert reader.tell() == file.tell()
    assert reader.fetched_bytes == sum(stop - start for start, stop in fetched)


@pytest.mark.parametrize("passed_over", [0, 10_000])
def test_ranges_grow_where_reading_goes_on_and_little_is_fetched_for_nothing(passed_over: int) -> None:
    content, fetched = bytes(64 << 20), list[tuple[int, int]]()
    with reader_of(content, fetched) as reader:
        for _ in range(10):
            reader.read(100_000)
            reader.seek(passed_over, 1)
        assert reader.fetched_bytes <= max(1.5 * reader.tell(), reader.tell() + FIRST_BYTES)
        while reader.read(1 << 18):
            assert reader.fetched_bytes <= 1.5 * reader.tell()
    assert max(stop - start for start, stop in fetched) == LARGEST_BYTES
    assert len(fetched) < 30


def test_a_look_elsewhere_fetches_little() -> None:
    fetched = list[tuple[int, int]]()
    with reader_of(bytes(64 << 20), fetched) as reader:
        while reader.tell() < 30 << 20:
            reader.read(1 << 18)
        for place in (50 << 20, 1 << 20, 63 << 20):
            reader.seek(place)
            reader.read(100)
    assert [stop - start for start, stop in fetched[-3:]] == [FIRST_BYTES] * 3


def failing_after(count: int) -> RangeReader:
    left = [CONTENT[start : start + FIRST_BYTES] for start in range(0, count * FIRST_BYTES, FIRST_BYTES)]

    def fetch(start: int, stop: int) -> bytes:
        if not left:
            raise StorageError("out of reach")
        return left.pop(0)

    return RangeReader(fetch, len(CONTENT))


def test_after_what_could_not_be_fetched_nothing_is_read_that_might_look_like_what_follows() -> None:
    reader = failing_after(1)
    reader.read(100)
    reader.seek(FIRST_BYTES)
    with pytest.raises(StorageError, match="out of reach"):
        reader.read(100)
    for place in (FIRST_BYTES, 0, 2 * FIRST_BYTES):
        reader.seek(place)
        assert reader.read(100) == b""


def test_who_passes_over_a_failure_is_told_at_the_end_and_who_took_it_for_damage_is_set_right() -> None:

    def read(then: BaseException | None) -> None:
        with failing_after(0) as reader:
            with suppress(StorageError):
                reader.read(100)
            if then is not None:
                raise then

    with pytest.raises(StorageError, match="out of reach"):
        read(None)
    with pytest.raises(StorageError, match="out of reach") as raised:
        read(ValueError("damaged"))
    assert isinstance(raised.value.__cause__, ValueError)
    with pytest.raises(KeyboardInterrupt):
        read(KeyboardInterrupt())


def test_a_file_of_unknown_size_can_be_read_but_not_from_its_end() -> None:
    with RangeReader(lambda start, stop: CONTENT[start:stop], None) as reader:
        assert reader.read(len(CONTENT) + 1) == CONTENT
        with pytest.raises(OSError, match="how large"):
            reader.seek(0, 2)
