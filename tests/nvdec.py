"""NVDEC's stand-in where there is no GPU: software decodes, and what it gives is laid out as NVDEC's pictures are."""

from collections.abc import Callable
from typing import cast

import pytest
from av.codec import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from streamrestore import decoding, nvdec

LAYOUTS = {"yuv420p": "nv12", "yuvj420p": "nv12", "yuv420p10le": "p010le"}
"""What NVDEC gives of each."""


def laid_out(image: VideoFrame) -> VideoFrame:
    """The same samples as NVDEC's pictures hold them."""
    full = image.format.name.startswith("yuvj")
    kept = ColorRange.JPEG if full else ColorRange.MPEG
    # One thread: with more, swscale was seen to skip rows of small frames.
    moved = image.reformat(format=LAYOUTS[image.format.name], src_color_range=kept, dst_color_range=kept, threads=1)
    moved.color_range = image.color_range
    return moved


class StandIn:
    """A decoder as `streamrestore.nvdec` asks for one, that is on no GPU."""

    def __init__(self, codec: str, change: Callable[[VideoFrame], VideoFrame] = laid_out) -> None:
        context = CodecContext.create("libdav1d" if codec == "av1" else codec, "r")
        object.__setattr__(self, "_context", context)
        object.__setattr__(self, "_change", change)

    def __getattr__(self, name: str) -> object:
        return getattr(self._context, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._context, name, value)

    def decode(self, packet: "Packet[VideoStream] | None") -> list[VideoFrame]:
        context = cast(VideoCodecContext, self._context)
        return [cast(Callable[[VideoFrame], VideoFrame], self._change)(image) for image in context.decode(packet)]


def stand_in(patch: pytest.MonkeyPatch, change: Callable[[VideoFrame], VideoFrame] = laid_out) -> None:
    """Have every GPU's decoder be a `StandIn`, from the border to PyAV's hardware contexts on."""
    patch.setattr(nvdec, "_on_gpu", lambda codec, gpu: StandIn(codec, change))


def refuse_software(patch: pytest.MonkeyPatch) -> None:
    """Have a test fail that decodes in software."""
    patch.setattr(decoding, "picture_decoder", lambda stream: pytest.fail("decoded in software"))
