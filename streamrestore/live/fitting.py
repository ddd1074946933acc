"""Put pictures of any size and format into an output's, which stays what it is when a camera changes its own."""

from dataclasses import replace
from typing import cast

import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from streamrestore.frame import Matrix, Plane, Planes, VideoFormat
from streamrestore.planes import build_frame, copy_planes
from streamrestore.samples import sample_layout

_COLORSPACES = {
    Matrix.BT601: Colorspace.ITU601,
    Matrix.BT709: Colorspace.ITU709,
    Matrix.BT2020_NCL: Colorspace.BT2020,
    Matrix.FCC: Colorspace.FCC,
    Matrix.SMPTE240M: Colorspace.SMPTE240M,
}


def black_codes(video: VideoFormat) -> tuple[int, ...]:
    """The code that stands for no light or no colour, in each plane but alpha."""
    depth = video.pixels.depth
    black = 0 if video.full_range else 16 << (depth - 8)
    if video.pixels.model == "yuv":
        return (black, 1 << (depth - 1), 1 << (depth - 1))
    return (black,) * (3 if video.pixels.model == "rgb" else 1)


class Fitter:
    """Scales pictures into an output's size, aspect kept, with black bars. Passive; for one thread."""

    def __init__(self, output: VideoFormat) -> None:
        """Begin.

        Args:
            output: What all pictures become.
        """
        self._output = output
        self._converter = VideoReformatter()
        # One for each plane: each keeps the tables for its own sizes.
        self._scalers = [VideoReformatter() for _ in output.plane_shapes()]

    def fit(self, planes: Planes, video: VideoFormat) -> Planes:
        """A picture in the output's size and format.

        Pixels are taken as square, and pictures as they are stored, whatever turns or fields they have.

        Args:
            planes: ``[H, W]`` each, as `Planes` says; stays as it is.
            video: Its format.

        Returns:
            Planes of the output's format: the given ones where they are of that already, else new ones. Where
            there are bars, they are black, and opaque.
        """
        output = self._output
        planes = self._convert(planes, video)
        if (video.width, video.height) == (output.width, output.height):
            return planes
        inner, top, left = self._place(video)
        fitted = list[Plane]()
        opaque = 2**output.pixels.depth - 1
        codes = (*black_codes(output), *([opaque] if output.pixels.alpha else ()))
        for place, (plane, code) in enumerate(zip(planes, codes, strict=True)):
            whole = cast(Plane, np.full(output.plane_shapes()[place], code, plane.dtype))
            height, width = inner.plane_shapes()[place]
            down, right = output.pixels.chroma_shift if whole.shape != (output.height, output.width) else (0, 0)
            first_row, first_column = top >> down, left >> right
            scaled = self._scale(plane, place, (height, width))
            whole[first_row : first_row + height, first_column : first_column + width] = scaled
            fitted.append(whole)
        return tuple(fitted)

    def _place(self, video: VideoFormat) -> tuple[VideoFormat, int, int]:
        """The picture's size in the output, and its first row and column; edges lie between chroma samples."""
        output = self._output
        scale = min(output.height / video.height, output.width / video.width)
        down, right = (1 << shift for shift in output.pixels.chroma_shift)
        height = min(output.height, -(-max(round(video.height * scale), 1) // down) * down)
        width = min(output.width, -(-max(round(video.width * scale), 1) // right) * right)
        top = (output.height - height) // 2 // down * down
        left = (output.width - width) // 2 // right * right
        return replace(output, height=height, width=width), top, left

    def _convert(self, planes: Planes, video: VideoFormat) -> Planes:
        """The picture in its own size, with samples that mean what the output's do."""
        wanted = replace(self._output, height=video.height, width=video.width)
        if _meaning(video) == _meaning(wanted):
            return planes
        frame = self._converter.reformat(
            build_frame(planes, video),
            format=wanted.pixels.name,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
            src_colorspace=_COLORSPACES[video.matrix],
            dst_colorspace=_COLORSPACES[wanted.matrix],
            src_color_range=_range(video),
            dst_color_range=_range(wanted),
            threads=1,
        )
        return copy_planes(frame, sample_layout(wanted.pixels.name), wanted)

    def _scale(self, plane: Plane, place: int, size: tuple[int, int]) -> Plane:
        # As grey: swscale takes planes of RGB through YUV and back, and knows neither all depths nor all alphas.
        name = "gray" if plane.dtype == np.uint8 else "gray16le"
        layout = sample_layout(name)
        grey = replace(self._output, height=plane.shape[0], width=plane.shape[1], pixels=layout.pixels, full_range=True)
        frame = self._scalers[place].reformat(
            build_frame((plane,), grey),
            height=size[0],
            width=size[1],
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        (scaled,) = copy_planes(frame, layout, replace(grey, height=size[0], width=size[1]))
        # Bicubic weights are negative in part, so that edges may be overdone.
        return np.minimum(scaled, scaled.dtype.type(2**self._output.pixels.depth - 1), out=scaled)


def _meaning(video: VideoFormat) -> tuple[object, ...]:
    """What the samples of two formats must have in common for them to mean the same."""
    return video.pixels, video.full_range, video.matrix if video.pixels.model == "yuv" else None


def _range(video: VideoFormat) -> ColorRange:
    return ColorRange.JPEG if video.full_range or video.pixels.model == "rgb" else ColorRange.MPEG
