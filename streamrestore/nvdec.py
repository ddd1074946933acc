"""Decode on the video decoder of an NVIDIA GPU (NVDEC): pictures come down to memory in FFmpeg's semi-planar formats.

FFmpeg still reads the headers of every packet itself, on the CPU: it sees packets, pictures and references that are
missing. What is wrong *within* a picture only NVDEC could see, and it does not tell.
"""

from dataclasses import dataclass

import av
from av.codec import CodecContext
from av.codec.codec import UnknownCodecError
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from streamrestore.errors import ConfigError

EXACT_CODECS = ("h264", "hevc", "vp9", "av1")
"""FFmpeg's names of those that say of every bit of an undamaged picture what it is, so that any decoder gives the same.
MPEG-2, MPEG-4 and JPEG leave the rounding of their transform to the decoder."""


@dataclass(frozen=True, slots=True)
class Nvdec:
    """The decoder of a GPU, found to give a stream's pictures as software does."""

    gpu: int
    """As torch counts them: ``cuda:0`` is 0."""
    pixel_format_name: str
    """FFmpeg's name of what comes down, such as ``nv12``: the samples of the source's own format."""


def open_nvdec(stream: VideoStream, gpu: int) -> VideoCodecContext:
    """Prepare a decoder of a stream on a GPU; what it gives lies in this machine's memory.

    Args:
        stream: Of an open container, with one of `EXACT_CODECS`.
        gpu: As torch counts them.

    Raises:
        ConfigError: There is no such GPU, no driver, or this build of FFmpeg cannot use them. Whether the GPU can
            decode this very stream shows only with its first packets, which are then refused one by one.
    """
    own = stream.codec_context
    decoder = _on_gpu(own.codec.canonical_name, gpu)
    decoder.extradata, decoder.width, decoder.height = own.extradata, own.width, own.height
    # Found out when the file was opened; headers need not say it, and decoders that guess lose early pictures.
    decoder.reorder_depth = own.reorder_depth
    return decoder


def _on_gpu(codec: str, gpu: int) -> VideoCodecContext:
    # Not the stream's own context: a context is on a GPU from its beginning or never, and to ask for that when the
    # file is opened starts a decoder for each of its video streams. Of AV1 another decoder must be asked for: the
    # one that FFmpeg takes by itself knows no GPU. And not with software to fall back on, which PyAV does silently.
    try:
        decoder = CodecContext.create(codec, "r", HWAccel("cuda", str(gpu), allow_software_fallback=False))
    except (av.FFmpegError, UnknownCodecError) as error:
        raise ConfigError(f"FFmpeg cannot use cuda:{gpu} ({getattr(error, 'strerror', None) or error})") from error
    if not decoder.is_hwaccel:
        raise ConfigError(f"this build of FFmpeg has no {codec} on NVDEC")
    assert isinstance(decoder, VideoCodecContext)
    return decoder
