"""The network that looks for rain, noise and blur in crops of a picture, and its weights as a file.

A small stack of convolutions at the picture's own resolution. What it is shown is mostly what is left of a
picture without its local mean, compressed in range: noise of two codes and the edge of a roof differ by a
factor of fifty, and both matter.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal, NamedTuple

import safetensors.torch
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from streamrestore.checkpoint import write_durably
from streamrestore.errors import ModelError

CROP = 128
"""Largest side of a crop, in pixels."""

MULTIPLE = 16
"""A crop's sides are multiples of this: by so much the convolutions reduce it."""

WIDTHS, STRIDES = (32, 48, 64, 64, 64), (1, 2, 2, 2, 1)
"""Of the convolutions, which begin at half the picture's size."""

HIDDEN = 48
"""Width of the layer between what all levels saw and the verdict."""

FLAWS = ("rain", "noise", "blur")
"""What the network's outputs stand for, in their order."""

_MEAN_WINDOW = 5
"""Side of the local mean, in pixels."""

_GAIN = 32
"""Of details before their range is compressed: up to about 8 codes they stay in proportion."""

_CARD_KEY = "streamrestore"


class AssessorNetwork(nn.Module):
    """Tells how likely each flaw is, from crops of one picture."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        channels = 3 * 4 + 3
        for width, stride in zip(WIDTHS, STRIDES, strict=True):
            convolution = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
            self.levels.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU()))
            channels = width
        self.hidden = nn.Linear(3 * sum(WIDTHS), HIDDEN)
        self.odds = nn.Linear(HIDDEN, len(FLAWS))

    def forward(self, crops: Tensor) -> Tensor:
        """Look at the crops of several pictures.

        Args:
            crops: ``[N, K, 3, H, W]`` float32 RGB in [0, 1], K crops of each of N pictures; H and W are
                multiples of `MULTIPLE`.

        Returns:
            ``[N, 3]`` log-odds of `FLAWS`.
        """
        features, means, maxima = _details(crops.flatten(0, 1)), list[Tensor](), list[Tensor]()
        for level in self.levels:
            features = level(features)
            means.append(features.mean((2, 3)))
            maxima.append(features.amax((2, 3)))
        mean, most = (torch.cat(parts, dim=1).view(*crops.shape[:2], -1) for parts in (means, maxima))
        # The crop with most of a feature counts by itself: one sharp corner speaks against a shaken camera.
        hidden = F.relu(self.hidden(torch.cat((mean.mean(1), most.mean(1), mean.amax(1)), dim=1)))
        log_odds: Tensor = self.odds(hidden)
        return log_odds

    @torch.no_grad()
    def move_thresholds(self, log_odds: Tensor) -> None:
        """Make what were these log-odds of `FLAWS`, ``[3]``, a probability of one half."""
        self.odds.bias.sub_(log_odds)


def _details(image: Tensor) -> Tensor:
    """``[N, 3, H, W]`` as ``[N, 15, H/2, W/2]``: four details of each colour, and the colours at half size."""
    half = _MEAN_WINDOW // 2
    mean = F.avg_pool2d(F.pad(image, (half,) * 4, mode="replicate"), _MEAN_WINDOW, 1)
    detail = torch.asinh(_GAIN * (image - mean))
    return torch.cat((F.pixel_unshuffle(detail, 2), F.avg_pool2d(image, 2) - 0.5), dim=1)


class AssessorWeights(NamedTuple):
    """A network, and what identifies it."""

    network: AssessorNetwork
    """Float32, on the CPU, for inference only."""
    sha256: str
    """Of the file it was read from, in hexadecimal."""


class _Card(BaseModel):
    """What the file says about itself, as one JSON value."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    kind: Literal["assessor"] = "assessor"
    source: str
    license: str


def write_assessor(network: AssessorNetwork, path: Path, *, source: str, license: str) -> str:
    """Write weights with their card, and their SHA-256 beside them; each file appears complete or not at all.

    Args:
        network: What to write.
        path: A ``.safetensors``; replaced if it exists. Its folder must exist.
        source: Where the weights come from, for people.
        license: What they may be used under.

    Returns:
        SHA-256 of the file, in hexadecimal.

    Raises:
        OSError: It cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    data = safetensors.torch.save(tensors, {_CARD_KEY: _Card(source=source, license=license).model_dump_json()})
    sha256 = hashlib.sha256(data).hexdigest()
    write_durably(path, data)
    write_durably(path.with_name(path.name + ".sha256"), f"{sha256}  {path.name}\n".encode())
    return sha256


def read_assessor(path: Path) -> AssessorWeights:
    """Read weights and check every tensor.

    Raises:
        ModelError: The file cannot be read, or does not hold a finite network of this kind.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}; install the package again") from error
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        _Card.model_validate_json((header.get("__metadata__") or {}).get(_CARD_KEY, ""))
    except (SafetensorError, KeyError, ValidationError) as error:
        raise ModelError(f"{path} is damaged, or no assessor's weights; install the package again") from error
    network = AssessorNetwork()
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{path} holds another network than this version's; install the package again") from error
    if not all(value.isfinite().all() for value in tensors.values()):
        raise ModelError(f"{path} holds NaN or infinity; install the package again")
    return AssessorWeights(network.eval().requires_grad_(False), hashlib.sha256(data).hexdigest())
