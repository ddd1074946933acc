"""What a GPU's video decoder and encoder take over of a job that asks for them, and why not what they do not."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from streamrestore.devices import Device
from streamrestore.encoding import AUTOMATIC, Encoding, EncodingRequest, plan_encoding
from streamrestore.errors import ConfigError
from streamrestore.frame import OnError
from streamrestore.nvdec import EXACT_CODECS, Nvdec
from streamrestore.nvdec_trial import make_sample, try_nvdec
from streamrestore.nvenc import NVENC_CODECS, is_nvenc, plan_nvenc
from streamrestore.probing import SourceInfo

Hwaccel = Literal["none", "auto", "cuda"]
"""Decode and encode in software; on the GPU where that can be had; or decode there or not at all."""

_DRIVER = Path("/sys/module/nvidia/version")


@dataclass(frozen=True, slots=True)
class Decoding:
    """What decodes a file."""

    nvdec: Nvdec | None = None
    """None for software."""
    notes: tuple[str, ...] = ()
    """What the user should know about it before work starts."""

    @property
    def decoder(self) -> Literal["software", "nvdec"]:
        """In a word."""
        return "software" if self.nvdec is None else "nvdec"


IN_SOFTWARE = Decoding()
"""As nobody asked for anything else."""


def plan_decoding(
    info: SourceInfo, hwaccel: Hwaccel, device: Device, *, deinterlace: bool, on_error: OnError
) -> Decoding:
    """Find out what decodes a file, by trying it on the GPU that restores.

    Args:
        info: The file.
        hwaccel: What was asked for.
        device: What restores.
        deinterlace: Whether its frames are made progressive.
        on_error: What damaged frames are.

    Raises:
        ConfigError: The GPU was insisted on, and does not decode it.
        SourceError: The file cannot be opened any more.
    """
    if hwaccel == "none":
        return IN_SOFTWARE
    try:
        if deinterlace:
            raise ConfigError("bwdif takes what software gives")
        if on_error == "fail":
            raise ConfigError("NVDEC does not tell of damage within a picture, at which --on-error fail is to end")
        nvdec = try_nvdec(info, _gpu(device))
    except ConfigError as error:
        if hwaccel == "cuda":
            raise ConfigError(
                f"{info.path} cannot be decoded on the GPU, as --hwaccel cuda asks: {error}; "
                "--hwaccel auto then decodes in software"
            ) from error
        return Decoding(notes=(f"decoded in software: {error}",))
    return Decoding(
        nvdec,
        (f"decoded by NVDEC on {device.label()} ({device.name}), which does not tell of damage within a picture",),
    )


def with_nvenc(
    info: SourceInfo,
    encoding: Encoding,
    request: EncodingRequest,
    hwaccel: Hwaccel,
    device: Device,
    *,
    pipe: str | None = None,
) -> Encoding:
    """The encoding, by NVENC where that is asked for, there, and the user named no codec himself.

    Args:
        info: The source.
        encoding: What was planned in software.
        request: What the user asked for.
        hwaccel: What was asked for.
        device: What restores.
        pipe: What standard output is to hold; None for a file.
    """
    if hwaccel == "none" or request.codec is not None:
        return encoding
    try:
        _gpu(device)
        planned = plan_nvenc(info, request, encoding, device.name, pipe=pipe)
        note = f"encoded by NVENC ({planned.encoder} in place of {encoding.encoder}), at its own default quality"
    except ConfigError as error:
        planned, note = encoding, f"encoded in software ({encoding.encoder}): {error}"
    return replace(planned, notes=(*encoding.notes, note))


def hardware_facts(decoding: Decoding, encoding: Encoding) -> Mapping[str, str]:
    """What a result's bytes depend on beside the encoding's own settings."""
    facts: dict[str, str] = {"decoder": decoding.decoder}
    if decoding.nvdec is not None or is_nvenc(encoding.encoder):
        # Which holds NVENC's rate control; what is no Linux does not say it here.
        facts["driver"] = _DRIVER.read_text().strip() if _DRIVER.exists() else "unknown"
    return facts


def _gpu(device: Device) -> int:
    if device.kind != "cuda":
        raise ConfigError("it is restored on no NVIDIA GPU, whose video decoder and encoder could be used")
    return device.index


def describe_hardware(device: Device) -> Iterator[str]:
    """What the video decoder and encoder of a device do, found by trying: a line each, and why not where not."""
    if device.kind != "cuda":
        yield "hwaccel: no NVIDIA GPU is used, so video is decoded and encoded in software"
        return
    with TemporaryDirectory() as folder:
        samples = {codec: make_sample(Path(folder), codec) for codec in EXACT_CODECS}
        yield _describe(f"NVDEC on {device.label()}", samples, lambda info: try_nvdec(info, device.index))
        writable = {codec: samples[codec] for codec in NVENC_CODECS}
        yield _describe(f"NVENC on {device.label()}", writable, lambda info: _try_nvenc(info, device))


def _try_nvenc(info: SourceInfo, device: Device) -> None:
    software = plan_encoding(info, EncodingRequest(codec=info.codec), ".mkv")
    plan_nvenc(info, AUTOMATIC, software, device.name)


def _describe(what: str, samples: Mapping[str, SourceInfo], attempt: Callable[[SourceInfo], object]) -> str:
    able, refused = list[str](), dict[str, list[str]]()
    for codec, info in samples.items():
        try:
            attempt(info)
            able.append(codec)
        except ConfigError as error:
            refused.setdefault(str(error), []).append(codec)
    reasons = [f"not {', '.join(codecs)}: {why}" for why, codecs in refused.items()]
    return f"{what}: {'; '.join([', '.join(able) or 'none', *reasons])}"
