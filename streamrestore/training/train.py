"""Train an MPRNet from a recipe: one command, one seed, and it goes on where it was stopped.

Passive code: one process, one device.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from torch import Tensor, nn

from streamrestore.checkpoint import build_network
from streamrestore.errors import ConfigError
from streamrestore.mprnet import MPRNet, Widths
from streamrestore.patches import SIZE_MULTIPLE
from streamrestore.tasks import Task
from streamrestore.training.blur import MARGIN, random_blur
from streamrestore.training.data import CropSampler, Degradation, Example, large_enough, read_examples
from streamrestore.training.lattices import random_lattices
from streamrestore.training.losses import restoration_loss
from streamrestore.training.noise import random_noise
from streamrestore.training.rain import random_rain
from streamrestore.training.runs import RunFolder, enough_memory, finite, learning_rate, read_recipe
from streamrestore.weights import read_weights

DEGRADATIONS: dict[Task, Degradation] = {
    "derain": Degradation(random_rain, prepare=random_lattices),
    "deblur": Degradation(random_blur, margin=MARGIN),
    "denoise": Degradation(random_noise),
}

HELD_OUT_EVERY = 25
"""One picture in so many is never trained on: the figures of the log are taken on them."""

HELD_OUT_CROPS = 16


def _buildable(widths: Widths) -> Widths:
    if min(widths.num_cab, widths.reduction) < 1 or min(widths.scale_unetfeats, widths.scale_orsnetfeats) < 0:
        raise ValueError("num_cab and reduction are 1 at least, the scales 0")
    if widths.n_feat < widths.reduction:
        raise ValueError(f"n_feat is at least the reduction, {widths.reduction}")
    return widths


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what the trained weights are, apart from the images."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    task: Task
    widths: Annotated[Widths, AfterValidator(_buildable)]
    crop: Annotated[PositiveInt, Field(multiple_of=SIZE_MULTIPLE)]
    """Side of a training crop, in pixels."""
    batch: PositiveInt
    steps: PositiveInt
    learning_rate: PositiveFloat
    final_learning_rate: NonNegativeFloat
    warmup_steps: NonNegativeInt
    weight_decay: NonNegativeFloat
    gradient_clip: PositiveFloat
    """Largest norm of the gradient."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    """Of the running average of the weights, which is what is shipped."""
    seed: NonNegativeInt
    init: str | None = None
    """Weights to start from, of any task: a name or a file, as for `read_weights`. None starts at random."""

    @classmethod
    def from_toml(cls, path: Path) -> "Recipe":
        """As `read_recipe`."""
        return read_recipe(path, cls)


@dataclass(frozen=True, slots=True)
class Progress:
    """What is reported after a step."""

    step: int
    loss: float
    learning_rate: float
    seconds: float
    """Since this run began."""
    psnr: float | None = None
    """Of the averaged weights on the held-out crops, in dB; measured where a checkpoint is saved."""


def _initial(init: str, widths: Widths) -> dict[str, Tensor]:
    model = read_weights(init)
    if model.widths != widths:
        raise ConfigError(f"the weights to start from, {init}, have {model.widths}; the recipe has {widths}")
    return build_network(model).state_dict()


class Trainer:
    """One training run: network, optimiser, averaged weights and the stream of crops."""

    def __init__(self, recipe: Recipe, examples: list[Example], *, device: str = "cpu") -> None:
        """Set up at step 0.

        Args:
            recipe: What to train.
            examples: Pictures to train on, and to hold out (`HELD_OUT_EVERY`).
            device: A torch device name; bfloat16 autocast is used on it.

        Raises:
            SourceError: No picture is large enough.
            ModelError: The weights to start from are missing or damaged.
            ConfigError: They have other widths than the recipe.
        """
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.step = 0
        self._device = torch.device(device)
        network = MPRNet(recipe.widths)
        if recipe.init is not None:
            network.load_state_dict(_initial(recipe.init, recipe.widths))
        # torch takes a memory format with a device, but does not say so in its types.
        self.network: MPRNet = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        usable = large_enough(examples, recipe.crop + 2 * DEGRADATIONS[recipe.task].margin)
        held_out = usable[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
        trained = [example for index, example in enumerate(usable, 1) if index % HELD_OUT_EVERY]
        self._crops = self._sampler(trained)
        self._held_out = self._sampler(held_out).batch(HELD_OUT_CROPS) if held_out else None

    def _sampler(self, examples: list[Example]) -> CropSampler:
        recipe = self.recipe
        return CropSampler(examples, recipe.crop, DEGRADATIONS[recipe.task], recipe.seed, self._device)

    def train_step(self) -> float:
        """One optimiser step; the loss.

        Raises:
            ConfigError: The loss is no number any more.
        """
        rate = learning_rate(self.recipe, self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        degraded, clean = self._crops.batch(self.recipe.batch)
        degraded = degraded.to(self._device, memory_format=torch.channels_last)
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            stages = self.network(degraded)
        loss = restoration_loss(stages, clean.to(self._device))
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.gradient_clip)
        self._optimiser.step()
        self.step += 1
        self._update_average()
        return finite(loss.item())

    @torch.no_grad()
    def held_out_psnr(self) -> float | None:
        """Mean PSNR of the averaged weights on crops that were never trained on, in dB.

        The crops are the same in every run of a recipe; None where there are too few pictures
        to hold any out.
        """
        if self._held_out is None:
            return None
        network = MPRNet(self.recipe.widths).to(self._device)
        network.load_state_dict(self.average)
        degraded, clean = self._held_out
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            (restored,) = network.eval()(degraded)[-1:]
        errors = (restored.float().clamp(0, 1) - clean).square().mean((1, 2, 3))
        return float((-10 * errors.log10()).mean())

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.recipe.ema_decay, self.step / (self.step + 10))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on exactly from here; its tensors are the trainer's own."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self._optimiser.state_dict(),
            "crops": self._crops.state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was asked; its tensors, on the CPU, become the trainer's own."""
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average = {name: value.to(self._device) for name, value in state["average"].items()}
        self._optimiser.load_state_dict(state["optimiser"])
        self._crops.set_state(state["crops"])


def train(
    recipe: Recipe,
    folders: list[Path],
    out: Path,
    *,
    device: str = "cpu",
    save_every: int = 100,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trainer:
    """Train to the recipe's last step, going on from ``out/checkpoint.pt`` where there is one.

    Args:
        recipe: What to train.
        folders: Where the pictures are, as for `read_examples`.
        out: Folder for ``checkpoint.pt`` and ``log.jsonl`` (one line per ``save_every`` steps).
        device: A torch device name.
        save_every: Steps between checkpoints.
        report: Called after every step.
        stop: Asked after every step; once true, a checkpoint is written and training ends.

    Returns:
        The trainer after its last step; its ``average`` is what should be shipped.

    Raises:
        SourceError: The folders hold no usable image.
        ConfigError: ``out`` holds a run of another recipe, other pictures or another kind of device; or the loss
            is no number any more.
        ModelError: Its checkpoint, or the weights to start from, are missing or damaged.
        DeviceMemoryError: The device's memory does not suffice.
        OutputError: ``out`` cannot be written.
        DiskFullError: There is no space left.
    """
    examples = read_examples(folders)
    run = RunFolder(out, recipe, examples, device)
    with enough_memory(device):
        trainer = Trainer(recipe, examples, device=device)
        losses = list[float]()
        if kept := run.load():
            losses = kept["losses"]
            trainer.set_state(kept["trainer"])
        began, stopped = time.monotonic(), False
        while trainer.step < recipe.steps and not stopped:
            rate = learning_rate(recipe, trainer.step)
            losses.append(trainer.train_step())
            progress = Progress(trainer.step, losses[-1], rate, time.monotonic() - began)
            stopped = stop()
            if trainer.step % save_every == 0 or trainer.step == recipe.steps:
                progress = replace(progress, loss=sum(losses) / len(losses), psnr=trainer.held_out_psnr())
                losses.clear()
                run.save({"trainer": trainer.state(), "losses": losses}, asdict(progress))
            elif stopped:
                run.save({"trainer": trainer.state(), "losses": losses})
            report(progress)
    return trainer
