"""Layouts agree with FFmpeg's own description, and every open question of colour has one answer."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.filter import Graph
from av.video.format import VideoFormat as AvFormat
from av.video.reformatter import VideoReformatter

from streamrestore.errors import UnsupportedError
from streamrestore.formats import _PACKED, ColourTags, pixel_format, sample_layout, video_format
from streamrestore.frame import ChromaLocation, Matrix, VideoFormat
from streamrestore.planes import build_frame, copy_planes
from tests.clips import paint

DEPTHS = ("", "9le", "10le", "12le", "14le", "16le")
PLANAR = [
    *(f"yuv{sampling}p{depth}" for sampling in ("420", "422", "444") for depth in DEPTHS),
    *("yuv440p", "yuv440p10le", "yuv440p12le", "yuv411p", "yuv410p"),
    *(f"gray{depth}" for depth in DEPTHS),
    *(f"gbrp{depth}" for depth in DEPTHS),
]
TAGS = ColourTags()


def described(name: str, width: int = 37, height: int = 23) -> VideoFormat:
    return video_format(width, height, name, TAGS, "h264")


@pytest.mark.parametrize("name", PLANAR)
def test_planar_layouts_match_ffmpegs(name: str) -> None:
    ours, theirs = described(name), av.VideoFrame(37, 23, name)
    assert ours.pixels.name == name
    assert ours.pixels.depth == theirs.format.components[0].bits
    assert ours.plane_shapes() == tuple((plane.height, plane.width) for plane in theirs.planes)


@pytest.mark.parametrize("name", ["yuvj420p", "yuvj422p", "yuvj444p"])
def test_full_range_is_no_layout(name: str) -> None:
    video = described(name)
    assert (video.pixels.name, video.full_range) == (name.replace("j", ""), True)


@pytest.mark.parametrize("name", PLANAR)
def test_planes_come_back_bit_for_bit(name: str) -> None:
    video = described(name)
    frame = av.VideoFrame(37, 23, name)
    paint(frame, 1)
    planes = copy_planes(frame, sample_layout(name), video)
    assert [plane.shape for plane in planes] == list(video.plane_shapes())
    assert {plane.dtype.itemsize for plane in planes} == {1 if video.pixels.depth == 8 else 2}
    for plane in planes:
        plane.flags.writeable = False
    again = copy_planes(build_frame(planes, video), sample_layout(name), video)
    assert all(np.array_equal(one, other) for one, other in zip(planes, again, strict=True))


@pytest.mark.parametrize("name", sorted(_PACKED))
def test_packed_layouts_unpack_as_ffmpeg_does(name: str) -> None:
    video = described(name, 36, 24)
    planar = av.VideoFrame(36, 24, video.pixels.name)
    paint(planar, 2)
    packed = VideoReformatter().reformat(planar, format=name, threads=1)
    assert packed.format.name == name
    expected = copy_planes(planar, sample_layout(video.pixels.name), video)
    for ours, theirs in zip(copy_planes(packed, sample_layout(name), video), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


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


@pytest.mark.parametrize("name", ["yuva420p", "yuva444p10le", "rgba", "bgra", "argb", "pal8", "ya8", "gbrap"])
def test_alpha_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"alpha channel or a palette \(pixel format {name}\).*convert"):
        pixel_format(name)


@pytest.mark.parametrize("name", ["monow", "xyz12le", "bayer_rggb8", "gbrpf32le", "yuv420p10be", "rgb565le", "cuda"])
def test_layouts_that_would_lose_something_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"pixel format {name} cannot be restored without loss"):
        pixel_format(name)


def test_no_format_of_ffmpeg_is_misread() -> None:
    for name in (*PLANAR, *_PACKED):
        theirs = AvFormat(name)
        assert not any(component.is_alpha for component in theirs.components)
        assert pixel_format(name).depth == max(component.bits for component in theirs.components)
        assert (pixel_format(name).model == "rgb") == theirs.is_rgb


@pytest.mark.parametrize(
    ("tags", "size", "matrix"),
    [
        (ColourTags(matrix=1), (720, 576), Matrix.BT709),
        (ColourTags(matrix=6), (1920, 1080), Matrix.BT601),
        (ColourTags(matrix=4), (720, 480), Matrix.FCC),
        (ColourTags(matrix=7), (1920, 1035), Matrix.SMPTE240M),
        (ColourTags(matrix=9), (3840, 2160), Matrix.BT2020_NCL),
        (ColourTags(primaries=9), (720, 576), Matrix.BT2020_NCL),
        (ColourTags(primaries=1), (720, 576), Matrix.BT709),
        (ColourTags(primaries=5), (1920, 1080), Matrix.BT601),
        (ColourTags(primaries=12), (1920, 1080), Matrix.BT709),
        (ColourTags(), (1280, 544), Matrix.BT709),
        (ColourTags(), (720, 577), Matrix.BT709),
        (ColourTags(), (1279, 576), Matrix.BT601),
    ],
)
def test_matrix_by_tag_then_primaries_then_size(tags: ColourTags, size: tuple[int, int], matrix: Matrix) -> None:
    assert video_format(*size, "yuv420p", tags, "h264").matrix is matrix


@pytest.mark.parametrize("code", [0, 8, 10, 14, 16])
def test_matrices_that_are_not_linear_are_refused(code: int) -> None:
    with pytest.raises(UnsupportedError, match=r"colour matrix is .*convert it first"):
        video_format(64, 48, "yuv444p", ColourTags(matrix=code), "h264")


@pytest.mark.parametrize(
    ("name", "tag", "full"),
    [
        ("yuv420p", 0, False),
        ("yuv420p", 2, True),
        ("yuvj420p", 0, True),
        ("gray", 0, False),
        ("gray", 2, True),
        ("gbrp", 0, True),
        ("gbrp", 1, False),
    ],
)
def test_range_is_limited_unless_said_otherwise(name: str, tag: int, full: bool) -> None:
    assert video_format(64, 48, name, ColourTags(range=tag, matrix=2), "h264").full_range is full


def test_chroma_sits_where_the_codec_puts_it() -> None:
    assert video_format(64, 48, "yuv420p", TAGS, "mpeg1video").chroma_location is ChromaLocation.CENTER
    assert video_format(64, 48, "yuvj420p", TAGS, "mjpeg").chroma_location is ChromaLocation.CENTER
    assert video_format(64, 48, "yuvj420p", TAGS, "h264").chroma_location is ChromaLocation.LEFT


def test_hdr_is_a_matter_of_transfer() -> None:
    assert [ColourTags(transfer=code).hdr for code in (16, 18, 1, 2, 14)] == [True, True, False, False, False]
