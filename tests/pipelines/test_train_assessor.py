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
    train_command(recipe, [images], out, "cpu")
    written = out / "small.safetensors"
    sha256 = read_assessor(written).sha256
    assert (out / "small.safetensors.sha256").read_text().split() == [sha256, written.name]


@pytest.mark.parametrize(
    ("line", "data", "device", "code", "message"),
    [
        ("speed = 9\n", ".", "cpu", 2, "is no training recipe: speed"),
        ("", "nowhere", "cpu", 3, "nowhere is no folder"),
        ("", "images", "cpu", 4, "out cannot be written to: it is a file"),
        ("", ".", "cuda:7", 2, "there is no --device cuda:7 here"),
    ],
)
def test_mistakes_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, data: str, device: str, code: int, message: str
) -> None:
    recipe, images = tmp_path / "bad.toml", tmp_path / "images"
    recipe.write_text(RECIPE + line)
    images.mkdir()
    (images / "a.png").write_bytes(image("png", "rgb24"))
    (tmp_path / "out").touch()
    with pytest.raises(typer.Exit) as stopped:
        train_command(recipe, [tmp_path / data], tmp_path / "out", device)
    assert stopped.value.exit_code == code
    assert message in capsys.readouterr().err
