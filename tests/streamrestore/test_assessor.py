"""The assessor: what it sees in plain cases, where it looks, and what it says of damaged weights."""

import hashlib
import math
from pathlib import Path

import pytest
import safetensors.torch
import skimage.data
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamrestore.assessor import (
    LEAST_SIDE,
    MOST_CROPS,
    WEIGHTS,
    Assessment,
    ShotAssessor,
    choose_crops,
    load_assessor,
)
from streamrestore.assessor_network import CROP, MULTIPLE, AssessorNetwork, read_assessor, write_assessor
from streamrestore.errors import ModelError
from streamrestore.pairs import read_video
from streamrestore.training.blur import MARGIN, convolve
from streamrestore.training.motion import kernels, linear_motion
from streamrestore.training.rain import HEAVY, LIGHT, add_rain, rain
from tests.scenes import dead_leaves

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture(scope="module")
def assessor() -> ShotAssessor:
    return load_assessor()


@pytest.fixture(scope="module", params=["astronaut", "chelsea", "coffee", "rocket"])
def scene(request: pytest.FixtureRequest) -> Tensor:
    """A photograph: drawn scenes are unlike what the assessor was trained on."""
    picture = torch.from_numpy(getattr(skimage.data, request.param)().copy())
    return picture.permute(2, 0, 1) / 255


def noisy(picture: Tensor, sigma: float) -> Tensor:
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
    return ((picture + sigma / 255 * noise).clamp(0, 1) * 255).round() / 255


def blurred(picture: Tensor, extent: float) -> Tensor:
    path = linear_motion(torch.tensor([extent]), torch.tensor([math.radians(20)]))
    padded = F.pad(picture[None], (MARGIN,) * 4, mode="reflect")
    return convolve(padded, kernels(path, MARGIN)[:, None])[0, 0].clamp(0, 1)


def demo_frames(name: str) -> list[Tensor]:
    return [frame / 255 for frame in read_video(DEMO / name)][::8]


def test_nothing_is_found_in_a_clean_scene(assessor: ShotAssessor, scene: Tensor) -> None:
    assert assessor.assess([scene]).tasks == ()


def test_noise_is_found(assessor: ShotAssessor, scene: Tensor) -> None:
    assert assessor.assess([noisy(scene, 25)]).tasks == ("denoise",)


def test_motion_blur_is_found(assessor: ShotAssessor, scene: Tensor) -> None:
    assert assessor.assess([blurred(scene, 20)]).tasks == ("deblur",)


@pytest.mark.parametrize("style", [LIGHT, HEAVY])
def test_rain_is_found(assessor: ShotAssessor, scene: Tensor, style: object) -> None:
    styles = [HEAVY if style is HEAVY else LIGHT]
    amount = rain(styles, (scene.shape[1], scene.shape[2]), torch.Generator().manual_seed(4))
    assert assessor.assess([add_rain(scene[None], amount, screen=False)[0]]).tasks == ("derain",)


def test_blur_under_noise_is_found(assessor: ShotAssessor, scene: Tensor) -> None:
    assert assessor.assess([noisy(blurred(scene, 20), 15)]).tasks == ("denoise", "deblur")


def test_a_soft_scene_is_not_sharpened(assessor: ShotAssessor, scene: Tensor) -> None:
    """Scaled up from half its size."""
    height, width = scene.shape[1:]
    small = F.interpolate(scene[None], (height // 2, width // 2), mode="bilinear", antialias=True)
    soft = F.interpolate(small, (height, width), mode="bicubic")[0].clamp(0, 1)
    assert assessor.assess([soft]).tasks == ()


def test_the_demo_clips_get_what_they_need(assessor: ShotAssessor) -> None:
    assert assessor.assess(demo_frames("clean.mp4")).tasks == ()
    assert assessor.assess(demo_frames("rainy.mp4")).tasks == ("derain",)


def test_one_blurred_frame_makes_no_blurred_shot(assessor: ShotAssessor) -> None:
    scene = dead_leaves(240, 320)
    assert assessor.assess([scene, scene, blurred(scene, 20), scene, scene]).tasks == ()


def test_the_same_pictures_give_the_same(assessor: ShotAssessor) -> None:
    pictures = [noisy(dead_leaves(200, 300), 8)] * 2
    assert assessor.assess(pictures) == load_assessor().assess(pictures)


@pytest.mark.parametrize("size", [(1, 1), (LEAST_SIDE - 1, 500), (500, 1)])
def test_nothing_is_told_of_tiny_pictures(assessor: ShotAssessor, size: tuple[int, int]) -> None:
    assert assessor.assess([torch.rand(3, *size)]) == Assessment(0, 0, 0)


@pytest.mark.parametrize("size", [(LEAST_SIDE, LEAST_SIDE), (40, 2000), (127, 129), (2160, 3840)])
def test_every_other_size_is_looked_at(assessor: ShotAssessor, size: tuple[int, int]) -> None:
    noise = 0.5 + 0.15 * torch.randn(1, *size, generator=torch.Generator().manual_seed(1)).expand(3, -1, -1)
    found = assessor.assess([noise.clamp(0, 1)])
    assert found.noise > 0.5
    assert 0 <= found.rain <= 1
    assert 0 <= found.blur <= 1


@given(height=st.integers(LEAST_SIDE, 900), width=st.integers(LEAST_SIDE, 900))
@settings(max_examples=40, deadline=None)
def test_crops_lie_in_the_picture_and_apart(height: int, width: int) -> None:
    number = torch.arange(height * width, dtype=torch.float64).view(1, height, width)
    crops = choose_crops(number.expand(3, -1, -1))
    side = [min(CROP, length // MULTIPLE * MULTIPLE) for length in (height, width)]
    assert list(crops.shape[2:]) == side
    assert len(crops) == min(MOST_CROPS, (height // side[0]) * (width // side[1]))
    seen = crops[:, 0].flatten()
    assert len(set(seen.tolist())) == len(seen)
    corners = crops[:, 0, 0, 0].tolist()
    assert corners == sorted(corners)
    rows, columns = (crops[:, 0] // width).long(), (crops[:, 0] % width).long()
    assert ((rows - rows[:, :1, :1]) == torch.arange(side[0])[:, None]).all()
    assert ((columns - columns[:, :1, :1]) == torch.arange(side[1])).all()


def test_the_richest_places_are_looked_at() -> None:
    picture = torch.full((3, 8 * CROP, 8 * CROP), 0.5)
    scene = dead_leaves(CROP, CROP)
    for row, column in ((0, 7), (3, 1), (6, 5)):
        picture[:, row * CROP : (row + 1) * CROP, column * CROP : (column + 1) * CROP] = scene
    rich = (choose_crops(picture).flatten(1).std(1) > 0.05).sum()
    assert rich == 3


def test_the_shipped_weights_are_what_was_recorded(assessor: ShotAssessor) -> None:
    data = WEIGHTS.read_bytes()
    assert len(data) < 1 << 20
    recorded = WEIGHTS.with_name(WEIGHTS.name + ".sha256").read_text().split()
    assert recorded == [assessor.sha256, WEIGHTS.name]
    assert hashlib.sha256(data).hexdigest() == assessor.sha256


def test_weights_survive_a_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = AssessorNetwork().eval()
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    hashes = {write_assessor(network, path, source="tests", license="none") for path in paths}
    read = read_assessor(paths[0])
    assert hashes == {read.sha256}
    crops = torch.rand(1, 2, 3, 32, 48)
    assert torch.equal(read.network(crops), network(crops))
    assert not read.network.training


def test_moved_thresholds_move_the_odds() -> None:
    network = AssessorNetwork().eval()
    crops = torch.rand(1, 1, 3, 32, 32)
    before, by = network(crops), torch.tensor([0.5, -1.0, 2.0])
    network.move_thresholds(by)
    assert torch.allclose(network(crops), before - by, atol=1e-5)


def test_missing_weights_are_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read_assessor(tmp_path / "none.safetensors")


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "no card", "other card", "other network", "nan"])
def test_damaged_weights_are_said(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "damaged.safetensors"
    write_assessor(AssessorNetwork(), path, source="tests", license="none")
    data = path.read_bytes()
    tensors = safetensors.torch.load(data)
    card = {"streamrestore": '{"version":1,"kind":"assessor","source":"tests","license":"none"}'}
    if damage == "nan":
        tensors["odds.bias"][1] = math.nan
    path.write_bytes(
        {
            "empty": b"",
            "cut": data[: len(data) // 2],
            "text": b"not weights at all",
            "no card": safetensors.torch.save(tensors),
            "other card": safetensors.torch.save(tensors, {"streamrestore": '{"task":"derain"}'}),
            "other network": safetensors.torch.save({"odds.bias": torch.zeros(3)}, card),
            "nan": safetensors.torch.save(tensors, card),
        }[damage]
    )
    with pytest.raises(ModelError, match="install the package again"):
        read_assessor(path)
