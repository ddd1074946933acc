"""What JPEG and intra-coded video lose: pictures coded and decoded as a batch, on the device.

Both codecs are the lossy half of the real thing and nothing else: YCbCr with halved chroma, a
DCT of 8x8 blocks, a quantiser, and back. No bits are made, so a batch costs a few products.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

BLOCK = 8
MACROBLOCK = 2 * BLOCK
"""Pixels that one block of halved chroma covers; codecs work on whole ones."""

JPEG_QUALITIES = (50.0, 98.0)
"""From the strongest compression to the lightest; cameras write 90 and above, CBDNet trains with
60 to 100 (Guo et al., CVPR 2019, section 3.1), and the web goes lower."""

VIDEO_QPS = (34.0, 16.0)
"""From the strongest to the lightest; x264's and x265's usual CRF of 18 to 28 lies inside."""

# ITU-T T.81, annex K.1: luma, then chroma, in rows.
_LUMA_TABLE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)

_KR, _KB = 0.299, 0.114
_TO_YCC = (
    (_KR, 1 - _KR - _KB, _KB),
    (-0.5 * _KR / (1 - _KB), -0.5 * (1 - _KR - _KB) / (1 - _KB), 0.5),
    (0.5, -0.5 * (1 - _KR - _KB) / (1 - _KR), -0.5 * _KB / (1 - _KR)),
)


class Compression(NamedTuple):
    """How each of N pictures is compressed; every field is ``[N]``."""

    strength: Tensor
    """0 for the lightest of `JPEG_QUALITIES` or `VIDEO_QPS`, 1 for the strongest; float32."""
    video: Tensor
    """As intra-coded video instead of JPEG; bool."""


def compress(image: Tensor, style: Compression, generator: Generator) -> Tensor:
    """Compress each picture in its own way, all on one randomly placed grid of blocks.

    A grid that always began in the corner of a crop would teach a network where to look for it.

    Args:
        image: ``[N, 3, H, W]`` float32 RGB in [0, 1].
        style: For the N pictures.
        generator: Places the grid; on the image's device.

    Returns:
        The decoded pictures, like ``image``, rounded to 8 bits.
    """
    top, left = torch.randint(MACROBLOCK, (2,), generator=generator, device=image.device).tolist()
    height, width = image.shape[-2:]
    padded = F.pad(image, (left, 0, top, 0), mode="replicate")
    out = torch.empty_like(image)
    for chosen, codec, (strongest, lightest) in (
        (~style.video, jpeg, JPEG_QUALITIES),
        (style.video, intra_video, VIDEO_QPS),
    ):
        index = chosen.nonzero().squeeze(1)
        if len(index):
            setting = lightest + (strongest - lightest) * style.strength[index]
            out[index] = codec(padded[index], setting)[..., top : top + height, left : left + width]
    return out


def jpeg(image: Tensor, quality: Tensor) -> Tensor:
    """Baseline JPEG with 4:2:0 chroma, and libjpeg's tables, averaging and triangle upsampling.

    Args:
        image: ``[N, 3, H, W]`` float32 RGB in [0, 1].
        quality: ``[N]`` from 1 to 100, as libjpeg counts.

    Returns:
        The decoded pictures, like ``image``, rounded to 8 bits.
    """
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None]

    def code(plane: Tensor, base: tuple[int, ...]) -> Tensor:
        steps = torch.tensor(base, dtype=plane.dtype, device=plane.device)
        table = torch.floor((steps * scale + 50) / 100).clamp(1, 255)[:, None, None, None, :]
        return _from_blocks((_to_blocks(plane) / table).round() * table)

    luma, chroma = _to_planes(image, 255, 255)
    luma, chroma = code(luma - 128, _LUMA_TABLE) + 128, code(chroma, _CHROMA_TABLE)
    return _to_image(luma, chroma, 255, 255, image.shape[-2:])


def intra_video(image: Tensor, qp: Tensor) -> Tensor:
    """Intra-coded video as H.264 leaves it: limited range, flat quantiser, dead zone, deblocked.

    The quantiser's step doubles every 6 QP from 0.625 (Wiegand et al., "Overview of the
    H.264/AVC Video Coding Standard", IEEE TCSVT 13(7), 2003), its dead zone is the reference
    encoder's for intra blocks. Blocks are coded as they are instead of after prediction: what
    is lost follows from the step alone, what prediction saves is bits.

    Args:
        image: ``[N, 3, H, W]`` float32 RGB in [0, 1].
        qp: ``[N]`` quantisation parameter, 0 to 51, for luma and chroma.

    Returns:
        The decoded pictures, like ``image``, rounded to 8 bits.
    """
    step = (0.625 * 2 ** (qp / 6))[:, None, None, None, None]

    def code(plane: Tensor) -> Tensor:
        coefficients = _to_blocks(plane)
        levels = torch.floor(coefficients.abs() / step + 1 / 3)
        decoded = _from_blocks(torch.copysign(levels * step, coefficients))
        decoded = _deblock(decoded, qp)
        return _deblock(decoded.transpose(-2, -1), qp).transpose(-2, -1)

    luma, chroma = _to_planes(image, 219, 224)
    return _to_image(code(luma), code(chroma), 219, 224, image.shape[-2:])


def _deblock(plane: Tensor, qp: Tensor) -> Tensor:
    """Soften the vertical edges of blocks where the step is small enough to be the codec's own.

    The normal filter of List et al., "Adaptive Deblocking Filter" (IEEE TCSVT 13(7), 2003),
    with its thresholds as functions of QP; the clipping fits the standard's table for strength 3.
    """
    n, c, height, width = plane.shape
    columns = plane.reshape(n, c, height, width // BLOCK, BLOCK).clone()
    p1, p0 = columns[..., :-1, -2], columns[..., :-1, -1]
    q0, q1 = columns[..., 1:, 0], columns[..., 1:, 1]
    alpha, beta, most = (
        bound[:, None, None, None] for bound in (0.8 * (2 ** (qp / 6) - 1), 0.5 * qp - 7, 25 * 2 ** ((qp - 51) / 6))
    )
    false_edge = ((q0 - p0).abs() < alpha) & ((p1 - p0).abs() < beta) & ((q1 - q0).abs() < beta)
    delta = ((4 * (q0 - p0) + p1 - q1) / 8).clamp(-most, most) * false_edge
    columns[..., :-1, -1] += delta
    columns[..., 1:, 0] -= delta
    return columns.reshape(n, c, height, width)


def _to_planes(image: Tensor, luma_span: float, chroma_span: float) -> tuple[Tensor, Tensor]:
    """Luma ``[N, 1, H', W']`` and chroma ``[N, 2, H'/2, W'/2]``, whole codes, padded to whole macroblocks."""
    height, width = image.shape[-2:]
    padded = F.pad(image, (0, -width % MACROBLOCK, 0, -height % MACROBLOCK), mode="replicate")
    matrix = torch.tensor(_TO_YCC, dtype=image.dtype, device=image.device)
    ycc = torch.einsum("ij,njhw->nihw", matrix, padded)
    luma, chroma = ycc[:, :1] * luma_span, ycc[:, 1:] * chroma_span
    return luma.round(), F.avg_pool2d(chroma, 2).round()


def _to_image(luma: Tensor, chroma: Tensor, luma_span: float, chroma_span: float, size: tuple[int, ...]) -> Tensor:
    """The inverse of `_to_planes`, in the size given, rounded to 8 bits."""
    luma = luma.round().clamp(0, luma_span) / luma_span
    chroma = F.interpolate(chroma.round() / chroma_span, scale_factor=2, mode="bilinear", align_corners=False)
    matrix = torch.tensor(_TO_YCC, dtype=luma.dtype, device=luma.device)
    image = torch.einsum("ij,njhw->nihw", torch.linalg.inv(matrix), torch.cat((luma, chroma), dim=1))
    return (image[..., : size[0], : size[1]] * 255).round().clamp(0, 255) / 255


def _to_blocks(plane: Tensor) -> Tensor:
    """``[N, C, H, W]`` to the orthonormal DCT of its blocks, ``[N, C, H/8, W/8, 64]``."""
    n, c, height, width = plane.shape
    blocks = plane.reshape(n, c, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    return blocks.flatten(-2) @ _basis(plane).T


def _from_blocks(coefficients: Tensor) -> Tensor:
    """The inverse of `_to_blocks`."""
    n, c, rows, columns, _ = coefficients.shape
    blocks = (coefficients @ _basis(coefficients)).reshape(n, c, rows, columns, BLOCK, BLOCK)
    return blocks.transpose(3, 4).reshape(n, c, rows * BLOCK, columns * BLOCK)


def _basis(like: Tensor) -> Tensor:
    """``[64, 64]``: the basis pictures of the two-dimensional DCT, one a row."""
    index = torch.arange(BLOCK, dtype=like.dtype, device=like.device)
    rows = torch.cos(math.pi / BLOCK * (index + 0.5) * index[:, None]) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return torch.kron(rows, rows)
