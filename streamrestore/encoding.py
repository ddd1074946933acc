"""Choose how restored video is written: container, encoder, its options.

Pure but for asking FFmpeg which pixel formats and options its encoders take. The rule: keep the
source's layout and depth, keep its container where that can hold the result, and take the first
encoder, from the most widely played to the last resort, that takes exactly this picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import av
from av.codec import Codec, CodecContext

from streamrestore.devices import cpu_flags
from streamrestore.errors import ConfigError, UnsupportedError
from streamrestore.frame import ChromaLocation, FieldOrder, PixelFormat, VideoFormat
from streamrestore.hdr import static_hdr_options, writes_static_hdr
from streamrestore.probing import SourceInfo
from streamrestore.samples import names_of, pixel_format

ENCODER_THREADS = 4
"""A constant, not the core count: another count of threads gives other bytes.

Four keep a desktop busy at 1080p and cost nothing on two cores; restoring is far slower.
"""


@dataclass(frozen=True, slots=True)
class _Encoder:
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
    interlaced: dict[FieldOrder, dict[str, str]] = field(default_factory=dict)
    """Options by which a stream of marked frames is written as interlaced; empty where it cannot be."""


_X26X_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)


def _nvenc(codec: str, quality: int, quality_range: tuple[int, int] = (0, 51), *, even: bool = False) -> _Encoder:
    return _Encoder(
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

_ENCODERS = {
    # FFmpeg decodes monochrome H.264 as 4:2:0, so grey would not come back as grey.
    "libx264": _Encoder(
        "h264",
        "crf",
        17,
        presets=_X26X_PRESETS,
        preset="medium",
        even=True,
        refuses=frozenset({"gray", "gray10le"}),
        # With more than one thread it gives other bytes from run to run, all the time.
        interlaced={
            FieldOrder.TOP: _TOP | {"x264-params": "tff=1:threads=1"},
            FieldOrder.BOTTOM: _BOTTOM | {"x264-params": "bff=1:threads=1"},
        },
    ),
    # Its thread pool and frame threads are set here, since both would follow the core count.
    "libx265": _Encoder(
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
    "libsvtav1": _Encoder(
        "av1",
        "crf",
        22,
        (1, 63),
        presets=tuple(str(number) for number in range(14)),
        preset="6",
        options={"svtav1-params": f"lp={ENCODER_THREADS}"},
    ),
    "libvpx-vp9": _Encoder(
        "vp9",
        "crf",
        22,
        (0, 63),
        presets=tuple(str(number) for number in range(9)),
        preset="2",
        options={"b": "0", "row-mt": "1", "tile-columns": "2"},
    ),
    "ffv1": _Encoder(
        "ffv1",
        options={"level": "3", "slicecrc": "1", "g": "1"},
        alpha=True,
        interlaced={FieldOrder.TOP: _TOP, FieldOrder.BOTTOM: _BOTTOM},
    ),
    "prores_ks": _Encoder(
        "prores",
        options={"vendor": "apl0"},
        even=True,
        alpha=True,
        interlaced={
            FieldOrder.TOP: _TOP | {"flags": "+ildct"},
            FieldOrder.BOTTOM: _BOTTOM | {"flags": "+ildct"},
        },
    ),
    "h264_nvenc": _nvenc("h264", 19, even=True),
    "hevc_nvenc": _nvenc("hevc", 21, even=True),
    "av1_nvenc": _nvenc("av1", 24, (0, 63)),
}
_PRESET_KEYS = {"libvpx-vp9": "cpu-used"}
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

_HELD = {
    "mp4": frozenset({"h264", "hevc", "av1", "vp9"}),
    "mov": frozenset({"h264", "hevc", "prores"}),
    "matroska": frozenset(encoder.codec for encoder in _ENCODERS.values()),
    "webm": frozenset({"av1", "vp9"}),
    "mpegts": frozenset({"h264", "hevc"}),
}
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
_SUFFIX_OF_INPUT = {"matroska,webm": ".mkv", "mpegts": ".ts", "mov,mp4,m4a,3gp,3g2,mj2": ".mp4"}
"""For inputs whose name says nothing; others become ``.mkv``."""


@dataclass(frozen=True, slots=True)
class EncodingRequest:
    """What the user asked for; None leaves the choice to `plan_encoding`."""

    codec: str | None = None
    """Such as ``h264``, ``x265``, ``av1``, ``ffv1``, ``prores``, ``h264_nvenc``."""
    crf: int | None = None
    preset: str | None = None
    pixel_format_name: str | None = None
    """Another layout or depth than the source's; frames are converted after they are restored."""
    options: tuple[tuple[str, str], ...] = ()
    """Further options of the encoder, which win over ours."""


AUTOMATIC = EncodingRequest()
"""Everything left to `plan_encoding`."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How video is written, with nothing left to choose."""

    container: str
    """FFmpeg's name of the muxer."""
    suffix: str
    """Of the file's name, with the dot."""
    encoder: str
    """FFmpeg's name."""
    codec: str
    """FFmpeg's name of the format the encoder writes."""
    codec_tag: str | None
    """Four characters that override the container's own choice."""
    pixels: PixelFormat
    """What the video is made of."""
    frame_format: str
    """FFmpeg's name of the pixel format in which the encoder takes these samples; not always ``pixels.name``."""
    options: tuple[tuple[str, str], ...]
    """For the encoder, sorted."""
    field_order: FieldOrder | None = None
    """What every frame is marked with before it is encoded; None for progressive video."""
    notes: tuple[str, ...] = ()
    """What the user should know about the choice before work starts."""


def plan_encoding(
    info: SourceInfo,
    request: EncodingRequest = AUTOMATIC,
    output_suffix: str | None = None,
    *,
    field_order: FieldOrder | None = None,
) -> Encoding:
    """Choose container, encoder and options for a restored video.

    Args:
        info: The source; its container is kept where that can hold the result.
        request: What the user asked for.
        output_suffix: Suffix of the output's name, if the user gave one; else it is chosen.
        field_order: What the output says of itself, if it is marked as interlaced.

    Raises:
        ConfigError: What was asked for cannot be put together; the message says what can.
    """
    if output_suffix is not None and output_suffix.lower() not in _CONTAINERS:
        raise ConfigError(
            f"files named *{output_suffix} cannot be written: take one of {', '.join(_CONTAINERS)}; "
            ".mkv holds every stream"
        )
    suffix = output_suffix or _kept_suffix(info)
    container = _CONTAINERS[suffix.lower()]
    pixels = _pixels(info.video, request)
    if request.codec is None:
        name = _choose_encoder(pixels, info, container, field_order, insist=output_suffix is not None)
    else:
        name = _find_encoder(request.codec)
        _check_takes(name, pixels, info.video, field_order)
    codec, frame_format = _ENCODERS[name].codec, _frame_format(name, pixels)
    assert frame_format is not None  # since the encoder takes these pictures

    if codec not in _HELD[container]:
        if output_suffix is not None:
            raise ConfigError(
                f"{output_suffix} holds {', '.join(sorted(_HELD[container]))}, not {codec}: name the output .mkv"
            )
        container, suffix = "matroska", ".mkv"
    return Encoding(
        container=container,
        suffix=suffix,
        encoder=name,
        codec=codec,
        # What Apple's players ask for; FFmpeg's own choice, hev1, they do not open.
        codec_tag="hvc1" if codec == "hevc" and container in ("mp4", "mov") else None,
        pixels=pixels,
        frame_format=frame_format,
        options=_options(name, info, request, field_order),
        field_order=field_order,
        notes=tuple(_notes(info, request, name, pixels, None if output_suffix else suffix)),
    )


def _kept_suffix(info: SourceInfo) -> str:
    """The suffix of the input where it names a container we write, else Matroska's."""
    suffix = info.path.suffix
    if suffix.lower() in _CONTAINERS:
        return suffix
    return ".mkv" if suffix else _SUFFIX_OF_INPUT.get(info.container, ".mkv")


def _notes(
    info: SourceInfo, request: EncodingRequest, name: str, pixels: PixelFormat, chosen_suffix: str | None
) -> Iterator[str]:
    if chosen_suffix == ".mkv" and not info.container.startswith("matroska"):
        yield f"written as .mkv, since {info.path.suffix or info.container} cannot hold the result"
    if chosen_suffix == ".mkv" and info.path.suffix.lower() == ".webm":
        yield "written as .mkv, since .webm cannot hold the result"
    if chosen_suffix in (".mkv", ".webm") and not info.container.startswith("matroska"):
        yield "times are rounded to milliseconds, as Matroska counts them"
    if info.pixel_format_name == "pal8" or info.codec == "gif":
        yield f"the palette's colours are written out in full, as {pixels.name}"
    if name == "ffv1" and request.codec is None:
        if pixels.alpha:
            why = "the video has an alpha channel, which H.264, HEVC, AV1 and VP9 do not keep"
        else:
            why = f"no lossy encoder takes {pixels.name} at {info.video.width}x{info.video.height}"
        yield f"{why}: written as FFV1, which is lossless and large"
    if pixels != info.video.pixels:
        yield f"converted from {info.video.pixels.name} to {pixels.name}, as asked"


def _pixels(video: VideoFormat, request: EncodingRequest) -> PixelFormat:
    if request.pixel_format_name is None:
        return video.pixels
    try:
        pixels = pixel_format(request.pixel_format_name)
    except UnsupportedError as error:
        raise ConfigError(
            f"pixel format {request.pixel_format_name} cannot be written: take planar YUV, RGB or grey of 8 to 16 "
            "bits, such as yuv420p, yuv422p10le, gbrp or gray"
        ) from error
    if (pixels.model, pixels.alpha) != (video.pixels.model, video.pixels.alpha):
        raise ConfigError(
            f"{video.pixels.name} cannot become {pixels.name}: YUV, RGB and grey stay what they are, "
            "and alpha is neither added nor dropped"
        )
    if video.fields and pixels.chroma_shift[0] != video.pixels.chroma_shift[0]:
        raise ConfigError(
            f"{video.pixels.name} cannot become {pixels.name} without mixing the fields of an interlaced video: "
            "keep as many rows of chroma, or make it progressive with --deinterlace bwdif"
        )
    if pixels.name != request.pixel_format_name:
        raise ConfigError(f"pixel format {request.pixel_format_name} cannot be written: take {pixels.name}")
    return pixels


def _find_encoder(codec: str) -> str:
    name = _ALIASES.get(codec.lower(), codec.lower())
    if name not in _ENCODERS:
        allowed = sorted({*_ALIASES, *_ENCODERS})
        raise ConfigError(f"there is no codec {codec}: take one of {', '.join(allowed)}")
    if not _formats_taken(name):
        raise ConfigError(f"this build of FFmpeg has no encoder {name}: take another codec")
    return name


@cache
def _formats_taken(name: str) -> frozenset[str]:
    try:
        formats = Codec(name, "w").video_formats or []
    except av.FFmpegError:
        return frozenset()
    return frozenset(form.name for form in formats) - _ENCODERS[name].refuses


def _frame_format(name: str, pixels: PixelFormat) -> str | None:
    """The first pixel format an encoder takes that holds exactly these samples, if there is one."""
    if pixels.alpha and not _ENCODERS[name].alpha:
        return None
    return next((form for form in names_of(pixels) if form in _formats_taken(name)), None)


def _kinds_taken(name: str) -> Iterator[str]:
    """The formats a user may ask an encoder for."""
    for form in _formats_taken(name):
        try:
            pixels = pixel_format(form)
        except UnsupportedError:
            continue
        if _frame_format(name, pixels):
            yield pixels.name


def _trouble(name: str, pixels: PixelFormat, video: VideoFormat, field_order: FieldOrder | None) -> str | None:
    """Why an encoder cannot take these pictures; None if it can."""
    encoder = _ENCODERS[name]
    if field_order is not None and not encoder.interlaced:
        return "it cannot mark frames as interlaced, as the source's are; --deinterlace bwdif makes them progressive"
    if _frame_format(name, pixels) is None:
        return f"it takes {', '.join(sorted(set(_kinds_taken(name))))}"
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


def _check_takes(name: str, pixels: PixelFormat, video: VideoFormat, field_order: FieldOrder | None) -> None:
    if trouble := _trouble(name, pixels, video, field_order):
        able = [other for other in _ENCODERS if not _trouble(other, pixels, video, field_order)]
        raise ConfigError(
            f"{name} cannot take {pixels.name} at {video.width}x{video.height}: {trouble}; "
            f"for this picture choose {' or '.join(able)}, or another --pix-fmt"
        )


def _choose_encoder(
    pixels: PixelFormat, info: SourceInfo, container: str, field_order: FieldOrder | None, *, insist: bool
) -> str:
    candidates = ["libx265", "libsvtav1"] if pixels.depth > 8 or info.hdr else ["libx264", "libx265", "libsvtav1"]
    if container == "webm":
        candidates = ["libsvtav1", "libvpx-vp9"]
    if field_order is not None:
        candidates = ["libx264"]
    takers = [name for name in (*candidates, "ffv1") if not _trouble(name, pixels, info.video, field_order)]
    if not takers:
        raise ConfigError(
            f"no encoder takes {pixels.name} at {info.video.width}x{info.video.height}: "
            "ask for another pixel format of its kind, with more bits"
        )
    if insist:
        # The user named the container: a less usual codec in it is better than a refusal.
        return next((name for name in takers if _ENCODERS[name].codec in _HELD[container]), takers[0])
    return takers[0]


def _options(
    name: str, info: SourceInfo, request: EncodingRequest, field_order: FieldOrder | None
) -> tuple[tuple[str, str], ...]:
    encoder = _ENCODERS[name]
    options = dict(encoder.options)
    if name == "libx264" and "avx512f" in cpu_flags():
        # x264's AVX-512 code gives other bytes from run to run where the width is no multiple
        # of 128; without it all x86 CPUs give the same ones, and as fast.
        options["x264-params"] = "asm=avx2"
    if encoder.quality_key is not None:
        low, high = encoder.quality_range
        quality = encoder.quality if request.crf is None else request.crf
        if not low <= quality <= high:
            raise ConfigError(f"a CRF of {quality} is out of the range of {name}: take {low} (best) to {high}")
        options[encoder.quality_key] = str(quality)
    elif request.crf is not None:
        raise ConfigError(f"{name} has no CRF to set: leave it out")
    if encoder.presets:
        preset = encoder.preset if request.preset is None else request.preset
        if preset not in encoder.presets:
            raise ConfigError(f"{name} has no preset {preset}: take one of {', '.join(encoder.presets)}")
        options[_PRESET_KEYS.get(name, "preset")] = preset
    elif request.preset is not None:
        raise ConfigError(f"{name} has no presets: leave it out")

    known = _known_options(name)
    marks = {} if field_order is None else encoder.interlaced[field_order]
    for key, value in (*marks.items(), *_picture_marks(name, info).items(), *request.options):
        if key not in known:
            raise ConfigError(f"{name} has no option {key}: see `ffmpeg -h encoder={name}`")
        # Lists such as x265-params are added to, so that the thread counts in them stay.
        options[key] = f"{options[key]}:{value}" if key.endswith("-params") and key in options else value
    return tuple(sorted(options.items()))


def _picture_marks(name: str, info: SourceInfo) -> dict[str, str]:
    """Options by which the output says of its picture what the source says."""
    marks = dict[str, str]()
    if writes_static_hdr(name):
        marks |= static_hdr_options(name, info.mastering_display, info.content_light)
    location = info.video.chroma_location
    # The codecs written here mean the left where they say nothing; MPEG-1 and JPEG, as sources, mean the centre.
    if info.chroma_location is not None or (
        info.video.pixels.chroma_shift == (1, 1) and location is not ChromaLocation.LEFT
    ):
        marks["chroma_sample_location"] = str(location)
    return marks


@cache
def _known_options(name: str) -> frozenset[str]:
    supported = CodecContext.create(name, "w").supported_options
    return frozenset(option.name for option in (*supported.generic, *supported.private))
