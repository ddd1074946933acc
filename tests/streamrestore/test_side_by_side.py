"""Pictures beside each other, and the PNG that holds them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from streamrestore.errors import OutputError
from streamrestore.side_by_side import LINE_PIXELS, side_by_side, write_png


def test_they_are_in_order_with_white_between_and_written_exactly(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.randint(0, 255, (3, 5, 7), generator=generator, dtype=torch.uint8) for _ in range(3)]
    row = side_by_side(pictures)
    assert row.shape == (3, 5, 3 * 7 + 2 * LINE_PIXELS)
    for number, picture in enumerate(pictures):
        left = number * (7 + LINE_PIXELS)
        assert torch.equal(row[:, :, left : left + 7], picture)
    assert (row[:, :, 7 : 7 + LINE_PIXELS] == 255).all()
    assert torch.equal(side_by_side(pictures[:1]), pictures[0])

    path = tmp_path / "row.png"
    write_png(row, path)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(image), row.permute(1, 2, 0).numpy())


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is its folder still there"):
        write_png(torch.zeros(3, 4, 4, dtype=torch.uint8), tmp_path / "none" / "row.png")
