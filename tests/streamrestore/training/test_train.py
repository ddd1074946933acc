"""Training: the loss is the paper's, it falls, and a run goes on exactly where it was stopped."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamrestore.checkpoint import build_network, read_checkpoint
from streamrestore.errors import ConfigError
from streamrestore.training.data import Example
from streamrestore.training.export import export
from streamrestore.training.losses import charbonnier, laplacian, restoration_loss
from streamrestore.training.runs import learning_rate
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


def test_the_rate_warms_up_and_falls_to_its_end() -> None:
    rates = [learning_rate(RECIPE, step) for step in range(RECIPE.steps)]
    assert rates.index(max(rates)) in (2, 3)
    assert max(rates) == pytest.approx(RECIPE.learning_rate)
    assert learning_rate(RECIPE, RECIPE.steps) == pytest.approx(RECIPE.final_learning_rate)


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


def test_a_run_that_is_asked_to_stop_keeps_its_steps(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(png())
    recipe = replace(RECIPE, steps=6, crop=16)
    whole = train(recipe, [tmp_path / "images"], tmp_path / "whole")
    stops = iter([False, False, True])
    stopped = train(recipe, [tmp_path / "images"], tmp_path / "parts", stop=lambda: next(stops))
    assert stopped.step == 3
    resumed = train(recipe, [tmp_path / "images"], tmp_path / "parts")
    assert resumed.step == 6
    assert all(torch.equal(value, resumed.average[name]) for name, value in whole.average.items())


def test_a_stopped_run_goes_on_exactly(tmp_path: Path) -> None:
    whole = Trainer(RECIPE, pictures())
    for _ in range(4):
        whole.train_step()
    first = Trainer(RECIPE, pictures())
    for _ in range(2):
        first.train_step()
    first.save(tmp_path / "checkpoint.pt")
    second = Trainer(RECIPE, pictures())
    second.load(tmp_path / "checkpoint.pt")
    for _ in range(2):
        second.train_step()
    assert second.step == whole.step
    assert all(torch.equal(value, second.average[name]) for name, value in whole.average.items())


def test_a_run_of_another_recipe_is_not_continued(tmp_path: Path) -> None:
    Trainer(RECIPE, pictures()).save(tmp_path / "checkpoint.pt")
    other = Trainer(replace(RECIPE, learning_rate=1e-3), pictures())
    with pytest.raises(ConfigError, match="another recipe"):
        other.load(tmp_path / "checkpoint.pt")


def test_a_run_writes_a_log_and_weights_that_load(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(png())
    recipe = replace(RECIPE, steps=4, crop=16)
    trainer = train(recipe, [tmp_path / "images"], tmp_path / "run", save_every=2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    path = export(recipe, trainer.average, tmp_path / "run", "tiny")
    model = read_checkpoint(path)
    assert (model.task, model.crop, model.widths) == ("derain", 16, TINY)
    image = torch.rand(1, 3, 16, 16)
    trainer.network.load_state_dict(trainer.average)
    assert torch.allclose(build_network(model)(image)[-1], trainer.network(image)[-1], atol=1e-5)
    again = train(recipe, [tmp_path / "images"], tmp_path / "run")
    assert again.step == 4


def test_a_recipe_with_a_mistake_is_said(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('task = "derain"\nspeed = 3\n[widths]\nn_feat = 8\n')
    with pytest.raises(ConfigError, match="is no training recipe"):
        Recipe.from_toml(path)


@pytest.mark.parametrize("task", ["derain", "deblur", "denoise"])
@pytest.mark.parametrize(("size", "n_feat"), [("compact", 16), ("standard", 40)])
def test_the_recipes_can_be_read(task: str, size: str, n_feat: int) -> None:
    recipe = Recipe.from_toml(Path(__file__).parents[3] / "recipes" / f"{task}-{size}.toml")
    assert (recipe.task, recipe.widths.n_feat) == (task, n_feat)
