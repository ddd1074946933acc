"""FFmpeg's encoders that we trust: what each one takes, and how to ask it for what we want."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import av
from av.codec import Codec, CodecContext

from streamrestore.errors import ConfigError, UnsupportedError
from streamrestore.frame import FieldOrder, PixelFormat, VideoFormat
from streamrestore.samples import names_of, pixel_format

ENCODER_THREADS = 4
"""A constant, not the core count: another count of threads gives other bytes.

Four keep a desktop busy at 1080p and cost nothing on two cores; restoring is far slower.
"""


@dataclass(frozen=True, slots=True)
class Encoder:
    """One of FFmpeg's encoders, and how to ask it for what we want."""

    codec: str
    """FFmpeg's name of the format it writes."""
    quality_key: str | None = None
    """The option of constant quality; None where there is none to choose."""
    quality: int = 0
    """Default: CRF 17, which is hard to tell from the source, or what comes near it on the encoder's own scale."""
    quality_range: tuple[int, int] = (0, 51)
    presets: tuple[str, ...] = ()
    preset: str = ""
    options: dict[str, str] = field(default_factory=dict)
    even: bool = False
    """Whether it refuses sizes that the chroma subsampling does not divide."""
    smallest: int = 1
    """Shortest side in pixels."""
    refuses: frozenset[str] = frozenset()
    """Pixel formats it claims to take, but that come back from its stream as others."""
    alpha: bool = False
    """Whether its stream holds alpha, and FFmpeg's own decoder gives it back."""
    only_for: Literal["images", "pipes"] | None = None
    """The one thing it is good for; None for any video file."""
    interlaced: dict[FieldOrder, dict[str, str]] = field(default_factory=dict)
    """Options by which a stream of marked frames is written as interlaced; empty where it cannot be."""


_X26X_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)


def _nvenc(codec: str, quality: int, quality_range: tuple[int, int] = (0, 51), *, even: bool = False) -> Encoder:
    return Encoder(
        codec,
        "cq",
        quality,
        quality_range,
        presets=tuple(f"p{number}" for number in range(1, 8)),
        preset="p5",
        options={"rc": "vbr", "b": "0"},
        even=even,
        # It makes YUV of packed RGB, and 10 bits of 16.
        refuses=frozenset({"bgr0", "rgb0", "x2rgb10le", "x2bgr10le", "p016le", "p216le", "yuv444p16le", "gbrp16le"}),
    )


# What the container says; each codec says it again, of each frame or of the whole stream.
_TOP, _BOTTOM = {"field_order": "tt"}, {"field_order": "bb"}

ENCODERS = {
    # FFmpeg decodes monochrome H.264 as 4:2:0, so grey would not come back as grey.
    "libx264": Encoder(
        "h264",
        "crf",
        17,
        presets=_X26X_PRESETS,
        preset="medium",
        even=True,
        refuses=frozenset({"gray", "gray10le"}),
        interlaced={
            FieldOrder.TOP: _TOP | {"x264-params": "tff=1"},
            FieldOrder.BOTTOM: _BOTTOM | {"x264-params": "bff=1"},
        },
    ),
    # Its thread pool and frame threads are set here, since both would follow the core count.
    "libx265": Encoder(
        "hevc",
        "crf",
        17,
        presets=_X26X_PRESETS,
        preset="medium",
        options={"x265-params": f"log-level=none:pools={ENCODER_THREADS}:frame-threads=2"},
        even=True,
        # Smaller pictures give other bytes from run to run, and under 64 pixels it writes beyond
        # its buffers, which brings the process down.
        smallest=96,
    ),
    "libsvtav1": Encoder(
        "av1",
        "crf",
        22,
        (1, 63),
        presets=tuple(str(number) for number in range(14)),
        preset="6",
        options={"svtav1-params": f"lp={ENCODER_THREADS}"},
    ),
    "libvpx-vp9": Encoder(
        "vp9",
        "crf",
        22,
        (0, 63),
        presets=tuple(str(number) for number in range(9)),
        preset="2",
        options={"b": "0", "row-mt": "1", "tile-columns": "2"},
    ),
    "ffv1": Encoder(
        "ffv1",
        options={"level": "3", "slicecrc": "1", "g": "1"},
        alpha=True,
        interlaced={FieldOrder.TOP: _TOP, FieldOrder.BOTTOM: _BOTTOM},
    ),
    "prores_ks": Encoder(
        "prores",
        options={"vendor": "apl0"},
        even=True,
        alpha=True,
        interlaced={
            FieldOrder.TOP: _TOP | {"flags": "+ildct"},
            FieldOrder.BOTTOM: _BOTTOM | {"flags": "+ildct"},
        },
    ),
    "png": Encoder("png", options={"pred": "paeth"}, alpha=True, only_for="images"),
    # Not compressed, as archives want it. Readers of YUV in TIFF disagree about its matrix.
    "tiff": Encoder(
        "tiff",
        options={"compression_algo": "raw"},
        alpha=True,
        only_for="images",
        refuses=frozenset({"yuv420p", "yuv422p", "yuv440p", "yuv444p", "yuv410p", "yuv411p"}),
    ),
    "dpx": Encoder("dpx", alpha=True, only_for="images"),
    "rawvideo": Encoder(
        "rawvideo",
        alpha=True,
        only_for="pipes",
        interlaced={FieldOrder.TOP: _TOP, FieldOrder.BOTTOM: _BOTTOM},
    ),
    "h264_nvenc": _nvenc("h264", 19, even=True),
    "hevc_nvenc": _nvenc("hevc", 21, even=True),
    "av1_nvenc": _nvenc("av1", 24, (0, 63)),
}
PRESET_KEYS = {"libvpx-vp9": "cpu-used"}
_ALIASES = {
    "h264": "libx264",
    "x264": "libx264",
    "avc": "libx264",
    "hevc": "libx265",
    "h265": "libx265",
    "x265": "libx265",
    "av1": "libsvtav1",
    "svtav1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "prores": "prores_ks",
}


def find_encoder(codec: str) -> str:
    """The encoder that the user means by a name of his.

    Raises:
        ConfigError: There is none.
    """
    name = _ALIASES.get(codec.lower(), codec.lower())
    if name not in ENCODERS:
        allowed = sorted({*_ALIASES, *ENCODERS})
        raise ConfigError(f"there is no codec {codec}: take one of {', '.join(allowed)}")
    if _formats_taken(name) == frozenset():
        raise ConfigError(f"this build of FFmpeg has no encoder {name}: take another codec")
    return name


@cache
def _formats_taken(name: str) -> frozenset[str] | None:
    """FFmpeg's names of them; none if there is no such encoder, None if it takes all."""
    try:
        formats = Codec(name, "w").video_formats
    except av.FFmpegError:
        return frozenset()
    return None if formats is None else frozenset(form.name for form in formats) - ENCODERS[name].refuses


def frame_format(name: str, pixels: PixelFormat) -> str | None:
    """The first pixel format an encoder takes that holds exactly these samples, if there is one."""
    if pixels.alpha and not ENCODERS[name].alpha:
        return None
    taken = _formats_taken(name)
    return next((form for form in names_of(pixels) if taken is None or form in taken), None)


def kinds_taken(name: str) -> Iterator[PixelFormat]:
    """What a user may ask an encoder for; some may come twice."""
    for form in _formats_taken(name) or ():
        try:
            pixels = pixel_format(form)
        except UnsupportedError:
            continue
        if frame_format(name, pixels):
            yield pixels


def trouble(name: str, pixels: PixelFormat, video: VideoFormat, field_order: FieldOrder | None) -> str | None:
    """Why an encoder cannot take these pictures; None if it can."""
    encoder = ENCODERS[name]
    if field_order is not None and not encoder.interlaced:
        return "it cannot mark frames as interlaced, as the source's are; --deinterlace bwdif makes them progressive"
    if frame_format(name, pixels) is None:
        return f"it takes {', '.join(sorted({kind.name for kind in kinds_taken(name)}))}"
    down, right = pixels.chroma_shift
    if field_order is not None and encoder.codec == "h264":
        down += 1  # each field is subsampled
    if encoder.even and (video.height % (1 << down) or video.width % (1 << right)):
        return f"its {pixels.name} needs a height divisible by {1 << down} and a width divisible by {1 << right}"
    if encoder.codec == "prores" and pixels.model == "yuv" and video.full_range:
        return "it knows limited range only, and the source has full range"
    if min(video.width, video.height) < encoder.smallest:
        return f"it needs at least {encoder.smallest} pixels a side"
    return None


def check_takes(name: str, pixels: PixelFormat, video: VideoFormat, field_order: FieldOrder | None) -> None:
    """Make sure that an encoder takes these pictures.

    Raises:
        ConfigError: It does not; the message says which ones do.
    """
    if why := trouble(name, pixels, video, field_order):
        purpose = ENCODERS[name].only_for
        able = [
            other
            for other, encoder in ENCODERS.items()
            if encoder.only_for == purpose and not trouble(other, pixels, video, field_order)
        ]
        raise ConfigError(
            f"{name} cannot take {pixels.name} at {video.width}x{video.height}: {why}; "
            f"for this picture choose {' or '.join(able)}, or another --pix-fmt"
        )


@cache
def known_options(name: str) -> frozenset[str]:
    """The names of an encoder's options."""
    supported = CodecContext.create(name, "w").supported_options
    return frozenset(option.name for option in (*supported.generic, *supported.private))
