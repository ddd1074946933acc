"""``streamrestore train``: train weights from a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress as RichProgress

if TYPE_CHECKING:
    from streamrestore.training.train import Progress


def train_command(
    recipe: Annotated[Path, typer.Argument(help="A recipe file, such as recipes/derain-compact.toml.")],
    data: Annotated[list[Path], typer.Option("--data", help="Folder of clean images; may be given again.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for checkpoint, log and weights.")],
    device: Annotated[str, typer.Option(help="cpu, or cuda:0 and so on.")] = "cpu",
) -> None:
    """Train weights from a recipe, going on from OUT/checkpoint.pt where there is one.

    The weights are written to OUT/RECIPE.safetensors; use them with: restore --weights FILE.
    """
    from streamrestore.training.export import export
    from streamrestore.training.train import Recipe, train

    settings = Recipe.from_toml(recipe)
    with RichProgress(console=Console(stderr=True)) as bar:
        task = bar.add_task(recipe.stem, total=settings.steps)

        def report(progress: "Progress") -> None:
            bar.update(task, completed=progress.step, description=f"loss {progress.loss:.4f}")

        trainer = train(settings, data, out, device=device, report=report)
    typer.echo(export(settings, trainer.average, out, recipe.stem))
