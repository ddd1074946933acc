"""``python -m pipelines.train_assessor``: from a recipe and images to weights that load."""

from pathlib import Path

import pytest
import typer

from pipelines.train_assessor import train_command
from streamrestore.assessor_network import read_assessor
from streamrestore.training import assessing
from tests.images import image

RECIPE = """
rounds = 1
crops = 4
passes = 1
batch = 4
learning_rate = 1e-3
final_learning_rate = 1e-4
warmup_steps = 1
weight_decay = 0.0
seed = 5
"""


def test_a_recipe_gives_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assessing, "HELD_OUT_PICTURES", 24)
    recipe, images, out = tmp_path / "small.toml", tmp_path / "images", tmp_path / "out"
    recipe.write_text(RECIPE)
    images.mkdir()
    for index in range(10):
        (images / f"{index}.png").write_bytes(image("png", "rgb24", index, size=(304, 304)))
    train_command(recipe, [images], out)
    written = out / "small.safetensors"
    sha256 = read_assessor(written).sha256
    assert (out / "small.safetensors.sha256").read_text().split() == [sha256, written.name]


def test_a_mistake_in_the_recipe_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "bad.toml"
    recipe.write_text(RECIPE + "speed = 9\n")
    with pytest.raises(typer.Exit) as stopped:
        train_command(recipe, [tmp_path], tmp_path / "out")
    assert stopped.value.exit_code == 2
    assert "is no recipe for the assessor" in capsys.readouterr().err
