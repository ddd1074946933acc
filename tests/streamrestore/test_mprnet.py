"""The network computes what the reference does, stops where asked, and pools locally."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode

from streamrestore.mprnet import MPRNet, Widths, window_mean
from streamrestore.tasks import Stages
from tests.golden.make_mprnet import CROP, GOLDEN

TOLERANCE = 1e-5
"""Largest absolute difference from recorded float32 outputs, which are not clamped."""

PUBLISHED = {
    "deraining": (Widths(40, 20, 16, 8), 3.64e6),
    "deblurring": (Widths(96, 48, 32, 8), 20.13e6),
    "denoising": (Widths(80, 48, 32, 8), 15.74e6),
}
LOCAL_FILE = "parity/width16_local_crop64.safetensors"
ATTENTION_LEVELS = [("level1", 1), ("level2", 2), ("level3", 4)]


def recorded(path: Path) -> tuple[MPRNet, dict[str, Tensor]]:
    """A network with the weights of a file of recorded outputs, and those outputs."""
    with safe_open(path, "pt") as file:
        widths = Widths(**json.loads(file.metadata()["config"]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    network = MPRNet(widths).eval().requires_grad_(False)
    weights = {name.removeprefix("weights."): value for name, value in tensors.items() if name.startswith("weights.")}
    missing, surplus = network.load_state_dict(weights, strict=False)
    assert not surplus
    assert all(name.endswith("body.1.weight") for name in missing), "only the shared slope may be stored once"
    return network, {name: value for name, value in tensors.items() if not name.startswith("weights.")}


def difference(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()


@pytest.fixture(scope="module")
def network() -> MPRNet:
    torch.manual_seed(7)
    return MPRNet(Widths(8, 4, 4, 2)).eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def global_pooling(network: MPRNet) -> Iterator[None]:
    yield
    network.use_local_pooling(None)


@pytest.mark.parametrize("file", ["width16", "width12_cab8"])
def test_agrees_with_reference(data_dir: Path, file: str) -> None:
    network, tensors = recorded(data_dir / f"parity/{file}.safetensors")
    for stage, image in enumerate(network(tensors["input"]), 1):
        assert difference(image, tensors[f"stage{stage}"]) <= TOLERANCE


def test_agrees_with_reference_local_pooling(data_dir: Path) -> None:
    network, tensors = recorded(data_dir / LOCAL_FILE)
    assert difference(network(tensors["input"])[-1], tensors["stage3_global"]) <= TOLERANCE
    network.use_local_pooling(64)
    assert difference(network(tensors["input"])[-1], tensors["stage3_local"]) <= TOLERANCE


def test_agrees_with_golden_file() -> None:
    network, tensors = recorded(GOLDEN)
    for stage, image in enumerate(network(tensors["input"]), 1):
        assert difference(image, tensors[f"stage{stage}"]) <= TOLERANCE
    network.use_local_pooling(CROP)
    assert difference(network(tensors["input"])[-1], tensors["stage3_local"]) <= TOLERANCE


def test_golden_file_tells_local_from_global_pooling() -> None:
    _, tensors = recorded(GOLDEN)
    assert difference(tensors["stage3_local"], tensors["stage3"]) > 100 * TOLERANCE


@pytest.mark.parametrize("name", PUBLISHED)
def test_state_dict_has_published_names_and_shapes(data_dir: Path, name: str) -> None:
    published = json.loads((data_dir / f"mprnet_keys_{name}.json").read_text())
    with torch.device("meta"):
        ours = {key: list(value.shape) for key, value in MPRNet(PUBLISHED[name][0]).state_dict().items()}
    assert ours == published


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_is_published(name: str) -> None:
    widths, count = PUBLISHED[name]
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in MPRNet(widths).parameters())
    assert parameters == pytest.approx(count, abs=0.005e6)


@pytest.mark.parametrize("stages", [1, 2])
def test_fewer_stages_give_the_same_images(network: MPRNet, stages: Stages) -> None:
    image = torch.rand(1, 3, 32, 40)
    images = network(image, stages=stages)
    assert len(images) == stages
    assert all(torch.equal(one, other) for one, other in zip(images, network(image), strict=False))


@pytest.mark.parametrize(
    ("stages", "parts"),
    [
        (1, {"shallow_feat1", "stage1_encoder", "stage1_decoder", "sam12"}),
        (2, {"shallow_feat2", "concat12", "stage2_encoder", "stage2_decoder", "sam23"}),
        (3, {"shallow_feat3", "concat23", "stage3_orsnet", "tail"}),
    ],
)
def test_a_stage_runs_its_own_parts(network: MPRNet, stages: Stages, parts: set[str]) -> None:
    before = parts_run(network, stages - 1) if stages > 1 else set[str]()
    assert parts_run(network, stages) - before == parts


def parts_run(network: MPRNet, stages: int) -> set[str]:
    """Top-level parts of which any convolution ran."""
    ran = set[str]()
    names = {module: name for name, module in network.named_modules()}

    def note(module: nn.Module, *_: object) -> None:
        if isinstance(module, nn.Conv2d):
            ran.add(names[module].split(".")[0])

    with register_module_forward_hook(note):
        network(torch.rand(1, 3, 16, 16), stages=stages)
    return ran


def gigaflop(network: MPRNet, stages: Stages, side: int) -> float:
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, side, side, device="meta"), stages=stages)
    return float(counter.get_total_flops()) / 1e9


@pytest.mark.parametrize(("name", "published"), [("deraining", 282), ("deblurring", 1519), ("denoising", 1146)])
def test_arithmetic_shrinks_with_the_stages(name: str, published: float) -> None:
    with torch.device("meta"):
        network = MPRNet(PUBLISHED[name][0])
    one, two, three = (gigaflop(network, stages, 256) for stages in (1, 2, 3))
    assert three <= published * 1.005
    assert three >= published * 0.97, "less than the published count, where Up's convolution runs on fewer pixels"
    assert 0.12 <= one / three <= 0.15
    assert 0.27 <= two / three <= 0.32


def test_odd_sizes_are_refused(network: MPRNet) -> None:
    with pytest.raises(ValueError, match="28x32 px; both must be multiples of 8"):
        network(torch.rand(1, 3, 28, 32))


def test_a_batch_is_its_images_alone(network: MPRNet) -> None:
    batch = torch.rand(3, 3, 24, 40)
    alone = [network(image[None]) for image in batch]
    for stage, images in enumerate(network(batch)):
        assert difference(images, torch.cat([image[stage] for image in alone])) <= TOLERANCE


def test_batched_quarters_and_halves_are_each_alone(network: MPRNet) -> None:
    """Stages 1 and 2 written out piece by piece, as the paper draws them."""
    image = torch.rand(2, 3, 32, 48)
    halves = image.chunk(2, dim=2)
    encoded, decoded, restored, gated = [], [], [], []
    for half in halves:
        quarters = [network.stage1_encoder(network.shallow_feat1(quarter)) for quarter in half.chunk(2, dim=3)]
        encoded.append(type(quarters[0])(*(torch.cat(level, dim=3) for level in zip(*quarters, strict=True))))
        decoded.append(network.stage1_decoder(encoded[-1]))
        restored.append(network.sam12.image(decoded[-1].one, half))
        gated.append(network.sam12.features(decoded[-1].one, restored[-1]))
    stage1, stage2 = network(image, stages=2)
    assert difference(stage1, torch.cat(restored, dim=2)) <= TOLERANCE

    second = [
        network.stage2_encoder(
            network.concat12(torch.cat((network.shallow_feat2(half), features), dim=1)), below_encoded, below_decoded
        )
        for half, features, below_encoded, below_decoded in zip(halves, gated, encoded, decoded, strict=True)
    ]
    whole = type(second[0])(*(torch.cat(level, dim=2) for level in zip(*second, strict=True)))
    assert difference(stage2, network.sam23.image(network.stage2_decoder(whole).one, image)) <= TOLERANCE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_bfloat16_is_close_to_float32(network: MPRNet, dtype: torch.dtype) -> None:
    """Weights in bfloat16; images keep their own dtype."""
    image = torch.rand(1, 3, 32, 32)
    half = MPRNet(network.widths).eval().requires_grad_(False)
    half.load_state_dict(network.state_dict())
    for exact, rounded in zip(network(image), half.bfloat16()(image.to(dtype)), strict=True):
        assert rounded.dtype == dtype
        assert difference(exact, rounded.float()) <= 0.02


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (48, 96)])
def test_local_pooling_changes_nothing_within_the_windows(network: MPRNet, size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size)
    plain = network(image)
    network.use_local_pooling(64)
    assert all(torch.equal(one, other) for one, other in zip(plain, network(image), strict=True))


def test_local_pooling_can_be_undone(network: MPRNet) -> None:
    image = torch.rand(1, 3, 64, 64) * torch.linspace(0, 1, 64)
    plain = network(image)[-1]
    network.use_local_pooling(16)
    assert not torch.equal(network(image)[-1], plain)
    network.use_local_pooling(None)
    assert torch.equal(network(image)[-1], plain)


@pytest.mark.parametrize(("level", "scale"), ATTENTION_LEVELS)
def test_windows_fit_what_each_block_saw(network: MPRNet, level: str, scale: int) -> None:
    """For 256 px crops: quarters 192x192, halves 192x384, the whole 384x384, halved per level."""
    network.use_local_pooling(256)
    windows = {
        name: module.window
        for name, module in network.named_modules()
        if isinstance(module, nn.Module) and hasattr(module, "window")
    }
    assert windows[f"stage1_encoder.encoder_{level}.0.CA"] == (192 // scale, 192 // scale)
    assert windows[f"stage1_decoder.decoder_{level}.1.CA"] == (192 // scale, 384 // scale)
    assert windows[f"stage2_encoder.encoder_{level}.1.CA"] == (192 // scale, 384 // scale)
    assert windows[f"stage2_decoder.decoder_{level}.0.CA"] == (384 // scale, 384 // scale)
    assert windows["stage1_decoder.skip_attn2.CA"] == (96, 192)
    assert windows["stage1_decoder.skip_attn1.CA"] == (192, 384)
    assert windows["shallow_feat1.1.CA"] == (192, 192)
    assert windows["shallow_feat2.1.CA"] == (192, 384)
    assert windows["stage3_orsnet.orb3.body.0.CA"] == (384, 384)


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    seed=st.integers(0, 1000),
)
def test_window_mean_is_the_mean_of_the_nearest_whole_window(
    height: int, width: int, rows: int, columns: int, seed: int
) -> None:
    x = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(seed))
    got = window_mean(x, (rows, columns)).expand(x.shape)
    rows, columns = min(rows, height), min(columns, width)
    for y in range(height):
        top = min(max(y - (height - (height - rows + 1)) // 2, 0), height - rows)
        for column in range(width):
            left = min(max(column - (width - (width - columns + 1)) // 2, 0), width - columns)
            mean = x[..., top : top + rows, left : left + columns].mean((-2, -1))
            assert difference(got[..., y, column], mean) <= 1e-6


def test_window_mean_keeps_the_dtype_and_sums_in_float32() -> None:
    x = torch.full((1, 1, 200, 300), 1.0, dtype=torch.bfloat16)
    got = window_mean(x, (100, 150))
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, torch.ones_like(x)), "bfloat16 sums stop growing at 256"
