"""Source planes to RGB for the network, and the network's change back onto the planes.

The way back converts only the *residual* (what the network changed), with the linear part of
the matrix, and adds it to the source's own samples, rounded once. So whatever the network
leaves alone comes out bit for bit, in every matrix, range, depth and subsampling.

Matrices and ranges are those of ITU-T H.273 sections 8.3 and 8.4. All arithmetic is float32.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from streamrestore.frame import ChromaLocation, Matrix, VideoFormat

LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    Matrix.BT601: (0.299, 0.114),
    Matrix.BT709: (0.2126, 0.0722),
    Matrix.BT2020_NCL: (0.2627, 0.0593),
    Matrix.FCC: (0.30, 0.11),
    Matrix.SMPTE240M: (0.212, 0.087),
}
"""(K_R, K_B) of each matrix, ITU-T H.273 table 4."""

Parity = Literal[0, 1]
"""Which field of a frame a picture is: 0 its even rows, 1 its odd ones."""

_FIELDS: tuple[tuple[Parity, slice], ...] = ((0, slice(0, None, 2)), (1, slice(1, None, 2)))
_FRAME: tuple[tuple[Parity | None, slice], ...] = ((None, slice(None)),)
"""The parity and the rows of each picture that a frame is restored as."""

_SITES = {
    ChromaLocation.LEFT: (0.5, 0.0),
    ChromaLocation.CENTER: (0.5, 0.5),
    ChromaLocation.TOP_LEFT: (0.0, 0.0),
    ChromaLocation.TOP: (0.0, 0.5),
    ChromaLocation.BOTTOM_LEFT: (1.0, 0.0),
    ChromaLocation.BOTTOM: (1.0, 0.5),
}
"""How far (down, right) a chroma sample lies on the way from the first to the last luma sample it covers."""


@dataclass(frozen=True, slots=True)
class _Quantisation:
    """Code values: ``luma_zero + luma_scale * Y`` and ``chroma_zero + chroma_scale * C``."""

    luma_zero: float
    luma_scale: float
    chroma_zero: float
    chroma_scale: float
    largest: int


def _quantisation(video: VideoFormat) -> _Quantisation:
    depth = video.pixels.depth
    largest, middle, step = 2**depth - 1, 2.0 ** (depth - 1), 2.0 ** (depth - 8)
    if video.full_range:
        return _Quantisation(0, largest, middle, largest, largest)
    return _Quantisation(16 * step, 219 * step, middle, 224 * step, largest)


def _sites(video: VideoFormat, parity: Parity | None) -> tuple[float, float]:
    """Where the first chroma sample lies, (down, right) in luma samples from the first of these."""
    down, right = _SITES[video.chroma_location]
    if parity is not None:
        # Rows of chroma belong to the fields in turn, so in a field they lie nearer to one side: H.264 figure 6-2.
        down = (down + parity) / 2
    rows, columns = (1 << shift for shift in video.pixels.chroma_shift)
    return down * (rows - 1), right * (columns - 1)


def _upsample(chroma: Tensor, axis: int, length: int, shift: int, site: float) -> Tensor:
    """Interpolate one axis linearly to ``length`` samples, honouring where chroma sits."""
    if shift == 0:
        return chroma
    position = torch.arange(length, device=chroma.device, dtype=torch.float32)
    position = ((position - site) / (1 << shift)).clamp(0, chroma.shape[axis] - 1)
    below = position.floor().long()
    above = (below + 1).clamp(max=chroma.shape[axis] - 1)
    shape = [1] * chroma.ndim
    shape[axis] = length
    weight = (position - below).view(shape)
    return torch.lerp(chroma.index_select(axis, below), chroma.index_select(axis, above), weight)


def _downsample(planes: Tensor, axis: int, shift: int, site: float) -> Tensor:
    """Average one axis of ``[N, 1, H, W]`` to the chroma grid, edges replicated.

    Each chroma sample is the mean over as much of the picture as it stands for, with itself in
    the middle. So wherever it sits, all luma samples weigh alike.
    """
    if shift == 0:
        return planes
    factor = 1 << shift
    before = after = factor // 2
    luma = torch.arange(-before, factor + after, dtype=torch.float32, device=planes.device)
    taps = ((factor + 1) / 2 - (luma - site).abs()).clamp(0, 1) / factor
    after += -planes.shape[axis] % factor
    if axis == 2:
        padded = F.pad(planes, (0, 0, before, after), mode="replicate")
        return F.conv2d(padded, taps.view(1, 1, -1, 1), stride=(factor, 1))
    padded = F.pad(planes, (before, after, 0, 0), mode="replicate")
    return F.conv2d(padded, taps.view(1, 1, 1, -1), stride=(1, factor))


def to_rgb(planes: tuple[Tensor, ...], video: VideoFormat, *, parity: Parity | None = None) -> Tensor:
    """Convert a chunk's planes to what the network takes.

    Args:
        planes: ``[K, H, W]`` each, uint8 or uint16, as `Planes` orders them.
        video: What the samples mean, and the size of the picture.
        parity: Which field the planes are, if they are one of interlaced frames.

    Returns:
        ``[K, 3, H, W]`` float32 RGB in [0, 1], clamped; still gamma-coded, as networks are
        trained. Grey gives three equal channels, alpha is left out. On the planes' device.
    """
    code = _quantisation(video)
    samples = [plane.to(torch.float32) for plane in planes[:3]]
    luma = (samples[0] - code.luma_zero) / code.luma_scale
    if video.pixels.model == "grey":
        return luma.clamp(0, 1).unsqueeze(1).expand(-1, 3, -1, -1)
    if video.pixels.model == "rgb":
        green, blue, red = ((plane - code.luma_zero) / code.luma_scale for plane in samples)
        return torch.stack((red, green, blue), dim=1).clamp(0, 1)

    down, right = video.pixels.chroma_shift
    vertical, horizontal = _sites(video, parity)
    cb, cr = (
        _upsample(
            _upsample((plane - code.chroma_zero) / code.chroma_scale, 1, video.height, down, vertical),
            2,
            video.width,
            right,
            horizontal,
        )
        for plane in samples[1:]
    )
    k_r, k_b = LUMA_WEIGHTS[video.matrix]
    red = luma + 2 * (1 - k_r) * cr
    blue = luma + 2 * (1 - k_b) * cb
    green = (luma - k_r * red - k_b * blue) / (1 - k_r - k_b)
    return torch.stack((red, green, blue), dim=1).clamp(0, 1)


def add_residual(
    planes: tuple[Tensor, ...],
    residual: Tensor,
    video: VideoFormat,
    *,
    strength: float = 1.0,
    parity: Parity | None = None,
) -> tuple[Tensor, ...]:
    """Add the network's change to the source planes, rounded once.

    Args:
        planes: ``[K, H, W]`` each, uint8 or uint16, as `Planes` orders them.
        residual: ``[K, 3, H, W]`` float32 RGB, the network's output minus its input, both
            clamped to [0, 1].
        video: What the samples mean.
        strength: Factor on the residual; 0 keeps the source, 1 is the network's result.
        parity: As for `to_rgb`.

    Returns:
        Planes of the same shapes and dtypes, clamped to [0, 2^depth - 1]; alpha as it came.
    """
    code = _quantisation(video)
    red, green, blue = (residual * strength).unbind(1)
    model = video.pixels.model
    if model == "rgb":
        changes = [green * code.luma_scale, blue * code.luma_scale, red * code.luma_scale]
    else:
        k_r, k_b = LUMA_WEIGHTS[video.matrix]
        luma = k_r * red + (1 - k_r - k_b) * green + k_b * blue
        changes = [luma * code.luma_scale]
        if model == "yuv":
            down, right = video.pixels.chroma_shift
            vertical, horizontal = _sites(video, parity)
            for primary, weight in ((blue, k_b), (red, k_r)):
                chroma = ((primary - luma) / (2 * (1 - weight))).unsqueeze(1)
                chroma = _downsample(_downsample(chroma, 2, down, vertical), 3, right, horizontal)
                changes.append(chroma.squeeze(1) * code.chroma_scale)
    colour, alpha = planes[: len(changes)], planes[len(changes) :]
    restored = (
        (plane.to(torch.float32) + change).round().clamp(0, code.largest).to(plane.dtype)
        for plane, change in zip(colour, changes, strict=True)
    )
    return (*restored, *alpha)


def to_pictures(planes: tuple[Tensor, ...], video: VideoFormat) -> Tensor:
    """Convert frames to the pictures that networks are shown: upright, and field by field where they hold fields.

    Args:
        planes: As for `to_rgb`, of K whole frames.
        video: What the samples mean.

    Returns:
        ``[P, 3, h, w]`` float32 RGB in [0, 1] of the size `VideoFormat.picture` has upright. P is K, or 2 K: first
        all even fields, then all odd ones.
    """
    pictures = [
        to_rgb(tuple(plane[:, rows] for plane in planes), video.picture, parity=parity)
        for parity, rows in _parts(video)
    ]
    return torch.rot90(torch.cat(pictures), video.quarter_turns, (2, 3))


def add_residuals(
    planes: tuple[Tensor, ...], residuals: Tensor, video: VideoFormat, *, strength: float = 1.0
) -> tuple[Tensor, ...]:
    """Add what was changed in the pictures of `to_pictures` to the frames they were made of.

    Args:
        planes: Of the frames.
        residuals: One for each picture, as for `add_residual`.
        video: What the samples mean.
        strength: Factor on the residuals.

    Returns:
        As `add_residual`.
    """
    parts = _parts(video)
    residuals = torch.rot90(residuals, -video.quarter_turns, (2, 3))
    restored = tuple(torch.empty_like(plane) for plane in planes)
    for (parity, rows), residual in zip(parts, residuals.chunk(len(parts)), strict=True):
        part = tuple(plane[:, rows] for plane in planes)
        changed = add_residual(part, residual, video.picture, strength=strength, parity=parity)
        for whole, plane in zip(restored, changed, strict=True):
            whole[:, rows] = plane
    return restored


def _parts(video: VideoFormat) -> tuple[tuple[Parity | None, slice], ...]:
    return _FIELDS if video.fields else _FRAME
