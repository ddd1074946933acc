"""Training pictures: what is read from folders, and the crops that are drawn from them."""

from pathlib import Path

import av
import pytest
import torch
from torch import Generator, Tensor

from streamrestore.errors import SourceError, UnsupportedError
from streamrestore.training.data import CropSampler, Degradation, Example, fingerprint, read_examples
from tests.clips import png
from tests.images import image

CPU = torch.device("cpu")


def coded(height: int = 40, width: int = 48) -> Tensor:
    """A picture that says in each pixel where it is: row, column and a constant."""
    rows = torch.arange(height, dtype=torch.uint8)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=torch.uint8)[None, :].expand(height, width)
    return torch.stack([rows, columns, torch.full_like(rows, 200)])


def darker(clean: Tensor, generator: Generator) -> Tensor:
    """Half as bright, and a little noise, so that the generator shows."""
    return clean / 2 + 0.01 * torch.rand(clean.shape, generator=generator)


def pair_folder(folder: Path, names: tuple[str, str] = ("a.png", "a.png")) -> Path:
    for kind, name in zip(("input", "target"), names, strict=True):
        (folder / kind).mkdir(parents=True)
        (folder / kind / name).write_bytes(png())
    return folder


def test_a_folder_of_pairs_is_recognised(tmp_path: Path) -> None:
    pairs = pair_folder(tmp_path / "pairs")
    (tmp_path / "clean" / "deep").mkdir(parents=True)
    (tmp_path / "clean" / "deep" / "b.png").write_bytes(png())
    examples = read_examples([tmp_path / "clean", pairs])
    assert [example.degraded is None for example in examples] == [True, False]


def test_folders_without_usable_images_are_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no image below"):
        read_examples([tmp_path])
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(SourceError, match=r"a\.png"):
        read_examples([tmp_path])


def test_of_many_pictures_it_is_said_which_one_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image("png", "rgb24"))
    (tmp_path / "scan.png").write_bytes(image("png", "monob"))
    with pytest.raises(UnsupportedError, match=r"scan\.png: pixel format monob"):
        read_examples([tmp_path])


def test_what_is_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere is no folder: give one of clean images"):
        read_examples([tmp_path / "nowhere"])


@pytest.mark.parametrize("pix_fmt", ["gray", "gray16be", "ya8", "ya16be", "rgba", "rgb48be", "rgba64be"])
def test_every_picture_comes_as_8_bits_of_three_colours(tmp_path: Path, pix_fmt: str) -> None:
    picture = coded()
    if "rgb" not in pix_fmt:
        picture = picture[:1].expand(3, -1, -1)
    pixels = picture.permute(1, 2, 0).contiguous().numpy()
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt, dst_color_range="JPEG")
    with av.open(str(tmp_path / "a.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.height, stream.width, stream.pix_fmt = frame.height, frame.width, pix_fmt
        container.mux([*stream.encode(frame), *stream.encode(None)])
    (example,) = read_examples([tmp_path])
    assert example.clean.dtype == torch.uint8
    assert (example.clean.int() - picture.int()).abs().max() <= 1


def test_a_fingerprint_is_that_of_the_pixels_and_their_order() -> None:
    one, other = Example(coded()), Example(255 - coded())
    assert fingerprint([one, other]) == fingerprint([Example(coded()), other])
    assert len({fingerprint(examples) for examples in ([one], [one, other], [other, one], [other])}) == 4


def test_an_image_without_its_like_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.png has no counterpart"):
        read_examples([pair_folder(tmp_path, ("a.png", "b.png"))])


def test_too_small_pictures_are_said() -> None:
    with pytest.raises(SourceError, match="at least 56 px"):
        CropSampler([Example(coded())], 32, Degradation(darker, margin=12), 0, CPU)


def test_crops_are_made_of_neighbouring_pixels_flipped_and_turned() -> None:
    """Along each axis of a crop either the row or the column of the picture changes by one."""
    _, clean = CropSampler([Example(coded())], 16, Degradation(darker), 0, CPU).batch(64)
    codes = (clean * 255).round().int()
    down, right = codes.diff(dim=2)[..., :-1], codes.diff(dim=3)[:, :, :-1]
    assert ((down[:, :2].abs().sum(1) == 1) & (right[:, :2].abs().sum(1) == 1)).all()
    seen = {tuple(crop[:2, 0, 0].tolist()) for crop in torch.cat([down, right], 1)[:, [0, 1]]}
    assert len(seen) == 4
    corners = {(int(rows.min()), int(columns.min())) for rows, columns, _ in codes}
    assert len(corners) > 50


def test_the_degradation_gets_the_margin_it_asked_for() -> None:
    asked = []

    def cropped(clean: Tensor, generator: Generator) -> Tensor:
        asked.append(clean.shape)
        return clean[..., 4:-4, 4:-4]

    degraded, clean = CropSampler([Example(coded())], 16, Degradation(cropped, margin=4), 0, CPU).batch(2)
    assert asked == [(2, 3, 24, 24)]
    assert torch.equal(degraded, clean)


def test_pairs_keep_what_was_taken_and_stay_upright() -> None:
    image = coded()
    degradation = Degradation(lambda clean, generator: darker(clean, generator)[..., 4:-4, 4:-4], margin=4)
    sampler = CropSampler([Example(image, 255 - image)], 16, degradation, 0, CPU)
    degraded, clean = sampler.batch(16)
    assert torch.allclose(degraded, 1 - clean, atol=1e-6)
    assert (clean[:, 0].diff(dim=1) > 0).all()


def test_what_was_taken_does_not_become_clean_where_nothing_is_made() -> None:
    """A degradation that gives its input back does not lend it to be painted over."""
    sampler = CropSampler([Example(coded(), 255 - coded())], 16, Degradation(lambda clean, _: clean), 0, CPU)
    degraded, clean = sampler.batch(4)
    assert torch.allclose(degraded, 1 - clean, atol=1e-6)
    assert (clean[:, 2] * 255).round().eq(200).all()


def test_a_sampler_goes_on_where_another_stopped() -> None:
    first, second = (CropSampler([Example(coded())], 16, Degradation(darker), 3, CPU) for _ in range(2))
    first.batch(2)
    second.set_state(first.state())
    for one, other in zip(first.batch(3), second.batch(3), strict=True):
        assert torch.equal(one, other)
