"""Training: the loss is the paper's, it falls, and a run goes on exactly where it was stopped."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamrestore.checkpoint import build_network, read_checkpoint
from streamrestore.errors import ConfigError, DeviceMemoryError
from streamrestore.training.curves import read_log
from streamrestore.training.data import CropSampler, Degradation, Example
from streamrestore.training.export import export
from streamrestore.training.losses import charbonnier, laplacian, restoration_loss
from streamrestore.training.runs import RunFolder
from streamrestore.training.train import Recipe, Trainer, train
from tests.clips import png
from tests.networks import TINY

RECIPE = Recipe(
    task="derain",
    widths=TINY,
    crop=32,
    batch=2,
    steps=30,
    learning_rate=2e-3,
    final_learning_rate=1e-6,
    warmup_steps=3,
    weight_decay=0.0,
    gradient_clip=1.0,
    ema_decay=0.9,
    seed=1,
)


def pictures() -> list[Example]:
    ramp = torch.arange(48)
    stripes = [((ramp[:, None] * k + ramp[None, :] * 2) % 256).to(torch.uint8) for k in (2, 1, 3)]
    return [Example(stripe.expand(3, -1, -1)) for stripe in stripes]


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(png())
    return folder


def test_charbonnier_is_the_papers_formula() -> None:
    a, b = torch.tensor([0.0, 0.5]), torch.tensor([0.0, 0.2])
    wanted = ((1e-3**2) ** 0.5 + (0.3**2 + 1e-3**2) ** 0.5) / 2
    assert charbonnier(a, b).item() == pytest.approx(wanted)


def test_the_laplacian_sees_edges_and_no_flat_area() -> None:
    flat = torch.full((1, 3, 16, 16), 0.7)
    # At its border the replicated padding repeats kept samples; inside, nothing may remain.
    assert laplacian(flat)[..., 3:-3, 3:-3].abs().max() < 1e-6
    edge = torch.zeros(1, 1, 16, 16)
    edge[..., 8:] = 1
    assert laplacian(edge).abs().max() > 0.2


def test_every_stage_counts() -> None:
    target = torch.zeros(1, 3, 8, 8)
    good, bad = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    losses = [restoration_loss(stages, target) for stages in ((bad, good, good), (good, good, bad))]
    assert losses[0].item() == pytest.approx(losses[1].item())
    assert losses[0] > 0.9


def test_edges_count_beside_colours() -> None:
    target, restored = torch.zeros(1, 3, 8, 8), torch.eye(8).expand(1, 3, 8, 8)
    edges = charbonnier(laplacian(restored), laplacian(target))
    assert edges > 0.1
    wanted = charbonnier(restored, target) + 0.05 * edges
    assert restoration_loss((restored,), target).item() == pytest.approx(wanted.item())


def test_the_gradient_is_clipped() -> None:
    trainer = Trainer(replace(RECIPE, gradient_clip=1e-3), pictures())
    trainer.train_step()
    gradients = [parameter.grad for parameter in trainer.network.parameters() if parameter.grad is not None]
    assert torch.stack([gradient.norm() for gradient in gradients]).norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_the_loss_falls_on_one_pair() -> None:
    clean = pictures()[0].clean
    trainer = Trainer(RECIPE, [Example(clean, clean // 2 + 20)])
    losses = [trainer.train_step() for _ in range(30)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert trainer.held_out_psnr() is None


def test_held_out_pictures_measure_what_was_learnt() -> None:
    clean = [Example(pictures()[0].clean.roll(shift, 2)) for shift in range(25)]
    taken = [Example(example.clean, example.clean // 2 + 20) for example in clean]
    trainer = Trainer(RECIPE, taken)
    before = trainer.held_out_psnr()
    for _ in range(30):
        trainer.train_step()
    after = trainer.held_out_psnr()
    assert before is not None
    assert after is not None
    assert after > before + 2


def test_training_starts_from_named_weights(tmp_path: Path) -> None:
    begun = Trainer(RECIPE, pictures())
    begun.train_step()
    path = export(RECIPE, begun.average, tmp_path, "begun")
    other_task = replace(RECIPE, init=str(path), seed=9)
    trainer = Trainer(other_task, pictures())
    assert all(torch.equal(value, trainer.average[name]) for name, value in begun.average.items())
    with pytest.raises(ConfigError, match="the weights to start from"):
        Trainer(replace(other_task, widths=replace(TINY, n_feat=TINY.n_feat + 4)), pictures())


def test_a_run_that_is_asked_to_stop_keeps_its_steps(image_folder: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=6, crop=16)
    whole = train(recipe, [image_folder], tmp_path / "whole")
    stops = iter([False, False, True])
    stopped = train(recipe, [image_folder], tmp_path / "parts", stop=lambda: next(stops))
    assert stopped.step == 3
    resumed = train(recipe, [image_folder], tmp_path / "parts")
    assert resumed.step == 6
    assert all(torch.equal(value, resumed.average[name]) for name, value in whole.average.items())
    assert read_log(tmp_path / "parts" / "log.jsonl") == read_log(tmp_path / "whole" / "log.jsonl")


def test_a_stopped_run_goes_on_exactly(tmp_path: Path, device: str) -> None:
    whole, first, second = (Trainer(RECIPE, pictures(), device=device) for _ in range(3))
    for _ in range(4):
        whole.train_step()
    for _ in range(2):
        first.train_step()
    folders = [RunFolder(tmp_path, RECIPE, pictures(), device) for _ in range(2)]
    folders[0].save(first.state())
    state = folders[1].load()
    assert state is not None
    second.set_state(state)
    for _ in range(2):
        second.train_step()
    assert second.step == whole.step
    # A GPU adds up in any order.
    same = torch.equal if device == "cpu" else torch.allclose
    assert all(same(value, second.average[name]) for name, value in whole.average.items())
    counts = [state["step"] for state in second.state()["optimiser"]["state"].values()]
    assert {count.device.type for count in counts} == {"cpu"}, "each would be read from the GPU in every step"


def test_the_average_goes_on_as_it_was() -> None:
    first, second = (Trainer(RECIPE, pictures()) for _ in range(2))
    for _ in range(3):
        first.train_step()
    network = first.network.state_dict()
    assert any(not torch.equal(value, network[name]) for name, value in first.average.items())
    second.set_state(first.state())
    assert all(torch.equal(value, second.average[name]) for name, value in first.average.items())


def test_one_small_picture_is_no_reason_to_hold_none_out() -> None:
    small = Example(torch.zeros(3, 20, 20, dtype=torch.uint8))
    clean = [Example(pictures()[0].clean.roll(shift, 2)) for shift in range(24)]
    assert Trainer(RECIPE, [*clean, small]).held_out_psnr() is None
    assert Trainer(RECIPE, [*clean, small, clean[0]]).held_out_psnr() is not None


def test_no_picture_is_trained_on_and_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given = list[list[Example]]()

    class Spy(CropSampler):
        def __init__(
            self, examples: list[Example], crop: int, degradation: Degradation, seed: int, device: torch.device
        ) -> None:
            given.append(examples)
            super().__init__(examples, crop, degradation, seed, device)

    monkeypatch.setattr("streamrestore.training.train.CropSampler", Spy)
    examples = [Example(pictures()[0].clean.roll(shift, 2)) for shift in range(51)]
    Trainer(RECIPE, examples)
    trained, held_out = ({id(example) for example in part} for part in given)
    assert held_out == {id(examples[24]), id(examples[49])}
    assert len(trained) == 49
    assert not trained & held_out


def test_training_that_runs_astray_ends_before_it_is_kept(image_folder: Path, tmp_path: Path) -> None:
    wild = replace(RECIPE, crop=16, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(ConfigError, match="training ran astray"):
        train(wild, [image_folder], tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_too_little_memory_is_said(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> float:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Trainer, "train_step", full)
    with pytest.raises(DeviceMemoryError, match="cpu has too little memory"):
        train(replace(RECIPE, crop=16), [image_folder], tmp_path / "run")


def test_a_run_writes_a_log_and_weights_that_load(image_folder: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=4, crop=16)
    trainer = train(recipe, [image_folder], tmp_path / "run", save_every=2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    path = export(recipe, trainer.average, tmp_path / "run", "tiny")
    model = read_checkpoint(path)
    assert (model.task, model.crop, model.widths) == ("derain", 16, TINY)
    image = torch.rand(1, 3, 16, 16)
    trainer.network.load_state_dict(trainer.average)
    assert torch.allclose(build_network(model)(image)[-1], trainer.network(image)[-1], atol=1e-5)
    again = train(recipe, [image_folder], tmp_path / "run")
    assert again.step == 4


@pytest.mark.parametrize("task", ["derain", "deblur", "denoise"])
@pytest.mark.parametrize(("size", "n_feat"), [("compact", 16), ("standard", 40)])
def test_the_recipes_can_be_read(task: str, size: str, n_feat: int) -> None:
    recipe = Recipe.from_toml(Path(__file__).parents[3] / "recipes" / f"{task}-{size}.toml")
    assert (recipe.task, recipe.widths.n_feat) == (task, n_feat)
