"""Weights as files: read any MPRNet checkpoint safely, check every tensor, write safetensors.

Two layouts are read: the published ``.pth`` (a state dict, alone or under ``state_dict``, its
keys with or without ``module.``) and safetensors. Which one a file is, and how wide its network
is, is read from its bytes, never from its name.

Ours are safetensors with a *card* in the metadata: task, training crop, source and licence. The
one PReLU slope, which the published files repeat under every block, is stored once. The same
weights and card always give the same bytes.
"""

import hashlib
import io
import json
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from streamrestore.errors import ConfigError, ModelError
from streamrestore.layout import check_keys, infer_widths, slope_names, some_names, unfilled_network
from streamrestore.mprnet import MPRNet, Widths
from streamrestore.patches import SIZE_MULTIPLE
from streamrestore.tasks import Task

SLOPE = "shallow_feat1.1.body.1.weight"
"""The name under which the shared PReLU slope is stored: the first of its many."""

LARGEST_BYTES = 1 << 30
"""Files beyond this are not read; the largest published network has 81 MB."""

_CARD_KEY = "streamrestore"
_Items = Iterable[tuple[object, object]]
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class _Card(BaseModel):
    """What a weights file says about itself, as one JSON value.

    One value because safetensors writes several metadata entries in an order that changes
    from run to run, and equal weights must be equal files.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    task: Task
    crop: Annotated[int, Field(ge=SIZE_MULTIPLE, multiple_of=SIZE_MULTIPLE)]
    source: str
    license: str


def _published(task: Task, crop: int, file: str) -> _Card:
    project = "github.com/swz30/MPRNet"
    return _Card(
        task=task, crop=crop, source=f"{file} of {project}", license=f"non-commercial, LICENSE.md of {project}"
    )


_PUBLISHED = {
    "2414346fcefd7c84a6d8fecab1b397411ca5e57f": _published("derain", 256, "model_deraining.pth"),
    "a7cbe87e33d71e69a0fb1a734bc7f2b2f5b36946": _published("deblur", 256, "model_deblurring.pth"),
    "aabb19cfd9a2195b6e5939dcd374d31a7e4c33b8": _published("denoise", 128, "model_denoising.pth"),
}
"""The authors' own files, by the SHA-1 git gives them as a blob."""


@dataclass(frozen=True, slots=True)
class Model:
    """Checked weights and all a worker needs to use them; picklable. Equal if the file was."""

    name: str
    task: Task
    crop: int
    """Side of the square crops it was trained on, in pixels."""
    widths: Widths
    source: str
    """Where the weights come from, for people."""
    license: str
    sha256: str
    """Of the file that was read."""
    tensors: Mapping[str, Tensor] = field(repr=False, compare=False)
    """Finite float32 on the CPU, by published name; the shared slope only as `SLOPE`."""


def read_checkpoint(path: Path, *, task: Task | None = None, crop: int | None = None) -> Model:
    """Read weights; nothing in the file is run.

    Args:
        path: A ``.pth`` of the published layout, or safetensors.
        task: What it is for; must not contradict the file.
        crop: Side of its training crops in pixels; must not contradict the file.

    Returns:
        The model, named after the file, or ``mprnet-TASK`` for the authors' own files.

    Raises:
        ModelError: The file cannot be read, or is no complete, finite MPRNet.
        ConfigError: Task or crop are neither in the file nor given, or contradict it.
    """
    data = _read_bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        card, state = _parse(data)
        widths, tensors = _checked(state)
    except ModelError as error:
        raise ModelError(f"{path} {error}") from error
    published = _PUBLISHED.get(hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())
    card = _agreed(path, published or card, task, crop, sha256)
    name = f"mprnet-{card.task}" if published else path.stem
    return Model(name, card.task, card.crop, widths, card.source, card.license, sha256, tensors)


def build_network(model: Model) -> MPRNet:
    """The network with these weights: float32, on the CPU, for inference only.

    Owns a copy of the weights, and draws no random numbers on the way.
    """
    network = unfilled_network(model.widths)
    slopes = dict.fromkeys(slope_names(network), model.tensors[SLOPE])
    state = {name: tensor.clone() for name, tensor in {**model.tensors, **slopes}.items()}
    # Not into memory from `to_empty`, which imports an algebra system: half a second at the start of every run.
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def write_safetensors(model: Model, path: Path) -> str:
    """Write weights with their card; the file appears complete or not at all.

    Args:
        model: What to write; its name and hash are not stored.
        path: Where to; replaced if it exists. Its folder must exist.

    Returns:
        SHA-256 of the file, in hexadecimal.

    Raises:
        OSError: The file cannot be written.
    """
    card = _Card(task=model.task, crop=model.crop, source=model.source, license=model.license)
    data = safetensors.torch.save(dict(model.tensors), {_CARD_KEY: card.model_dump_json()})
    write_durably(path, data)
    return hashlib.sha256(data).hexdigest()


def write_durably(path: Path, data: bytes) -> None:
    """Write by partial file, sync and rename, under a partial name no other process has.

    Raises:
        OSError: The file cannot be written; nothing is left of it.
    """
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise ModelError(f"{path} has {size} bytes, weights at most {LARGEST_BYTES}: is it the right file?")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _parse(data: bytes) -> tuple[_Card | None, _Items]:
    """The card, if there is one, and the state dict, unchecked."""
    if data[8:9] == b"{":
        return _parse_safetensors(data)
    if data.startswith((b"PK\x03\x04", b"\x80")):
        return None, _parse_torch(data)
    raise ModelError("is neither a PyTorch checkpoint nor safetensors")


def _parse_safetensors(data: bytes) -> tuple[_Card | None, _Items]:
    try:
        state = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError) as error:
        raise ModelError(f"is damaged, or no safetensors file: {error}") from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    text: str | None = (header.get("__metadata__") or {}).get(_CARD_KEY)
    if text is None:
        return None, state.items()
    try:
        return _Card.model_validate_json(text), state.items()
    except ValidationError as error:
        fields = ", ".join(str(detail["loc"][0]) for detail in error.errors() if detail["loc"]) or "all"
        raise ModelError(f"has a card this version does not understand (field: {fields}): {text[:200]}") from error


def _parse_torch(data: bytes) -> _Items:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd protocols and TorchScript, which are refused anyway
            loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        # Broad, because broken bytes lead the reader anywhere: ten kinds of exception were seen.
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted:
            raise ModelError(
                f"asks for {wanted[1]}, which could run code: refused, and nothing in it was run. "
                "Save its state_dict alone"
            ) from error
        raise ModelError("is damaged, or no PyTorch checkpoint; nothing in it was run") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict):
        raise ModelError(f"holds a {type(state).__name__} where a state dict was expected")
    if all(isinstance(name, str) and name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state.items()


def _checked(state: _Items) -> tuple[Widths, dict[str, Tensor]]:
    """Widths and float32 tensors of a state dict that is an MPRNet's, finite, its slope tied."""
    dense: dict[str, Tensor] = {}
    others = list[str]()
    for name, value in state:
        if not isinstance(name, str) or not isinstance(value, Tensor):
            others.append(f"{name} ({type(value).__name__})")
        elif value.layout != torch.strided or value.device.type != "cpu" or value.dtype not in _FLOATS:
            others.append(f"{name} ({value.layout}, {value.dtype}, {value.device})")
        else:
            dense[name] = value.detach()
    if others:
        raise ModelError(f"holds other things than dense floating-point weights: {some_names(others)}")

    shapes = {name: tuple(value.shape) for name, value in dense.items()}
    widths = infer_widths(shapes)
    check_keys(shapes, widths)
    tensors = {name: value.to(torch.float32, copy=True).contiguous() for name, value in dense.items()}
    bad = [name for name, value in tensors.items() if not value.isfinite().all()]
    if bad:
        raise ModelError(f"holds NaN or infinity in {some_names(bad)}")
    slopes = {name: tensors.pop(name) for name in slope_names(unfilled_network(widths)) & tensors.keys()}
    values = {float(slope) for slope in slopes.values()}
    if len(values) > 1:
        raise ModelError(f"has {len(values)} different PReLU slopes; MPRNet shares one")
    tensors[SLOPE] = torch.tensor([values.pop()])
    return widths, tensors


def _agreed(path: Path, said: _Card | None, task: Task | None, crop: int | None, sha256: str) -> _Card:
    """The card from what the file says and what the caller asked for."""
    if said is not None:
        if task not in (None, said.task) or crop not in (None, said.crop):
            asked = ", ".join(str(part) for part in (task, crop and f"{crop} px") if part)
            raise ConfigError(
                f"{path} is for {said.task}, trained on {said.crop} px crops; asked for was {asked}: "
                "leave that out, or name other weights"
            )
        return said
    if task is None or crop is None:
        unknown = [word for word, value in (("task", task), ("training crop", crop)) if value is None]
        raise ConfigError(
            f"{path} does not say its {' and '.join(unknown)}: "
            f"streamrestore weights import {path} --task {task or 'TASK'} --crop {crop or 'PIXELS'}"
        )
    if crop < SIZE_MULTIPLE or crop % SIZE_MULTIPLE:
        raise ConfigError(f"a training crop of {crop} px is impossible: it is a multiple of {SIZE_MULTIPLE}")
    return _Card(task=task, crop=crop, source=f"{path.name}, SHA-256 {sha256}", license="unknown")
