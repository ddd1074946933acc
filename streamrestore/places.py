"""Where restored video goes: which containers there are, what each holds, and which one is kept."""

from dataclasses import dataclass
from pathlib import Path

from streamrestore.encoders import Encoder
from streamrestore.errors import ConfigError
from streamrestore.image_sequence import Pattern, parse_pattern
from streamrestore.probing import SourceInfo

HELD = {
    "mp4": frozenset({"h264", "hevc", "av1", "vp9"}),
    "mov": frozenset({"h264", "hevc", "prores"}),
    "matroska": frozenset({"h264", "hevc", "av1", "vp9", "ffv1", "prores"}),
    "webm": frozenset({"av1", "vp9"}),
    "mpegts": frozenset({"h264", "hevc"}),
    "nut": frozenset({"h264", "hevc", "ffv1", "rawvideo"}),
    "yuv4mpegpipe": frozenset({"rawvideo"}),
    "rawvideo": frozenset({"rawvideo"}),
}
"""Formats that each muxer is trusted with, by FFmpeg's names."""

_CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
    ".mts": "mpegts",
    ".m2ts": "mpegts",
}
IMAGES = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".dpx": "dpx"}
"""The encoder of each kind of numbered images."""

PIPES = ("yuv4mpegpipe", "rawvideo", "nut", "matroska", "mpegts")
"""FFmpeg's names of what a pipe can hold, as input and as output."""

_SUFFIX_OF_INPUT = {"matroska,webm": ".mkv", "mpegts": ".ts", "mov,mp4,m4a,3gp,3g2,mj2": ".mp4"}
"""For inputs whose name says nothing; others become ``.mkv``."""


def image_pattern(output: Path) -> Pattern | None:
    """The pattern of an output that is numbered images; None if it is a file."""
    return parse_pattern(output) if output.suffix.lower() in IMAGES else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the video goes."""

    container: str
    """FFmpeg's name of the muxer; ``image2`` for numbered images."""
    suffix: str
    """Of the file's name, with the dot; of a pipe, what it is called in messages."""
    named: bool
    """Whether the user said so."""


def plan_place(info: SourceInfo, output_suffix: str | None, pipe: str | None) -> Place:
    """Find the container that is wanted, before it is known what goes into it.

    Args:
        info: The source, whose container is kept where nothing else is said.
        output_suffix: Of the name that the user gave.
        pipe: What standard output is to hold, if it goes there.

    Raises:
        ConfigError: There is no such container.
    """
    if pipe is not None:
        return Place(pipe, f"a pipe of {pipe}", named=True)
    suffix = _kept_suffix(info) if output_suffix is None else output_suffix
    if suffix.lower() in IMAGES:
        return Place("image2", suffix, named=output_suffix is not None)
    if suffix.lower() not in _CONTAINERS:
        raise ConfigError(
            f"files named *{suffix} cannot be written: take one of {', '.join(_CONTAINERS)}, or numbered images "
            f"such as frame_%06d.png ({', '.join(IMAGES)}); .mkv holds every stream"
        )
    return Place(_CONTAINERS[suffix.lower()], suffix, named=output_suffix is not None)


def fitting_place(encoder: Encoder, wanted: Place) -> Place:
    """Where an encoder's video goes: where it was wanted if that holds it, else into Matroska.

    Raises:
        ConfigError: The user wanted it just there, or it goes nowhere else.
    """
    if wanted.container == "image2" or encoder.codec in HELD[wanted.container]:
        return wanted
    if encoder.only_for is not None:
        raise ConfigError(f"{encoder.codec} is for {encoder.only_for} only: take another codec for {wanted.suffix}")
    if wanted.named:
        held = ", ".join(sorted(HELD[wanted.container]))
        raise ConfigError(f"{wanted.suffix} holds {held}, not {encoder.codec}: name the output .mkv")
    return Place("matroska", ".mkv", named=False)


def _kept_suffix(info: SourceInfo) -> str:
    """The suffix of the input where it names a container we write, else Matroska's."""
    suffix = info.path.suffix
    if suffix.lower() in (_CONTAINERS if info.opening.images is None else IMAGES):
        return suffix
    return ".mkv" if suffix else _SUFFIX_OF_INPUT.get(info.container, ".mkv")
