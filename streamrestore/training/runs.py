"""What all training runs here do alike: the course of the learning rate, and checkpoints that survive a kill."""

import io
import math
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from streamrestore.checkpoint import write_durably
from streamrestore.errors import ConfigError


class Schedule(Protocol):
    """What a learning rate is computed from."""

    @property
    def steps(self) -> int: ...  # noqa: D102 - as in a recipe

    @property
    def warmup_steps(self) -> int: ...  # noqa: D102

    @property
    def learning_rate(self) -> float: ...  # noqa: D102

    @property
    def final_learning_rate(self) -> float: ...  # noqa: D102


def learning_rate(schedule: Schedule, step: int) -> float:
    """Linear warm-up, then half a cosine down to the final rate (section 4 of the paper)."""
    if step < schedule.warmup_steps:
        return schedule.learning_rate * (step + 1) / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
    span = schedule.learning_rate - schedule.final_learning_rate
    return schedule.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * done))


def write_state(path: Path, recipe: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a checkpoint, by write and rename.

    Raises:
        OSError: It cannot be written.
    """
    written = io.BytesIO()
    torch.save({**state, "recipe": recipe}, written)
    write_durably(path, written.getvalue())


def read_state(path: Path, recipe: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """What `write_state` wrote for the same recipe, its tensors on the device.

    Raises:
        ConfigError: The checkpoint was made by another recipe.
    """
    state = cast("dict[str, Any]", torch.load(path, map_location=device, weights_only=True))
    if state["recipe"] != recipe:
        raise ConfigError(
            f"{path} belongs to another recipe; train into an empty folder, or restore the recipe it was begun with"
        )
    return state
