"""Interlaced, telecined and progressive video told apart, marked, and deinterlaced: real files, real filters."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamrestore.encoder import add_video
from streamrestore.encoding import EncodingRequest, plan_encoding
from streamrestore.errors import ConfigError, StreamRestoreError
from streamrestore.field_filters import Deinterlacer, FieldMarker
from streamrestore.formats import ColourTags, video_format
from streamrestore.frame import FieldOrder, Plane
from streamrestore.interlacing import Scan, ScanCounts, detect_scan, judge, plan_fields
from streamrestore.planes import build_frame
from streamrestore.probing import SourceInfo, probe
from tests.clips import INFO

RATE = Fraction(1, 25)
SIZE = (96, 128)
TOP, BOTTOM = FieldOrder.TOP, FieldOrder.BOTTOM


def moment(time: int, size: tuple[int, int] = SIZE, depth: int = 8) -> Plane:
    """What a camera sees at a time: a smooth pattern that moves three pixels a step to the right."""
    y, x = np.mgrid[: size[0], : size[1]]
    wave = np.sin((x - 3 * time) / 5) + np.sin((x - 3 * time + 2 * y) / 13)
    samples = (wave * 50 + 128) * 2 ** (depth - 8)
    return cast("Plane", samples.astype(np.uint8 if depth == 8 else np.uint16))


def woven(first: Plane, second: Plane, order: FieldOrder) -> Plane:
    """A frame of the lines that ``order`` shows first from one moment, and the others from the next."""
    frame = first.copy()
    late = 1 if order is TOP else 0
    frame[late::2] = second[late::2]
    return frame


def picture(luma: Plane, pts: int, pixel_format: str = "yuv420p") -> VideoFrame:
    video = video_format(luma.shape[1], luma.shape[0], pixel_format, ColourTags(), "h264")
    grey = luma.dtype.type(1 << video.pixels.depth - 1)
    chroma = [np.full(shape, grey, luma.dtype) for shape in video.plane_shapes()[1:]]
    frame = build_frame((luma, *chroma), video)
    frame.pts, frame.time_base = pts, RATE
    return frame


def interlaced(count: int, order: FieldOrder) -> list[VideoFrame]:
    return [picture(woven(moment(2 * i), moment(2 * i + 1), order), i) for i in range(count)]


def progressive(count: int) -> list[VideoFrame]:
    return [picture(moment(2 * i), i) for i in range(count)]


def hard_telecine(count: int) -> list[VideoFrame]:
    """Film at four fifths of the rate: of five frames, two are woven of neighbours."""
    films = [(0, 0), (1, 1), (1, 2), (2, 3), (3, 3)]
    times = [(4 * (i // 5) + a, 4 * (i // 5) + b) for i in range(count) for a, b in [films[i % 5]]]
    return [picture(woven(moment(2 * a), moment(2 * b), TOP), i) for i, (a, b) in enumerate(times)]


def still(count: int) -> list[VideoFrame]:
    return [picture(moment(0), i) for i in range(count)]


def write(path: Path, frames: Sequence[VideoFrame], marks: FieldOrder | None, gop: int = 12) -> SourceInfo:
    options = {"preset": "veryfast", "crf": "18", "g": str(gop)}
    if marks is not None:
        options["x264-params"] = f"{marks.value}=1"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        marker = FieldMarker(marks) if marks is not None else None
        for frame in frames:
            output.mux(stream.encode(marker.mark(frame) if marker else frame))
        output.mux(stream.encode(None))
    return probe(path)


@pytest.mark.parametrize("gop", [12, 250])
@pytest.mark.parametrize("order", list(FieldOrder))
def test_interlaced_video_is_found_out_with_and_without_its_mark(tmp_path: Path, order: FieldOrder, gop: int) -> None:
    for marks in (order, None):
        scan = detect_scan(write(tmp_path / f"{marks}.mkv", interlaced(70, order), marks, gop))
        assert (scan.fields, scan.flags, scan.measured, scan.order) == (True, marks, order, order)
        assert scan.counts.top + scan.counts.bottom >= 40, "five places were looked at"


def test_what_is_marked_as_the_other_order_is_found_out(tmp_path: Path) -> None:
    info = write(tmp_path / "wrong.mkv", interlaced(40, BOTTOM), TOP)
    scan = detect_scan(info)
    assert (scan.flags, scan.measured, scan.order) == (TOP, BOTTOM, BOTTOM)
    plan = plan_fields(info, scan)
    assert plan.flags is TOP
    assert any("marked as top field first, which is not" in note for note in plan.notes)


def test_a_hard_telecine_holds_fields_of_different_times(tmp_path: Path) -> None:
    for marks in (TOP, None):
        assert detect_scan(write(tmp_path / f"{marks}.mkv", hard_telecine(60), marks)).fields


def test_whole_pictures_are_restored_whole_whatever_their_mark(tmp_path: Path) -> None:
    plain = detect_scan(write(tmp_path / "plain.mkv", progressive(60), None))
    assert (plain.fields, plain.flags, plain.measured) == (False, None, None)
    marked = write(tmp_path / "marked.mkv", progressive(60), BOTTOM)
    scan = detect_scan(marked)
    assert (scan.fields, scan.flags, scan.measured) == (False, BOTTOM, None)
    plan = plan_fields(marked, scan)
    assert (plan.video.fields, plan.flags, plan.deinterlace) == (False, BOTTOM, None)
    assert plan.notes == ("marked as interlaced, but its pictures are progressive: restored whole, the mark is kept",)


def test_a_still_scene_is_believed_what_it_says(tmp_path: Path) -> None:
    assert detect_scan(write(tmp_path / "marked.mkv", still(30), TOP)).fields
    assert not detect_scan(write(tmp_path / "plain.mkv", still(30), None)).fields


def test_very_short_and_damaged_files_are_judged_by_what_there_is(tmp_path: Path) -> None:
    assert not detect_scan(write(tmp_path / "one.mkv", progressive(1), None)).fields
    assert detect_scan(write(tmp_path / "two.mkv", interlaced(2, TOP), TOP)).fields
    whole = write(tmp_path / "whole.ts", interlaced(40, TOP), TOP)
    data = bytearray(whole.path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(data)
    assert detect_scan(replace(whole, path=damaged)).fields


def test_detection_is_the_same_every_time(tmp_path: Path) -> None:
    info = write(tmp_path / "clip.mkv", hard_telecine(60), None)
    assert detect_scan(info) == detect_scan(info)


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 50),
    st.sampled_from([None, *FieldOrder]),
)
def test_a_judgement_never_blends_what_is_marked_and_moves(
    top: int, bottom: int, whole: int, certain: int, marks: FieldOrder | None
) -> None:
    counts = ScanCounts(top=top, bottom=bottom, progressive=whole, certain=certain)
    scan = judge(counts, marks)
    assert scan.flags is marks
    if marks and top + bottom > whole:
        assert scan.fields
    if not marks and not certain:
        assert not scan.fields
    assert scan.fields or scan.measured is None


def test_the_real_clips(data_dir: Path) -> None:
    interlaced_clip = detect_scan(probe(data_dir / "video" / "bt601-525_480_interlaced_bff.mkv"))
    assert (interlaced_clip.fields, interlaced_clip.flags, interlaced_clip.measured) == (True, BOTTOM, BOTTOM)
    soft = detect_scan(probe(data_dir / "video" / "bt601-525_480_telecined_soft.mkv"))
    assert (soft.fields, soft.flags, soft.soft_telecine) == (False, None, True)


def test_all_other_real_clips_are_progressive(data_dir: Path) -> None:
    seen = 0
    for path in sorted((data_dir / "video").iterdir()):
        try:
            info = probe(path)
        except StreamRestoreError:
            continue
        if "interlaced" not in path.name:
            scan = detect_scan(info)
            assert (scan.fields, scan.flags) == (False, None), path.name
            assert scan.soft_telecine == ("telecined_soft" in path.name), path.name
            seen += 1
    assert seen >= 30


def source(pixel_format: str = "yuv420p", size: tuple[int, int] = SIZE) -> SourceInfo:
    video = video_format(size[1], size[0], pixel_format, ColourTags(), "h264")
    return replace(INFO, path=Path("a.mkv"), container="matroska,webm", time_base=RATE, video=video)


SCAN = Scan(fields=True, flags=TOP, measured=TOP, soft_telecine=False, counts=ScanCounts(flagged_top=60, top=50))


def test_fields_are_restored_one_by_one_unless_asked_otherwise() -> None:
    info = source()
    plan = plan_fields(info, SCAN)
    assert (plan.video, plan.flags, plan.deinterlace) == (replace(info.video, fields=True), TOP, None)
    plan = plan_fields(info, SCAN, deinterlace=True)
    assert (plan.video, plan.flags, plan.deinterlace) == (info.video, None, TOP)
    whole = replace(SCAN, fields=False, measured=None)
    plan = plan_fields(info, whole, deinterlace=True)
    assert (plan.video, plan.flags, plan.deinterlace) == (info.video, None, None)
    assert "nothing to deinterlace" in plan.notes[0]


@pytest.mark.parametrize(
    ("pixel_format", "height", "fields"),
    [("yuv420p", 486, False), ("yuv420p", 484, True), ("yuv422p", 486, True), ("yuv444p", 485, False)],
)
def test_frames_that_fields_cannot_share_are_restored_whole_with_a_word(
    pixel_format: str, height: int, fields: bool
) -> None:
    plan = plan_fields(source(pixel_format, (height, 720)), SCAN)
    assert plan.video.fields is fields
    assert any("cannot be divided" in note for note in plan.notes) is not fields


def test_unmarked_interlaced_video_is_said_to_be_so() -> None:
    plan = plan_fields(source(), replace(SCAN, flags=None))
    assert plan.flags is None
    assert any("nothing in the stream says" in note for note in plan.notes)


def test_marks_on_some_frames_only_are_said_to_spread() -> None:
    counts = replace(SCAN.counts, flagged_top=20, flagged_progressive=40)
    for fields in (True, False):
        notes = plan_fields(source(), replace(SCAN, fields=fields, counts=counts)).notes
        assert notes[-1] == "only some of its frames are marked as interlaced: in the output all are"


def test_a_soft_telecine_is_said_to_lose_its_flags() -> None:
    scan = judge(ScanCounts(flagged_progressive=60, progressive=50, whole=30, repeating=30))
    assert scan.soft_telecine
    assert "soft telecine" in plan_fields(source(), scan).notes[0]


def test_a_pixel_format_that_bwdif_does_not_take_is_refused() -> None:
    with pytest.raises(ConfigError, match="bwdif cannot deinterlace nv12"):
        plan_fields(replace(source(), pixel_format_name="nv12"), SCAN, deinterlace=True)


def encode(path: Path, info: SourceInfo, codec: str, order: FieldOrder, frames: Sequence[VideoFrame]) -> None:
    encoding = plan_encoding(info, EncodingRequest(codec=codec), path.suffix, field_order=order)
    assert encoding.field_order is order
    with av.open(str(path), "w", format=encoding.container, container_options={"fflags": "+bitexact"}) as output:
        stream = add_video(output, info, encoding)
        marker = FieldMarker(order)
        for frame in frames:
            output.mux(stream.encode(marker.mark(frame)))
        output.mux(stream.encode(None))


@pytest.mark.parametrize("order", list(FieldOrder))
@pytest.mark.parametrize(
    ("codec", "suffix", "pixel_format"),
    [
        ("h264", ".mkv", "yuv420p"),
        ("h264", ".mp4", "yuv420p"),
        ("h264", ".ts", "yuv420p"),
        ("h264", ".mkv", "yuv422p10le"),
        ("ffv1", ".mkv", "yuv420p"),
        ("ffv1", ".mkv", "yuv422p10le"),
        ("prores", ".mov", "yuv422p10le"),
        ("prores", ".mkv", "yuv422p10le"),
    ],
)
def test_the_output_says_what_the_source_said(
    tmp_path: Path, codec: str, suffix: str, pixel_format: str, order: FieldOrder
) -> None:
    """As another program reads it: in every frame, and in the container's header."""
    depth = 10 if "10" in pixel_format else 8
    lumas = [woven(moment(2 * i, depth=depth), moment(2 * i + 1, depth=depth), order) for i in range(12)]
    path = tmp_path / f"out{suffix}"
    encode(path, source(pixel_format), codec, order, [picture(luma, i, pixel_format) for i, luma in enumerate(lumas)])
    counts = detect_scan(probe(path)).counts
    assert (counts.flagged_top, counts.flagged_bottom) == ((12, 0) if order is TOP else (0, 12))
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.field_order == (2 if order is TOP else 3)


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_interlaced_encoding_gives_the_same_bytes_again(tmp_path: Path, codec: str) -> None:
    """x264 with threads that share a frame does not, where frames are interlaced."""
    size = (240, 320)
    frames = [picture(woven(moment(2 * i, size), moment(2 * i + 1, size), TOP), i) for i in range(12)]
    digests = set()
    for attempt in range(4):
        path = tmp_path / f"{attempt}.mkv"
        encode(path, source(size=size), codec, TOP, frames)
        digests.add(hashlib.sha256(path.read_bytes()).digest())
    assert len(digests) == 1


@pytest.mark.parametrize("codec", ["hevc", "av1", "vp9"])
def test_a_codec_that_knows_no_fields_is_refused_with_a_way_out(codec: str) -> None:
    with pytest.raises(ConfigError, match=r"--deinterlace bwdif.*choose libx264 or ffv1"):
        plan_encoding(source(), EncodingRequest(codec=codec), field_order=TOP)
    assert plan_encoding(source(), EncodingRequest(codec=codec)).field_order is None


def test_interlaced_video_gets_an_encoder_that_can() -> None:
    assert plan_encoding(source("yuv422p10le"), field_order=TOP).encoder == "libx264"
    assert plan_encoding(source(size=(98, 128)), field_order=TOP).encoder == "ffv1", "x264 needs four lines of luma"
    fields = source()
    fields = replace(fields, video=replace(fields.video, fields=True))
    with pytest.raises(ConfigError, match="mixing the fields"):
        plan_encoding(fields, EncodingRequest(pixel_format_name="yuv422p"), field_order=TOP)


def luma(frame: VideoFrame) -> NDArray[np.int16]:
    return frame.to_ndarray()[: frame.height].astype(np.int16)


def deinterlaced(frames: Sequence[VideoFrame], order: FieldOrder) -> list[VideoFrame]:
    deinterlacer = Deinterlacer(order)
    return [done for frame in frames for done in deinterlacer.push(frame)] + deinterlacer.flush()


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_each_frame_comes_out_progressive_with_its_own_time(count: int) -> None:
    frames = interlaced(count, TOP)
    for index, frame in enumerate(frames):
        frame.pts, frame.duration = index * index + 7, 2 * index + 1
    done = deinterlaced([FieldMarker(TOP).mark(frame) for frame in frames], TOP)
    times = [(frame.pts, frame.duration, frame.time_base) for frame in frames]
    assert [(frame.pts, frame.duration, frame.time_base) for frame in done] == times
    assert not any(frame.interlaced_frame for frame in done)


@pytest.mark.parametrize("order", list(FieldOrder))
def test_the_first_field_is_kept_and_the_other_taken_to_its_time(order: FieldOrder) -> None:
    done = deinterlaced(interlaced(8, order), order)
    kept = 0 if order is TOP else 1
    for index in range(1, 7):
        seen, real = luma(done[index]), moment(2 * index).astype(np.int16)
        assert np.array_equal(seen[kept::2], real[kept::2])
        assert np.abs(seen - real)[4:-4].mean() < 1
        combed = woven(moment(2 * index), moment(2 * index + 1), order).astype(np.int16)
        assert np.abs(combed - real)[4:-4].mean() > 5


def test_one_frame_more_on_either_side_gives_the_same_as_the_whole() -> None:
    """So that segments may be deinterlaced on their own."""
    frames = interlaced(12, BOTTOM)
    whole = deinterlaced(frames, BOTTOM)
    part = deinterlaced(frames[3:9], BOTTOM)
    for index in range(4, 8):
        assert np.array_equal(luma(part[index - 3]), luma(whole[index]))


def test_a_change_of_size_loses_no_frame() -> None:
    small = [picture(moment(i, (48, 64)), 10 + i) for i in range(3)]
    done = deinterlaced([*interlaced(4, TOP), *small], TOP)
    assert [(frame.pts, frame.height) for frame in done] == [(i, 96) for i in range(4)] + [
        (10 + i, 48) for i in range(3)
    ]


def test_a_deinterlacer_may_be_flushed_twice_and_used_again() -> None:
    deinterlacer = Deinterlacer(TOP)
    assert deinterlacer.flush() == []
    for frame in interlaced(2, TOP):
        deinterlacer.push(frame)
    assert len(deinterlacer.flush()) == 1
    assert deinterlacer.flush() == []
    assert deinterlacer.push(picture(moment(0), 9)) == []
    assert [frame.pts for frame in deinterlacer.flush()] == [9]


def test_marks_change_nothing_else() -> None:
    frame = picture(moment(0), 5)
    frame.duration, frame.color_range = 3, 2
    marked = FieldMarker(BOTTOM).mark(frame)
    assert marked.interlaced_frame
    assert not frame.interlaced_frame
    assert (marked.pts, marked.duration, marked.time_base, marked.color_range) == (5, 3, RATE, 2)
    assert np.array_equal(luma(marked), luma(frame))
