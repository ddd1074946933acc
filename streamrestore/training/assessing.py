"""Train the assessor from a recipe; as any training here, it goes on exactly where it was stopped."""

import json
import math
import os
import time
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from streamrestore.assessor_network import CROP, AssessorNetwork
from streamrestore.errors import ConfigError
from streamrestore.training.blur import MARGIN
from streamrestore.training.data import CropSampler, Degradation, Example, read_examples
from streamrestore.training.flaws import Flawed, random_flaws

HELD_OUT_EVERY = 10
"""One picture in so many is never trained on: the thresholds are chosen on them."""

HELD_OUT_BATCHES = 60
"""Of the recipe's size."""

TURNS = (CROP, CROP, 2 * CROP)
"""Sides of the pictures it is trained on, step by step in turns: of one crop, and of four."""

FALSE_ALARMS = 0.02
"""Largest share of the held-out pictures without a flaw in which it may be found."""

MISSES = 0.05
"""Share of those with it that may lie beyond the room between the two kinds."""


@dataclass(frozen=True, slots=True)
class AssessorRecipe:
    """All that decides what the trained weights are, apart from the images."""

    batch: int
    """Pictures of four crops a step; of those of one crop there are twice as many."""
    steps: int
    learning_rate: float
    final_learning_rate: float
    warmup_steps: int
    weight_decay: float
    seed: int

    @classmethod
    def from_toml(cls, path: Path) -> "AssessorRecipe":
        """Read a recipe file.

        Raises:
            ConfigError: The file cannot be read, or a setting is missing or unknown.
        """
        try:
            return cls(**tomllib.loads(path.read_text()))
        except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
            raise ConfigError(f"{path} is no recipe for the assessor: {error}") from error


@dataclass(frozen=True, slots=True)
class AssessorProgress:
    """What is reported after a step."""

    step: int
    loss: float
    """Mean since the last line of the log."""
    seconds: float
    """Since this run began."""


class AssessorTrainer:
    """One training run: network, optimiser and the stream of flawed pictures."""

    def __init__(self, recipe: AssessorRecipe, examples: list[Example], *, device: str = "cpu") -> None:
        """Set up at step 0.

        Args:
            recipe: How to train.
            examples: Clean pictures to train on, and to hold out (`HELD_OUT_EVERY`).
            device: A torch device name; bfloat16 autocast is used on it.

        Raises:
            SourceError: There are too few pictures that are large enough.
        """
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.step = 0
        self._device = torch.device(device)
        self.network = AssessorNetwork().to(self._device)
        self._optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=recipe.weight_decay)
        self._held_out = examples[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
        trained = [example for index, example in enumerate(examples, 1) if index % HELD_OUT_EVERY]
        self._samplers = [self._sampler(trained, side, recipe.seed + turn) for turn, side in enumerate(TURNS)]
        self._flaws = Generator(self._device).manual_seed(recipe.seed)

    def _sampler(self, examples: list[Example], side: int, seed: int) -> CropSampler:
        unchanged = Degradation(lambda clean, _: clean)
        return CropSampler(examples, side + 2 * MARGIN, unchanged, seed, self._device)

    def train_step(self) -> float:
        """One optimiser step; the loss."""
        recipe = self.recipe
        for group in self._optimiser.param_groups:
            group["lr"] = _learning_rate(recipe, self.step)
        turn = self.step % len(TURNS)
        _, clean = self._samplers[turn].batch(recipe.batch * TURNS[-1] // TURNS[turn])
        flawed = random_flaws(clean, self._flaws)
        self.network.train()
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            log_odds = self.network(_crops(flawed.pictures))
        loss = assessment_loss(log_odds.float(), flawed)
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._optimiser.step()
        self.step += 1
        return loss.item()

    @torch.no_grad()
    def calibrated(self) -> AssessorNetwork:
        """A copy of the network whose threshold for each flaw is a probability of one half.

        Raises:
            SourceError: No held-out picture is large enough.
        """
        copy = AssessorNetwork().to(self._device)
        copy.load_state_dict(self.network.state_dict())
        copy.eval()
        sampler = self._sampler(self._held_out, TURNS[-1], self.recipe.seed)
        generator = Generator(self._device).manual_seed(self.recipe.seed)
        flawed = [random_flaws(sampler.batch(self.recipe.batch)[1], generator) for _ in range(HELD_OUT_BATCHES)]
        log_odds = torch.cat([copy(_crops(batch.pictures)) for batch in flawed])
        present, known = (torch.cat([batch[field] for batch in flawed]) > 0 for field in (1, 2))
        thresholds = [
            threshold(odds[sure], there[sure]) for odds, there, sure in zip(log_odds.T, present.T, known.T, strict=True)
        ]
        copy.move_thresholds(torch.stack(thresholds))
        return copy.cpu()

    def save(self, path: Path) -> None:
        """Write everything needed to go on exactly from here, by write and rename."""
        state = {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "samplers": [sampler.state() for sampler in self._samplers],
            "flaws": self._flaws.get_state(),
        }
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            ConfigError: The checkpoint was made by another recipe.
        """
        state = cast("dict[str, Any]", torch.load(path, map_location=self._device, weights_only=True))
        if state["recipe"] != asdict(self.recipe):
            raise ConfigError(
                f"{path} belongs to another recipe; train into an empty folder, or restore the recipe it was begun with"
            )
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        for sampler, where in zip(self._samplers, state["samplers"], strict=True):
            sampler.set_state(where)
        self._flaws.set_state(state["flaws"].cpu())
        self.step = state["step"]


def assessment_loss(log_odds: Tensor, flawed: Flawed) -> Tensor:
    """Mean cross-entropy over all flaws whose presence is known, a scalar.

    Args:
        log_odds: ``[N, 3]`` float32.
        flawed: What was shown.
    """
    losses = F.binary_cross_entropy_with_logits(log_odds, flawed.present, flawed.known, reduction="sum")
    return losses / flawed.known.sum().clamp(min=1)


def threshold(log_odds: Tensor, present: Tensor) -> Tensor:
    """Where to tell pictures with a flaw from those without; a scalar.

    In the middle of the room between the two kinds; where there is none, so high that there are at most
    `FALSE_ALARMS`: a network that runs for nothing does harm, one that does not run does none.

    Args:
        log_odds: ``[N]``, of the flaw being there.
        present: ``[N]`` bool: whether it is.
    """
    highest_without = log_odds[~present].quantile(1 - FALSE_ALARMS)
    lowest_with = log_odds[present].quantile(MISSES)
    return torch.maximum(highest_without, (highest_without + lowest_with) / 2)


def train_assessor(
    recipe: AssessorRecipe,
    folders: list[Path],
    out: Path,
    *,
    device: str = "cpu",
    save_every: int = 50,
    report: Callable[[AssessorProgress], None] = lambda _: None,
) -> AssessorNetwork:
    """Train to the recipe's last step, going on from ``out/checkpoint.pt`` where there is one.

    Args:
        recipe: How to train.
        folders: Where the clean pictures are, as for `read_examples`.
        out: Folder for ``checkpoint.pt`` and ``log.jsonl``.
        device: A torch device name.
        save_every: Steps between checkpoints.
        report: Called with every line of the log, one for each checkpoint.

    Returns:
        The network, its thresholds calibrated.

    Raises:
        SourceError: The folders hold too few usable images.
        ConfigError: ``out`` holds a run of another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, log = out / "checkpoint.pt", out / "log.jsonl"
    trainer = AssessorTrainer(recipe, read_examples(folders), device=device)
    if checkpoint.exists():
        trainer.load(checkpoint)
    began, losses = time.monotonic(), list[float]()
    while trainer.step < recipe.steps:
        losses.append(trainer.train_step())
        if trainer.step % save_every == 0 or trainer.step == recipe.steps:
            progress = AssessorProgress(trainer.step, sum(losses) / len(losses), time.monotonic() - began)
            losses.clear()
            trainer.save(checkpoint)
            with log.open("a") as lines:
                lines.write(json.dumps(asdict(progress)) + "\n")
            report(progress)
    return trainer.calibrated()


def _learning_rate(recipe: AssessorRecipe, step: int) -> float:
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    span = recipe.learning_rate - recipe.final_learning_rate
    return recipe.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * done))


def _crops(pictures: Tensor) -> Tensor:
    """``[N, 3, S, S]`` as ``[N, K, 3, CROP, CROP]``."""
    count, _, height, width = pictures.shape
    cut = pictures.reshape(count, 3, height // CROP, CROP, width // CROP, CROP)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
