"""Say which colours a stream's samples stand for.

Pure: names and code points in, values of `streamrestore.frame` out. Every guess about colour
that the tags leave open is made here, once.
"""

from dataclasses import dataclass
from enum import IntEnum

from streamrestore.errors import UnsupportedError
from streamrestore.frame import ChromaLocation, Matrix, PixelFormat, VideoFormat
from streamrestore.samples import pixel_format


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
# Where a codec's specification or FFmpeg's decoder puts chroma. H.264 and HEVC say left, whatever the range.
_CHROMA_OF_CODECS = {
    **dict.fromkeys(("mpeg1video", "mjpeg", "h261", "h263", "flv", "theora"), ChromaLocation.CENTER),
    "dvvideo": ChromaLocation.TOP_LEFT,
}


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
        chroma_location=_CHROMA_OF_CODECS.get(codec, ChromaLocation.LEFT),
    )


def colour_guesses(
    video: VideoFormat, tags: ColourTags, chroma_location: ChromaLocation | None = None
) -> tuple[str, ...]:
    """What `video_format` decided without being told, in words for the user.

    Args:
        video: What it decided.
        tags: The tags it was given.
        chroma_location: Where the stream's headers say that 4:2:0 chroma sits; None if they do not.

    Returns:
        A line for each guess, such as "matrix not tagged: taken as BT.709, for its size".
    """
    guesses = list[str]()
    if video.pixels.model == "yuv" and tags.matrix not in _MATRICES:
        why = "as its primaries are" if tags.primaries in _MATRIX_OF_PRIMARIES else "for its size"
        guesses.append(f"matrix not tagged: taken as {_WORDS[video.matrix]}, {why}")
    # The name of a pixel format may say that YUV is in full range, never that it is in limited.
    if tags.range == ColourRange.UNSPECIFIED and (video.pixels.model == "rgb" or not video.full_range):
        guesses.append(f"range not tagged: taken as {'full, as RGB is' if video.full_range else 'limited'}")
    if video.pixels.chroma_shift == (1, 1) and chroma_location is None:
        guesses.append(f"chroma location not tagged: taken as {video.chroma_location}, the codec's own")
    return tuple(guesses)


_WORDS = {
    Matrix.BT601: "BT.601",
    Matrix.BT709: "BT.709",
    Matrix.BT2020_NCL: "BT.2020 non-constant luminance",
    Matrix.FCC: "FCC",
    Matrix.SMPTE240M: "SMPTE ST 240",
}


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
