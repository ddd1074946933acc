"""Encode on the video encoder of an NVIDIA GPU (NVENC) what software would encode, where that encoder is there."""

import re
from dataclasses import replace

from streamrestore.encoder import check_encoder
from streamrestore.encoders import trouble
from streamrestore.encoding import Encoding, EncodingRequest, plan_encoding
from streamrestore.errors import ConfigError
from streamrestore.frame import ChromaLocation
from streamrestore.hdr import writes_static_hdr
from streamrestore.probing import SourceInfo

NVENC_CODECS = ("h264", "hevc", "av1")
"""FFmpeg's names of what it may write."""

_WITHOUT_NVENC = re.compile(r"\b(A30|A100|A800|H100|H200|H800|GH200)\b")
"""GPUs for data centres that decode video and do not encode it, as they are named."""


def is_nvenc(encoder: str) -> bool:
    """Whether an encoder is on NVENC.

    Args:
        encoder: FFmpeg's name.
    """
    return encoder.endswith("_nvenc")


def plan_nvenc(
    info: SourceInfo, request: EncodingRequest, encoding: Encoding, gpu_name: str, *, pipe: str | None = None
) -> Encoding:
    """The same codec in the same container, written by NVENC at its own default quality.

    Args:
        info: The source.
        request: What the user asked for.
        encoding: What was planned for it, in software.
        gpu_name: Of the GPU, as it calls itself.
        pipe: What standard output is to hold; None for a file.

    Raises:
        ConfigError: NVENC is not there, or would not do what software does; the message says why.
    """
    twin = f"{encoding.codec}_nvenc"
    if encoding.codec not in NVENC_CODECS:
        raise ConfigError(f"NVENC does not write {encoding.codec}")
    if request.crf is not None or request.preset is not None or request.options:
        raise ConfigError(f"--crf, --preset and -e are in the terms of {encoding.encoder}; -c:v {twin} has its own")
    if (info.mastering_display or info.content_light) and not writes_static_hdr(twin):
        raise ConfigError("NVENC cannot be given the HDR10 metadata of this video")
    if info.video.chroma_location is not ChromaLocation.LEFT:
        raise ConfigError(f"NVENC cannot say that chroma sits at {info.video.chroma_location}")
    if why := trouble(twin, encoding.pixels, info.video, encoding.field_order):
        raise ConfigError(f"{twin} does not take this video: {why}")
    planned = plan_encoding(
        info,
        replace(request, codec=twin),
        encoding.suffix if pipe is None else None,
        field_order=encoding.field_order,
        pipe=pipe,
    )
    try:
        check_encoder(info, planned)
    except ConfigError as error:
        raise ConfigError(_explain(gpu_name, error)) from error
    return replace(planned, notes=encoding.notes)


def _explain(gpu_name: str, error: ConfigError) -> str:
    if _WITHOUT_NVENC.search(gpu_name):
        return f"{gpu_name} has no NVENC, like all GPUs of its class (A100, H100, H200)"
    return str(error)
