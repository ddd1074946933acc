"""Training the assessor: the loss falls, a run goes on exactly where it was stopped, thresholds lie between."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamrestore.errors import SourceError
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
EXAMPLES = [Example(SCENE)] * 10


def test_the_loss_falls() -> None:
    trainer = AssessorTrainer(replace(RECIPE, rounds=30), EXAMPLES)
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


def test_a_killed_run_goes_on_exactly_and_its_log_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assessing, "HELD_OUT_PICTURES", 24)
    monkeypatch.setattr(assessing, "read_examples", lambda _: EXAMPLES)

    def killed(progress: AssessorProgress) -> None:
        if progress.round == 2:
            raise KeyboardInterrupt

    whole = train_assessor(RECIPE, [], tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_assessor(RECIPE, [], tmp_path / "parts", report=killed)
    resumed = train_assessor(RECIPE, [], tmp_path / "parts")
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "parts")]
    lines = [[{**json.loads(line), "seconds": 0} for line in log] for log in logs]
    assert lines[0] == lines[1]


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
    with pytest.raises(SourceError, match="none of 9 training pictures is at least 176 px"):
        AssessorTrainer(RECIPE, [Example(SCENE[:, :100])] * 9 + EXAMPLES[:1])


def test_pictures_to_choose_thresholds_by_are_missed_at_the_beginning_and_not_at_the_end() -> None:
    with pytest.raises(SourceError, match="9 pictures are too few: one in 10 is held out"):
        AssessorTrainer(RECIPE, EXAMPLES[:9])
    with pytest.raises(SourceError, match="none of 1 training pictures is at least 304 px"):
        AssessorTrainer(RECIPE, [*EXAMPLES[:9], Example(SCENE[:, :300])])


def test_the_recipe_can_be_read() -> None:
    shipped = Path(__file__).parents[3] / "recipes" / "assessor.toml"
    assert AssessorRecipe.from_toml(shipped).seed == 2021
