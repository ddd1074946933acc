"""The log of a training run: its lines as values, and its curves as a picture."""

import json
from dataclasses import dataclass
from pathlib import Path

from streamrestore.errors import ConfigError, OutputError, SourceError

PICTURE_SUFFIXES = (".svg", ".png")


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the log: where training stood after a step."""

    step: int
    loss: float
    """Mean over the steps since the line before."""
    learning_rate: float
    psnr: float | None
    """Of the averaged weights on crops held out, in dB; None where it was not measured."""


def read_log(log: Path) -> list[Moment]:
    """The lines of a training log, by step.

    Raises:
        SourceError: The log cannot be read, has no line, or one that training does not write.
    """
    try:
        lines = [json.loads(text) for text in log.read_text().splitlines()]
        moments = [Moment(line["step"], line["loss"], line["learning_rate"], line.get("psnr")) for line in lines]
    except OSError as error:
        raise SourceError(f"{log} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{log} is no log of a training run: {error!r}") from error
    if not moments:
        raise SourceError(f"{log} has no line yet: training writes one now and then")
    return moments


def plot_curves(log: Path, picture: Path) -> None:
    """Draw loss, held-out PSNR and learning rate over the steps.

    The same log gives the same bytes, with the same version of matplotlib.

    Args:
        log: The ``log.jsonl`` of a training run.
        picture: Where to, as ``.svg`` or ``.png``; replaced if it exists.

    Raises:
        ConfigError: matplotlib is not installed, or the suffix is another one.
        SourceError: The log is none.
        OutputError: The picture cannot be written.
    """
    if picture.suffix not in PICTURE_SUFFIXES:
        raise ConfigError(f"curves are drawn as {' or '.join(PICTURE_SUFFIXES)}, not as {picture.name}")
    moments = read_log(log)
    try:
        # Optional: nothing but this picture needs it.
        from matplotlib import rc_context
        from matplotlib.figure import Figure
        from matplotlib.ticker import StrMethodFormatter
    except ImportError as error:
        raise ConfigError("they are drawn by matplotlib: pip install matplotlib, and try again") from error

    steps = [moment.step for moment in moments]
    measured = [moment for moment in moments if moment.psnr is not None]
    # An SVG names its parts by random numbers unless they are salted.
    with rc_context({"svg.hashsalt": "streamrestore", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7, 5), layout="constrained")
        loss, psnr, rate = figure.subplots(3, sharex=True, height_ratios=(3, 3, 1.5))
        loss.plot(steps, [moment.loss for moment in moments], linewidth=1)
        loss.set(ylabel="loss", yscale="log")
        for set_formatter in (loss.yaxis.set_major_formatter, loss.yaxis.set_minor_formatter):
            set_formatter(StrMethodFormatter("{x:g}"))
        psnr.plot(
            [moment.step for moment in measured],
            [moment.psnr for moment in measured],
            linewidth=1,
            marker=".",
            color="tab:green",
        )
        psnr.set(ylabel="held-out PSNR, dB")
        rate.plot(steps, [moment.learning_rate for moment in moments], linewidth=1, color="tab:gray")
        rate.set(ylabel="learning rate", xlabel="step", ylim=(0, None))
        for axes in (loss, psnr, rate):
            axes.grid(alpha=0.3)
        figure.align_ylabels()
        try:
            figure.savefig(picture, dpi=150, metadata={"Date": None} if picture.suffix == ".svg" else None)
        except OSError as error:
            raise OutputError(f"{picture} cannot be written: {error.strerror}") from error
