"""Training the assessor: the loss falls, a run goes on exactly where it was stopped, thresholds lie between."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamrestore.errors import ConfigError, SourceError
from streamrestore.training import assessing
from streamrestore.training.assessing import (
    AssessorProgress,
    AssessorRecipe,
    AssessorTrainer,
    assessment_loss,
    threshold,
    train_assessor,
)
from streamrestore.training.data import Example
from streamrestore.training.flaws import Flawed, random_flaws
from tests.images import image
from tests.scenes import dead_leaves

RECIPE = AssessorRecipe(
    rounds=3,
    crops=4,
    passes=1,
    batch=4,
    learning_rate=2e-3,
    final_learning_rate=1e-4,
    warmup_steps=2,
    weight_decay=0.0,
    seed=1,
)
SCENE = (dead_leaves(320, 320, leaves=400) * 255).to(torch.uint8)


def test_the_loss_falls() -> None:
    trainer = AssessorTrainer(replace(RECIPE, rounds=30), [Example(SCENE)])
    clean = (SCENE[:, :176, :176] / 255).expand(8, -1, -1, -1)
    flawed = random_flaws(clean, torch.Generator().manual_seed(1))
    assert 0 < flawed.present.sum() < 24
    losses = [trainer.train_step(flawed) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_what_is_not_known_does_not_count() -> None:
    present, known = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    flawed = Flawed(torch.zeros(1, 3, 2, 2), present, known)
    right, absurd = torch.tensor([[9.0, -9.0, -9.0]]), torch.tensor([[9.0, -9.0, 99.0]])
    assert assessment_loss(right, flawed) < 1e-3
    assert torch.equal(assessment_loss(right, flawed), assessment_loss(absurd, flawed))
    assert assessment_loss(-right, flawed) > 5
    assert assessment_loss(right, flawed._replace(known=torch.zeros(1, 3))) == 0


def test_a_threshold_lies_between() -> None:
    odds = torch.cat((torch.linspace(-5, -1, 101), torch.linspace(2, 6, 101)))
    present = torch.arange(202) > 100
    assert threshold(odds, present).item() == pytest.approx((-1.04 + 2.4) / 2, abs=1e-4)


def test_a_stopped_run_goes_on_exactly(tmp_path: Path) -> None:
    whole = AssessorTrainer(RECIPE, [Example(SCENE)])
    first, second = (AssessorTrainer(RECIPE, [Example(SCENE)]) for _ in range(2))
    for _ in range(3):
        whole.train_round()
    first.train_round()
    first.save(tmp_path / "checkpoint.pt")
    second.load(tmp_path / "checkpoint.pt")
    for _ in range(2):
        second.train_round()
    assert second.round == whole.round
    others = second.network.state_dict()
    assert all(torch.equal(value, others[name]) for name, value in whole.network.state_dict().items())
    with pytest.raises(ConfigError, match="another recipe"):
        AssessorTrainer(replace(RECIPE, seed=2), [Example(SCENE)]).load(tmp_path / "checkpoint.pt")


def test_a_run_gives_a_network_with_thresholds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assessing, "HELD_OUT_PICTURES", 24)
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(10):
        (folder / f"{index}.png").write_bytes(image("png", "rgb24", index, size=(304, 304)))
    reports = list[AssessorProgress]()
    network = train_assessor(RECIPE, [folder], tmp_path / "run", report=reports.append)
    assert [line.round for line in reports] == [1, 2, 3]
    logged = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in logged] == [1, 2, 3]
    again = train_assessor(RECIPE, [folder], tmp_path / "run")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in network.state_dict().items())


def test_small_pictures_are_refused() -> None:
    with pytest.raises(SourceError, match="training pictures is at least 176 px"):
        AssessorTrainer(RECIPE, [Example(SCENE[:, :100])])


def test_a_recipe_with_a_mistake_is_said(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("rounds = 3\nspeed = 4\n")
    with pytest.raises(ConfigError, match="is no recipe for the assessor"):
        AssessorRecipe.from_toml(path)
    shipped = Path(__file__).parents[3] / "recipes" / "assessor.toml"
    assert AssessorRecipe.from_toml(shipped).seed == 2021
