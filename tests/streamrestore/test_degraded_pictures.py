"""Clean pictures are degraded alike every time, whatever others there are."""

from pathlib import Path

import pytest
import torch

from streamrestore.degraded_pictures import read_blurred, read_clean, read_noisy, read_pair
from streamrestore.errors import SourceError
from streamrestore.side_by_side import write_png


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    path = tmp_path / "clean.png"
    ramp = torch.linspace(60, 200, 96).expand(3, 64, 96)
    write_png(ramp.round().to(torch.uint8), path)
    return path


def test_noise_has_its_sigma_and_comes_from_seed_and_name(clean: Path) -> None:
    noisy, target = read_noisy(clean, 15, seed=3)
    error = noisy.double() - target.double()
    assert (noisy.dtype, noisy.shape) == (torch.uint8, target.shape)
    assert torch.equal(target, read_clean(clean)[1])
    assert error.std().item() == pytest.approx(15, rel=0.03)
    assert abs(error.mean().item()) < 0.5
    assert torch.equal(read_noisy(clean, 15, seed=3)[0], noisy)
    assert not torch.equal(read_noisy(clean, 15, seed=4)[0], noisy)
    other = clean.rename(clean.with_name("other.png"))
    assert not torch.equal(read_noisy(other, 15, seed=3)[0], noisy)
    assert torch.equal(read_noisy(other, 0, seed=3)[0], target)


def test_blur_comes_from_seed_and_name(clean: Path) -> None:
    blurred, target = read_blurred(clean, seed=1)
    assert (blurred.dtype, blurred.shape) == (torch.uint8, target.shape)
    assert not torch.equal(blurred, target)
    assert torch.equal(read_blurred(clean, seed=1)[0], blurred)
    assert not torch.equal(read_blurred(clean, seed=2)[0], blurred)


def test_blur_needs_its_surroundings(tmp_path: Path) -> None:
    write_png(torch.zeros(3, 20, 64, dtype=torch.uint8), tmp_path / "small.png")
    with pytest.raises(SourceError, match=r"small\.png is 64x20 px: blur needs more than 24 px"):
        read_blurred(tmp_path / "small.png", seed=0)


def test_pairs_are_read_in_order(clean: Path, tmp_path: Path) -> None:
    write_png(torch.zeros(3, 64, 96, dtype=torch.uint8), tmp_path / "black.png")
    degraded, target = read_pair(tmp_path / "black.png", clean)
    assert degraded.max() == 0
    assert target.min() == 60
