"""Frames come out all, in order, at their own times; what cannot be read is refused in words."""

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamrestore.errors import ConfigError, DecodeError, SourceError, UnsupportedError
from streamrestore.frame import Matrix
from streamrestore.probing import probe
from streamrestore.scan import scan_times
from streamrestore.source import Source, Trim, open_source, plan_trim, reopen
from tests.clips import INFO, STEADY, TIME_BASE, VARIABLE, Clip, make_clip, paint


def times(path: Path, trim: Trim | None = None) -> list[int]:
    with open_source(path) as source:
        frames = list(source.frames(trim) if trim else source.frames())
    assert [frame.index for frame in frames] == list(range(len(frames)))
    return [frame.pts for frame in frames]


@pytest.mark.parametrize("pts", [STEADY, VARIABLE, [tick + 90000 for tick in VARIABLE]], ids=["steady", "vfr", "late"])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_every_frame_at_its_exact_time(tmp_path: Path, pts: list[int], b_frames: int) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(pts=pts, b_frames=b_frames))
    assert times(path) == list(pts)
    with open_source(path) as source:
        assert (source.info.time_base, source.info.start_pts) == (TIME_BASE, pts[0])
        assert source.info.estimated_frames == len(pts)


def test_decoded_samples_are_the_encoded_ones(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "odd.mkv", Clip(codec="ffv1", options={}, size=(23, 37), pix_fmt="yuv422p10le"))
    with open_source(path) as source:
        video = source.info.video
        assert (video.height, video.width, video.pixels.name) == (23, 37, "yuv422p10le")
        for frame in source.frames():
            painted = av.VideoFrame(37, 23, "yuv422p10le")
            paint(painted, frame.index)
            for ours, theirs in zip(frame.planes, painted.planes, strict=True):
                samples = np.frombuffer(memoryview(theirs), np.uint16).reshape(theirs.height, -1)
                np.testing.assert_array_equal(ours, samples[:, : theirs.width])
                assert ours.dtype == np.uint16


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    clip = Clip(
        colour=(1, 9, 9, 16),
        aspect=Fraction(4, 3),
        display_matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
        sound="aac",
        cover=True,
    )
    with open_source(make_clip(tmp_path / "clip.mp4", clip)) as source:
        info = source.info
    assert (info.codec, info.container.split(",")[0], info.pixel_format_name) == ("h264", "mov", "yuv420p")
    assert (info.tags.range, info.tags.matrix, info.tags.primaries, info.tags.transfer) == clip.colour
    assert info.video.matrix is Matrix.BT2020_NCL
    assert info.hdr
    assert info.sample_aspect_ratio == clip.aspect
    assert info.display_matrix == clip.display_matrix
    assert info.duration_seconds == pytest.approx(0.4, abs=0.05)
    assert [str(stream) for stream in info.other_streams] == ["audio stream #1 (aac, deu)", "cover art stream #2 (png)"]


@pytest.mark.parametrize("name", ["-x.mp4", "a:b.mp4", "50%d %03d.mp4", "http:x.mp4", "ünï cödé.mp4", "pipe:1.mp4"])
def test_names_are_names_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make_clip(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert times(Path(name)) == list(STEADY)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("start", [0.0, 0.05, 0.1, 0.3, 0.39])
def test_a_part_holds_the_frames_from_start_to_before_stop(tmp_path: Path, suffix: str, start: float) -> None:
    pts = [90000 + 900 * number for number in range(40)]
    path = make_clip(tmp_path / f"clip{suffix}", Clip(pts=pts, time_base=Fraction(1, 90000), gop=7, b_frames=2))
    with open_source(path) as source:
        info = source.info
        whole = list(source.frames())
        part = list(source.frames(plan_trim(info, start, start + 0.1)))
    since_start = [frame.pts * info.time_base - info.container_start for frame in whole]
    first, stop = (Fraction(round(100 * time), 100) for time in (start, start + 0.1))
    wanted = [frame for frame, time in zip(whole, since_start, strict=True) if first <= time < stop]
    assert 1 <= len(wanted) <= 10
    assert [frame.pts for frame in part] == [frame.pts for frame in wanted]
    assert [frame.index for frame in part] == list(range(len(part)))
    for ours, theirs in zip(part, wanted, strict=True):
        for plane, expected in zip(ours.planes, theirs.planes, strict=True):
            np.testing.assert_array_equal(plane, expected)


@given(
    st.fractions(0, 1000, max_denominator=90000), st.sampled_from([24, 1000, 90000, 30000]), st.integers(0, 1_000_000)
)
def test_a_typed_time_meets_the_tick_it_names(begin: Fraction, rate: int, microseconds: int) -> None:
    info = replace(INFO, container_start=begin, time_base=Fraction(1, rate))
    trim = plan_trim(info, microseconds / 1e6, None)
    assert trim.start_pts is not None
    wanted = begin + Fraction(microseconds, 1_000_000)
    assert (trim.start_pts - 1) * info.time_base < wanted <= trim.start_pts * info.time_base


@pytest.mark.parametrize(("start", "stop"), [(2.0, 2.0), (2.0, 1.0), (None, 0.0), (-1.0, None), (None, -1.0)])
def test_empty_and_negative_parts_are_refused(start: float | None, stop: float | None) -> None:
    with pytest.raises(ConfigError, match="part"):
        plan_trim(INFO, start, stop)


def test_a_part_after_the_end_has_no_frames(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv")
    with open_source(path) as source:
        assert list(source.frames(plan_trim(source.info, 50, None))) == []


def test_a_reader_that_is_left_is_closed(tmp_path: Path) -> None:
    with open_source(make_clip(tmp_path / "clip.mp4")) as source:
        left = source.frames()
        next(left)
        again = source.frames()
        assert next(left, None) is None
        assert len(list(again)) == len(STEADY)
        last = source.frames()
    assert next(last, None) is None


def write(data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "clip.mp4"
        path.write_bytes(data)
        return path

    return make


def cut_header(folder: Path) -> Path:
    path = make_clip(folder / "clip.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov")])
    return path


def sound_only(folder: Path) -> Path:
    path = folder / "clip.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("flac", rate=48000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48000
        stream.codec_context.layout = "mono"
        output.mux(stream.encode(frame) + stream.encode(None))
    return path


def text_file(folder: Path) -> Path:
    path = folder / "notes.txt"
    path.write_text("no video here\n" * 50)
    return path


def playlist(folder: Path) -> Path:
    path = folder / "clip.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")
    return path


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda folder: folder / "none.mp4", SourceError, "none.mp4 does not exist"),
        (lambda folder: folder, SourceError, "not a regular file"),
        (write(b""), SourceError, "clip.mp4 is empty"),
        (write(b"words " * 100), SourceError, "no video or picture that can be read"),
        (write(bytes(4096)), SourceError, "no video or picture that can be read"),
        (cut_header, SourceError, "no video or picture that can be read"),
        (text_file, UnsupportedError, r"notes.txt has no video stream \(text only\)"),
        (sound_only, UnsupportedError, r"no video stream \(audio only\)"),
        (playlist, SourceError, "clip.m3u8"),
    ],
)
def test_what_is_no_video_is_refused_in_words(
    tmp_path: Path, make: Callable[[Path], Path], error: type[SourceError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        open_source(make(tmp_path))
    assert type(caught.value) in (error, DecodeError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    path.chmod(0)
    with pytest.raises(SourceError, match="permission denied"):
        open_source(path)


def test_a_file_that_vanishes_before_it_is_read(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    with open_source(path) as source:
        path.unlink()
        with pytest.raises(SourceError, match=r"clip\.mp4 .*No such file"):
            next(source.frames())


@pytest.mark.parametrize("stop_pts", [None, STEADY[6]])
def test_a_file_that_is_replaced_while_it_is_read(tmp_path: Path, stop_pts: int | None) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    other = make_clip(tmp_path / "other.mp4", Clip(pts=STEADY[:5]))
    with open_source(path) as source:
        frames = source.frames(Trim(None, stop_pts))
        next(frames)
        other.replace(path)
        with pytest.raises(SourceError, match="was replaced, or its size changed"):
            list(frames)
        with pytest.raises(SourceError, match="was replaced"):
            next(source.frames())


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv")
    with open_source(path) as source:
        frames = source.frames()
        next(frames)
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(SourceError, match="its size changed"):
            list(frames)


@pytest.mark.parametrize(
    ("name", "frames", "first"),
    [
        ("sample_edit_list.mp4", 77, 0),
        ("roadtrip-vp92-10bit.webm", 72, 0),
        ("test_non_zero_start.mp4", 12, 127995),
        ("sample_h264.ts", 30, 132000),
        ("sample.avi", 96, 0),
        ("sample.flv", 30, 67),
    ],
)
def test_real_files_give_the_frames_that_are_shown(data_dir: Path, name: str, frames: int, first: int) -> None:
    read = times(data_dir / "video" / name)
    assert (len(read), read[0]) == (frames, first)


def test_seeking_in_a_pyramid_of_b_frames_loses_none(data_dir: Path) -> None:
    path = data_dir / "video" / "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4"
    whole = times(path)
    for start in range(1, len(whole), 17):
        assert (
            times(path, Trim(whole[start], whole[min(start + 5, len(whole) - 1)]))
            == whole[start : start + 5][: len(whole) - 1 - start]
        )


ONE = 1 << 16


@pytest.mark.parametrize(
    ("matrix", "turns"),
    [
        (None, 0),
        ((ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30), 0),
        ((0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30), 3),
        ((0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), 1),
        ((-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30), 2),
        ((-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30), 0),
    ],
    ids=["none", "identity", "clockwise", "counterclockwise", "upside down", "mirrored"],
)
def test_a_display_matrix_says_how_to_put_the_picture_upright(
    tmp_path: Path, matrix: tuple[int, ...] | None, turns: int
) -> None:
    """Right goes where the first two numbers say: clockwise is down, in pictures whose rows count downwards."""
    path = make_clip(tmp_path / "clip.mp4", Clip(display_matrix=matrix))
    assert open_source(path).info.video.quarter_turns == turns


def test_packets_are_read_through_once_to_cut_a_video_and_to_begin_amid_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "clip.mkv", Clip(pts=tuple(range(0, 150 * 1001, 1001)), gop=10, b_frames=2))
    source = Source(probe(clip))
    whole = [(frame.pts, frame.planes[0].tobytes()) for frame in source.frames()]
    assert [time.pts for time in scan_times(source)] == [pts for pts, _ in whole]

    def again(info: object) -> None:
        pytest.fail("the packets are read through again")

    monkeypatch.setattr("streamrestore.source.find_landmarks", again)
    start = whole[100][0]
    for each in (source, reopen(pickle.loads(pickle.dumps(source.parts)))):  # as in another process
        assert [(frame.pts, frame.planes[0].tobytes()) for frame in each.frames(Trim(start, None))] == whole[100:]
