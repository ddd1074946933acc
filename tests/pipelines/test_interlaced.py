"""Interlaced files through the whole pipeline."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from streamrestore.encoding import EncodingRequest
from streamrestore.field_filters import Deinterlacer
from streamrestore.frame import FieldOrder
from tests.networks import OffsetRestorer
from tests.pipelines.runs import Notes, options, read, restore
from tests.pipelines.test_resume import interrupt
from tests.streamrestore.test_interlacing import interlaced, write
from workers import RestorerPool, open_pool

TOP = FieldOrder.TOP
LOSSLESS = options(encoding=EncodingRequest(codec="ffv1"))


@pytest.fixture
def identity() -> Iterator[RestorerPool]:
    pool = open_pool(OffsetRestorer, workers=0)
    yield pool
    pool.close()


def marks(path: Path) -> list[bool]:
    with av.open(str(path)) as container:
        return [frame.interlaced_frame for frame in container.decode(video=0)]


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
@pytest.mark.parametrize("order", list(FieldOrder))
def test_fields_their_times_and_marks_are_kept(
    tmp_path: Path, identity: RestorerPool, order: FieldOrder, codec: str
) -> None:
    write(tmp_path / "in.mkv", interlaced(30, order), order)
    notes = Notes()
    wanted = options(encoding=EncodingRequest(codec=codec, crf=0 if codec == "h264" else None))
    restore(tmp_path / "in.mkv", tmp_path / "out.mkv", identity, wanted, notes=notes)
    assert any("the fields are restored one by one and woven again" in note for note in notes.notes)
    assert marks(tmp_path / "out.mkv") == [True] * 30
    before, after = read(tmp_path / "in.mkv"), read(tmp_path / "out.mkv")
    assert [time for time, _ in before] == [time for time, _ in after]
    for (_, mine), (_, theirs) in zip(before, after, strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(mine, theirs, strict=True))


def test_deinterlaced_frames_have_their_times_and_no_mark(tmp_path: Path, identity: RestorerPool) -> None:
    frames = interlaced(30, TOP)
    write(tmp_path / "in.mkv", frames, TOP)
    restore(tmp_path / "in.mkv", tmp_path / "out.mkv", identity, replace(LOSSLESS, deinterlace=True))
    assert marks(tmp_path / "out.mkv") == [False] * 30
    assert [time for time, _ in read(tmp_path / "out.mkv")] == [time for time, _ in read(tmp_path / "in.mkv")]
    with av.open(str(tmp_path / "in.mkv")) as container:
        deinterlacer = Deinterlacer(TOP)
        expected = [done for frame in container.decode(video=0) for done in deinterlacer.push(frame)]
        expected += deinterlacer.flush()
    for (_, planes), frame in zip(read(tmp_path / "out.mkv"), expected, strict=True):
        assert np.array_equal(planes[0], frame.to_ndarray()[: planes[0].shape[0]])


def test_a_resumed_deinterlacing_is_the_same(tmp_path: Path, each_second: Callable[[Path], Path]) -> None:
    source = each_second(tmp_path / "in.mkv")
    pool = open_pool(partial(OffsetRestorer, 3), workers=0)
    wanted = replace(LOSSLESS, deinterlace=True)
    restore(source, tmp_path / "undisturbed.mkv", pool, wanted)
    interrupt(source, tmp_path / "out.mkv", wanted, chunks=5)
    assert restore(source, tmp_path / "out.mkv", pool, wanted).frames_before > 0
    pool.close()
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "undisturbed.mkv").read_bytes()


@pytest.fixture
def each_second() -> Callable[[Path], Path]:
    """Writes interlaced frames a second apart, so that segments are short."""

    def make(path: Path) -> Path:
        frames = interlaced(45, TOP)
        for frame in frames:
            frame.pts = (frame.pts or 0) * 25
        write(path, frames, TOP, gop=17)
        return path

    return make
