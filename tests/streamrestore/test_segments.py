from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamrestore.segments import SEGMENT_FRAMES, Segment, ShownTime, frames_in_segment, plan_segments

TICK = Fraction(1, 25)


def times(count: int, *, gop: int = 25) -> list[ShownTime]:
    return [ShownTime(index, index % gop == 0) for index in range(count)]


def cuts(segments: tuple[Segment, ...]) -> list[int | None]:
    return [segment.start_pts for segment in segments[1:]]


def test_a_short_clip_is_one_segment() -> None:
    assert plan_segments(times(250), TICK) == (Segment(0, None, None),)


def test_a_cut_is_at_the_last_key_frame_within_ten_seconds() -> None:
    assert cuts(plan_segments(times(600, gop=100), TICK)) == [200, 400]


def test_a_key_frame_that_ends_the_tenth_second_is_used() -> None:
    assert cuts(plan_segments(times(600, gop=250), TICK)) == [250, 500]


def test_without_key_frames_cuts_are_at_frame_numbers() -> None:
    assert cuts(plan_segments(times(700, gop=10_000), TICK)) == [250, 500]


def test_key_frames_a_little_too_rare_leave_no_stubs() -> None:
    assert cuts(plan_segments(times(1200, gop=300), TICK)) == [250, 500, 750, 900, 1150]


def test_fast_video_is_cut_by_frames() -> None:
    assert cuts(plan_segments(times(700, gop=100), TICK / 10)) == [300, 600]


def test_nothing_known_is_one_segment() -> None:
    assert plan_segments([], TICK, start_pts=5, stop_pts=9) == (Segment(0, 5, 9),)


def test_heavy_work_makes_segments_short_but_not_tiny() -> None:
    light, heavy, absurd = (frames_in_segment(flops, "cpu") for flops in (1e9, 4e10, 1e15))
    assert light == SEGMENT_FRAMES
    assert absurd < heavy < light
    assert absurd >= 24


@given(
    gaps=st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=400),
    most=st.integers(1, 50),
    part=st.tuples(st.none() | st.integers(0, 2000), st.none() | st.integers(2001, 9000)),
)
def test_segments_tile_the_part_and_none_is_too_long(
    gaps: list[tuple[int, bool]], most: int, part: tuple[int | None, int | None]
) -> None:
    pts, shown = 0, list[ShownTime]()
    for gap, key in gaps:
        pts += gap
        shown.append(ShownTime(pts, key))
    segments = plan_segments(shown, TICK, most_frames=most, start_pts=part[0], stop_pts=part[1])
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert (segments[0].start_pts, segments[-1].stop_pts) == part
    assert all(one.stop_pts == other.start_pts is not None for one, other in pairwise(segments))
    wanted = [time.pts for time in shown if (part[0] or 0) <= time.pts < (part[1] or 10**9)]
    for segment in segments:
        inside = [
            pts
            for pts in wanted
            if (segment.start_pts is None or pts >= segment.start_pts)
            and (segment.stop_pts is None or pts < segment.stop_pts)
        ]
        assert len(inside) <= most
        assert not inside or inside[-1] - inside[0] < 10 / TICK
