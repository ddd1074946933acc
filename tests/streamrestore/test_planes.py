"""Samples go into planes and back as FFmpeg lays them out, bit for bit, in every pixel format."""

from fractions import Fraction
from typing import cast

import av
import numpy as np
import pytest
from av.filter import Graph
from av.video.format import VideoFormat as AvFormat
from av.video.reformatter import VideoReformatter

from streamrestore.frame import ChromaLocation, Matrix, Planes, VideoFormat
from streamrestore.planes import build_frame, copy_planes
from streamrestore.samples import pixel_format, sample_layout
from tests.clips import paint
from tests.networks import noise_planes
from tests.streamrestore.test_samples import SUPPORTED

WRITABLE = [name for name in SUPPORTED if name != "pal8"]
BIG_ENDIAN = [name for name in WRITABLE if name.endswith("be")]
FULL_RANGE = [name for name in WRITABLE if name.startswith("yuvj")]
ROUNDED_BY_SWSCALE = [name for name in WRITABLE if name.startswith("gbrp") and "msb" in name]


def described(name: str, width: int = 37, height: int = 23) -> VideoFormat:
    return VideoFormat(width, height, pixel_format(name), Matrix.BT709, False, ChromaLocation.LEFT)


def random_planes(video: VideoFormat) -> Planes:
    batch = noise_planes(video.plane_shapes(), 1, depth=video.pixels.depth)
    return cast(Planes, tuple(plane[0] for plane in batch))


def same(some: Planes, others: Planes) -> bool:
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(some, others, strict=True))


def rows(frame: av.VideoFrame, plane: int, word: str) -> np.ndarray:
    """What FFmpeg stores, without the padding of its lines."""
    stored = np.frombuffer(memoryview(frame.planes[plane]), word)
    return stored.reshape(frame.planes[plane].height, -1)


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("size", [(37, 23), (36, 24), (5, 3), (1, 1)])
def test_samples_come_back_bit_for_bit(name: str, size: tuple[int, int]) -> None:
    video = described(name, *size)
    planes = random_planes(video)
    for plane in planes:
        plane.flags.writeable = False
    frame = build_frame(planes, video, name)
    assert (frame.format.name, frame.width, frame.height) == (name, *size)
    back = copy_planes(frame, sample_layout(name), video)
    assert same(back, planes)
    assert all(plane.flags.c_contiguous and plane.flags.writeable and plane.dtype.isnative for plane in back)
    twin = build_frame(back, video)
    assert twin.format.name == video.pixels.name
    assert same(copy_planes(twin, sample_layout(video.pixels.name), video), planes)


@pytest.mark.parametrize("name", [name for name in WRITABLE if name not in (*FULL_RANGE, *ROUNDED_BY_SWSCALE)])
def test_layouts_are_ffmpegs_own(name: str) -> None:
    video = described(name, 36, 24)
    planes = random_planes(video)
    planar = build_frame(planes, video)
    try:
        packed = VideoReformatter().reformat(planar, format=name, threads=1)
        unpacked = VideoReformatter().reformat(build_frame(planes, video, name), format=video.pixels.name, threads=1)
    except OSError:
        # swscale does not know it; the next test does.
        assert name in BIG_ENDIAN
        return
    assert packed.format.name == name
    assert same(copy_planes(packed, sample_layout(name), video), planes)
    assert same(copy_planes(unpacked, sample_layout(video.pixels.name), video), planes)


@pytest.mark.parametrize("name", BIG_ENDIAN)
def test_big_endian_is_little_endian_swapped(name: str) -> None:
    video = described(name)
    planes = random_planes(video)
    little, big = (build_frame(planes, video, form) for form in (f"{name.removesuffix('be')}le", name))
    word = sample_layout(name).word[1:]
    for plane in range(len(big.planes)):
        assert np.array_equal(rows(big, plane, f">{word}"), rows(little, plane, f"<{word}"))


@pytest.mark.parametrize("name", ROUNDED_BY_SWSCALE)
def test_high_bits_hold_the_sample(name: str) -> None:
    video = described(name)
    planes = random_planes(video)
    frame = build_frame(planes, video, name)
    for number, plane in enumerate(planes):
        stored = rows(frame, number, ">u2" if name.endswith("be") else "<u2")
        assert np.array_equal(stored[:, :37], plane << (16 - video.pixels.depth))


def test_grey_and_alpha_take_turns() -> None:
    video = described("ya8")
    planes = random_planes(video)
    assert np.array_equal(rows(build_frame(planes, video), 0, "u1")[:, :74].reshape(23, 37, 2), np.dstack(planes))


@pytest.mark.parametrize("name", FULL_RANGE)
def test_full_range_is_no_layout(name: str) -> None:
    assert sample_layout(name) == sample_layout(name.replace("j", ""))


def test_a_palette_is_looked_up_as_swscale_does() -> None:
    generator = np.random.default_rng(0)
    frame = av.VideoFrame(36, 24, "pal8")
    frame.planes[0].update(generator.integers(0, 256, frame.planes[0].buffer_size, np.uint8).tobytes())
    frame.planes[1].update(generator.integers(0, 256, frame.planes[1].buffer_size, np.uint8).tobytes())
    video = described("pal8", 36, 24)
    ours = copy_planes(frame, sample_layout("pal8"), video)
    theirs = VideoReformatter().reformat(frame, format="bgra", threads=1)
    assert same(ours, copy_planes(theirs, sample_layout("bgra"), video))


@pytest.mark.parametrize("name", ["rgb0", "x2rgb10be", "vuyx", "xv36le", "yuv420p", "p010le"])
def test_frames_do_not_show_what_was_in_memory_before(name: str) -> None:
    video = described(name)
    planes = random_planes(video)
    used = build_frame(planes, video, name)
    for plane in used.planes:
        plane.update(b"\xff" * plane.buffer_size)
    del used, plane  # its memory goes to the next frame of this size
    one, two = build_frame(planes, video, name), build_frame(planes, video, name)
    assert [bytes(plane) for plane in one.planes] == [bytes(plane) for plane in two.planes]


@pytest.mark.parametrize(("name", "shift"), [("nv12", 0), ("p010le", 6), ("p016le", 0)])
def test_odd_sizes_keep_the_last_column_of_chroma(name: str, shift: int) -> None:
    frame = av.VideoFrame(5, 3, name)
    chroma = np.frombuffer(memoryview(frame.planes[1]), np.uint8 if name == "nv12" else np.uint16)
    chroma[:] = np.arange(chroma.size) << shift
    line = chroma.size // 2
    _, blue, red = copy_planes(frame, sample_layout(name), described(name, 5, 3))
    assert blue.tolist() == [[0, 2, 4], [line, line + 2, line + 4]]
    assert (red - blue == 1).all()
    assert blue.shape == (2, 3)


def test_pictures_stored_bottom_up_are_turned_around() -> None:
    graph = Graph()
    source = graph.add_buffer(width=36, height=24, format=AvFormat("yuv420p"), time_base=Fraction(1))
    graph.link_nodes(source, graph.add("vflip"), graph.add("buffersink")).configure()
    frame = av.VideoFrame(36, 24, "yuv420p")
    paint(frame, 3)
    video = described("yuv420p", 36, 24)
    upright = copy_planes(frame, sample_layout("yuv420p"), video)
    graph.push(frame)
    flipped = graph.pull()
    assert isinstance(flipped, av.VideoFrame)
    assert flipped.planes[0].line_size < 0
    for one, other in zip(upright, copy_planes(flipped, sample_layout("yuv420p"), video), strict=True):
        np.testing.assert_array_equal(one[::-1], other)
        assert other.flags.c_contiguous
