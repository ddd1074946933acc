"""Options that several commands have: the same names, bounds and words everywhere; and what ``--verbose`` does."""

import logging
from enum import StrEnum
from typing import Annotated

import typer


class ProgressChoice(StrEnum):
    """What ``--progress`` takes."""

    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


# What restores

TaskOption = Annotated[
    list[str] | None,
    typer.Option("-t", "--task", help="derain, deblur, denoise, a chain such as denoise,deblur, or auto."),
]
WeightsOption = Annotated[
    list[str] | None, typer.Option("--weights", help="Name (see: weights list) or file; once for each task.")
]
StagesOption = Annotated[int, typer.Option(min=1, max=3, help="Stages of the network: 1 is fastest, 3 best.")]
LocalPoolingOption = Annotated[
    bool, typer.Option("--local-pooling", help="Whole frames, attention pooled as in training (TLC); slower.")
]
StrengthOption = Annotated[float, typer.Option(min=0, max=1, help="Blend with the original: 0 keeps it.")]
PatchOption = Annotated[str, typer.Option(help="Side of the largest patch in pixels, or auto.")]

# Where

DevicesOption = Annotated[str, typer.Option(help="auto, cpu, gpu, or GPU numbers such as 0,1.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=0, help="Worker processes; 0 restores in this one, without Ray. Default: by devices."),
]
WorkersPerGpuOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Workers that share a GPU. Default: 1, or as few as make room for --workers."
    ),
]
AddressOption = Annotated[str | None, typer.Option(envvar="RAY_ADDRESS", help="Ray cluster to join, as host:port.")]

# What is written

CrfOption = Annotated[int | None, typer.Option("--crf", "-crf", help="Quality, lower is better. Default: 17.")]
PresetOption = Annotated[str | None, typer.Option("--preset", "-preset", help="Of the encoder. Default: medium.")]
EncoderOptionsOption = Annotated[
    list[str] | None, typer.Option("-e", "--encoder-option", metavar="KEY=VALUE", help="Any option of the encoder.")
]

# What is said

ProgressOption = Annotated[ProgressChoice, typer.Option(case_sensitive=False)]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="Say what was decided, and why.")]


def set_up_logging(*, verbose: bool) -> None:
    """Say on standard error what is logged: warnings, or also what was decided."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")
