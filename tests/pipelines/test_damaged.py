"""Damaged files through the whole pipeline: nothing is shortened without a word."""

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import pytest

from streamrestore.encoding import EncodingRequest
from streamrestore.errors import DecodeError
from streamrestore.receipt import Receipt, read_receipt, receipt_path
from tests.clips import Clip, make_clip
from tests.networks import OffsetRestorer
from tests.pipelines.runs import Notes, options, restore, times
from tests.pipelines.test_resume import SLOW, interrupt
from workers import RestorerPool, open_pool

FAST = options(encoding=EncodingRequest(preset="ultrafast"))


@pytest.fixture
def pool() -> Iterator[RestorerPool]:
    pool = open_pool(partial(OffsetRestorer, 3), workers=0)
    yield pool
    pool.close()


def flip(path: Path, count: int, seed: int = 1) -> None:
    """Flip bits amid a file, past its header and short of its end."""
    content = bytearray(path.read_bytes())
    chance = random.Random(seed)
    for _ in range(count):
        at = chance.randrange(len(content) // 4, len(content) * 3 // 4)
        content[at] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def told(receipt: Receipt) -> int:
    """Frames or packets that the receipt says were not as they should be."""
    counts = receipt.counts
    return counts.concealed + counts.retimed + counts.lost_packets


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_damaged_frames_are_passed_on_counted_and_named(tmp_path: Path, pool: RestorerPool, suffix: str) -> None:
    clip = Clip(size=(96, 128), pts=tuple(range(0, 60 * 3000, 3000)), gop=10, b_frames=2, sound="aac")
    source, output = make_clip(tmp_path / f"in{suffix}", clip), tmp_path / f"out{suffix}"
    flip(source, 12)
    notes = Notes()
    restore(source, output, pool, FAST, notes=notes)
    receipt = read_receipt(receipt_path(output))
    assert told(receipt) > 0
    assert len(receipt.frames) + receipt.counts.lost_packets >= 60 or "seem to be missing" in " ".join(notes.notes)
    assert len(times(output)) == len(receipt.frames)
    assert any(str(output) in note for note in notes.notes)
    assert set(receipt.warnings) >= {note.removeprefix(f"{output}: ") for note in notes.notes if str(output) in note}


def test_damage_ends_the_job_where_that_was_asked_for(tmp_path: Path, pool: RestorerPool) -> None:
    clip = Clip(size=(96, 128), pts=SLOW, gop=10)
    source, output = make_clip(tmp_path / "in.mkv", clip), tmp_path / "out.mkv"
    flip(source, 12)
    notes = Notes()
    with pytest.raises(DecodeError, match="--on-error pass"):
        restore(source, output, pool, replace(FAST, on_error="fail"), notes=notes)
    assert not output.exists()
    # What was done before is of use to the more patient.
    kept = [note for note in notes.notes if "segments are done and kept" in note]
    assert restore(source, output, pool, FAST).frames_before == (10 * int(kept[0].split(" ")[1]) if kept else 0)


@pytest.mark.parametrize(("suffix", "container"), [(".mkv", "matroska"), (".flv", "flv")])
def test_a_file_that_breaks_off_is_said_to(tmp_path: Path, pool: RestorerPool, suffix: str, container: str) -> None:
    clip = Clip(size=(96, 128), pts=tuple(range(0, 60 * 3000, 3000)), gop=10)
    source = make_clip(tmp_path / f"in{suffix}", clip, container)
    output = tmp_path / "out.mkv"
    cut(source, 0.6)
    notes = Notes()
    restore(source, output, pool, FAST, notes=notes)
    [said] = [note for note in notes.notes if "its header promises" in note]
    assert "it was cut off, or is damaged" in said
    assert 10 < len(times(output)) < 50
    with pytest.raises(DecodeError, match="--on-error pass"):
        restore(source, tmp_path / "strict.mkv", pool, replace(FAST, on_error="fail"))


def test_a_resumed_job_on_a_damaged_file_is_the_same(tmp_path: Path, pool: RestorerPool) -> None:
    source = make_clip(tmp_path / "in.mkv", Clip(size=(96, 128), pts=SLOW, gop=7, b_frames=2))
    flip(source, 15)
    restore(source, tmp_path / "undisturbed.mkv", pool, FAST)
    interrupt(source, tmp_path / "out.mkv", FAST, chunks=6)
    assert restore(source, tmp_path / "out.mkv", pool, FAST).frames_before > 0
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "undisturbed.mkv").read_bytes()
    receipts = [read_receipt(receipt_path(tmp_path / name)) for name in ("out.mkv", "undisturbed.mkv")]
    assert receipts[0].counts == receipts[1].counts


def test_a_change_of_size_is_scaled_and_counted(tmp_path: Path, pool: RestorerPool) -> None:
    parts = [make_clip(tmp_path / f"{side}.ts", Clip(size=(side, side), gop=6)) for side in (96, 64)]
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    notes = Notes()
    restore(source, tmp_path / "out.mkv", pool, FAST, notes=notes)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert {(frame.width, frame.height) for frame in container.decode(video=0)} == {(96, 96)}
    assert any("had another size or pixel format" in note for note in notes.notes)
    assert read_receipt(receipt_path(tmp_path / "out.mkv")).counts.rescaled > 0
