"""Tests of time codes: they survive what encoders, restorers and scalers do, and are never misread."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.live.timecode import INDEX_BITS, TIME_BITS, Luma, TimeCode, paint, plane_of, read

codes = st.builds(TimeCode, st.integers(0, 2**INDEX_BITS - 1), st.integers(0, 2**TIME_BITS - 1))


def picture_of(code: TimeCode, size: tuple[int, int] = (180, 320)) -> av.VideoFrame:
    """A picture with noise below its code."""
    height, width = size
    frame = av.VideoFrame(width, height, "yuv420p")
    random = np.random.default_rng(code.index)
    for number in range(3):
        plane = plane_of(frame, number)
        plane[:] = random.integers(0, 256, plane.shape)
    paint(plane_of(frame), code)
    return frame


def through_x264(frame: av.VideoFrame) -> av.VideoFrame:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "28"}
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoded = [picture for packet in [*encoder.encode(frame), None] for picture in decoder.decode(packet)]
    assert len(decoded) == 1
    return decoded[0]


@settings(max_examples=50, deadline=None)
@given(codes, st.sampled_from([0.5, 1, 2]), st.integers(-30, 30))
def test_a_code_survives_x264_scaling_and_a_change_of_all_samples(code: TimeCode, scale: float, change: int) -> None:
    coded = through_x264(picture_of(code))
    scaled = coded.reformat(width=round(320 * scale), height=round(180 * scale))
    luma = np.clip(plane_of(scaled).astype(int) + change, 0, 255).astype(np.uint8)
    assert read(luma) == code


@pytest.mark.parametrize("size", [(90, 160), (120, 162), (181, 319), (480, 640), (1080, 1920)])
def test_a_code_survives_at_any_size(size: tuple[int, int]) -> None:
    code = TimeCode(2**31 + 12345, 2**39 + 6789)
    height, width = size
    luma = np.zeros(size, np.uint8)
    paint(luma, code)
    assert read(luma) == code
    even = (height // 2 * 2, width // 2 * 2)
    assert read(plane_of(through_x264(picture_of(code, even)))) == code


@given(codes, st.integers(0, 5), st.integers(0, 15))
def test_a_code_with_a_wrong_block_is_none(code: TimeCode, row: int, column: int) -> None:
    luma = np.zeros((180, 320), np.uint8)
    paint(luma, code)
    block = luma[row * 15 : (row + 1) * 15, column * 20 : (column + 1) * 20]
    block[:] = 255 - block
    assert read(luma) is None


@pytest.mark.parametrize(
    "luma",
    [
        np.full((180, 320), 128, np.uint8),
        np.random.default_rng(0).integers(0, 256, (180, 320), np.uint8),
        np.tile(np.linspace(0, 255, 320).astype(np.uint8), (180, 1)),
        np.zeros((4, 4), np.uint8),
    ],
    ids=["grey", "noise", "ramp", "tiny"],
)
def test_a_picture_without_a_code_is_none(luma: Luma) -> None:
    assert read(luma) is None
