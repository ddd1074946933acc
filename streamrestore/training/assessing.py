"""Train the assessor from a recipe; as any training here, it goes on exactly where it was stopped.

Training goes in rounds. Making flaws costs more than learning from them, so the pictures of a round are
made once and shown several times, in another order each time.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Generator, Tensor

from streamrestore.assessor_network import CROP, AssessorNetwork
from streamrestore.errors import SourceError
from streamrestore.training.blur import MARGIN
from streamrestore.training.data import CropSampler, Degradation, Example, large_enough, read_examples
from streamrestore.training.flaws import Flawed, random_flaws
from streamrestore.training.runs import RunFolder, enough_memory, finite, learning_rate, read_recipe

HELD_OUT_EVERY = 10
"""One picture in so many is never trained on: the thresholds are chosen on them."""

HELD_OUT_PICTURES = 720
"""Made of these."""

SIDES = (CROP, CROP, 2 * CROP)
"""Of the pictures it is trained on, round by round in turns: of one crop, and of four."""

MADE_AT_ONCE = 24 * CROP * CROP
"""Pixels that flaws are laid on in one go."""

FALSE_ALARMS, MISSES = 0.01, 0.1
"""Shares of the held-out pictures without a flaw, and with it, that may lie beyond the two values in whose
middle the threshold is put."""


@dataclass(frozen=True, slots=True)
class AssessorRecipe:
    """All that decides what the trained weights are, apart from the images."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    rounds: PositiveInt
    crops: PositiveInt
    """Of a round: so many pictures of one crop, or a quarter as many of four. A multiple of the batch."""
    passes: PositiveInt
    """How often each picture of a round is shown."""
    batch: PositiveInt
    """Crops a step; a multiple of four."""
    learning_rate: PositiveFloat
    final_learning_rate: NonNegativeFloat
    warmup_steps: NonNegativeInt
    weight_decay: NonNegativeFloat
    seed: NonNegativeInt

    def __post_init__(self) -> None:
        """Refuse rounds that do not come out even, which would take more steps than the learning rate knows of."""
        if self.batch % (max(SIDES) // CROP) ** 2 or self.crops % self.batch:
            raise ValueError(
                f"batch must be a multiple of 4, and crops one of the batch, not {self.batch}, {self.crops}"
            )

    @property
    def steps(self) -> int:
        """Of the optimiser, in all."""
        return self.rounds * self.passes * (self.crops // self.batch)

    @classmethod
    def from_toml(cls, path: Path) -> "AssessorRecipe":
        """As `read_recipe`."""
        return read_recipe(path, cls)


@dataclass(frozen=True, slots=True)
class AssessorProgress:
    """What is reported after a round."""

    round: int
    """Counted from 1."""
    loss: float
    """Mean over its steps."""
    seconds: float
    """Since this run began."""


class AssessorTrainer:
    """One training run: network, optimiser and the stream of flawed pictures."""

    def __init__(self, recipe: AssessorRecipe, examples: list[Example], *, device: str = "cpu") -> None:
        """Set up before the first round.

        Args:
            recipe: How to train.
            examples: Clean pictures to train on, and to hold out (`HELD_OUT_EVERY`).
            device: A torch device name; bfloat16 autocast is used on it.

        Raises:
            SourceError: There are too few pictures, or of those to train on, or to hold out, none is large enough.
        """
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.round = 0
        self._step = 0
        self._device = torch.device(device)
        self.network = AssessorNetwork().to(self._device)
        self._optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=recipe.weight_decay)
        if len(examples) < HELD_OUT_EVERY:
            raise SourceError(f"{len(examples)} pictures are too few: one in {HELD_OUT_EVERY} is held out to choose by")
        self._held_out = large_enough(examples[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY], SIDES[-1] + 2 * MARGIN)
        trained = [example for index, example in enumerate(examples, 1) if index % HELD_OUT_EVERY]
        self._samplers = [self._sampler(trained, side, recipe.seed + turn) for turn, side in enumerate(SIDES)]
        self._flaws = Generator(self._device).manual_seed(recipe.seed)

    def _sampler(self, examples: list[Example], side: int, seed: int) -> CropSampler:
        unchanged = Degradation(lambda clean, _: clean)
        return CropSampler(examples, side + 2 * MARGIN, unchanged, seed, self._device)

    def train_round(self) -> float:
        """Make the pictures of one round and learn from them; the mean loss.

        Raises:
            ConfigError: The loss is no number any more.
        """
        recipe, turn = self.recipe, self.round % len(SIDES)
        crops_each = (SIDES[turn] // CROP) ** 2
        made = _make(self._samplers[turn], recipe.crops // crops_each, SIDES[turn], self._flaws)
        losses = list[float]()
        for _ in range(recipe.passes):
            order = torch.randperm(len(made.pictures), generator=self._flaws, device=self._device)
            for index in torch.split(order, recipe.batch // crops_each):
                losses.append(self.train_step(Flawed(*(field[index] for field in made))))
        self.round += 1
        return sum(losses) / len(losses)

    def train_step(self, flawed: Flawed) -> float:
        """Learn from pictures of `CROP` or a multiple of it, at the recipe's next learning rate; the loss.

        Raises:
            ConfigError: The loss is no number any more.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, self._step)
        self.network.train()
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            log_odds = self.network(_crops(flawed.pictures))
        loss = assessment_loss(log_odds.float(), flawed)
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._optimiser.step()
        self._step += 1
        return finite(loss.item())

    @torch.no_grad()
    def calibrated(self) -> AssessorNetwork:
        """A copy of the network whose threshold for each flaw is a probability of one half."""
        copy = AssessorNetwork().to(self._device)
        copy.load_state_dict(self.network.state_dict())
        copy.eval()
        sampler = self._sampler(self._held_out, SIDES[-1], self.recipe.seed)
        flaws = Generator(self._device).manual_seed(self.recipe.seed)
        flawed = _make(sampler, HELD_OUT_PICTURES, SIDES[-1], flaws)
        log_odds = torch.cat([copy(_crops(pictures)) for pictures in torch.split(flawed.pictures, 8)])
        columns = zip(log_odds.T, flawed.present.T > 0, flawed.known.T > 0, strict=True)
        copy.move_thresholds(torch.stack([threshold(odds[sure], there[sure]) for odds, there, sure in columns]))
        return copy.cpu()

    def state(self) -> dict[str, Any]:
        """Everything needed to go on exactly from here; its tensors are the trainer's own."""
        return {
            "round": self.round,
            "step": self._step,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "samplers": [sampler.state() for sampler in self._samplers],
            "flaws": self._flaws.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was asked; its tensors, on the CPU, become the trainer's own."""
        self.round, self._step = state["round"], state["step"]
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        for sampler, where in zip(self._samplers, state["samplers"], strict=True):
            sampler.set_state(where)
        self._flaws.set_state(state["flaws"])


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

    In the middle of the room between the two kinds, outliers left aside, and not at its edge: real footage
    differs from what the threshold is chosen on.

    Args:
        log_odds: ``[N]``, of the flaw being there.
        present: ``[N]`` bool: whether it is.
    """
    highest_without = log_odds[~present].quantile(1 - FALSE_ALARMS)
    lowest_with = log_odds[present].quantile(MISSES)
    return (highest_without + lowest_with) / 2


def train_assessor(
    recipe: AssessorRecipe,
    folders: list[Path],
    out: Path,
    *,
    device: str = "cpu",
    report: Callable[[AssessorProgress], None] = lambda _: None,
) -> AssessorNetwork:
    """Train to the recipe's last round, going on from ``out/checkpoint.pt`` where there is one.

    Args:
        recipe: How to train.
        folders: Where the clean pictures are, as for `read_examples`.
        out: Folder for ``checkpoint.pt`` and ``log.jsonl``.
        device: A torch device name.
        report: Called after every round, when its checkpoint is written.

    Returns:
        The network, its thresholds calibrated.

    Raises:
        SourceError: The folders hold too few usable images.
        ConfigError: ``out`` holds a run of another recipe, other pictures or another kind of device; or the loss
            is no number any more.
        ModelError: Its checkpoint is damaged.
        DeviceMemoryError: The device's memory does not suffice.
        OutputError: ``out`` cannot be written.
        DiskFullError: There is no space left.
    """
    examples = read_examples(folders)
    run = RunFolder(out, recipe, examples, device)
    with enough_memory(device):
        trainer = AssessorTrainer(recipe, examples, device=device)
        if kept := run.load():
            trainer.set_state(kept)
        began = time.monotonic()
        while trainer.round < recipe.rounds:
            loss = trainer.train_round()
            progress = AssessorProgress(trainer.round, loss, time.monotonic() - began)
            run.save(trainer.state(), asdict(progress))
            report(progress)
        return trainer.calibrated()


def _make(sampler: CropSampler, count: int, side: int, generator: Generator) -> Flawed:
    """``count`` pictures of ``side`` with flaws."""
    at_once = max(1, MADE_AT_ONCE // side**2)
    parts = [random_flaws(sampler.batch(min(at_once, count - done))[1], generator) for done in range(0, count, at_once)]
    return Flawed(*map(torch.cat, zip(*parts, strict=True)))


def _crops(pictures: Tensor) -> Tensor:
    """``[N, 3, S, S]`` as ``[N, K, 3, CROP, CROP]``."""
    count, _, height, width = pictures.shape
    cut = pictures.reshape(count, 3, height // CROP, CROP, width // CROP, CROP)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
