"""What ITU-T H.273 says samples mean, in float64 and as plainly as can be, to hold the real thing against."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from streamrestore.frame import ChromaLocation, Matrix, Planes, VideoFormat

Samples = NDArray[np.float64]
Network = Callable[[Samples], Samples]
"""``[3, H, W]`` RGB in [0, 1] to the same, before it is clamped."""

_K_R_K_B = {
    Matrix.BT601: (0.299, 0.114),
    Matrix.BT709: (0.2126, 0.0722),
    Matrix.BT2020_NCL: (0.2627, 0.0593),
    Matrix.FCC: (0.30, 0.11),
    Matrix.SMPTE240M: (0.212, 0.087),
}

# Chroma sample locations, (down, right) in luma samples for 4:2:0; a field's rows are two rows apart.
_SITES = {
    ChromaLocation.LEFT: (0.5, 0.0),
    ChromaLocation.CENTER: (0.5, 0.5),
    ChromaLocation.TOP_LEFT: (0.0, 0.0),
    ChromaLocation.TOP: (0.0, 0.5),
    ChromaLocation.BOTTOM_LEFT: (1.0, 0.0),
    ChromaLocation.BOTTOM: (1.0, 0.5),
}


@dataclass(frozen=True)
class _Axis:
    """Weights between luma and chroma samples along one axis."""

    up: Samples
    """``[luma, chroma]``."""
    down: Samples
    """``[chroma, luma]``."""


def forward_matrix(matrix: Matrix) -> Samples:
    """R'G'B' to Y' C'b C'r."""
    k_r, k_b = _K_R_K_B[matrix]
    luma = np.array([k_r, 1 - k_r - k_b, k_b])
    blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - k_b))
    red = (np.array([1, 0, 0]) - luma) / (2 * (1 - k_r))
    return np.stack([luma, blue, red])


def mixed(matrix: Samples, channels: Samples) -> Samples:
    """A 3 by 3 matrix times every pixel of ``[3, H, W]``."""
    result: Samples = np.einsum("ij,jhw->ihw", matrix, channels)
    return result


def scales(video: VideoFormat) -> list[tuple[float, float]]:
    """(code of zero, codes from 0 to 1) of each plane but alpha."""
    depth = video.pixels.depth
    step = 2.0 ** (depth - 8)
    full = 2.0**depth - 1
    luma = (0.0, full) if video.full_range else (16 * step, 219 * step)
    chroma = (128 * step, full if video.full_range else 224 * step)
    return {"yuv": [luma, chroma, chroma], "rgb": [luma] * 3, "grey": [luma]}[video.pixels.model]


def restored(planes: Planes, video: VideoFormat, network: Network) -> list[Samples]:
    """One frame's samples after a network changed it, clamped but not rounded; alpha too."""
    if not video.fields:
        return _restored(planes, video, network, None)
    fields = [
        _restored(tuple(plane[parity::2] for plane in planes), video.picture, network, parity) for parity in (0, 1)
    ]
    return [
        np.stack(both, axis=1).reshape(plane.shape)
        for both, plane in zip(zip(*fields, strict=True), planes, strict=True)
    ]


def encoded(rgb: Samples, video: VideoFormat) -> Planes:
    """A ``[3, H, W]`` picture in [0, 1] as samples; what is opaque where there is alpha."""
    changes = _from_rgb(rgb, video, None)
    depth = video.pixels.depth
    dtype = np.uint8 if depth == 8 else np.uint16
    planes = [
        np.clip(np.rint(zero + scale * plane), 0, 2**depth - 1).astype(dtype)
        for plane, (zero, scale) in zip(changes, scales(video), strict=True)
    ]
    if video.pixels.alpha:
        planes.append(np.full((video.height, video.width), 2**depth - 1, dtype))
    return cast(Planes, tuple(planes))


def decoded(planes: Planes, video: VideoFormat) -> Samples:
    """One frame's ``[3, H, W]`` RGB in [0, 1]."""
    if not video.fields:
        return np.clip(_to_rgb(planes, video, None), 0, 1)
    picture = np.empty((3, video.height, video.width))
    for parity in (0, 1):
        picture[:, parity::2] = _to_rgb(tuple(plane[parity::2] for plane in planes), video.picture, parity)
    return np.clip(picture, 0, 1)


def _restored(planes: Planes, video: VideoFormat, network: Network, parity: int | None) -> list[Samples]:
    rgb = np.clip(_to_rgb(planes, video, parity), 0, 1)
    residual = np.clip(network(rgb), 0, 1) - rgb
    changes = _from_rgb(residual, video, parity)
    result = [
        np.clip(plane.astype(np.float64) + change * scale, 0, 2**video.pixels.depth - 1)
        for plane, change, (_, scale) in zip(planes, changes, scales(video), strict=False)
    ]
    return [*result, *(plane.astype(np.float64) for plane in planes[len(result) :])]


def _to_rgb(planes: Planes, video: VideoFormat, parity: int | None) -> Samples:
    values = [(plane - zero) / scale for plane, (zero, scale) in zip(planes, scales(video), strict=False)]
    if video.pixels.model == "grey":
        return np.stack(values * 3)
    if video.pixels.model == "rgb":
        green, blue, red = values
        return np.stack([red, green, blue])
    rows, columns = _sampling(video, parity)
    ycc = np.stack([values[0], *(rows.up @ plane @ columns.up.T for plane in values[1:])])
    return mixed(np.linalg.inv(forward_matrix(video.matrix)).astype(np.float64), ycc)


def _from_rgb(rgb: Samples, video: VideoFormat, parity: int | None) -> list[Samples]:
    if video.pixels.model == "rgb":
        red, green, blue = rgb
        return [green, blue, red]
    luma, cb, cr = mixed(forward_matrix(video.matrix), rgb)
    if video.pixels.model == "grey":
        return [luma]
    rows, columns = _sampling(video, parity)
    return [luma, *(rows.down @ plane @ columns.down.T for plane in (cb, cr))]


def _sampling(video: VideoFormat, parity: int | None) -> tuple[_Axis, _Axis]:
    """How chroma samples lie among the luma samples, down and right."""
    down, right = _SITES[video.chroma_location]
    rows, columns = (2**shift for shift in video.pixels.chroma_shift)
    return _axis(video.height, rows, down, parity), _axis(video.width, columns, right, None)


@cache
def _axis(length: int, factor: int, site: float, parity: int | None) -> _Axis:
    # The table is for two luma samples to a chroma sample; with more, the same share of the way.
    site *= factor - 1
    index = np.arange(-(-length // factor), dtype=np.float64)
    places = site + factor * index
    if parity is not None:
        # Where the frame's rows of chroma lie that are the field's, counted in rows of the field.
        places = (site + factor * (2 * index + parity) - parity) / 2
    return _Axis(_interpolating(length, places), _averaging(length, places, factor))


def _interpolating(length: int, places: Samples) -> Samples:
    """``[luma, chroma]`` weights of the straight line between the two nearest chroma samples."""
    unit = np.eye(len(places))
    return np.stack([np.interp(np.arange(length), places, row) for row in unit], axis=1)


def _averaging(length: int, places: Samples, factor: int) -> Samples:
    """``[chroma, luma]`` weights: the share of each luma sample in what a chroma sample stands for."""
    weights = np.zeros((len(places), length))
    for row, place in enumerate(places):
        for luma in range(-factor, length + 2 * factor):
            overlap = min(luma + 0.5, place + factor / 2) - max(luma - 0.5, place - factor / 2)
            weights[row, min(max(luma, 0), length - 1)] += max(0.0, overlap) / factor
    return weights
