"""Pictures of one size beside each other, with a thin white line between them, as a PNG."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import torch
from av.codec import CodecContext
from av.video.codeccontext import VideoCodecContext
from torch import Tensor

from streamrestore.encoder import writing_to

LINE_PIXELS = 4


def side_by_side(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures in a row.

    Args:
        pictures: ``[3, H, W]`` uint8 RGB each, all of one size; at least one.

    Returns:
        ``[3, H, N * W + (N - 1) * LINE_PIXELS]`` uint8.
    """
    line = pictures[0].new_full((3, pictures[0].shape[1], LINE_PIXELS), 255)
    return torch.cat([part for picture in pictures for part in (line, picture)][1:], dim=2)


def write_png(picture: Tensor, path: Path) -> None:
    """Write a ``[3, H, W]`` uint8 RGB picture, on any device, over what is there.

    Raises:
        OutputError: The path cannot be written.
        DiskFullError: There is no space left.
        SinkError: The picture cannot be encoded.
    """
    encoder = CodecContext.create("png", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width = picture.shape[1:]
    encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1)
    frame = av.VideoFrame.from_ndarray(picture.permute(1, 2, 0).contiguous().cpu().numpy(), format="rgb24")
    with writing_to(path):
        path.write_bytes(b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None))))
