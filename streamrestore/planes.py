"""Carry samples between FFmpeg's frames and our planes, bit for bit."""

from typing import cast

import numpy as np
from av import VideoFrame
from av.video.plane import VideoPlane
from numpy.typing import NDArray

from streamrestore.frame import Plane, Planes, VideoFormat
from streamrestore.samples import SampleLayout, sample_layout

_Words = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]


def _rows(plane: VideoPlane, word: str) -> _Words:
    """A view of ``[height, line size]`` words, top row first; FFmpeg pads its lines."""
    rows = cast(_Words, np.frombuffer(cast(bytes, plane), word).reshape(plane.height, -1))
    return rows[::-1] if plane.line_size < 0 else rows


def _looked_up(frame: VideoFrame) -> _Words:
    """The pixels that a frame with a palette stands for, row after row."""
    palette = np.frombuffer(cast(bytes, frame.planes[1]), np.uint32)
    return palette[_rows(frame.planes[0], "u1")].view(np.uint8)


def copy_planes(frame: VideoFrame, layout: SampleLayout, video: VideoFormat) -> Planes:
    """Copy a decoded frame's samples out of FFmpeg's memory.

    Args:
        frame: Of the pixel format that ``layout`` describes, and of the size of ``video``.
        layout: Where its samples lie.
        video: The format of the result.

    Returns:
        Planes as `Planes` says, contiguous and owned by the caller.
    """
    largest = 2**layout.pixels.depth - 1
    rows = [_looked_up(frame)] if layout.palette else [_rows(plane, layout.word) for plane in frame.planes]
    planes = list[Plane]()
    for place, (height, width) in zip(layout.places, video.plane_shapes(), strict=True):
        words = rows[place.plane][:height, place.first :: place.step][:, :width]
        # The shift, even by nothing, is what copies; order "C" also turns bottom-up rows around.
        samples = np.right_shift(words, place.shift, order="C")
        planes.append(cast(Plane, (samples & largest).astype(np.uint16) if layout.shares_words else samples))
    return tuple(planes)


def build_frame(planes: Planes, video: VideoFormat, pixel_format_name: str | None = None) -> VideoFrame:
    """Copy planes into a new frame of FFmpeg's.

    Args:
        planes: ``[H, W]`` each, as `Planes` says; may be read-only.
        video: Their format.
        pixel_format_name: What the frame shall be: one of `names_of` their pixels. None takes the plainest.

    Returns:
        A frame without time or tags. What lies between its samples is zero.
    """
    name = pixel_format_name or video.pixels.name
    layout = sample_layout(name)
    frame = VideoFrame(video.width, video.height, name)
    rows = [_rows(plane, layout.word) for plane in frame.planes]
    for words in rows:
        words[:] = 0
    for place, plane in zip(layout.places, planes, strict=True):
        height, width = plane.shape
        target = rows[place.plane][:height, place.first :: place.step][:, :width]
        target |= np.left_shift(plane.astype(target.dtype), place.shift) if place.shift else plane
    return frame
