"""Whatever is wrong with a file: no crash, no hang, nothing missing without a word, and the same frames each time.

Clips of many codecs and containers are damaged on purpose. What reading from amid a file gives must be
what reading all of it gives there, damaged or not.
"""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamrestore.endings import early_end, find_holes
from streamrestore.errors import DecodeError, SourceError
from streamrestore.frame import Defect, Frame, OnError, planes_md5
from streamrestore.source import WHOLE, Trim, open_source
from tests.clips import Clip, make_clip

FRAMES = 72
SMALL = Clip(pts=range(FRAMES), time_base=Fraction(1, 30), size=(64, 96), gop=8)
X264 = {"preset": "veryfast", "crf": "26"}
X265 = {"preset": "ultrafast", "x265-params": "keyint=8:min-keyint=8:open-gop=1:pools=1:log-level=none"}
VP9 = {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "12", "b": "300k"}
CLIPS = {
    "h264.mp4": replace(SMALL, options=X264, b_frames=2),
    "h264.mkv": replace(SMALL, options=X264 | {"x264-params": "open-gop=1:slices=2"}, b_frames=3),
    "h264.ts": replace(SMALL, options=X264, b_frames=2),
    "h264.flv": replace(SMALL, options=X264),
    "hevc.mp4": replace(SMALL, codec="libx265", options=X265),
    "mpeg2.ts": replace(SMALL, codec="mpeg2video", options={}, b_frames=2),
    "mpeg4.avi": replace(SMALL, codec="mpeg4", options={}, b_frames=2),
    "vp9.webm": replace(SMALL, codec="libvpx-vp9", options=VP9),
    "av1.mkv": replace(SMALL, codec="libsvtav1", options={"preset": "12", "svtav1-params": "keyint=8:lp=1"}),
    "ffv1.mkv": replace(SMALL, codec="ffv1", options={"slices": "4", "slicecrc": "1"}),
    "prores.mov": replace(SMALL, codec="prores_ks", options={}, pix_fmt="yuv422p10le"),
}
PATCHED = ["h264.mp4", "h264.ts", "mpeg2.ts", "mpeg4.avi"]
"""Those whose decoders say what they concealed."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {name: make_clip(folder / name, clip) for name, clip in CLIPS.items()}


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    return tmp_path / "damaged"


@dataclass(frozen=True)
class Seen:
    """What matters of a frame."""

    pts: int
    duration: int
    md5: str
    defects: tuple[Defect, ...]
    lost: int


def see(frames: Iterator[Frame]) -> list[Seen]:
    return [Seen(frame.pts, frame.duration, planes_md5(frame.planes), frame.defects, frame.lost) for frame in frames]


def read(path: Path, trim: Trim = WHOLE, on_error: OnError = "pass") -> list[Seen]:
    with open_source(path) as source:
        return see(source.frames(trim, on_error=on_error))


def spots(path: Path) -> list[tuple[int, int]]:
    """(where, how long) of each video packet but the first, without which there is no format, and the last few: where
    those of a transport stream vanish, nothing says that they were there."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return [(packet.pos, packet.size) for packet in packets[1:-4] if packet.pos is not None and packet.pos > 0]


def flip(path: Path, target: Path, seed: int, flips: int = 6) -> Path:
    """A copy with bits flipped inside a few packets, or just after."""
    rng = random.Random(seed)
    data = bytearray(path.read_bytes())
    packets = spots(path)
    for _ in range(flips):
        start, size = rng.choice(packets)
        data[min(start + rng.randrange(size), len(data) - 1)] ^= 1 << rng.randrange(8)
    target.write_bytes(data)
    return target


def account(path: Path, frames: list[Seen]) -> int:
    """How many frames a file is said to have had, at least; more than any has where it says it was cut off."""
    with open_source(path) as source:
        words = early_end(source.info, frames[-1].pts + frames[-1].duration)
    holes = find_holes([frame.pts for frame in frames], [frame.duration for frame in frames])
    steps = sorted(frame.duration for frame in frames)
    missing = sum(round((stop - start) / max(1, steps[len(steps) // 2])) for start, stop in holes)
    return len(frames) + sum(frame.lost for frame in frames) + missing + (1_000_000 if words else 0)


quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(name=st.sampled_from(list(CLIPS)), seed=st.integers(0, 2**32))
@settings(quick, max_examples=250)
def test_flipped_bits_take_nothing_without_a_word(clips: dict[str, Path], damaged: Path, name: str, seed: int) -> None:
    path = flip(clips[name], damaged.with_suffix(Path(name).suffix), seed)
    try:
        frames = read(path)
    except SourceError:  # it says why
        return
    assert all(one.pts < other.pts for one, other in pairwise(frames))
    assert account(path, frames) >= FRAMES or any(Defect.RETIMED in frame.defects for frame in frames)


@given(
    name=st.sampled_from(list(CLIPS)),
    seed=st.none() | st.integers(0, 2**32),
    places=st.lists(st.integers(0, FRAMES - 1), min_size=3, max_size=3),
)
@settings(quick, max_examples=120)
def test_reading_from_amid_a_file_gives_the_same_frames(
    clips: dict[str, Path], damaged: Path, name: str, seed: int | None, places: list[int]
) -> None:
    path = clips[name] if seed is None else flip(clips[name], damaged.with_suffix(Path(name).suffix), seed, flips=2)
    try:
        whole = read(path)
    except SourceError:
        return
    with open_source(path) as source:
        for place in places:
            start = place % len(whole)
            assert see(source.frames(Trim(whole[start].pts, None))) == whole[start:]


@pytest.mark.parametrize("name", CLIPS)
def test_reading_amid_a_file_does_not_begin_at_its_first_packet(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    whole = read(clips[name])
    monkeypatch.setattr("streamrestore.pictures._all_pictures", lambda info: pytest.fail("read from the beginning"))
    assert len(whole) == FRAMES
    assert read(clips[name], Trim(whole[-5].pts, None)) == whole[-5:]


@pytest.mark.parametrize("name", CLIPS)
def test_the_same_damage_is_patched_the_same_way_each_time(clips: dict[str, Path], damaged: Path, name: str) -> None:
    """Readers at once, so that threads inside a decoder would overtake each other."""
    path = flip(clips[name], damaged.with_suffix(Path(name).suffix), seed=3)
    with ThreadPoolExecutor(6) as readers:
        first, *others = readers.map(read, [path] * 6)
    assert all(other == first for other in others)


@pytest.mark.parametrize("name", PATCHED)
def test_what_was_concealed_is_marked(clips: dict[str, Path], damaged: Path, name: str) -> None:
    data = bytearray(clips[name].read_bytes())
    start, size = max(spots(clips[name]), key=lambda spot: spot[1])
    data[start + size // 2 : start + size // 2 + 40] = bytes(40)
    path = damaged.with_suffix(Path(name).suffix)
    path.write_bytes(data)
    frames = read(path)
    assert len(frames) + sum(frame.lost for frame in frames) == FRAMES
    assert 1 <= sum(Defect.CONCEALED in frame.defects for frame in frames) < FRAMES // 2
    with pytest.raises(DecodeError, match=r"damaged.*s\): the frame is damaged; .*--on-error pass"):
        read(path, on_error="fail")


def test_packets_that_are_refused_are_counted(damaged: Path) -> None:
    path = make_clip(damaged.with_suffix(".mkv"), Clip(gop=1))
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    for number in (6, 7, 11):
        data = data.replace(packets[number], b"\xff" * len(packets[number]))
    path.write_bytes(data)
    frames = read(path)
    assert [(frame.pts, frame.lost) for frame in frames if frame.lost] == [(267, 2), (334, 1)]
    assert len(frames) + 3 == len(packets)
    with pytest.raises(DecodeError, match=r"at pts 267 \(0\.267 s\): 2 packets before it gave no picture; get an"):
        read(path, on_error="fail")


# The headers of mp4 and mov are at their ends: without them they cannot be opened.
@pytest.mark.parametrize("name", [name for name in CLIPS if not name.endswith((".mp4", ".mov"))])
@pytest.mark.parametrize("share", [0.25, 0.6, 0.95])
def test_a_file_that_breaks_off_says_so(clips: dict[str, Path], damaged: Path, name: str, share: float) -> None:
    path = damaged.with_suffix(Path(name).suffix)
    path.write_bytes(clips[name].read_bytes()[: int(clips[name].stat().st_size * share)])
    frames = read(path)
    whole = read(clips[name])
    assert [frame.pts for frame in frames[:-1]] == [frame.pts for frame in whole[: len(frames) - 1]]
    if not name.endswith(".ts"):  # which promises nothing
        assert account(path, frames) >= FRAMES
        with pytest.raises(DecodeError, match=r"ends at .* its header promises|damaged|gave no picture"):
            read(path, on_error="fail")


def remux(source: Path, target: Path, change: Callable[[list[av.Packet]], list[av.Packet]]) -> Path:  # type: ignore[type-arg] # not generic outside PyAV's stubs
    options = {"movflags": "faststart"} if target.suffix == ".mp4" else {}
    with av.open(str(source)) as container, av.open(str(target), "w", container_options=options) as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        for packet in change([packet for packet in container.demux(video=0) if packet.size]):
            packet.stream = stream
            output.mux(packet)
    return target


def test_an_mp4_whose_pictures_are_cut_off_says_so(clips: dict[str, Path], damaged: Path) -> None:
    path = remux(clips["h264.mp4"], damaged.with_suffix(".mp4"), lambda packets: packets)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = read(path)
    assert 0 < len(frames) < FRAMES
    with open_source(path) as source:
        words = early_end(source.info, frames[-1].pts + frames[-1].duration)
    assert words is not None
    assert "promises 2.4" in words


def test_zeros_in_the_middle(clips: dict[str, Path], damaged: Path) -> None:
    for name, path in clips.items():
        data = bytearray(path.read_bytes())
        third = len(data) // 3
        data[third : 2 * third] = bytes(third)
        target = damaged.with_suffix(Path(name).suffix)
        target.write_bytes(data)
        frames = read(target)
        assert account(target, frames) >= FRAMES or Defect.RETIMED in {d for frame in frames for d in frame.defects}


def test_missing_packets_leave_a_hole(damaged: Path) -> None:
    whole = make_clip(damaged.with_suffix(".ts"), replace(CLIPS["h264.ts"], b_frames=0, gop=1))
    path = remux(whole, damaged.with_suffix(".cut.ts"), lambda packets: packets[:20] + packets[24:])
    frames = read(path)
    assert len(frames) == FRAMES - 4
    assert find_holes([frame.pts for frame in frames], [frame.duration for frame in frames]) == [
        (frames[19].pts + 3000, frames[19].pts + 5 * 3000)
    ]


def leap(packets: list[av.Packet]) -> list[av.Packet]:  # type: ignore[type-arg] # as above
    packets[30].pts = (packets[30].pts or 0) + 500_000
    return packets


def test_one_time_that_leaps_ahead_is_mended(clips: dict[str, Path], damaged: Path) -> None:
    path = remux(clips["h264.mkv"], damaged.with_suffix(".mkv"), leap)
    frames = read(path)
    whole = read(clips["h264.mkv"])
    assert max(abs(frame.pts - other.pts) for frame, other in zip(frames, whole, strict=True)) <= 1
    assert sum(frame.defects == (Defect.RETIMED,) for frame in frames) == 1
    for start in (5, 40, 70):
        assert read(path, Trim(frames[start].pts, None)) == frames[start:]
    with pytest.raises(DecodeError, match="the frame has no time, or one that does not follow the frame before"):
        read(path, on_error="fail")


def join(folder: Path, first: Clip, second: Clip) -> Path:
    parts = [make_clip(folder / f"{number}.ts", clip) for number, clip in enumerate((first, second))]
    path = folder / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


SHORT = replace(SMALL, time_base=Fraction(1, 90000), pts=range(180_000, 180_000 + 40 * 3000, 3000))


def test_times_that_begin_anew_go_on(tmp_path: Path) -> None:
    frames = read(join(tmp_path, SHORT, replace(SHORT, pts=range(7200, 7200 + 40 * 3000, 3000))))
    assert [frame.pts for frame in frames] == list(range(180_000, 180_000 + 80 * 3000, 3000))
    assert [bool(frame.defects) for frame in frames] == [False] * 40 + [True] * 40
    for start in (20, 39, 60):
        assert read(tmp_path / "joined.ts", Trim(frames[start].pts, None)) == frames[start:]


@pytest.mark.parametrize(
    "other",
    [replace(SHORT, size=(96, 128)), replace(SHORT, pix_fmt="yuv444p"), replace(SHORT, size=(32, 48), gop=1)],
    ids=["larger", "another format", "smaller"],
)
def test_a_change_of_format_is_made_like_the_first_frame(tmp_path: Path, other: Clip) -> None:
    path = join(tmp_path, SHORT, replace(other, pts=[tick + 40 * 3000 for tick in SHORT.pts]))
    with open_source(path) as source:
        shapes = {tuple(plane.shape for plane in frame.planes) for frame in source.frames()}
    assert shapes == {((64, 96), (32, 48), (32, 48))}
    frames = read(path)
    assert [frame.defects for frame in frames] == [()] * 40 + [(Defect.RESCALED,)] * 40
    for start in (20, 39, 41, 79):
        assert read(path, Trim(frames[start].pts, None)) == frames[start:]
    with pytest.raises(DecodeError, match="another size or pixel format than the first"):
        read(path, on_error="fail")


def test_what_is_scaled_looks_the_same(tmp_path: Path) -> None:
    """The second half is the same picture at twice the size."""
    path = join(tmp_path, replace(SHORT, pts=SHORT.pts[:1]), replace(SHORT, size=(128, 192), pts=[SHORT.pts[0] + 3000]))
    with open_source(path) as source:
        first, second = source.frames()
    assert abs(float(first.planes[0].mean()) - float(second.planes[0].mean())) < 12


def test_h264_in_avi_counts_its_frames(clips: dict[str, Path], damaged: Path) -> None:
    """AVI stores no times; with B-frames FFmpeg guesses wrong ones."""
    path = remux(clips["h264.ts"], damaged.with_suffix(".avi"), lambda packets: packets)
    frames = read(path)
    step = frames[1].pts
    assert [frame.pts for frame in frames] == [number * step for number in range(FRAMES)]
    assert not any(frame.defects or frame.lost for frame in frames)
    assert read(path, Trim(frames[50].pts, None)) == frames[50:]


def test_a_stream_may_begin_amid_a_group_of_pictures(clips: dict[str, Path], damaged: Path) -> None:
    """As recordings from air do: what comes before the first key frame was never complete."""
    path = remux(clips["mpeg2.ts"], damaged.with_suffix(".ts"), lambda packets: packets[3:])
    frames = read(path, on_error="fail")
    assert FRAMES - 12 <= len(frames) <= FRAMES - 3


def test_undamaged_clips_have_no_trouble(clips: dict[str, Path]) -> None:
    for path in clips.values():
        frames = read(path, on_error="fail")
        assert len(frames) == FRAMES
        assert sum(frame.lost for frame in frames) == 0


@pytest.mark.parametrize(
    "name",
    ["bt601-525_480_telecined_soft.mkv", "roadtrip-vp92-10bit.webm", "sample.avi", "yard_real_rain.mp4", "sample.flv"],
)
def test_real_files_from_amid(data_dir: Path, name: str) -> None:
    path = data_dir / "video" / name
    whole = read(path, on_error="fail")
    with open_source(path) as source:
        for start in range(3, len(whole), len(whole) // 4):
            assert see(source.frames(Trim(whole[start].pts, None))) == whole[start:]
