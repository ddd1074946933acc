"""What this machine can compute on, what would be used, and why."""

import os
import platform
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import torch

from streamrestore.cpu import cpu_cores, cpu_flags, cpu_info
from streamrestore.errors import ConfigError

DeviceKind = Literal["cuda", "mps", "cpu"]

CPU_THREADS = 2
"""Threads of one CPU worker. A constant, because another count adds up sums in another order
and so changes float32 results; more cores are used by more workers."""

CUDA_BATCH_PIXELS = 32 * 192 * 192
"""Pixels of one forward pass on a GPU: enough to fill it, and 6 GB for the widest network."""

CPU_BATCH_PIXELS = 2 * 192 * 192
"""Pixels of one forward pass on a CPU: larger batches leave its caches and gain nothing."""


class Precision(StrEnum):
    """What the network computes in; colour and images are always float32."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"

    def dtype(self) -> torch.dtype:
        """The torch type of weights and features."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.value]


@dataclass(frozen=True, slots=True)
class Device:
    """One thing to compute on."""

    kind: DeviceKind
    index: int
    """Counted from 0 among devices of its kind."""
    name: str
    memory_bytes: int
    bf16: bool
    """Whether bfloat16 is fast here, not merely possible."""

    def label(self) -> str:
        """As torch names it: ``cuda:0``, ``cpu``."""
        return f"cuda:{self.index}" if self.kind == "cuda" else self.kind


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """What will be used, and the reason to show."""

    devices: tuple[Device, ...]
    reason: str

    @property
    def kind(self) -> DeviceKind:
        """All chosen devices are of one kind."""
        return self.devices[0].kind


def _cpu_name() -> str:
    return cpu_info("model name") or platform.processor() or platform.machine()


def find_devices() -> tuple[Device, ...]:
    """Everything found, the fastest kind first; the CPU is always last."""
    found = list[Device]()
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        bf16 = properties.major >= 8
        found.append(Device("cuda", index, properties.name, properties.total_memory, bf16))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if torch.backends.mps.is_available():
        found.append(Device("mps", 0, _cpu_name(), memory, bf16=False))
    bf16 = bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})
    found.append(Device("cpu", 0, _cpu_name(), memory, bf16))
    return tuple(found)


def choose_devices(request: str, found: tuple[Device, ...]) -> DeviceChoice:
    """Decide what to use.

    Args:
        request: ``auto``, ``cpu``, ``gpu``, or GPU numbers such as ``0`` or ``0,1``.
        found: What `find_devices` gave.

    Raises:
        ConfigError: The request names no device, or one that is not there.
    """
    gpus = {device.index: device for device in found if device.kind == "cuda"}
    if request == "gpu" and found[0].kind == "cpu":
        raise ConfigError("there is no GPU here that torch can use; see: streamrestore devices")
    if request in ("auto", "gpu"):
        best = found[0].kind
        chosen = tuple(device for device in found if device.kind == best)
        reasons = {"cuda": "every CUDA GPU found", "mps": "no CUDA GPU, but Apple's", "cpu": "no GPU found"}
        return DeviceChoice(chosen, reasons[best])
    if request == "cpu":
        return DeviceChoice((found[-1],), "the CPU was asked for")
    try:
        wanted = tuple(dict.fromkeys(int(part) for part in request.split(",")))
    except ValueError:
        raise ConfigError(
            f"--devices {request!r} names no device: give auto, cpu, gpu, or GPU numbers such as 0 or 0,1"
        ) from None
    missing = [index for index in wanted if index not in gpus]
    if missing:
        there = ", ".join(map(str, gpus)) or "none"
        raise ConfigError(f"there is no CUDA GPU {missing[0]} here (found: {there}); see: streamrestore devices")
    return DeviceChoice(tuple(gpus[index] for index in wanted), f"GPU {request} was asked for")


def given_device() -> str:
    """What this process was given to compute on, as a request; whether CUDA finds it or not."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "auto" if visible is None else "0" if visible else "cpu"


def choose_precision(request: str, choice: DeviceChoice) -> tuple[Precision, str]:
    """Decide what the network computes in, and why.

    Args:
        request: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        choice: The devices in use.

    Raises:
        ConfigError: The request is none of these.
    """
    if request == "auto":
        if all(device.bf16 for device in choice.devices):
            return Precision.BF16, "the device computes bfloat16 fast"
        return Precision.FP32, "bfloat16 is not fast on this device"
    try:
        return Precision(request), "asked for"
    except ValueError:
        allowed = ", ".join(("auto", *Precision))
        raise ConfigError(f"--precision {request!r} is unknown: give one of {allowed}") from None


def batch_pixels(kind: DeviceKind) -> int:
    """Most pixels of one forward pass.

    A fixed rule of the device's kind, so that a job's batches never depend on what was free at
    the time.
    """
    return CPU_BATCH_PIXELS if kind == "cpu" else CUDA_BATCH_PIXELS


def default_workers(choice: DeviceChoice, threads: int = CPU_THREADS) -> int:
    """One worker a GPU, or on a CPU one for so many cores."""
    if choice.kind == "cpu":
        return max(1, cpu_cores() // threads)
    return len(choice.devices)
