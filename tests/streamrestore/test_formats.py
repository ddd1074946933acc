"""Every open question of colour has one answer, and what was guessed is said."""

import pytest

from streamrestore.errors import UnsupportedError
from streamrestore.formats import ColourTags, colour_guesses, video_format
from streamrestore.frame import ChromaLocation, Matrix

TAGS = ColourTags()


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


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0, "RGB"),
        (8, "YCgCo"),
        (10, "BT.2020 constant luminance"),
        (14, "ICtCp"),
        (15, "IPT-C2"),
        (16, "YCgCo-Re"),
        (17, "YCgCo-Ro"),
    ],
)
def test_other_matrices_are_refused_by_name(code: int, name: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"colour matrix is {name}.*convert it first to BT\.709"):
        video_format(64, 48, "yuv444p", ColourTags(matrix=code), "h264")


def test_rgb_needs_no_matrix() -> None:
    assert video_format(64, 48, "gbrp", ColourTags(matrix=0), "h264").full_range


@pytest.mark.parametrize(
    ("name", "tag", "full"),
    [
        ("yuv420p", 0, False),
        ("yuv420p", 2, True),
        ("yuvj420p", 0, True),
        ("gray", 0, False),
        ("gray", 2, True),
        ("gbrp", 0, True),
        ("bgra", 0, True),
        ("pal8", 0, True),
        ("gbrp", 1, False),
    ],
)
def test_range_is_limited_unless_said_otherwise(name: str, tag: int, full: bool) -> None:
    assert video_format(64, 48, name, ColourTags(range=tag, matrix=2), "h264").full_range is full


def test_chroma_sits_where_the_codec_puts_it() -> None:
    assert video_format(64, 48, "yuv420p", TAGS, "mpeg1video").chroma_location is ChromaLocation.CENTER
    assert video_format(64, 48, "yuvj420p", TAGS, "mjpeg").chroma_location is ChromaLocation.CENTER
    assert video_format(64, 48, "yuvj420p", TAGS, "h264").chroma_location is ChromaLocation.LEFT
    assert video_format(64, 48, "yuv420p", TAGS, "dvvideo").chroma_location is ChromaLocation.TOP_LEFT


@pytest.mark.parametrize(
    ("name", "size", "tags", "guesses"),
    [
        ("yuv422p", (64, 48), ColourTags(1, 1, 1, 1), ()),
        ("yuv420p", (64, 48), ColourTags(1, 1, 1, 1), ("chroma location not tagged: taken as left, the codec's own",)),
        (
            "yuv420p",
            (1920, 1080),
            TAGS,
            (
                "matrix not tagged: taken as BT.709, for its size",
                "range not tagged: taken as limited",
                "chroma location not tagged: taken as left, the codec's own",
            ),
        ),
        (
            "yuvj444p",
            (64, 48),
            ColourTags(primaries=9),
            ("matrix not tagged: taken as BT.2020 non-constant luminance, as its primaries are",),
        ),
        ("gray", (64, 48), TAGS, ("range not tagged: taken as limited",)),
        ("bgra", (64, 48), TAGS, ("range not tagged: taken as full, as RGB is",)),
        ("gbrp", (64, 48), ColourTags(range=1), ()),
    ],
)
def test_guesses_are_said(name: str, size: tuple[int, int], tags: ColourTags, guesses: tuple[str, ...]) -> None:
    assert colour_guesses(video_format(*size, name, tags, "h264"), tags) == guesses


def test_a_tagged_chroma_location_is_no_guess() -> None:
    video = video_format(64, 48, "yuv420p", ColourTags(1, 1, 1, 1), "h264")
    assert colour_guesses(video, ColourTags(1, 1, 1, 1), ChromaLocation.LEFT) == ()


def test_hdr_is_a_matter_of_transfer() -> None:
    assert [ColourTags(transfer=code).hdr for code in (16, 18, 1, 2, 14)] == [True, True, False, False, False]
