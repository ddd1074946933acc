"""Numbered images, written as a scanner would: each an own file."""

from fractions import Fraction
from pathlib import Path

import av
from av.video.codeccontext import VideoCodecContext

from tests.clips import paint


def make_images(pattern: Path, codec: str, pix_fmt: str, *, first: int = 1, count: int = 4) -> Path:
    """Write images of 64 by 48 pixels, each another picture; gives the pattern."""
    pattern.parent.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (pattern.parent / (pattern.name % (first + index))).write_bytes(image(codec, pix_fmt, index))
    return pattern


def image(codec: str, pix_fmt: str, index: int = 0, size: tuple[int, int] = (64, 48)) -> bytes:
    """One image's file; ``size`` is (width, height)."""
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height = size
    encoder.pix_fmt, encoder.time_base = pix_fmt, Fraction(1, 25)
    frame = av.VideoFrame(*size, pix_fmt)
    paint(frame, index)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
