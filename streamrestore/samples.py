"""Where the samples of every pixel format lie, so that they can be put into planes and back.

Pure: FFmpeg's names in, values out. Not left to swscale: with several threads it was seen to
skip rows of small frames, and its own answer depends on the build.
"""

import re
from dataclasses import dataclass

from streamrestore.errors import UnsupportedError
from streamrestore.frame import PixelFormat


@dataclass(frozen=True, slots=True)
class Place:
    """Where the samples of one plane lie in FFmpeg's frame."""

    plane: int
    """FFmpeg's, counted from 0."""
    first: int = 0
    """Words of a row before the first sample."""
    step: int = 1
    """Words from one sample to the next."""
    shift: int = 0
    """Bits below the sample in its word."""


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """Where the samples of a frame lie."""

    pixels: PixelFormat
    """The planes they make."""
    places: tuple[Place, ...]
    """Of each of our planes."""
    word: str
    """numpy's type of what FFmpeg stores, such as ``>u2``."""
    palette: bool = False
    """Whether the first plane holds places in a table of pixels, the second, and those are laid out as said."""

    @property
    def shares_words(self) -> bool:
        """Whether several samples lie in one word."""
        return self.word.endswith("4")


_PLANAR = re.compile(r"(gray|ya|gbra?p|yuva?(?P<sampling>420|422|444|440|411|410)p)(?P<depth>8|9|10|12|14|16)?")
_CHROMA_SHIFTS = {"420": (1, 1), "422": (0, 1), "444": (0, 0), "440": (1, 0), "411": (0, 2), "410": (2, 2)}

# What a group of pixels is made of, in words: (same samples in planes, order of the words, bits
# below each sample). X is a gap. Of each name with more than 8 bits there is an "le" and a "be".
_PACKED = {
    "yuyv422": ("yuv422p", "YUYV", 0),
    "uyvy422": ("yuv422p", "UYVY", 0),
    "yvyu422": ("yuv422p", "YVYU", 0),
    "y210": ("yuv422p10", "YUYV", 6),
    "y212": ("yuv422p12", "YUYV", 4),
    "y216": ("yuv422p16", "YUYV", 0),
    "vyu444": ("yuv444p", "VYU", 0),
    "vuyx": ("yuv444p", "VUYX", 0),
    "vuya": ("yuva444p", "VUYA", 0),
    "uyva": ("yuva444p", "UYVA", 0),
    "ayuv": ("yuva444p", "AYUV", 0),
    "ayuv64": ("yuva444p16", "AYUV", 0),
    "xv36": ("yuv444p12", "UYVX", 4),
    "xv48": ("yuv444p16", "UYVX", 0),
    "bgr0": ("gbrp", "BGRX", 0),
    "rgb0": ("gbrp", "RGBX", 0),
    "0rgb": ("gbrp", "XRGB", 0),
    "0bgr": ("gbrp", "XBGR", 0),
    "rgb24": ("gbrp", "RGB", 0),
    "bgr24": ("gbrp", "BGR", 0),
    "rgb48": ("gbrp16", "RGB", 0),
    "bgr48": ("gbrp16", "BGR", 0),
    "bgra": ("gbrap", "BGRA", 0),
    "rgba": ("gbrap", "RGBA", 0),
    "argb": ("gbrap", "ARGB", 0),
    "abgr": ("gbrap", "ABGR", 0),
    "rgba64": ("gbrap16", "RGBA", 0),
    "bgra64": ("gbrap16", "BGRA", 0),
    # FFmpeg has no planar grey with alpha, so ours bears the packed one's name.
    "ya8": ("ya8", "YA", 0),
    "ya16": ("ya16", "YA", 0),
}
# Luma in a plane of its own; the words of the second plane in this order.
_SEMI_PLANAR = {
    "nv12": ("yuv420p", "UV", 0),
    "nv21": ("yuv420p", "VU", 0),
    "nv16": ("yuv422p", "UV", 0),
    "nv24": ("yuv444p", "UV", 0),
    "nv42": ("yuv444p", "VU", 0),
    "nv20": ("yuv422p10", "UV", 0),
    "p010": ("yuv420p10", "UV", 6),
    "p012": ("yuv420p12", "UV", 4),
    "p016": ("yuv420p16", "UV", 0),
    "p210": ("yuv422p10", "UV", 6),
    "p212": ("yuv422p12", "UV", 4),
    "p216": ("yuv422p16", "UV", 0),
    "p410": ("yuv444p10", "UV", 6),
    "p412": ("yuv444p12", "UV", 4),
    "p416": ("yuv444p16", "UV", 0),
}
# Three samples of 10 bits in a word of 32: (planar, where each begins).
_SHARED = {
    "x2rgb10": ("gbrp10", {"R": 20, "G": 10, "B": 0}),
    "x2bgr10": ("gbrp10", {"B": 20, "G": 10, "R": 0}),
    "xv30": ("yuv444p10", {"V": 20, "Y": 10, "U": 0}),
    "v30x": ("yuv444p10", {"V": 22, "Y": 12, "U": 2}),
}
# Planar, with the gap below each sample instead of above.
_HIGH_BITS = {
    "yuv444p10msb": ("yuv444p10", 6),
    "yuv444p12msb": ("yuv444p12", 4),
    "gbrp10msb": ("gbrp10", 6),
    "gbrp12msb": ("gbrp12", 4),
}

_REFUSED = {
    r"mono[wb]|(rgb|bgr)(4|8|4_byte|444..|555..|565..)": "has fewer than 8 bits a sample",
    r".*(f16|f32|32|96|128)[lb]e": "has floating-point numbers or more than 16 bits a sample",
    r"xyz12..": "is CIE XYZ, as in digital cinema",
    r"bayer_.*": "is the mosaic of a camera's sensor, not yet a picture",
}
_INSTEAD = "convert it first to planar YUV, RGB or grey of 8 to 16 bits, such as yuv420p, yuv422p10le, gbrp or gray"


def sample_layout(name: str) -> SampleLayout:
    """Where the samples of a pixel format lie.

    Args:
        name: FFmpeg's name, such as ``yuv420p10le``, ``yuvj420p``, ``nv12`` or ``pal8``.

    Returns:
        The layout. The name of its ``pixels`` differs from the argument where that is packed, semi-planar,
        big-endian or has a palette, and for ``yuvj*``, whose full range is a matter of colour.

    Raises:
        UnsupportedError: Planes of integers of 8 to 16 bits cannot hold every sample.
    """
    layout = _LAYOUTS.get(name) or _planar_layout(name)
    if layout is None:
        why = next((why for refused, why in _REFUSED.items() if re.fullmatch(refused, name)), "is in no known layout")
        raise UnsupportedError(f"pixel format {name} cannot be restored without loss, since it {why}: {_INSTEAD}")
    return layout


def pixel_format(name: str) -> PixelFormat:
    """The planes in which frames of a pixel format are restored.

    Args:
        name: FFmpeg's name of what the decoder gives.

    Raises:
        UnsupportedError: As `sample_layout`.
    """
    return sample_layout(name).pixels


def names_of(pixels: PixelFormat) -> tuple[str, ...]:
    """FFmpeg's pixel formats that can be written with exactly these samples, the planar one first."""
    swapped = (f"{pixels.name.removesuffix('le')}be",) if pixels.depth > 8 else ()
    others = (name for name, layout in _LAYOUTS.items() if layout.pixels == pixels and not layout.palette)
    return tuple(dict.fromkeys((pixels.name, *swapped, *others)))


def _planar_layout(name: str, shift: int = 0) -> SampleLayout | None:
    """The layout of a planar format; None if the name is of no such format."""
    match = _PLANAR.fullmatch(name.replace("yuvj", "yuv").removesuffix("le").removesuffix("be"))
    if match is None:
        return None
    depth = int(match["depth"] or 8)
    family, sampling = match[1], match["sampling"]
    pixels = PixelFormat(
        name=match[0] if depth == 8 else f"{match[0]}le",
        model="yuv" if sampling else "rgb" if family.startswith("gb") else "grey",
        depth=depth,
        chroma_shift=_CHROMA_SHIFTS.get(sampling, (0, 0)),
        alpha=family == "ya" or family.startswith(("yuva", "gbra")),
    )
    places = tuple(Place(plane, shift=shift) for plane in range(len(_letters(pixels))))
    return SampleLayout(pixels, places, _word(name, depth))


def _letters(pixels: PixelFormat) -> str:
    """What each of our planes holds, as the tables above abbreviate it."""
    return {"yuv": "YUV", "rgb": "GBR", "grey": "Y"}[pixels.model] + "A" * pixels.alpha


def _word(name: str, depth: int) -> str:
    return "u1" if depth == 8 else ">u2" if name.endswith("be") else "<u2"


def _with_ends(stem: str, planar: str) -> tuple[tuple[str, PixelFormat], ...]:
    """The little-endian and big-endian names of a format, or its one name, and its planes."""
    layout = _planar_layout(planar)
    assert layout is not None
    names = (stem,) if layout.pixels.depth == 8 else (f"{stem}le", f"{stem}be")
    return tuple((name, layout.pixels) for name in names)


def _all_layouts() -> dict[str, SampleLayout]:
    """Every layout that is not plainly planar, by name; of equal ones the best to write comes first."""
    layouts = dict[str, SampleLayout]()
    for stem, (planar, shift) in _HIGH_BITS.items():
        for name, pixels in _with_ends(stem, planar):
            places = tuple(Place(plane, shift=shift) for plane in range(3))
            layouts[name] = SampleLayout(pixels, places, _word(name, pixels.depth))
    for stem, (planar, order, shift) in _SEMI_PLANAR.items():
        for name, pixels in _with_ends(stem, planar):
            chroma = (Place(1, order.index(letter), 2, shift) for letter in "UV")
            layouts[name] = SampleLayout(pixels, (Place(0, shift=shift), *chroma), _word(name, pixels.depth))
    for stem, (planar, order, shift) in _PACKED.items():
        for name, pixels in _with_ends(stem, planar):
            places = tuple(
                Place(0, order.index(letter), len(order) // order.count(letter), shift) for letter in _letters(pixels)
            )
            layouts[name] = SampleLayout(pixels, places, _word(name, pixels.depth))
    for stem, (planar, begins) in _SHARED.items():
        for name, pixels in _with_ends(stem, planar):
            places = tuple(Place(0, shift=begins[letter]) for letter in _letters(pixels))
            layouts[name] = SampleLayout(pixels, places, ">u4" if name.endswith("be") else "<u4")
    colours = layouts["bgra"]
    layouts["pal8"] = SampleLayout(colours.pixels, colours.places, colours.word, palette=True)
    return layouts


_LAYOUTS = _all_layouts()
