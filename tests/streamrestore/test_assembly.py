"""A file that is read and written again is the same but for its compression."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from streamrestore import assembly, carry
from streamrestore.assembly import FinishedSegment
from streamrestore.carry import CarryPlan
from streamrestore.carry_planning import plan_carry
from streamrestore.encoding import AUTOMATIC, Encoding, EncodingRequest, plan_encoding
from streamrestore.errors import DiskFullError, OutputError, SinkError
from streamrestore.frame import Frame
from streamrestore.packets import PacketReader, shown_at
from streamrestore.probing import SourceInfo
from streamrestore.segment_file import open_segment
from streamrestore.source import open_source, plan_trim
from tests.clips import STEADY, VARIABLE, Clip, make_clip, png
from tests.writing import write_video

LOSSLESS = EncodingRequest(crf=0, preset="ultrafast")
FFV1 = EncodingRequest(codec="ffv1")
LOSSLESS_HEVC = EncodingRequest(codec="hevc", preset="ultrafast", options=(("x265-params", "lossless=1"),))
SPAN: tuple[Literal["start"], Literal["end"]] = ("start", "end")


@dataclass(frozen=True)
class Copy:
    """A file written in segments and joined, and what it was made of."""

    path: Path
    plan: CarryPlan
    source: SourceInfo
    result: SourceInfo
    frames: list[Frame]
    """As read from the source."""
    written: list[Frame]
    """As read back."""

    def expected_pts(self) -> list[int]:
        """The source's times, rounded once to the output's clock, halves away from zero as FFmpeg does."""
        scale = self.source.time_base / self.result.time_base
        return [int((frame.pts + self.plan.shift) * scale + Fraction(1, 2)) for frame in self.frames]


def copy(
    path: Path,
    request: EncodingRequest = AUTOMATIC,
    suffix: str | None = None,
    part: tuple[float | None, float | None] = (None, None),
    limit: int | None = None,
    frames_in_segment: int = 7,
) -> Copy:
    """Write a file's frames again, unrestored."""
    with open_source(path) as source:
        info = source.info
        encoding = plan_encoding(info, request, suffix)
        trim = plan_trim(info, *part)
        plan = plan_carry(info, encoding, trim)
        output = path.with_name("out.partial")
        frames = list(islice(source.frames(trim), limit))
        write_video(output, info, encoding, plan, frames, frames_in_segment=frames_in_segment)
    with open_source(output) as again:
        return Copy(output, plan, info, again.info, frames, list(again.frames()))


def same_samples(one: Sequence[Frame], other: Sequence[Frame]) -> bool:
    return all(
        np.array_equal(mine, theirs)
        for frame, twin in zip(one, other, strict=True)
        for mine, theirs in zip(frame.planes, twin.planes, strict=True)
    )


def payloads(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """(time, content) of every packet of the streams of a kind."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        if not streams:  # an empty list would mean all
            return []
        return [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(streams)
            if packet.size and packet.pts is not None
        ]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
@pytest.mark.parametrize("pts", [STEADY, VARIABLE, [t + 95001 for t in VARIABLE]], ids=["steady", "vfr", "late"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_every_time_survives_every_container(tmp_path: Path, suffix: str, pts: list[int], codec: str) -> None:
    # x264 and x265 reorder frames here: the output has B-frames, and dts before its first pts.
    clip = Clip(pts=pts, size=(96, 96), b_frames=3, sound="aac", sound_start=pts[0] * 48 // 30)
    path = make_clip(tmp_path / "clip.mp4", clip)
    made = copy(path, EncodingRequest(codec=codec, preset="veryfast"), suffix)
    assert [frame.pts for frame in made.written] == made.expected_pts()
    assert [frame.pts for frame in made.frames] == list(pts)
    if suffix in (".mp4", ".mov"):
        assert made.result.time_base == made.source.time_base
        assert (made.result.start_pts, made.result.container_start) == (pts[0], made.source.container_start)
    shift = made.plan.shift * made.source.time_base
    for (time, _), (before, _) in zip(payloads(made.path, "audio"), payloads(path, "audio"), strict=True):
        assert abs(time - before - shift) <= (Fraction(1, 1000) if suffix == ".mkv" else Fraction(1, 48000))


@pytest.mark.parametrize("pts", [STEADY, VARIABLE])
def test_the_video_lasts_as_long(tmp_path: Path, pts: list[int]) -> None:
    for suffix in (".mp4", ".mkv"):
        path = make_clip(tmp_path / f"clip{suffix}", Clip(pts=pts))
        with av.open(str(path)) as before, av.open(str(copy(path).path)) as after:
            assert before.duration is not None
            assert after.duration == pytest.approx(before.duration, abs=1001)


def test_durations_are_kept_where_the_container_has_them(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(pts=VARIABLE))
    made = copy(path, EncodingRequest(options=(("bf", "0"),)))
    assert [frame.duration for frame in made.written] == [frame.duration for frame in made.frames]


@pytest.mark.parametrize(
    ("clip", "request_"),
    [
        (Clip(), LOSSLESS),
        (Clip(pix_fmt="yuv420p10le", codec="ffv1", options={}), FFV1),
        (Clip(pix_fmt="yuv444p"), LOSSLESS),
        (Clip(pix_fmt="yuv422p16le", codec="ffv1", options={}, size=(23, 37)), FFV1),
        (Clip(pix_fmt="gray", codec="ffv1", options={}, size=(23, 37)), FFV1),
        (Clip(pix_fmt="gray12le", codec="ffv1", options={}), FFV1),
        (Clip(pix_fmt="gbrp10le", codec="ffv1", options={}), FFV1),
        (Clip(pix_fmt="bgr0", codec="ffv1", options={}, size=(96, 98)), LOSSLESS_HEVC),
    ],
    ids=lambda value: value.pix_fmt if isinstance(value, Clip) else "",
)
def test_samples_pass_untouched(tmp_path: Path, clip: Clip, request_: EncodingRequest) -> None:
    made = copy(make_clip(tmp_path / "clip.mkv", clip), request_)
    assert made.result.video == made.source.video
    assert same_samples(made.frames, made.written)


@pytest.mark.parametrize(
    ("clip", "codec"),
    [
        (Clip(size=(23, 37), codec="ffv1", options={}), "av1"),
        (Clip(size=(96, 102), codec="ffv1", options={}, pix_fmt="yuv420p10le"), "hevc"),
        (Clip(size=(96, 102), codec="ffv1", options={}, pix_fmt="gray"), "hevc"),
        (Clip(size=(96, 102), codec="ffv1", options={}, pix_fmt="gbrp10le"), "hevc"),
        (Clip(size=(23, 37), codec="ffv1", options={}, pix_fmt="yuv440p"), "ffv1"),
    ],
    ids=lambda value: value.pix_fmt if isinstance(value, Clip) else value,
)
def test_layout_size_and_depth_are_kept_by_lossy_encoders(tmp_path: Path, clip: Clip, codec: str) -> None:
    made = copy(make_clip(tmp_path / "clip.mkv", clip))
    assert made.result.codec == codec
    assert made.result.video == made.source.video
    assert [frame.pts for frame in made.written] == made.expected_pts()
    assert abs(float(np.mean(made.written[3].planes[0])) - float(np.mean(made.frames[3].planes[0]))) < 10 * (
        1 << made.result.video.pixels.depth - 8
    )


def test_another_depth_is_converted_after_restoration(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", Clip(colour=(1, 1, 1, 1)))
    made = copy(path, EncodingRequest(codec="ffv1", pixel_format_name="yuv420p10le"))
    assert made.result.video.pixels.name == "yuv420p10le"
    for frame, twin in zip(made.frames, made.written, strict=True):
        for plane, converted in zip(frame.planes, twin.planes, strict=True):
            assert np.abs(converted.astype(int) - plane.astype(int) * 4).max() <= 3


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [*((codec, suffix) for codec in ("h264", "hevc", "av1") for suffix in (".mp4", ".mkv")), ("ffv1", ".mkv")],
)
def test_colour_and_geometry_tags_are_kept(tmp_path: Path, codec: str, suffix: str) -> None:
    clip = Clip(
        size=(96, 96),
        colour=(2, 9, 9, 18),
        aspect=Fraction(4, 3),
        display_matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
    )
    made = copy(make_clip(tmp_path / "clip.mp4", clip), EncodingRequest(codec=codec), suffix)
    assert made.result.tags == made.source.tags
    assert made.result.video == made.source.video
    assert made.result.display_matrix == clip.display_matrix
    if made.plan.warnings:
        assert made.plan.warnings == (f"{codec} in .mkv cannot hold the pixel aspect ratio 4/3: it will be lost",)
        assert codec not in ("h264", "hevc")
    else:
        assert made.result.sample_aspect_ratio == clip.aspect


def test_unspecified_colour_stays_unspecified(tmp_path: Path) -> None:
    made = copy(make_clip(tmp_path / "clip.mp4"))
    assert made.result.tags == made.source.tags


def test_everything_beside_the_video_is_carried(tmp_path: Path) -> None:
    clip = Clip(
        b_frames=2,
        sound="aac",
        subtitles=[(0, 200, "hello"), (250, 100, "ünï\ncödé")],
        attachment=bytes(range(256)) * 9,
        chapters=[(0, 200, "one"), (200, 400, "two")],
        tags={"title": "A film", "COMMENT": "of nothing"},
        stream_tags={"title": "Main", "language": "eng"},
    )
    path = make_clip(tmp_path / "clip.mkv", clip)
    made = copy(path)
    assert made.plan == CarryPlan(copied=made.plan.copied, attached=made.plan.attached)
    assert [frame.pts for frame in made.written] == [frame.pts for frame in made.frames]
    for kind in ("audio", "subtitle"):
        assert payloads(made.path, kind) == payloads(path, kind) != []
    with av.open(str(path)) as before, av.open(str(made.path)) as after:
        assert {key: after.metadata[key] for key in clip.tags} == clip.tags
        assert after.chapters() == before.chapters()
        assert [stream.data for stream in after.streams.attachments] == [clip.attachment]
        assert [described(stream) for stream in after.streams] == [described(stream) for stream in before.streams]


def described(stream: Stream) -> tuple[str, dict[str, str], Disposition]:
    """What a stream says of itself, but for its length, which is another with another encoder."""
    return stream.type, {key: text for key, text in stream.metadata.items() if key != "DURATION"}, stream.disposition


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_cover_art_and_chapters_of_an_mp4(tmp_path: Path, suffix: str) -> None:
    clip = Clip(cover=True, chapters=[(0, 200, "one"), (200, 400, "two")], tags={"title": "A film"})
    made = copy(make_clip(tmp_path / "clip.mp4", clip), suffix=suffix)
    with av.open(str(made.path)) as after:
        covers = [stream for stream in after.streams.video if Disposition.attached_pic in stream.disposition]
        pictures = [bytes(packet) for packet in after.demux(covers) if packet.size]
        assert after.metadata["title"] == "A film"
        titles = [
            (chapter["start"] * (chapter["time_base"] or 0), chapter["metadata"]["title"])
            for chapter in after.chapters()
        ]
    assert pictures == [png()]
    assert titles == [(0, "one"), (Fraction(1, 5), "two")]


def test_tags_that_mp4_has_no_atom_for_are_kept(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", Clip(tags={"title": "A film", "com.android.version": "10"}))
    made = copy(clip, suffix=".mp4")
    with av.open(str(made.path)) as after:
        kept = {key.lower(): text for key, text in after.metadata.items()}
    assert made.plan.keyed_tags
    assert (kept["title"], kept["com.android.version"]) == ("A film", "10")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_part_starts_at_nought_with_all_that_belongs_to_it(tmp_path: Path, suffix: str) -> None:
    pts = [90000 + 1500 * number for number in range(40)]
    clip = Clip(
        pts=pts, gop=9, b_frames=2, sound="aac", sound_start=3 * 48000, chapters=[(3000, 4000, "a"), (4000, 5000, "b")]
    )
    path = make_clip(tmp_path / "clip.mp4", clip)
    made = copy(path, suffix=suffix, part=(0.5, 1.25))
    lost = ".ts cannot hold the chapters: name the output .mkv to keep everything"
    assert made.plan.warnings == ((lost,) if suffix == ".ts" else ())
    assert [frame.pts for frame in made.written] == made.expected_pts()
    assert 0 <= made.written[0].pts * made.result.time_base < Fraction(1, 20)
    begin = made.source.container_start + Fraction(1, 2)
    wanted = [(time - begin, data) for time, data in payloads(path, "audio") if begin <= time < begin + Fraction(3, 4)]
    got = payloads(made.path, "audio")
    assert len(wanted) == len(got) > 30
    for (time, _), (expected, _) in zip(got, wanted, strict=True):
        assert abs(time - expected) <= Fraction(1, 1000)
    if suffix != ".ts":  # which wraps each packet in a header of its own
        assert [data for _, data in got] == [data for _, data in wanted]
        with av.open(str(made.path)) as after:
            chapters = after.chapters()
        times = [chapter[end] * (chapter["time_base"] or 0) for chapter in chapters for end in SPAN]
        np.testing.assert_allclose([float(time) for time in times], [0, 0.5, 0.5, 0.75], atol=0.03)


def test_sound_before_nought_is_said_to_move_everything(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(sound="aac"))  # the encoder's delay begins at -1024 samples
    assert copy(path).plan.shift == 0
    made = copy(path, suffix=".mkv")
    assert made.plan.shift == 640
    assert made.plan.warnings == (".mkv cannot hold negative times: all streams begin 0.021 s later",)
    assert [frame.pts for frame in made.written] == made.expected_pts()
    assert payloads(made.path, "audio")[0][0] == 0


def test_the_same_job_gives_the_same_bytes(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", Clip(sound="aac", size=(96, 96), b_frames=2, tags={"title": "x"}))
    for suffix in (".mkv", ".mp4", ".ts"):
        for codec in ("h264", "hevc"):
            first = copy(path, EncodingRequest(codec=codec), suffix).path.read_bytes()
            assert copy(path, EncodingRequest(codec=codec), suffix).path.read_bytes() == first


@pytest.mark.parametrize(
    ("clip", "suffix", "refused"),
    [
        (Clip(subtitles=[(0, 200, "hello")]), ".mp4", r"subtitle stream #1 \(subrip, fra\)"),
        (Clip(subtitles=[(0, 200, "hello")]), ".ts", r"subtitle stream #1 \(subrip, fra\)"),
        (Clip(sound="aac"), ".webm", r"audio stream #1 \(aac, deu\)"),
        (Clip(sound="flac"), ".ts", r"audio stream #1 \(flac, deu\)"),
        (Clip(attachment=b"font"), ".mp4", r"attachment stream #1"),
    ],
)
def test_what_the_container_cannot_hold_is_said_before_work_starts(
    tmp_path: Path, clip: Clip, suffix: str, refused: str
) -> None:
    path = make_clip(tmp_path / "clip.mkv", clip)
    with open_source(path) as source:
        encoding = plan_encoding(source.info, AUTOMATIC, suffix)
        with pytest.raises(OutputError, match=rf"\{suffix} cannot hold .*{refused}.*: name the output \.mkv"):
            plan_carry(source.info, encoding)


def test_what_will_be_lost_is_named(tmp_path: Path) -> None:
    clip = Clip(display_matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30), tags={"title": "A film"})
    with open_source(make_clip(tmp_path / "clip.mp4", clip)) as source:
        info = replace(source.info, lost_side_data=("HDR10+ metadata",))
        warnings = plan_carry(info, plan_encoding(info, AUTOMATIC, ".ts")).warnings
    assert warnings == (
        "HDR10+ metadata cannot be written again and will be lost",
        ".ts cannot hold the rotation: the picture will be shown as it is coded",
        ".ts cannot hold the tags title: name the output .mkv to keep everything",
    )


def write_to(output: Path, path: Path, frames: int | None = None) -> None:
    with open_source(path) as source:
        encoding = plan_encoding(source.info)
        plan = plan_carry(source.info, encoding)
        folder = path.parent / "segments"
        folder.mkdir(exist_ok=True)
        write_video(output, source.info, encoding, plan, list(source.frames())[:frames], folder=folder)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_to_be_full(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DiskFullError, match="no space left"):
        write_to(Path("/dev/full"), make_clip(tmp_path / f"clip{suffix}", Clip(sound="aac")))


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    with pytest.raises(OutputError, match=r"nowhere/out\.mp4 cannot be written: No such file"):
        write_to(tmp_path / "nowhere" / "out.mp4", path)
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        write_to(tmp_path, path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    folder = tmp_path / "shut"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_to(folder / "out.mp4", path)


def test_no_frames_is_an_error(tmp_path: Path) -> None:
    info = open_source(make_clip(tmp_path / "clip.mp4")).info
    with open_segment(tmp_path / "segment", info, plan_encoding(info)) as segment, pytest.raises(SinkError):
        segment.finish()


def test_times_that_go_back_are_an_error(tmp_path: Path) -> None:
    with open_source(make_clip(tmp_path / "clip.mp4")) as source:
        encoding = plan_encoding(source.info, EncodingRequest(options=(("bf", "0"),)))
        frames = list(source.frames())
        plan = plan_carry(source.info, encoding)
        with pytest.raises(SinkError, match="encoding or writing failed"):
            write_video(tmp_path / "out", source.info, encoding, plan, [*frames, *frames])


def test_an_abandoned_segment_is_closed(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", Clip(sound="aac"))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with open_source(path) as source:
        encoding = plan_encoding(source.info)
        frame = next(source.frames())

        def give_up() -> None:
            with open_segment(tmp_path / "out", source.info, encoding) as segment:
                segment.write(frame.pts, frame.planes)
                raise KeyError("stop")

        with pytest.raises(KeyError, match="stop"):
            give_up()
        source.close()
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before


def test_packets_are_copied_when_they_are_due_and_no_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Sound of 40 s beside 12 frames: nearly all of it is due only with the last frame.
    path = make_clip(tmp_path / "clip.mkv", Clip(pts=[*STEADY, 40 * 30000], sound="flac"))
    taken = list[float]()

    class NotedReader(PacketReader):
        def __iter__(self) -> "Iterator[Packet[Stream]]":
            for packet in super().__iter__():
                taken.append(float(shown_at(packet)))
                yield packet

    monkeypatch.setattr(carry, "PacketReader", NotedReader)
    timed = assembly._timed_packets

    def watched(
        info: SourceInfo, encoding: Encoding, plan: CarryPlan, segments: Sequence[FinishedSegment]
    ) -> "Iterator[Packet[VideoStream]]":
        packets = list(timed(info, encoding, plan, segments))
        yield from packets[:-1]
        assert max(taken) < 1
        yield packets[-1]

    monkeypatch.setattr(assembly, "_timed_packets", watched)
    made = copy(path, EncodingRequest(options=(("bf", "0"),)))
    assert max(taken) > 39
    assert payloads(made.path, "audio") == payloads(path, "audio")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("sample_h264.ts", ".ts"),
        ("sample_h262_mpeg_audio.ts", ".ts"),
        ("sample_with_srt.mkv", ".mkv"),
        ("sample.avi", ".mkv"),
        ("sample.flv", ".mkv"),
        ("bt601.mov", ".mov"),
        ("roboflow_example_video.mp4", ".mp4"),
        ("test_non_zero_start.mp4", ".mp4"),
        ("delayed_start.mp4", ".mp4"),
        ("sample_android_slow_motion.mp4", ".mp4"),
        ("sample_rotate_and_reflect.mp4", ".mp4"),
        ("h264_10bits.mp4", ".mp4"),
        ("testsrc2_444_10bit_hevc.mp4", ".mp4"),
        ("bear-vp9-odd-dimensions.webm", ".webm"),
        ("bbb_176x144_128kbps_15fps_h263.3gp", ".mkv"),
    ],
)
def test_real_files(data_dir: Path, tmp_path: Path, name: str, suffix: str) -> None:
    link = tmp_path / name
    link.symlink_to(data_dir / "video" / name)
    preset = None if suffix == ".webm" else "ultrafast"
    made = copy(link, EncodingRequest(preset=preset), limit=24)
    assert plan_encoding(made.source).suffix == suffix
    assert made.plan.warnings == ()
    assert [frame.pts for frame in made.written] == made.expected_pts()
    assert (made.result.video.pixels, made.result.video.height) == (made.source.video.pixels, made.source.video.height)
    assert made.result.sample_aspect_ratio in (made.source.sample_aspect_ratio, None, Fraction(1))
    assert made.result.display_matrix == made.source.display_matrix
    for kind in ("audio", "subtitle"):
        assert [data for _, data in payloads(made.path, kind)] == [data for _, data in payloads(link, kind)]
