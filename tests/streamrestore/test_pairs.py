"""Pairs, read frame by frame, restored by the product's own restorer."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from streamrestore.devices import Device, Precision
from streamrestore.errors import DecodeError, SourceError, UnsupportedError
from streamrestore.frame import Planes, VideoFormat
from streamrestore.pairs import FrameRestorer, PicturePair, VideoPair, read_picture, read_video, unrestored
from streamrestore.restorer import RestorerSettings
from tests.clips import STEADY, Clip, make_clip
from tests.networks import tiny_model

FRAMES = 3

CPU = Device("cpu", 0, "a CPU", 1 << 30, bf16=False)


def settings(*, local_pooling: bool = False) -> RestorerSettings:
    return RestorerSettings("cpu", Precision.FP32, local_pooling=local_pooling, threads=1)


def picture(height: int = 45, width: int = 70, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def clip(path: Path, pix_fmt: str = "yuv420p", frames: int = FRAMES, size: tuple[int, int] = (48, 64)) -> Path:
    return make_clip(path, Clip(pts=STEADY[:frames], pix_fmt=pix_fmt, codec="ffv1", options={}, size=size))


def darker(planes: Planes, _: VideoFormat) -> Planes:
    return (planes[0] - planes[0].dtype.type(5), *planes[1:])


@pytest.mark.parametrize("local_pooling", [False, True])
def test_an_identity_network_gives_the_picture_back(local_pooling: bool) -> None:
    restore = FrameRestorer([tiny_model(scale=0)], settings(local_pooling=local_pooling), CPU)
    degraded, target = picture(), picture(seed=1)
    (triple,) = PicturePair("a", lambda: (degraded, target)).triples(restore)
    assert torch.equal(triple.degraded, degraded)
    assert torch.equal(triple.restored, degraded)
    assert torch.equal(triple.target, target)
    real = FrameRestorer([tiny_model()], settings(), CPU)
    (triple,) = PicturePair("a", lambda: (degraded, target)).triples(real)
    assert not torch.equal(triple.restored, degraded)


def test_planes_of_a_picture_are_green_blue_red() -> None:
    degraded = picture()
    (triple,) = PicturePair("a", lambda: (degraded, degraded)).triples(darker)
    assert torch.equal(triple.restored[1], degraded[1] - 5)
    assert torch.equal(triple.restored[::2], degraded[::2])


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gbrp10le", "gray", "yuva420p"])
def test_a_video_with_itself_is_the_same_in_every_frame(tmp_path: Path, pix_fmt: str) -> None:
    path = clip(tmp_path / "clip.mkv", pix_fmt)
    restore = FrameRestorer([tiny_model(scale=0)], settings(), CPU)
    triples = list(VideoPair("clip", path, path).triples(restore))
    assert len(triples) == FRAMES
    for triple in triples:
        assert (triple.target.dtype, triple.target.shape) == (torch.uint8, (3, 48, 64))
        assert torch.equal(triple.degraded, triple.target)
        assert torch.equal(triple.restored, triple.target)
    assert all(torch.equal(frame, each.target) for frame, each in zip(read_video(path), triples, strict=True))
    assert not torch.equal(triples[0].target, triples[1].target)


def test_a_video_is_restored_in_its_own_planes(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mkv")
    for triple in VideoPair("clip", path, path).triples(darker):
        # 5 of 219 codes of luma are 5.8 of 255.
        fell = (triple.target.int() - triple.restored.int())[triple.restored > 0]
        assert set(np.unique(fell.numpy())) <= {0, 5, 6} | set(range(6))
        assert fell.float().mean() > 5


def test_two_videos_must_show_the_same_frames(tmp_path: Path) -> None:
    long, short = clip(tmp_path / "long.mkv"), clip(tmp_path / "short.mkv", frames=2)
    for degraded, target in ((long, short), (short, long)):
        with pytest.raises(SourceError, match=r"short\.mkv ends after 2 frames and .*long\.mkv goes on"):
            list(VideoPair("clip", degraded, target).triples(unrestored))


def test_the_two_of_a_pair_must_be_of_one_size(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="a: the input is 70x45 px and the target 71x45 px"):
        PicturePair("a", lambda: (picture(), picture(width=71))).check()
    with pytest.raises(SourceError, match="a: the input is 70x45 px and the target 71x45 px"):
        list(PicturePair("a", lambda: (picture(), picture(width=71))).triples(unrestored))
    with pytest.raises(SourceError, match="a is 70x10 px: SSIM needs at least 11 px"):
        PicturePair("a", lambda: (picture(10), picture(10))).check()
    with pytest.raises(SourceError, match="a is 70x10 px: SSIM needs at least 11 px"):
        list(PicturePair("a", lambda: (picture(10), picture(10))).triples(unrestored))
    large, small = clip(tmp_path / "large.mkv"), clip(tmp_path / "small.mkv", size=(32, 64))
    with pytest.raises(SourceError, match="the input is 64x48 px and the target 64x32 px"):
        VideoPair("clip", large, small).check()
    with pytest.raises(SourceError, match="the input is 64x48 px and the target 64x32 px"):
        list(VideoPair("clip", large, small).triples(unrestored))


def test_a_damaged_video_has_no_figures(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mkv", Clip(pts=STEADY[:FRAMES], gop=1))
    with av.open(str(whole)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data, damaged = whole.read_bytes(), tmp_path / "damaged.mkv"
    damaged.write_bytes(data.replace(packets[1], packets[1][:40] + bytes(len(packets[1]) - 40)))
    for degraded, target in ((whole, damaged), (damaged, whole)):
        triples = VideoPair("clip", degraded, target).triples(unrestored)
        next(triples)
        with pytest.raises(DecodeError, match=r"damaged\.mkv is damaged at frame 1: .*get an undamaged copy"):
            list(triples)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Among many, which one it is says more than what is wrong with it."""
    Image.new("1", (32, 32)).save(tmp_path / "bits.png")
    with pytest.raises(UnsupportedError, match=r"bits\.png: .*fewer than 8 bits"):
        read_picture(tmp_path / "bits.png")
