"""Pictures that carry their number and their time, as black and white blocks that survive encoders and restorers.

The upper half of the luma plane is a grid of `ROWS` by `COLUMNS` blocks, one bit each, the highest first: the
index, the time, a checksum. Places are shares of the picture's size, so that a scaled picture reads as well; one
with bars at its sides does not.
"""

import time
import zlib
from dataclasses import dataclass
from typing import Self, cast

import av
import numpy as np
import numpy.typing as npt

Luma = npt.NDArray[np.uint8]
"""[H, W], a view of a picture's first plane."""

ROWS, COLUMNS = 6, 16
SHARE = 2
"""The grid takes one part in so many of the picture's height."""
INDEX_BITS, TIME_BITS, CHECK_BITS = 32, 40, 24
BLACK, WHITE = 40, 215
"""Far enough from the ends that a picture made brighter or darker by 30 keeps them apart from the range's limits."""
LEAST_CONTRAST = 80


@dataclass(frozen=True)
class TimeCode:
    """What a picture says about itself."""

    index: int
    """Its number, below 2**32."""
    milliseconds: int
    """CLOCK_MONOTONIC, which all processes of the machine share; enough for 34 years."""

    @classmethod
    def now(cls, index: int) -> Self:
        return cls(index, time.monotonic_ns() // 1_000_000)

    @property
    def seconds(self) -> float:
        """To be compared with `time.monotonic`."""
        return self.milliseconds / 1000


def plane_of(frame: av.VideoFrame, index: int = 0) -> Luma:
    """The samples of a plane of 8 bits, [H, W]; a view."""
    plane = frame.planes[index]
    rows = np.frombuffer(cast(bytes, plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def paint(luma: Luma, code: TimeCode) -> None:
    """Paint the code into the upper half.

    Args:
        luma: [H, W], written in place; H and W of at least 60 and 80 stand an encoder.
        code: What to paint.
    """
    bits = np.array([int(bit) for bit in _bits(code)], np.uint8).reshape(ROWS, COLUMNS)
    height, width = luma.shape
    rows, columns = _edges(height // SHARE, ROWS), _edges(width, COLUMNS)
    blocks = np.repeat(np.repeat(bits, np.diff(rows), axis=0), np.diff(columns), axis=1)
    luma[: rows[-1]] = np.where(blocks, np.uint8(WHITE), np.uint8(BLACK))


def read(luma: Luma) -> TimeCode | None:
    """Read the code.

    Args:
        luma: [H, W], at least 24 by 32.

    Returns:
        The code; None if the picture carries none, or a damaged one.
    """
    height, width = luma.shape
    if height < 2 * SHARE * ROWS or width < 2 * COLUMNS:
        return None
    rows, columns = _edges(height // SHARE, ROWS), _edges(width, COLUMNS)
    means = np.array(
        [
            [_middle(luma, rows[row : row + 2], columns[column : column + 2]) for column in range(COLUMNS)]
            for row in range(ROWS)
        ]
    )
    darkest, brightest = means.min(), means.max()  # every code has both: its checksum sees to that
    if brightest - darkest < LEAST_CONTRAST:
        return None
    bits = "".join("1" if mean > (darkest + brightest) / 2 else "0" for mean in means.flat)
    index, milliseconds = int(bits[:INDEX_BITS], 2), int(bits[INDEX_BITS:-CHECK_BITS], 2)
    code = TimeCode(index, milliseconds)
    return code if _bits(code) == bits else None


def _bits(code: TimeCode) -> str:
    content = f"{code.index:0{INDEX_BITS}b}{code.milliseconds:0{TIME_BITS}b}"
    check = zlib.crc32(content.encode()) % 2**CHECK_BITS
    return f"{content}{check:0{CHECK_BITS}b}"


def _edges(length: int, parts: int) -> npt.NDArray[np.intp]:
    """Where ``parts`` equal parts of a length begin and end."""
    return np.round(np.linspace(0, length, parts + 1)).astype(np.intp)


def _middle(luma: Luma, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> float:
    """The mean of a block without its edges, which neighbours bleed into."""
    (top, bottom), (left, right) = rows, columns
    down, across = (bottom - top) // 4, (right - left) // 4
    return float(luma[top + down : bottom - down, left + across : right - across].mean())
