"""What training runs share: recipes that are checked, a learning rate, and a folder whose files never part."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from streamrestore.checkpoint import write_durably
from streamrestore.errors import ConfigError, ModelError, OutputError
from streamrestore.training import runs
from streamrestore.training.assessing import AssessorRecipe
from streamrestore.training.data import Example
from streamrestore.training.runs import RunFolder, learning_rate, read_recipe
from streamrestore.training.train import Recipe

RECIPES = Path(__file__).parents[3] / "recipes"


@dataclass(frozen=True)
class Small:
    """The least of a recipe."""

    steps: int = 30
    warmup_steps: int = 3
    learning_rate: float = 2e-3
    final_learning_rate: float = 1e-6


def open_run(folder: Path, recipe: Small = Small(), colour: int = 7, device: str = "cpu") -> RunFolder:
    return RunFolder(folder, recipe, [Example(torch.full((3, 4, 4), colour, dtype=torch.uint8))], device)


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_rate_warms_up_and_falls_to_its_end() -> None:
    recipe = Small()
    rates = [learning_rate(recipe, step) for step in range(recipe.steps)]
    assert rates.index(max(rates)) in (2, 3)
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert learning_rate(recipe, recipe.steps) == pytest.approx(recipe.final_learning_rate)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("seed = 2021", "seed = 2021\nspeed = 3", "speed: Unexpected"),
        ("batch = 8", "", "batch: Field required"),
        ("batch = 8", "batch = 0", "batch: .* greater than 0"),
        ("steps = 6200", 'steps = "many"', "steps: .* valid integer"),
        ("crop = 128", "crop = 100", "crop: .* multiple of"),
        ("learning_rate = 8e-4", "learning_rate = nan", "learning_rate: "),
        ('task = "derain"', 'task = "dehaze"', "task: .*'derain', 'deblur' or 'denoise'"),
        ("num_cab = 4", "", "widths.num_cab: Field required"),
        ("num_cab = 4", "num_cab = 4\ndepth = 2", "widths.depth: Unexpected"),
        ("n_feat = 16", "n_feat = 2", "widths: .*n_feat is at least the reduction, 4"),
        ("num_cab = 4", "num_cab = 0", "widths: .*num_cab and reduction are 1 at least"),
        ("[widths]", "widths = 3", "is no training recipe"),
        ("seed = 2021", "seed = ", "is no training recipe"),
    ],
)
def test_a_mistake_in_a_recipe_is_said(tmp_path: Path, before: str, after: str, message: str) -> None:
    good = (RECIPES / "derain-compact.toml").read_text()
    assert before in good
    (tmp_path / "bad.toml").write_text(good.replace(before, after, 1))
    with pytest.raises(ConfigError, match=message):
        read_recipe(tmp_path / "bad.toml", Recipe)


def test_what_is_no_text_or_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\x80\x02}q")
    with pytest.raises(ConfigError, match="is no training recipe"):
        read_recipe(tmp_path / "bytes.toml", Recipe)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_recipe(tmp_path / "none.toml", Recipe)


@pytest.mark.parametrize(("crops", "batch"), [(480, 2), (480, 36), (12, 24)])
def test_rounds_of_the_assessor_come_out_even(tmp_path: Path, crops: int, batch: int) -> None:
    good = (RECIPES / "assessor.toml").read_text()
    uneven = good.replace("crops = 480", f"crops = {crops}").replace("batch = 24", f"batch = {batch}")
    (tmp_path / "bad.toml").write_text(uneven)
    with pytest.raises(ConfigError, match="multiple of 4"):
        read_recipe(tmp_path / "bad.toml", AssessorRecipe)


def test_an_empty_folder_has_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert open_run(tmp_path / "new").load() is None
    assert (tmp_path / "new").is_dir()


def test_what_was_saved_is_loaded_and_its_log_goes_on(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    run.save({"x": torch.arange(3)}, {"step": 1, "psnr": None})
    run.save({"x": torch.arange(4)})
    again = open_run(tmp_path)
    state = again.load()
    assert state is not None
    assert state["x"].tolist() == [0, 1, 2, 3]
    again.save(state, {"step": 2, "psnr": 30.5})
    assert logged(tmp_path) == [{"step": 1, "psnr": None}, {"step": 2, "psnr": 30.5}]


@pytest.mark.parametrize(("died_at", "kept"), [("checkpoint.pt", 1), ("log.jsonl", 2)])
def test_a_death_between_checkpoint_and_log_costs_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died_at: str, kept: int
) -> None:
    def dies(path: Path, data: bytes) -> None:
        if path.name == died_at:
            raise KeyboardInterrupt
        write_durably(path, data)

    run = open_run(tmp_path)
    run.save({"step": 1}, {"step": 1})
    monkeypatch.setattr(runs, "write_durably", dies)
    with pytest.raises(KeyboardInterrupt):
        run.save({"step": 2}, {"step": 2})
    monkeypatch.undo()
    again = open_run(tmp_path)
    assert again.load() == {"step": kept}
    assert [line["step"] for line in logged(tmp_path)] == list(range(1, kept + 1))
    again.save({"step": kept + 1}, {"step": kept + 1})
    assert [line["step"] for line in logged(tmp_path)] == list(range(1, kept + 2))


def test_a_run_goes_on_only_with_what_it_was_begun_with(tmp_path: Path) -> None:
    open_run(tmp_path).save({})
    with pytest.raises(ConfigError, match="begun with another recipe: train into an empty folder"):
        open_run(tmp_path, replace(Small(), steps=31)).load()
    with pytest.raises(ConfigError, match="begun with another set of pictures"):
        open_run(tmp_path, colour=8).load()
    with pytest.raises(ConfigError, match="begun with another kind of device"):
        open_run(tmp_path, device="cuda:1").load()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"checkpoint\.pt is damaged"):
        open_run(tmp_path).load()


def test_a_checkpoint_of_something_else_is_said(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(ModelError, match="no checkpoint of this version"):
        open_run(tmp_path).load()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="it is a file, and a folder is wanted"):
        open_run(tmp_path / "file")
