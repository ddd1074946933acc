"""Weights are read whole, checked by name, and never run."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from streamrestore import checkpoint
from streamrestore.checkpoint import SLOPE, Model, build_network, read_checkpoint, write_safetensors
from streamrestore.errors import ConfigError, ModelError
from streamrestore.layout import check_keys, infer_widths
from streamrestore.mprnet import MPRNet, Widths
from streamrestore.tasks import Task

WIDTHS = Widths(8, 4, 4, 1)
"""One block in stage 3: its last convolution has a name that looks like a slope's."""

State = dict[str, Tensor]


def state_of(widths: Widths = WIDTHS, slope: float = 0.1) -> State:
    """A seeded network's state dict, the slope under all its names."""
    torch.manual_seed(3)
    network = MPRNet(widths)
    nn.init.constant_(network.get_parameter(SLOPE), slope)
    return dict(network.state_dict())


@pytest.fixture(scope="module")
def state() -> State:
    return state_of()


def torch_bytes(value: object, *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def read(path: Path, data: bytes) -> Model:
    path.write_bytes(data)
    return read_checkpoint(path, task="derain", crop=64)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "given.bin"


@pytest.fixture
def model(file: Path, state: State) -> Model:
    return read(file, torch_bytes(state))


LAYOUTS: dict[str, Callable[[State], bytes]] = {
    "bare": torch_bytes,
    "published": lambda state: torch_bytes({"epoch": 250, "state_dict": state}),
    "data parallel": lambda state: torch_bytes({"state_dict": {f"module.{name}": t for name, t in state.items()}}),
    "parameters": lambda state: torch_bytes({name: nn.Parameter(t) for name, t in state.items()}),
    "legacy": lambda state: torch_bytes({"state_dict": state}, legacy=True),
    "safetensors": lambda state: safetensors.torch.save({name: t.clone() for name, t in state.items()}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_from_its_bytes(file: Path, state: State, layout: str) -> None:
    model = read(file, LAYOUTS[layout](state))
    assert (model.name, model.task, model.crop, model.widths) == ("given", "derain", 64, WIDTHS)
    loaded = build_network(model).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


@pytest.mark.parametrize(
    "widths", [Widths(40, 20, 16, 8), Widths(12, 0, 4, 3), Widths(10, 5, 3, 2, reduction=2), Widths(6, 1, 0, 2, 6)]
)
def test_widths_come_from_shapes(widths: Widths) -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in MPRNet(widths).state_dict().items()}
    assert infer_widths(shapes) == widths
    check_keys(shapes, widths)


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("deraining", Widths(40, 20, 16, 8)),
        ("deblurring", Widths(96, 48, 32, 8)),
        ("denoising", Widths(80, 48, 32, 8)),
    ],
)
def test_widths_of_published_shapes(data_dir: Path, name: str, widths: Widths) -> None:
    published = json.loads((data_dir / f"mprnet_keys_{name}.json").read_text())
    shapes = {key: tuple(shape) for key, shape in published.items()}
    assert infer_widths(shapes) == widths
    check_keys(shapes, widths)


@given(
    n=st.integers(4, 40),
    u=st.integers(0, 20),
    o=st.integers(0, 20),
    cabs=st.integers(1, 4),
    reduction=st.integers(1, 4),
)
@settings(deadline=None, max_examples=15)
def test_any_widths_are_found_again(n: int, u: int, o: int, cabs: int, reduction: int) -> None:
    with torch.device("meta"):
        shapes = {
            name: tuple(value.shape) for name, value in MPRNet(Widths(n, u, o, cabs, reduction)).state_dict().items()
        }
    found = infer_widths(shapes)
    assert replace(found, reduction=reduction) == Widths(n, u, o, cabs, reduction)
    check_keys(shapes, found)


def test_missing_surplus_and_misshapen_are_all_named(file: Path, state: State) -> None:
    broken = dict(state)
    del broken["shallow_feat1.0.weight"], broken["stage3_orsnet.orb2.body.0.CA.conv_du.0.weight"]
    broken["extra.weight"] = torch.ones(1)
    broken["tail.weight"] = torch.ones(3, 5, 3, 3)
    with pytest.raises(ModelError) as caught:
        read(file, torch_bytes(broken))
    message = str(caught.value)
    assert str(file) in message
    assert "2 missing: shallow_feat1.0.weight, stage3_orsnet.orb2.body.0.CA.conv_du.0.weight" in message
    assert "1 surplus: extra.weight" in message
    assert "1 misshapen: tail.weight [3, 5, 3, 3] instead of [3, 12, 3, 3]" in message


def test_any_single_missing_or_misshapen_tensor_is_named(state: State) -> None:
    good = {name: tuple(value.shape) for name, value in state.items()}
    deciding = [
        name for name in good if "level2.0.body.0" in name or "conv_enc" in name or name.endswith("feat1.0.weight")
    ]
    for name in {*deciding, *list(good)[::9]}:
        shape = good[name]
        misshapen = good | {name: (5, *shape)}
        with pytest.raises(ModelError, match=rf": 1 misshapen: {name} "):
            check_keys(misshapen, infer_widths(misshapen))
        missing = {other: value for other, value in good.items() if other != name}
        if shape == (1,):
            check_keys(missing, infer_widths(missing))  # a slope, which is there under other names
        else:
            with pytest.raises(ModelError, match=rf": 1 missing: {name}$"):
                check_keys(missing, infer_widths(missing))


def test_long_lists_are_cut(file: Path, state: State) -> None:
    surplus = {f"x{i}{'y' * 500}\x1b[31m": torch.ones(1) for i in range(50)}
    with pytest.raises(ModelError, match=r"50 surplus: x0y+, .* and 42 more") as caught:
        read(file, torch_bytes(state | surplus))
    assert len(str(caught.value)) < 2000
    assert str(caught.value).isprintable()


def test_other_networks_are_told_apart(file: Path) -> None:
    restormer = {"patch_embed.proj.weight": torch.ones(48, 3, 3, 3), "output.weight": torch.ones(3, 96, 3, 3)}
    with pytest.raises(ModelError, match=r"holds no MPRNet as published, but 2 tensors named patch_embed"):
        read(file, torch_bytes(restormer))


def test_absurd_widths_are_refused() -> None:
    names = ("shallow_feat1.0", "stage1_encoder.encoder_level2.0.body.0", "stage3_orsnet.conv_enc1")
    orb = {"stage3_orsnet.orb1.body.0.CA.conv_du.0.weight": (1, 4)}
    for channels in [(10**12,) * 3, (0, 0, 0), (40, 20, 56), (40, 60, 20)]:
        shapes: dict[str, tuple[int, ...]] = {f"{n}.weight": (c, 0) for n, c in zip(names, channels, strict=True)}
        with pytest.raises(ModelError, match="impossible widths"):
            infer_widths(shapes | orb)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_refused(file: Path, state: State, value: float) -> None:
    bad = state["tail.weight"].clone()
    bad[0, 0, 0, 0] = value
    with pytest.raises(ModelError, match=r"NaN or infinity in tail\.weight$"):
        read(file, torch_bytes(state | {"tail.weight": bad}))


def test_float64_too_large_for_float32_is_refused(file: Path, state: State) -> None:
    huge = torch.full_like(state["tail.weight"], 1e300, dtype=torch.float64)
    with pytest.raises(ModelError, match="NaN or infinity"):
        read(file, torch_bytes(state | {"tail.weight": huge}))


def test_different_slopes_are_refused(file: Path, state: State) -> None:
    other = state | {"shallow_feat2.1.body.1.weight": torch.tensor([0.7])}
    with pytest.raises(ModelError, match="2 different PReLU slopes; MPRNet shares one"):
        read(file, torch_bytes(other))


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (3, r"tail\.weight \(int\)"),
        ([1.0], r"tail\.weight \(list\)"),
        (torch.ones(3, 12, 3, 3, dtype=torch.int8), r"int8"),
        (torch.ones(3, 12, 3, 3, dtype=torch.complex64), r"complex64"),
        (torch.ones(3, 12, 3, 3).to_sparse(), r"sparse_coo"),
        (torch.empty(3, 12, 3, 3, device="meta"), r"meta"),
    ],
)
def test_what_is_no_weight_is_named(file: Path, state: State, value: object, named: str) -> None:
    with pytest.raises(ModelError, match=f"other things than dense floating-point weights: .*{named}"):
        read(file, torch_bytes({**state, "tail.weight": value}))


@pytest.mark.parametrize(
    ("value", "message"),
    [([1, 2], "holds a list"), (torch.ones(2), "holds a Tensor"), ({"state_dict": None}, "holds a NoneType")],
)
def test_what_is_no_state_dict_is_refused(file: Path, value: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(file, torch_bytes(value))


def test_an_empty_state_dict_is_refused(file: Path) -> None:
    with pytest.raises(ModelError, match="no MPRNet"):
        read(file, torch_bytes({"state_dict": {}}))


class Payload:
    """Pickles to a command that leaves a trace when the pickle is run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize(
    "encode",
    [
        torch_bytes,
        lambda value: torch_bytes(value, legacy=True),
        pickle.dumps,
        lambda value: pickle.dumps(value, 0),
        lambda value: pickle.dumps(value, 2),
    ],
)
def test_code_in_a_pickle_is_refused_and_not_run(file: Path, encode: Callable[[object], bytes]) -> None:
    marker = file.with_name("marker")
    data = encode({"state_dict": {"tail.weight": Payload(marker)}})
    with pytest.raises(ModelError, match=r"nothing in it was run|neither a PyTorch"):
        read(file, data)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists(), "the payload works where it is let"


def test_the_wanted_code_is_named(file: Path) -> None:
    with pytest.raises(ModelError, match=r"asks for \w+\.system, which could run code"):
        read(file, torch_bytes({"state_dict": Payload(file)}))
    with pytest.raises(ModelError, match=r"asks for torch\.nn\.modules\.linear\.Linear.* Save its state_dict alone"):
        read(file, torch_bytes(nn.Linear(2, 2)))


def zipped(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("letter.txt", text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither"),
        (b"just a text, long enough to hold a header", "neither"),
        (zipped("not weights"), "is damaged, or no PyTorch checkpoint"),
        (b"\x80\x02}q\x00.", "no MPRNet|is damaged"),
        (b"\x40\0\0\0\0\0\0\0{", "is damaged, or no safetensors"),
        (b"\x02\0\0\0\0\0\0\0{}", "no MPRNet"),
    ],
)
def test_other_files_are_refused(file: Path, data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(file, data)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part", [0.001, 0.3, 0.999])
def test_truncated_files_are_refused(file: Path, state: State, layout: str, part: float) -> None:
    data = LAYOUTS[layout](state)
    with pytest.raises(ModelError, match=r"damaged|neither"):
        read(file, data[: int(len(data) * part)])


@given(data=st.data())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_a_model_error(file: Path, data: st.DataObject) -> None:
    """Only errors of ours leave, whatever a few changed bytes make of the file."""
    damaged = bytearray(SMALL_FILES[data.draw(st.sampled_from(sorted(SMALL_FILES)))])
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    with pytest.raises(ModelError):
        read(file, bytes(damaged))


SMALL_FILES = {
    "zip": torch_bytes({"state_dict": {"tail.weight": torch.ones(3)}}),
    "legacy": torch_bytes({"tail.weight": torch.ones(3)}, legacy=True),
    "safetensors": safetensors.torch.save({"tail.weight": torch.ones(3)}, {"streamrestore": "{}"}),
}


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(ModelError, match="cannot be read: "):
            read_checkpoint(path, task="derain", crop=64)


def test_a_file_too_large_is_not_read(file: Path) -> None:
    with file.open("wb") as sparse:
        sparse.truncate(checkpoint.LARGEST_BYTES + 1)
    with pytest.raises(ModelError, match="is it the right file"):
        read_checkpoint(file, task="derain", crop=64)


def test_safetensors_round_trip(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "stored.safetensors"
    sha256 = write_safetensors(model, path)
    again = read_checkpoint(path)
    assert again == replace(model, name="stored", sha256=sha256)
    assert again.tensors.keys() == model.tensors.keys()
    assert all(torch.equal(again.tensors[name], value) for name, value in model.tensors.items())
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["given.bin", "stored.safetensors"]


def test_the_slope_is_stored_once_and_tied_again(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "stored.safetensors"
    write_safetensors(model, path)
    stored = safetensors.torch.load(path.read_bytes())
    assert [name for name, value in stored.items() if value.shape == (1,)] == [SLOPE]
    network = build_network(read_checkpoint(path))
    slopes = [module.weight for module in network.modules() if isinstance(module, nn.PReLU)]
    assert len(slopes) == 1, "modules() tells shared modules once"
    assert slopes[0].item() == pytest.approx(0.1)
    assert len(network.state_dict()) == len(state_of())


def test_equal_weights_are_equal_files(model: Model, tmp_path: Path) -> None:
    shuffled = replace(model, tensors=dict(list(model.tensors.items())[::-1]))
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    assert write_safetensors(model, first) == write_safetensors(shuffled, second)
    script = (
        "import sys; from pathlib import Path; from streamrestore.checkpoint import *\n"
        "write_safetensors(read_checkpoint(Path(sys.argv[1])), Path(sys.argv[2]))"
    )
    subprocess.run([sys.executable, "-c", script, first, second], check=True)
    assert first.read_bytes() == second.read_bytes(), "in another process, with another hash seed"


def test_memory_layout_does_not_matter(model: Model, file: Path, state: State) -> None:
    """Training keeps its weights in channels_last, which safetensors would refuse."""
    last = {name: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for name, t in state.items()}
    last["tail.weight"] = torch.zeros(1).expand(3, 12, 3, 3)
    trained = read(file, torch_bytes(last))
    plain = replace(model, tensors={**model.tensors, "tail.weight": torch.zeros(3, 12, 3, 3)})
    sha256 = write_safetensors(plain, file.with_suffix(".safetensors"))
    assert write_safetensors(replace(plain, tensors=trained.tensors), file) == sha256


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_load_as_float32(file: Path, state: State, dtype: torch.dtype) -> None:
    stored = {name: value.to(dtype, copy=True) for name, value in state.items()}
    model = read(file, safetensors.torch.save(stored))
    assert {value.dtype for value in model.tensors.values()} == {torch.float32}
    assert torch.equal(model.tensors["tail.weight"], stored["tail.weight"].float())


def test_a_model_crosses_processes(model: Model) -> None:
    again = pickle.loads(pickle.dumps(model))
    assert again == model
    assert torch.equal(again.tensors["tail.weight"], model.tensors["tail.weight"])
    assert len(repr(model)) < 500, "no tensors in a message"


def test_a_built_network_is_ready_and_owns_its_weights(model: Model) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    network = build_network(model)
    assert torch.equal(torch.rand(1), expected), "no random numbers are drawn"
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    before = model.tensors["tail.weight"].clone()
    network.tail.weight.zero_()
    assert torch.equal(model.tensors["tail.weight"], before)
    assert all(image.isfinite().all() for image in network(torch.rand(1, 3, 16, 16)))


@pytest.mark.parametrize(
    ("task", "crop", "unknown"),
    [(None, None, "task and training crop"), ("derain", None, "training crop"), (None, 64, "task")],
)
def test_unknown_task_or_crop_says_how_to_give_them(
    file: Path, state: State, task: Task | None, crop: int | None, unknown: str
) -> None:
    file.write_bytes(torch_bytes(state))
    with pytest.raises(ConfigError, match=rf"does not say its {unknown}: streamrestore weights import \S+ --task"):
        read_checkpoint(file, task=task, crop=crop)


def test_contradictions_are_refused(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "stored.safetensors"
    write_safetensors(model, path)
    assert read_checkpoint(path, task="derain", crop=64).crop == 64
    with pytest.raises(
        ConfigError,
        match=r"is for derain, trained on 64 px crops; asked for was deblur: leave that out, or name other weights$",
    ):
        read_checkpoint(path, task="deblur")
    with pytest.raises(ConfigError, match=r"asked for was 128 px: leave that out, or name other weights$"):
        read_checkpoint(path, crop=128)


@pytest.mark.parametrize("crop", [0, -64, 4, 100])
def test_impossible_crops_are_refused(file: Path, state: State, crop: int) -> None:
    file.write_bytes(torch_bytes(state))
    with pytest.raises(ConfigError, match="multiple of 8"):
        read_checkpoint(file, task="derain", crop=crop)


@pytest.mark.parametrize(
    ("card", "fields"),
    [
        ('{"version": 2, "task": "derain", "crop": 64, "source": "", "license": ""}', "version"),
        ('{"version": 1, "task": "dehaze", "crop": 60, "source": "", "license": ""}', "task, crop"),
        ("not JSON", "all"),
    ],
)
def test_a_card_not_understood_is_refused(file: Path, state: State, card: str, fields: str) -> None:
    data = safetensors.torch.save({name: value.clone() for name, value in state.items()}, {"streamrestore": card})
    with pytest.raises(ModelError, match=rf"does not understand \(field: {fields}\)"):
        read(file, data)


def test_the_authors_files_are_recognised_by_content(file: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(torch_bytes({"state_dict": state}))
    try:
        git = subprocess.run(["git", "hash-object", file], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    card = checkpoint._PUBLISHED["aabb19cfd9a2195b6e5939dcd374d31a7e4c33b8"]
    monkeypatch.setitem(checkpoint._PUBLISHED, git.stdout.strip(), card)
    model = read_checkpoint(file)
    assert (model.name, model.task, model.crop) == ("mprnet-denoise", "denoise", 128)
    assert "non-commercial" in model.license
    assert "model_denoising.pth of github.com/swz30/MPRNet" in model.source
