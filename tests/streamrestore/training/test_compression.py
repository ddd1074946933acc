"""Compression of training pictures, measured against real encoders."""

import io
from pathlib import Path

import av
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from streamrestore.training.compression import (
    JPEG_QUALITIES,
    VIDEO_QPS,
    Compression,
    compress,
    intra_video,
    jpeg,
)


def generator(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def photo(height: int = 128, width: int = 160, seed: int = 0) -> Tensor:
    """``[1, 3, H, W]`` in 8 bits with detail at every scale, most of it in brightness, as nature has it."""
    source = generator(seed)
    image = torch.full((1, 3, height, width), 0.5)
    for cells in (3, 8, 20, 50):
        luma = torch.randn(1, 1, cells, cells, generator=source)
        chroma = torch.randn(1, 3, cells, cells, generator=source) * min(1.0, 4 / cells)
        image += 0.4 / cells**0.5 * torch.nn.functional.interpolate(luma + chroma, (height, width), mode="bicubic")
    image[..., height // 3 : height // 2, width // 4 : width // 2] = torch.rand(1, 3, 1, 1, generator=source)
    return (image.clamp(0, 1) * 255).round() / 255


def psnr(a: Tensor, b: Tensor) -> float:
    return -10 * torch.log10(((a - b) ** 2).mean()).item()


def to_bytes(image: Tensor) -> Tensor:
    """``[H, W, 3]`` uint8 of the only picture of a batch."""
    return (image[0] * 255).round().byte().permute(1, 2, 0).contiguous()


def libjpeg(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(to_bytes(image).numpy()).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file) as decoded:
        data = torch.frombuffer(bytearray(decoded.tobytes()), dtype=torch.uint8)
        return data.reshape(1, decoded.height, decoded.width, 3).permute(0, 3, 1, 2).float() / 255


def x264(image: Tensor, qp: int, path: Path) -> Tensor:
    frame = av.VideoFrame.from_ndarray(to_bytes(image).numpy(), format="rgb24").reformat(format="yuv420p")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": str(qp), "x264-params": "ipratio=1:threads=1"})
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return torch.from_numpy(decoded).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("quality", [10, 40, 50, 75, 95, 100])
def test_jpeg_loses_what_libjpeg_loses(quality: int) -> None:
    """Not only as much, but the same: the two agree far better with each other than with the source."""
    image = photo()
    ours, theirs = jpeg(image, torch.tensor([float(quality)])), libjpeg(image, quality)
    assert psnr(ours, image) == pytest.approx(psnr(theirs, image), abs=0.3)
    assert psnr(ours, theirs) > min(psnr(ours, image) + 6, 45)


@pytest.mark.parametrize("qp", [18, 24, 30, 36])
def test_video_loses_as_much_as_x264(qp: int, tmp_path: Path) -> None:
    image = photo()
    ours, theirs = intra_video(image, torch.tensor([float(qp)])), x264(image, qp, tmp_path / "intra.mkv")
    assert psnr(ours, image) == pytest.approx(psnr(theirs, image), abs=1.5)


def test_the_best_jpeg_is_nearly_lossless() -> None:
    """Without colour there is nothing that halved chroma could lose."""
    image = photo()[:, :1].expand(1, 3, -1, -1)
    assert (jpeg(image, torch.tensor([100.0])) - image).abs().max() <= 2.01 / 255


def test_quality_falls_in_order() -> None:
    image = photo().expand(6, -1, -1, -1)
    for decoded in (
        jpeg(image, torch.tensor([98.0, 90, 75, 50, 30, 10])),
        intra_video(image, torch.tensor([12.0, 18, 24, 30, 36, 42])),
    ):
        figures = [psnr(a, b) for a, b in zip(decoded, image, strict=True)]
        assert figures == sorted(figures, reverse=True)
        assert figures[0] > figures[-1] + 6


def test_deblocking_takes_away_the_blocks() -> None:
    """Over a slope that no block can hold alone, steps at block edges are hardly larger than elsewhere."""
    slope = torch.linspace(0.2, 0.5, 128).expand(1, 3, 64, 128)
    qp = torch.tensor([40.0])
    ours = intra_video(slope, qp).diff(dim=-1).abs().mean(dim=(0, 1, 2))
    coarse = jpeg(slope, torch.tensor([5.0])).diff(dim=-1).abs().mean(dim=(0, 1, 2))
    assert coarse[7::8].mean() > 5 * coarse.mean()
    assert ours[7::8].mean() < 3.5 * ours.mean()


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_pictures_stay_flat(level: float) -> None:
    flat = torch.full((1, 3, 24, 24), round(level * 255) / 255)
    for decoded in (jpeg(flat, torch.tensor([60.0])), intra_video(flat, torch.tensor([24.0]))):
        assert decoded.amax(dim=(0, 2, 3)).tolist() == decoded.amin(dim=(0, 2, 3)).tolist()
        assert (decoded - flat).abs().max() < 3 / 255


def test_each_picture_of_a_batch_has_its_own_setting() -> None:
    images = torch.cat([photo(seed=seed) for seed in range(3)])
    for codec, settings_ in ((jpeg, (90.0, 30.0, 60.0)), (intra_video, (16.0, 34.0, 25.0))):
        together = codec(images, torch.tensor(settings_))
        for image, setting, decoded in zip(images, settings_, together, strict=True):
            torch.testing.assert_close(decoded, codec(image[None], torch.tensor([setting]))[0])


@pytest.mark.parametrize("video", [False, True])
def test_strength_goes_from_the_lightest_to_the_strongest(video: bool) -> None:
    image = photo()
    lightest, strongest = (
        compress(image, Compression(torch.tensor([strength]), torch.tensor([video])), generator())
        for strength in (0.0, 1.0)
    )
    best, worst = (VIDEO_QPS[1], VIDEO_QPS[0]) if video else (JPEG_QUALITIES[1], JPEG_QUALITIES[0])
    codec = intra_video if video else jpeg
    # The grid lies elsewhere, so the bytes differ; the ends are 8 dB apart.
    assert psnr(lightest, image) == pytest.approx(psnr(codec(image, torch.tensor([best])), image), abs=1.5)
    assert psnr(strongest, image) == pytest.approx(psnr(codec(image, torch.tensor([worst])), image), abs=1.5)
    assert psnr(lightest, image) > psnr(strongest, image) + 5


def test_the_grid_of_blocks_lies_anywhere() -> None:
    """Blocks of a strongly compressed slope begin where its columns jump."""
    slope = torch.linspace(0.2, 0.5, 128).expand(1, 3, 64, 128)
    style = Compression(torch.tensor([1.9]), torch.tensor([False]))  # stronger than any training picture
    jumps = set()
    for seed in range(12):
        steps = compress(slope, style, generator(seed)).diff(dim=-1).abs().mean(dim=(0, 1, 2))
        jumps.add(steps[: len(steps) // 8 * 8].reshape(-1, 8).sum(dim=0).argmax().item())
    assert len(jumps) >= 4


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), count=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_compressed_pictures_are_pictures(height: int, width: int, count: int, seed: int) -> None:
    source = generator(seed)
    image = torch.rand(count, 3, height, width, generator=source)
    style = Compression(torch.rand(count, generator=source), torch.rand(count, generator=source) < 0.5)
    decoded = compress(image, style, source)
    assert decoded.shape == image.shape
    assert decoded.min() >= 0
    assert decoded.max() <= 1
    assert torch.equal((decoded * 255).round() / 255, decoded)


def test_the_same_seed_gives_the_same_bytes(device: str) -> None:
    image = photo().expand(4, -1, -1, -1).to(device)
    style = Compression(torch.linspace(0, 1, 4, device=device), torch.arange(4, device=device) % 2 == 0)
    first, second = (compress(image, style, generator(1, device)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, compress(image, style, generator(2, device)))
