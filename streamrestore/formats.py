"""Say what a stream's samples mean: how they lie in planes, and which colours they stand for.

Pure: names and code points in, values of `streamrestore.frame` out. Every guess about colour
that the tags leave open is made here, once.
"""

import re
from dataclasses import dataclass
from enum import IntEnum

from streamrestore.errors import UnsupportedError
from streamrestore.frame import ChromaLocation, Matrix, PixelFormat, VideoFormat


class ColourRange(IntEnum):
    """FFmpeg's AVColorRange."""

    UNSPECIFIED = 0
    LIMITED = 1
    FULL = 2


UNSPECIFIED = 2
"""The ITU-T H.273 code point for matrix, primaries and transfer that were not said."""

IDENTITY_MATRIX = 0
PQ, HLG = 16, 18
"""H.273 transfer characteristics of the two HDR systems."""


@dataclass(frozen=True, slots=True)
class ColourTags:
    """A stream's colour tags as found, unresolved: what the output is tagged with."""

    range: int = ColourRange.UNSPECIFIED
    """A `ColourRange`."""
    matrix: int = UNSPECIFIED
    """H.273 code point, as are the next two."""
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    @property
    def hdr(self) -> bool:
        """Whether the transfer is PQ or HLG."""
        return self.transfer in (PQ, HLG)


_PLANAR = re.compile(r"(?P<family>gray|gbrp|yuv(?P<sampling>420|422|444|440|411|410)p)((?P<depth>9|10|12|14|16)le)?")
_CHROMA_SHIFTS = {"420": (1, 1), "422": (0, 1), "444": (0, 0), "440": (1, 0), "411": (0, 2), "410": (2, 2)}


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """Where the samples of a decoded frame lie, so that they can be put into planes of their own."""

    planar: str
    """FFmpeg's name of the planar format with the same samples."""
    places: tuple[tuple[int, int, int], ...]
    """(plane, first sample, step) of each planar plane's samples, in samples along a row."""
    shift: int = 0
    """Unused low bits below each sample."""


_SEMI_PLANAR = ((0, 0, 1), (1, 0, 2), (1, 1, 2))
_YUYV = ((0, 0, 2), (0, 1, 4), (0, 3, 4))
_RGB, _BGR = ((0, 1, 3), (0, 2, 3), (0, 0, 3)), ((0, 1, 3), (0, 0, 3), (0, 2, 3))

# Packed and semi-planar formats. Not left to swscale: with several threads it was seen to skip
# rows of small frames, and its own answer depends on the build.
_PACKED = {
    "nv12": SampleLayout("yuv420p", _SEMI_PLANAR),
    "nv16": SampleLayout("yuv422p", _SEMI_PLANAR),
    "nv24": SampleLayout("yuv444p", _SEMI_PLANAR),
    "nv21": SampleLayout("yuv420p", ((0, 0, 1), (1, 1, 2), (1, 0, 2))),
    "nv42": SampleLayout("yuv444p", ((0, 0, 1), (1, 1, 2), (1, 0, 2))),
    "p010le": SampleLayout("yuv420p10le", _SEMI_PLANAR, 6),
    "p012le": SampleLayout("yuv420p12le", _SEMI_PLANAR, 4),
    "p016le": SampleLayout("yuv420p16le", _SEMI_PLANAR),
    "p210le": SampleLayout("yuv422p10le", _SEMI_PLANAR, 6),
    "p410le": SampleLayout("yuv444p10le", _SEMI_PLANAR, 6),
    "yuyv422": SampleLayout("yuv422p", _YUYV),
    "y210le": SampleLayout("yuv422p10le", _YUYV, 6),
    "y212le": SampleLayout("yuv422p12le", _YUYV, 4),
    "uyvy422": SampleLayout("yuv422p", ((0, 1, 2), (0, 0, 4), (0, 2, 4))),
    "yvyu422": SampleLayout("yuv422p", ((0, 0, 2), (0, 3, 4), (0, 1, 4))),
    "rgb24": SampleLayout("gbrp", _RGB),
    "bgr24": SampleLayout("gbrp", _BGR),
    "rgb0": SampleLayout("gbrp", ((0, 1, 4), (0, 2, 4), (0, 0, 4))),
    "bgr0": SampleLayout("gbrp", ((0, 1, 4), (0, 0, 4), (0, 2, 4))),
    "0rgb": SampleLayout("gbrp", ((0, 2, 4), (0, 3, 4), (0, 1, 4))),
    "0bgr": SampleLayout("gbrp", ((0, 2, 4), (0, 1, 4), (0, 3, 4))),
    "rgb48le": SampleLayout("gbrp16le", _RGB),
    "bgr48le": SampleLayout("gbrp16le", _BGR),
}
_ALPHA = re.compile(r"yuva|gbrap|rgba|bgra|argb|abgr|ya8|ya16|pal8|ayuv|vuya|uyva")

_MATRICES = {
    1: Matrix.BT709,
    4: Matrix.FCC,
    5: Matrix.BT601,
    6: Matrix.BT601,
    7: Matrix.SMPTE240M,
    9: Matrix.BT2020_NCL,
}
_UNSUPPORTED_MATRICES = {
    IDENTITY_MATRIX: "RGB in planes that are said to be YCbCr",
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "SMPTE ST 2085",
    12: "chromaticity-derived non-constant luminance",
    13: "chromaticity-derived constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
# Primaries that leave no doubt which matrix was meant. Others (film, DCI-P3) do not.
_MATRIX_OF_PRIMARIES = {
    1: Matrix.BT709,
    4: Matrix.FCC,
    5: Matrix.BT601,
    6: Matrix.BT601,
    7: Matrix.SMPTE240M,
    9: Matrix.BT2020_NCL,
}
# Codecs that put chroma in the middle by their specification. H.264 and HEVC say left, whatever the range.
_CENTERED_CHROMA = frozenset({"mpeg1video", "mjpeg", "h261", "h263", "flv", "theora"})


def sample_layout(name: str) -> SampleLayout:
    """Where the samples of a pixel format lie.

    Args:
        name: FFmpeg's name, such as ``yuv420p10le``, ``yuvj420p`` or ``nv12``.

    Raises:
        UnsupportedError: The format has alpha, or no planar twin that keeps every sample.
    """
    if _ALPHA.match(name):
        raise UnsupportedError(
            f"the video has an alpha channel or a palette (pixel format {name}), which would be lost: "
            "convert it first to a format without alpha, such as yuv444p or gbrp"
        )
    if name in _PACKED:
        return _PACKED[name]
    planar = name.replace("yuvj", "yuv")
    if not _PLANAR.fullmatch(planar):
        raise UnsupportedError(
            f"pixel format {name} cannot be restored without loss: convert it first to planar YUV, "
            "RGB or grey of 8 to 16 bits, such as yuv420p, yuv422p10le, gbrp or gray"
        )
    count = 1 if planar.startswith("gray") else 3
    return SampleLayout(planar, tuple((plane, 0, 1) for plane in range(count)))


def pixel_format(name: str) -> PixelFormat:
    """The planar layout in which frames of a pixel format are restored.

    Args:
        name: FFmpeg's name of what the decoder gives.

    Returns:
        The layout with the same samples. Its ``name`` differs from the argument where that is
        packed or semi-planar, and for ``yuvj*``, whose full range is a matter of colour.

    Raises:
        UnsupportedError: As `sample_layout`.
    """
    planar = sample_layout(name).planar
    match = _PLANAR.fullmatch(planar)
    assert match is not None
    depth = int(match["depth"] or 8)
    if match["sampling"] is None:
        return PixelFormat(planar, "grey" if match["family"] == "gray" else "rgb", depth)
    return PixelFormat(planar, "yuv", depth, _CHROMA_SHIFTS[match["sampling"]])


def video_format(width: int, height: int, pixel_format_name: str, tags: ColourTags, codec: str) -> VideoFormat:
    """What the frames of a stream have in common, with every open question of colour decided.

    Args:
        width: Pixels.
        height: Pixels.
        pixel_format_name: FFmpeg's name of what the decoder gives.
        tags: Colour tags of the stream.
        codec: FFmpeg's name of the codec, which decides where its chroma sits.

    Raises:
        UnsupportedError: The pixel format or the colour matrix cannot be restored.
    """
    pixels = pixel_format(pixel_format_name)
    return VideoFormat(
        width=width,
        height=height,
        pixels=pixels,
        matrix=_matrix(tags, width, height) if pixels.model == "yuv" else Matrix.BT709,
        full_range=_full_range(tags, pixel_format_name, pixels),
        chroma_location=ChromaLocation.CENTER if codec in _CENTERED_CHROMA else ChromaLocation.LEFT,
    )


def _matrix(tags: ColourTags, width: int, height: int) -> Matrix:
    if tags.matrix in _UNSUPPORTED_MATRICES:
        raise UnsupportedError(
            f"the video's colour matrix is {_UNSUPPORTED_MATRICES[tags.matrix]}, which cannot be restored: "
            "convert it first to BT.709 or BT.2020 non-constant luminance"
        )
    guess = Matrix.BT709 if width >= 1280 or height > 576 else Matrix.BT601
    return _MATRICES.get(tags.matrix) or _MATRIX_OF_PRIMARIES.get(tags.primaries) or guess


def _full_range(tags: ColourTags, name: str, pixels: PixelFormat) -> bool:
    if tags.range == ColourRange.UNSPECIFIED:
        return pixels.model == "rgb" or name.startswith("yuvj")
    return tags.range == ColourRange.FULL
