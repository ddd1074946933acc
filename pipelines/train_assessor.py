"""``python -m pipelines.train_assessor``: make the weights that ``-t auto`` chooses by."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.exit_codes import exit_code
from pipelines.train_cli import find_training_device
from streamrestore.errors import StreamRestoreError


def train_command(
    recipe: Annotated[Path, typer.Argument(help="A recipe file, such as recipes/assessor.toml.")],
    data: Annotated[list[Path], typer.Option("--data", help="Folder of clean images. May be given again.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for checkpoint, log and weights.")],
    device: Annotated[str, typer.Option(help="auto, cpu, or a GPU such as cuda:0.")] = "auto",
) -> None:
    """Train the assessor; the same command goes on where it was stopped.

    The weights are written to OUT/RECIPE.safetensors; the package has them in streamrestore/data.
    """
    try:
        _train(recipe, data, out, device)
    except StreamRestoreError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(exit_code(error)) from error


def _train(recipe: Path, data: list[Path], out: Path, device: str) -> None:
    from streamrestore.assessor_network import write_assessor
    from streamrestore.encoder import writing_to
    from streamrestore.training.assessing import AssessorProgress, AssessorRecipe, train_assessor

    def tell(progress: AssessorProgress) -> None:
        typer.echo(f"round {progress.round}: loss {progress.loss:.4f}, {progress.seconds:.0f} s")

    settings = AssessorRecipe.from_toml(recipe)
    network = train_assessor(settings, data, out, device=find_training_device(device), report=tell)
    weights = out / f"{recipe.stem}.safetensors"
    source = f"trained by streamrestore with the recipe {recipe.stem}, seed {settings.seed}"
    with writing_to(weights):
        sha256 = write_assessor(network, weights, source=source, license="Apache-2.0")
    typer.echo(f"{weights}: trained, {settings.rounds} rounds, SHA-256 {sha256}")


if __name__ == "__main__":
    typer.run(train_command)
