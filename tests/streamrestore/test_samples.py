"""Every pixel format of FFmpeg has its planes, or is refused for a reason that is said."""

import pytest
from av.video.format import VideoFormat as AvFormat
from av.video.format import names as every_name  # type: ignore[attr-defined] # its stub forgot them

from streamrestore.errors import UnsupportedError
from streamrestore.frame import PixelFormat
from streamrestore.samples import names_of, pixel_format, sample_layout

_DEVICES = {
    *("amf", "cuda", "d3d11", "d3d11va_vld", "d3d12", "drm_prime", "dxva2_vld", "mediacodec", "mmal", "ohcodec"),
    *("opencl", "qsv", "vaapi", "vdpau", "videotoolbox_vld", "vulkan"),
}
"""Handles of memory elsewhere, which only hardware's decoders give."""


def refusal(name: str) -> str:
    """Why a pixel format is refused; nothing if it is not."""
    try:
        sample_layout(name)
    except UnsupportedError as error:
        return str(error)
    return ""


SUPPORTED = sorted(name for name in every_name if not refusal(name))


def test_every_format_is_supported_or_refused_for_a_reason() -> None:
    refused = {name: refusal(name) for name in every_name.difference(SUPPORTED)}
    assert all(f"pixel format {name} cannot be restored" in words for name, words in refused.items())
    assert all("convert it first to" in words for words in refused.values())
    assert {name for name, words in refused.items() if "no known layout" in words} <= _DEVICES | {"uyyvyy411"}
    assert len(SUPPORTED) > 150


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("monow", "fewer than 8 bits"),
        ("rgb555be", "fewer than 8 bits"),
        ("bgr8", "fewer than 8 bits"),
        ("grayf32le", "floating-point numbers or more than 16 bits"),
        ("gbrap32be", "floating-point numbers or more than 16 bits"),
        ("rgba128le", "floating-point numbers or more than 16 bits"),
        ("xyz12be", "CIE XYZ"),
        ("bayer_rggb16le", "mosaic of a camera's sensor"),
        ("cuda", "no known layout"),
    ],
)
def test_refusals_name_their_cause(name: str, why: str) -> None:
    assert why in refusal(name)


@pytest.mark.parametrize("name", [name for name in SUPPORTED if name != "pal8"])
def test_no_format_is_taken_for_another(name: str) -> None:
    ours, theirs = pixel_format(name), AvFormat(name)
    colours = [component for component in theirs.components if not component.is_alpha]
    assert {component.bits for component in theirs.components} == {ours.depth}
    assert ours.alpha == (len(colours) < len(theirs.components))
    assert ours.model == ("rgb" if theirs.is_rgb else "yuv" if len(colours) == 3 else "grey")
    assert (theirs.chroma_height(16), theirs.chroma_width(16)) == tuple(16 >> shift for shift in ours.chroma_shift)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("yuv420p", PixelFormat("yuv420p", "yuv", 8, (1, 1))),
        ("yuvj411p", PixelFormat("yuv411p", "yuv", 8, (0, 2))),
        ("yuv440p12be", PixelFormat("yuv440p12le", "yuv", 12, (1, 0))),
        ("p210le", PixelFormat("yuv422p10le", "yuv", 10, (0, 1))),
        ("yuva444p12le", PixelFormat("yuva444p12le", "yuv", 12, alpha=True)),
        ("gbrp14le", PixelFormat("gbrp14le", "rgb", 14)),
        ("x2bgr10be", PixelFormat("gbrp10le", "rgb", 10)),
        ("bgra", PixelFormat("gbrap", "rgb", 8, alpha=True)),
        ("pal8", PixelFormat("gbrap", "rgb", 8, alpha=True)),
        ("gray9be", PixelFormat("gray9le", "grey", 9)),
        ("ya8", PixelFormat("ya8", "grey", 8, alpha=True)),
        ("ya16be", PixelFormat("ya16le", "grey", 16, alpha=True)),
    ],
)
def test_planes_of_a_format(name: str, pixels: PixelFormat) -> None:
    assert pixel_format(name) == pixels


def test_what_holds_the_same_samples() -> None:
    assert names_of(pixel_format("yuv420p")) == ("yuv420p", "nv12", "nv21")
    assert names_of(pixel_format("gray16le")) == ("gray16le", "gray16be")
    assert names_of(pixel_format("gbrap")) == ("gbrap", "bgra", "rgba", "argb", "abgr")
    assert names_of(pixel_format("ya16le")) == ("ya16le", "ya16be")
    # Packed RGB is what some encoders turn into YUV: they are asked for it last.
    assert names_of(pixel_format("gbrp10le"))[:3] == ("gbrp10le", "gbrp10be", "gbrp10msble")
    for name in SUPPORTED:
        assert name in names_of(pixel_format(name)) or name == "pal8" or name.startswith("yuvj")
