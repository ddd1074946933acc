"""Turn a finished training run into weights that can be shipped or imported."""

from pathlib import Path

from torch import Tensor

from streamrestore.checkpoint import SLOPE, Model
from streamrestore.encoder import writing_to
from streamrestore.layout import slope_names, unfilled_network
from streamrestore.training.train import Recipe
from streamrestore.weights import write_weights


def export(recipe: Recipe, weights: dict[str, Tensor], folder: Path, name: str) -> Path:
    """Write averaged weights as ``NAME.safetensors`` with its hash.

    Args:
        recipe: What they were trained by; gives task, crop and widths.
        weights: The trainer's ``average``, by published parameter name.
        folder: Where to; must exist.
        name: What the weights are called.

    Returns:
        The file.

    Raises:
        OutputError: The folder cannot be written.
        DiskFullError: There is no space left.
    """
    slopes = slope_names(unfilled_network(recipe.widths))
    tensors = {key: value.float().cpu().contiguous() for key, value in weights.items() if key not in slopes}
    tensors[SLOPE] = weights[SLOPE].float().cpu().contiguous()
    source = f"trained by streamrestore with the recipe {name}, seed {recipe.seed}"
    model = Model(name, recipe.task, recipe.crop, recipe.widths, source, "Apache-2.0", "", tensors)
    with writing_to(folder):
        return write_weights(model, folder)
