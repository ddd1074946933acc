"""Carry samples between FFmpeg's frames and our planes, bit for bit."""

from typing import cast

import numpy as np
from av import VideoFrame
from av.video.plane import VideoPlane

from streamrestore.formats import SampleLayout
from streamrestore.frame import Plane, Planes, VideoFormat


def _rows(plane: VideoPlane, video: VideoFormat) -> Plane:
    """A view of ``[height, line size]`` samples, top row first; FFmpeg pads its lines."""
    dtype = np.uint8 if video.pixels.depth <= 8 else np.uint16
    rows = np.frombuffer(cast(bytes, plane), dtype).reshape(plane.height, -1)
    return cast(Plane, rows[::-1] if plane.line_size < 0 else rows)


def copy_planes(frame: VideoFrame, layout: SampleLayout, video: VideoFormat) -> Planes:
    """Copy a decoded frame's samples out of FFmpeg's memory.

    Args:
        frame: Of the pixel format that ``layout`` describes, and of the size of ``video``.
        layout: Where its samples lie.
        video: The format of the result.

    Returns:
        Planes as `Planes` says, contiguous and owned by the caller.
    """
    shift = layout.shift
    # The shift, even by nothing, is what copies; order "C" also turns bottom-up rows around.
    return tuple(
        cast(
            Plane, np.right_shift(_rows(frame.planes[index], video)[:height, first::step][:, :width], shift, order="C")
        )
        for (index, first, step), (height, width) in zip(layout.places, video.plane_shapes(), strict=True)
    )


def build_frame(planes: Planes, video: VideoFormat) -> VideoFrame:
    """Copy planes into a new frame of FFmpeg's.

    Args:
        planes: ``[H, W]`` each, as `Planes` says; may be read-only.
        video: Their format.

    Returns:
        A frame of pixel format ``video.pixels.name``, without time or tags.
    """
    frame = VideoFrame(video.width, video.height, video.pixels.name)
    for target, plane in zip(frame.planes, planes, strict=True):
        _rows(target, video)[:, : target.width] = plane
    return frame
