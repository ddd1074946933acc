"""YUV as images hold it: by the source's own matrix, range and siting, rounded once; and other depths."""

from dataclasses import replace

import numpy as np
import pytest

from streamrestore.errors import ConfigError
from streamrestore.formats import ColourTags, video_format
from streamrestore.frame import ChromaLocation, Matrix, VideoFormat
from streamrestore.rgb import image_pixels, output_tags, to_image
from streamrestore.samples import pixel_format
from tests.h273 import decoded
from tests.networks import noise_planes

LIMITED = ColourTags(1)


def video(name: str, tags: ColourTags = LIMITED) -> VideoFormat:
    return video_format(64, 48, name, tags, "h264")


def planes_of(form: VideoFormat, seed: int = 0) -> tuple[np.ndarray, ...]:
    return tuple(plane[0] for plane in noise_planes(form.plane_shapes(), 1, depth=form.pixels.depth, seed=seed))


@pytest.mark.parametrize("matrix", Matrix)
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "yuv444p12le", "yuv440p", "yuva420p"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("fields", [False, True])
def test_yuv_is_rgb_by_its_own_matrix(matrix: Matrix, name: str, full: bool, fields: bool) -> None:
    form = replace(video(name), matrix=matrix, full_range=full, chroma_location=ChromaLocation.TOP_LEFT, fields=fields)
    planes = planes_of(form)
    for depth in ("", "10le", "16le"):
        pixels = pixel_format(("gbrap" if form.pixels.alpha else "gbrp") + depth)
        red, green, blue = decoded(planes[:3], form) * (2**pixels.depth - 1)
        written = to_image(planes, form, pixels)
        for mine, exact in zip(written, (green, blue, red), strict=False):
            assert np.abs(mine - exact).max() <= 0.5 + 0.01
        if form.pixels.alpha:
            exact = planes[3] * ((2**pixels.depth - 1) / 255)
            assert np.abs(written[3] - exact).max() <= 0.5


@pytest.mark.parametrize(("name", "wide"), [("gbrp10le", "gbrp16le"), ("gbrp12le", "gbrp16le"), ("gray", "gray16le")])
def test_more_bits_say_the_same_and_come_back(name: str, wide: str) -> None:
    form, wider = video(name, ColourTags(2)), pixel_format(wide)
    planes = planes_of(form)
    written = to_image(planes, form, wider)
    factor = 65535 / (2**form.pixels.depth - 1)
    assert all(np.abs(mine - plane * factor).max() <= 0.5 for mine, plane in zip(written, planes, strict=True))
    back = to_image(written, replace(form, pixels=wider), form.pixels)
    assert all(np.array_equal(*pair) for pair in zip(back, planes, strict=True))


def test_limited_range_stays_limited() -> None:
    (written,) = to_image((np.array([[16, 235]], np.uint8),), video("gray"), pixel_format("gray16le"))
    assert written.tolist() == [[16 << 8, 235 << 8]]


@pytest.mark.parametrize(
    ("encoder", "source", "kind"),
    [
        ("png", "gbrp", "gbrp"),
        ("png", "yuv420p", "gbrp"),
        ("png", "yuv420p10le", "gbrp16le"),
        ("png", "gray10le", "gray16le"),
        ("png", "gbrap12le", "gbrap16le"),
        ("tiff", "yuv422p10le", "gbrp16le"),
        ("tiff", "gray", "gray"),
        ("dpx", "yuv422p10le", "gbrp10le"),
        ("dpx", "gbrp12le", "gbrp12le"),
        ("dpx", "gbrp14le", "gbrp16le"),
    ],
)
def test_images_hold_what_their_source_says(encoder: str, source: str, kind: str) -> None:
    assert image_pixels(encoder, video(source), None).name == kind


def test_what_an_image_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"png cannot hold gbrp as gbrp10le: take gbrp, gbrp16le"):
        image_pixels("png", video("gbrp"), pixel_format("gbrp10le"))
    with pytest.raises(ConfigError, match=r"dpx cannot hold ya8 without loss: write \.png"):
        image_pixels("dpx", video("ya8"), None)


def test_what_became_rgb_is_tagged_as_rgb() -> None:
    tags = ColourTags(1, 1, 9, 16)
    assert output_tags(tags, video("yuv420p"), pixel_format("gbrp")) == ColourTags(2, 0, 9, 16)
    assert output_tags(tags, video("yuv420p"), pixel_format("yuv420p10le")) == tags
