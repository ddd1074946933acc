"""Tell inputs, code and machines apart, so that what belongs to different jobs is never mixed."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import torch
from av import library_versions

from streamrestore import __version__
from streamrestore.cpu import cpu_flags
from streamrestore.devices import Device
from streamrestore.errors import SourceError
from streamrestore.opening import Opening

_EDGE_BYTES = 1 << 20
"""How much of a file's beginning and of its end tells it from others of its size."""

_IMAGE_BYTES = 1 << 12
"""As much at the beginning, in the middle and at the end of each of many images."""


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells an input from another one, without reading all of it."""

    bytes: int
    edges_sha256: str
    """Of its first and last MiB; of numbered images, of places in each."""


def identify_file(source: Path | Opening) -> FileIdentity:
    """Read a file's size, beginning and end; of numbered images each one's name, size and some places.

    Args:
        source: A file, or how another input that stays is opened.

    Raises:
        SourceError: It cannot be read.
    """
    opening = source if isinstance(source, Opening) else Opening(source)
    size, digest = 0, hashlib.sha256()
    try:
        for path in opening.files():
            if opening.images is None:
                size = _add_places(path, digest, _EDGE_BYTES, 2)
            else:
                digest.update(f"{path.name}\0".encode("utf-8", "surrogateescape"))
                size += _add_places(path, digest, _IMAGE_BYTES, 3)
    except OSError as error:
        raise SourceError(f"{opening} cannot be read: {error.strerror}") from error
    return FileIdentity(size, digest.hexdigest())


def _add_places(path: Path, digest: "hashlib._Hash", length: int, places: int) -> int:
    """Hash some bytes at as many places of a file, the first and the last among them; gives its size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for place in range(places):
            file.seek(max(0, size - length) * place // (places - 1))
            digest.update(file.read(length))
    return size


def describe_environment(device: Device) -> dict[str, str]:
    """Everything beside the input and the options that the bytes of a result depend on.

    Two processes may work on one item only where all of it is the same.
    """
    return {
        "streamrestore": __version__,
        "code_sha256": code_sha256(),
        "torch": torch.__version__,
        "av": av.__version__,
        **ffmpeg_libraries(),
        "device": _describe_device(device),
    }


def machine_kind(device: Device) -> str:
    """Equal for devices on which the bytes of a result are the same: a name for `describe_environment`."""
    return key_of(describe_environment(device))[:16]


def ffmpeg_libraries() -> dict[str, str]:
    """Versions of FFmpeg's libraries, by name such as ``libavcodec``."""
    return {name: ".".join(map(str, version)) for name, version in sorted(library_versions.items())}


def _describe_device(device: Device) -> str:
    # Even with a GPU, encoders pick their code by what the CPU can do.
    processor = f"{platform.machine()} {hashlib.sha256(' '.join(sorted(cpu_flags())).encode()).hexdigest()[:16]}"
    if device.kind == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call] # torch's, without types
        return f"{device.name}, cuDNN {cudnn}, {processor}"
    return f"{device.kind}, {torch.backends.cpu.get_cpu_capability()}, {processor}"


@cache
def code_sha256() -> str:
    """Of this package's own source, which decides what becomes of a frame."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def key_of(facts: Mapping[str, object]) -> str:
    """A name for a set of facts: equal for equal ones, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
