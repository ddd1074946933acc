"""The field's measures against hand-computed values, an independent implementation, and published figures."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch import Tensor

from streamrestore.degraded_pictures import read_pair
from streamrestore.metrics import HIGHEST_DB, SSIM_WINDOW, change, luma, psnr, ssim, still


def flat(value: int, channels: int = 3, height: int = 16, width: int = 20) -> Tensor:
    return torch.full((channels, height, width), value, dtype=torch.uint8)


def noisy(base: Tensor, amount: int, seed: int = 0) -> Tensor:
    noise = torch.randint(-amount, amount + 1, base.shape, generator=torch.Generator().manual_seed(seed))
    return (base.int() + noise).clamp(0, 255).to(torch.uint8)


def reference_ssim(picture: Tensor, target: Tensor) -> float:
    return float(
        structural_similarity(  # type: ignore[no-untyped-call] # scikit-image's, without types
            picture.numpy().astype(np.float64),
            target.numpy().astype(np.float64),
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
        )
    )


def test_luma_of_known_colours() -> None:
    colours = torch.tensor([(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)])
    picture = colours.T[:, None].to(torch.uint8)
    # The colour bars of BT.601: 16 + 65.481, 128.553 and 24.966, rounded.
    assert luma(picture).flatten().tolist() == [16, 235, 81, 145, 41, 126]
    assert luma(picture).shape == (1, 1, 6)


def test_psnr_of_known_errors() -> None:
    assert psnr(flat(100), flat(101)) == pytest.approx(20 * math.log10(255), abs=1e-12)
    assert psnr(flat(0), flat(255)) == 0
    one_off = flat(100)
    one_off[1, 2, 3] = 110
    assert psnr(one_off, flat(100)) == pytest.approx(10 * math.log10(255**2 * one_off.numel() / 100), abs=1e-12)
    assert psnr(flat(100), flat(100)) == HIGHEST_DB


def test_ssim_of_flat_pictures_is_the_formula() -> None:
    """Without variance only the first factor is left."""
    c1 = (0.01 * 255) ** 2
    wanted = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert ssim(flat(100), flat(150)) == pytest.approx(wanted, abs=1e-12)
    assert ssim(flat(100), flat(100)) == 1


@settings(max_examples=20, deadline=None)
@given(
    channels=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(SSIM_WINDOW, 40), st.integers(SSIM_WINDOW, 40)),
    base=st.integers(0, 255),
    amount=st.integers(1, 80),
    seed=st.integers(0, 99),
)
def test_ssim_is_that_of_scikit_image(channels: int, size: tuple[int, int], base: int, amount: int, seed: int) -> None:
    """Also where pictures are flat and bright, and float32 would be off by 1e-4."""
    target = noisy(flat(base, channels, *size), 3, seed)
    picture = noisy(target, amount, seed + 1)
    assert ssim(picture, target) == pytest.approx(reference_ssim(picture, target), abs=1e-9)


def test_still_pixels_have_no_moving_one_near() -> None:
    before = flat(100, 1, 11, 11)
    now = before.clone()
    now[0, :, 0] += 2  # noise, not motion
    now[0, 5, 5] += 3
    where = still(change(before, now))
    moving = torch.zeros(1, 11, 11, dtype=torch.bool)
    moving[0, 3:8, 3:8] = True
    assert torch.equal(where, ~moving)
    assert torch.equal(change(now, before), change(before, now))


@pytest.mark.parametrize(
    ("name", "pairs", "on_luma", "db", "tolerance", "similarity"),
    [
        ("rain100l", 25, True, 26.23, 0.005, None),
        ("rain100h", 15, True, 13.55, 0.005, 0.325),
        ("polyu", 20, False, 34.74, 0.05, None),
        ("gopro", 1, False, 25.11, 0.005, None),
    ],
)
def test_degraded_test_sets_measure_as_they_are_known_to(
    data_dir: Path, name: str, pairs: int, on_luma: bool, db: float, tolerance: float, similarity: float | None
) -> None:
    """PolyU's are JPEGs with subsampled chroma, which decoders interpolate each in their own way."""
    folder = data_dir / "eval" / name
    found = [read_pair(path, folder / "target" / path.name) for path in (folder / "input").iterdir()]
    if on_luma:
        found = [(luma(picture), luma(target)) for picture, target in found]
    assert len(found) == pairs
    assert sum(psnr(*pair) for pair in found) / pairs == pytest.approx(db, abs=tolerance)
    if similarity is not None:
        assert sum(ssim(*pair) for pair in found) / pairs == pytest.approx(similarity, abs=0.0005)
