"""A file that was cut off is told from one that ends; holes are seen where frames come steadily."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.endings import early_end, find_holes
from streamrestore.source import open_source
from tests.clips import VARIABLE, Clip, make_clip

LONG = tuple(range(0, 40 * 1001, 1001))


def end_of(path: Path) -> str | None:
    with open_source(path) as source:
        *_, last = source.frames()
        return early_end(source.info, last.pts + last.duration)


CLIPS = {
    "fast.mp4": Clip(pts=LONG, gop=10, sound="aac"),
    "clip.mkv": Clip(pts=LONG, gop=10, sound="flac"),
    "variable.mkv": Clip(pts=VARIABLE),
    "late.mp4": Clip(pts=[90000 + tick for tick in LONG], gop=10),
    "clip.avi": Clip(pts=range(40), time_base=Fraction(1, 30), gop=10, codec="mpeg4", options={}),
    "clip.flv": Clip(pts=LONG, gop=10),
    "clip.ts": Clip(pts=LONG, gop=10),
}


@pytest.mark.parametrize("name", CLIPS)
def test_a_whole_file_is_whole(tmp_path: Path, name: str) -> None:
    assert end_of(make_clip(tmp_path / name, CLIPS[name])) is None


@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi", "clip.flv"])
@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
def test_a_file_that_was_cut_off_says_where(tmp_path: Path, name: str, share: float) -> None:
    path = make_clip(tmp_path / name, CLIPS[name])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    words = end_of(path)
    assert words is not None
    assert f"{name} ends at " in words
    assert "its header promises 1.3" in words


def test_sound_that_is_longer_is_no_promise_of_pictures(tmp_path: Path, data_dir: Path) -> None:
    assert end_of(data_dir / "video" / "sample_with_srt.mkv") is None


@given(st.lists(st.integers(1, 5), min_size=20, max_size=60), st.integers(1, 1000))
def test_holes_are_found_in_a_steady_stream(lengths: list[int], duration: int) -> None:
    """Of each run of frames the next one begins ``length`` frames late."""
    starts = list[int]()
    pts = 0
    for length in lengths:
        starts += [pts + number * duration for number in range(20)]
        pts += (20 + length) * duration
    holes = find_holes(starts, [duration] * len(starts))
    assert [(stop - start) // duration for start, stop in holes] == lengths[:-1]


@pytest.mark.parametrize(
    "times",
    [
        [],
        [(0, 40)],
        [(tick, 0) for tick in range(0, 4000, 400)],
        [(tick * 400 + tick % 3 * 100, 0) for tick in range(50)],
        [(tick * tick, 10) for tick in range(50)],
        [(tick, 40) for tick in range(0, 4000, 40)],
        [(tick * 100 // 3, 33) for tick in range(90)],
    ],
    ids=["none", "one", "no durations", "neither", "variable", "steady", "rounded"],
)
def test_no_holes_where_nothing_is_missing(times: list[tuple[int, int]]) -> None:
    assert find_holes([pts for pts, _ in times], [duration for _, duration in times]) == []
