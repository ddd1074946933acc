"""``streamrestore train``: train weights from a recipe.

What loads torch is imported inside the command, so that ``--help`` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.signals import stop_on_signals
from pipelines.train_progress import TrainingReporter
from streamrestore.errors import ConfigError, StreamRestoreError


def train_command(
    recipe: Annotated[Path, typer.Argument(help="A recipe file, such as recipes/derain-compact.toml.")],
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            help="Folder of clean images, which are degraded as the recipe's task says; or, where it holds "
            "input/ and target/, of degraded and clean images in pairs. May be given again.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for checkpoint, log, curves and weights.")],
    device: Annotated[str, typer.Option(help="auto, cpu, or a GPU such as cuda:0.")] = "auto",
) -> None:
    """Train weights from a recipe; the same command goes on where it was stopped.

    Ctrl-C writes OUT/checkpoint.pt first; a kill loses the steps since the last one. The network
    that comes of it is the same as without the stop. The weights are written to
    OUT/RECIPE.safetensors; use them with: restore --weights FILE.
    """
    from streamrestore.training.curves import plot_curves
    from streamrestore.training.export import export
    from streamrestore.training.train import Recipe, train

    settings = Recipe.from_toml(recipe)
    chosen = find_training_device(device)
    report = TrainingReporter(recipe.stem, settings.steps)
    with stop_on_signals() as request:
        try:
            with report:
                trainer = train(settings, data, out, device=chosen, report=report, stop=request.event.is_set)
        except KeyboardInterrupt:
            report.note("stopped at once; the same command goes on from the last checkpoint")
            raise typer.Exit(request.code) from None
    if trainer.step < settings.steps:
        report.note(f"stopped after step {trainer.step} of {settings.steps}; the same command goes on from there")
        raise typer.Exit(request.code)
    weights = export(settings, trainer.average, out, recipe.stem)
    typer.echo(f"{weights}: trained, {settings.steps} steps")
    curves = out / "curves.svg"
    try:
        plot_curves(out / "log.jsonl", curves)
        typer.echo(f"{curves}: drawn from {out / 'log.jsonl'}")
    except StreamRestoreError as error:
        # The weights are there; a picture less is no failure.
        report.note(f"no picture of the curves: {error}")
    typer.echo(f"use it: streamrestore restore INPUT -t {settings.task} --weights {weights}")


def find_training_device(request: str) -> str:
    """The device to train on, as torch names it.

    Args:
        request: Such a name, or ``auto`` for the fastest.

    Raises:
        ConfigError: It is not here.
    """
    from streamrestore.devices import find_devices

    labels = [device.label() for device in find_devices()]
    if request == "auto":
        return labels[0]
    if request not in labels:
        raise ConfigError(f"there is no --device {request} here: give auto, or one of {', '.join(labels)}")
    return request
