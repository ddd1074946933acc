"""Every network in the package has a card with its own hash, and the recipe and log it was trained with."""

from pathlib import Path

import pytest

from streamrestore.training.curves import read_log
from streamrestore.training.train import Recipe
from streamrestore.weights import WeightsEntry, list_weights

PROJECT = Path(__file__).parents[1]
SHIPPED = [entry for entry in list_weights() if entry.origin == "shipped"]


def test_weights_are_shipped() -> None:
    assert SHIPPED


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_its_card_is_about_the_file_that_is_shipped_and_is_complete(entry: WeightsEntry) -> None:
    card = (PROJECT / "docs" / "models" / f"{entry.name}.md").read_text()
    assert entry.sha256 in card
    assert "TO BE WRITTEN" not in card
    for picture in (f"{entry.name}.jpg", f"{entry.name}-curves.svg"):
        assert f"(../images/{picture})" in card
        assert (PROJECT / "docs" / "images" / picture).stat().st_size < 150_000


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_its_recipe_is_what_it_was_made_by(entry: WeightsEntry) -> None:
    recipe = Recipe.from_toml(PROJECT / "recipes" / f"{entry.name}.toml")
    assert (recipe.task, recipe.crop, recipe.widths) == (entry.task, entry.crop, entry.widths)
    assert read_log(PROJECT / "recipes" / f"{entry.name}.jsonl")[-1].step == recipe.steps
