"""Choose how restored video is written: container, encoder, its options.

Pure but for asking FFmpeg which pixel formats and options its encoders take. The rule: keep the
source's layout and depth, keep its container where that can hold the result, and take the first
encoder, from the most widely played to the last resort, that takes exactly this picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from streamrestore.cpu import cpu_flags
from streamrestore.encoders import (
    ENCODERS,
    PRESET_KEYS,
    check_takes,
    find_encoder,
    frame_format,
    known_options,
    trouble,
)
from streamrestore.errors import ConfigError, UnsupportedError
from streamrestore.frame import ChromaLocation, FieldOrder, PixelFormat, VideoFormat
from streamrestore.hdr import static_hdr_options, writes_static_hdr
from streamrestore.places import HELD, IMAGES, Place, fitting_place, plan_place
from streamrestore.probing import SourceInfo
from streamrestore.rgb import converts, image_pixels
from streamrestore.samples import pixel_format

_PRESERVATION = {"coder": "1", "context": "1", "slices": "24"}
"""Range coder, large context, and a fixed number of slices, each with its checksum: what archives ask of FFV1,
beside level 3 and key frames only, which it has in any case."""


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
    preservation: bool = False
    """Whether the output is a master for an archive: FFV1 as archives want it, in Matroska."""


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
    pipe: str | None = None,
) -> Encoding:
    """Choose container, encoder and options for a restored video.

    Args:
        info: The source; its container is kept where that can hold the result.
        request: What the user asked for.
        output_suffix: Suffix of the output's name, if the user gave one; else it is chosen.
        field_order: What the output says of itself, if it is marked as interlaced.
        pipe: What standard output is to hold, one of `PIPES`; None for a file.

    Raises:
        ConfigError: What was asked for cannot be put together; the message says what can.
    """
    if pipe is None and request.preservation:
        _check_preservation(request, output_suffix)
        output_suffix = output_suffix or ".mkv"
    place = plan_place(info, output_suffix, pipe)
    if place.container == "image2":
        name = _image_encoder(place, request)
        pixels = image_pixels(name, info.video, _asked_pixels(request))
        field_order = None  # images have no mark for it
    else:
        pixels = _pixels(info.video, request)
        if request.codec is None:
            name = _choose_encoder(pixels, info, place, field_order, preservation=request.preservation)
        else:
            name = find_encoder(request.codec)
    if place.container == "yuv4mpegpipe":
        _check_y4m(pixels)
    check_takes(name, pixels, info.video, field_order)
    place = fitting_place(ENCODERS[name], place)
    codec, taken = ENCODERS[name].codec, frame_format(name, pixels)
    assert taken is not None  # since the encoder takes these pictures
    return Encoding(
        container=place.container,
        suffix=place.suffix,
        encoder=name,
        codec=codec,
        # What Apple's players ask for; FFmpeg's own choice, hev1, they do not open.
        codec_tag="hvc1" if codec == "hevc" and place.container in ("mp4", "mov") else None,
        pixels=pixels,
        frame_format=taken,
        options=_options(name, info, pixels, request, field_order),
        field_order=field_order,
        notes=tuple(_notes(info, request, name, pixels, place)),
    )


def _image_encoder(place: Place, request: EncodingRequest) -> str:
    name = IMAGES[place.suffix.lower()]
    if request.codec is not None and request.codec.lower() != name:
        raise ConfigError(f"images named *{place.suffix} are {name}, not {request.codec}: leave the codec out")
    return name


def _check_y4m(pixels: PixelFormat) -> None:
    if pixels.alpha or pixels.model == "rgb" or pixels.chroma_shift not in ((0, 0), (0, 1), (1, 1), (0, 2)):
        raise ConfigError(f"a pipe of yuv4mpegpipe cannot hold {pixels.name}: take -f nut, which holds any")


def _check_preservation(request: EncodingRequest, output_suffix: str | None) -> None:
    """Refuse what contradicts a preservation master."""
    if request.codec not in (None, "ffv1"):
        raise ConfigError(f"--preserve writes FFV1, not {request.codec}: leave one of the two out")
    if request.pixel_format_name is not None:
        raise ConfigError("--preserve keeps the source's pixel format: leave --pix-fmt out")
    if output_suffix is not None and output_suffix.lower() != ".mkv":
        raise ConfigError(f"--preserve writes Matroska, not {output_suffix}: name the output .mkv")


def _notes(info: SourceInfo, request: EncodingRequest, name: str, pixels: PixelFormat, place: Place) -> Iterator[str]:
    chosen_suffix = None if place.named else place.suffix
    if chosen_suffix == ".mkv" and not info.container.startswith("matroska"):
        yield f"written as .mkv, since {info.path.suffix or info.container} cannot hold the result"
    if chosen_suffix == ".mkv" and info.path.suffix.lower() == ".webm":
        yield "written as .mkv, since .webm cannot hold the result"
    if chosen_suffix in (".mkv", ".webm") and not info.container.startswith("matroska"):
        yield "times are rounded to milliseconds, as Matroska counts them"
    if info.pixel_format_name == "pal8" or info.codec == "gif":
        yield f"the palette's colours are written out in full, as {pixels.name}"
    if name == "ffv1" and request.codec is None and not request.preservation:
        if pixels.alpha:
            why = "the video has an alpha channel, which H.264, HEVC, AV1 and VP9 do not keep"
        else:
            why = f"no lossy encoder takes {pixels.name} at {info.video.width}x{info.video.height}"
        yield f"{why}: written as FFV1, which is lossless and large"
    if converts(info.video, pixels):
        yield (
            f"converted from {info.video.pixels.name} ({info.video.matrix}, "
            f"{'full' if info.video.full_range else 'limited'} range) to RGB of {pixels.depth} bits, rounded once: "
            f"{place.suffix} holds no YUV"
        )
    elif pixels != info.video.pixels:
        why = "as asked" if request.pixel_format_name else f"since {place.suffix} has no {info.video.pixels.depth} bits"
        yield f"converted from {info.video.pixels.name} to {pixels.name}, {why}"
    if info.opening.images is not None:
        yield "what the images say beside their pixels (headers, EXIF, timecodes) is left out"
    elif place.container == "image2":
        yield "images hold no times: whoever shows them must know the rate"
    if place.container in ("yuv4mpegpipe", "rawvideo"):
        size = f"-video_size {info.video.width}x{info.video.height} -pixel_format {pixels.name}"
        yield (
            f"{place.suffix} holds one rate and no colour tags: what else there is will be lost; -f nut keeps it"
            + (f"; it is read with {size}" if place.container == "rawvideo" else "")
        )


def _asked_pixels(request: EncodingRequest) -> PixelFormat | None:
    """The pixel format that the user asked for.

    Raises:
        ConfigError: It is none that can be written.
    """
    if request.pixel_format_name is None:
        return None
    try:
        pixels = pixel_format(request.pixel_format_name)
    except UnsupportedError as error:
        raise ConfigError(
            f"pixel format {request.pixel_format_name} cannot be written: take planar YUV, RGB or grey of 8 to 16 "
            "bits, such as yuv420p, yuv422p10le, gbrp or gray"
        ) from error
    if pixels.name != request.pixel_format_name:
        raise ConfigError(f"pixel format {request.pixel_format_name} cannot be written: take {pixels.name}")
    return pixels


def _pixels(video: VideoFormat, request: EncodingRequest) -> PixelFormat:
    pixels = _asked_pixels(request)
    if pixels is None:
        return video.pixels
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
    return pixels


def _choose_encoder(
    pixels: PixelFormat, info: SourceInfo, place: Place, field_order: FieldOrder | None, *, preservation: bool
) -> str:
    held = HELD[place.container]
    if preservation:
        return "ffv1"
    if "rawvideo" in held:  # whoever reads the pipe encodes it
        return "rawvideo"
    candidates = ["libx265", "libsvtav1"] if pixels.depth > 8 or info.hdr else ["libx264", "libx265", "libsvtav1"]
    if place.container == "webm":
        candidates = ["libsvtav1", "libvpx-vp9"]
    if field_order is not None:
        candidates = ["libx264"]
    takers = [name for name in (*candidates, "ffv1") if not trouble(name, pixels, info.video, field_order)]
    if not takers:
        raise ConfigError(
            f"no encoder takes {pixels.name} at {info.video.width}x{info.video.height}: "
            "ask for another pixel format of its kind, with more bits"
        )
    if place.named:
        # The user named the container: a less usual codec in it is better than a refusal.
        return next((name for name in takers if ENCODERS[name].codec in held), takers[0])
    return takers[0]


def _options(
    name: str, info: SourceInfo, pixels: PixelFormat, request: EncodingRequest, field_order: FieldOrder | None
) -> tuple[tuple[str, str], ...]:
    encoder = ENCODERS[name]
    options = encoder.options | (_PRESERVATION if request.preservation else {})
    if name == "libx264" and "avx512f" in cpu_flags():
        # Its AVX-512 code reads memory that nobody wrote, and gives other bytes from run to run; what it has for AVX2
        # gives the same on all x86 CPUs, and as fast.
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
        options[PRESET_KEYS.get(name, "preset")] = preset
    elif request.preset is not None:
        raise ConfigError(f"{name} has no presets: leave it out")

    known = known_options(name)
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
    # The codecs written here mean the left where they say nothing, a pipe of yuv4mpegpipe means the centre, and so
    # do MPEG-1 and JPEG as sources.
    unlike_silence = location is not ChromaLocation.LEFT or name == "rawvideo"
    if info.chroma_location is not None or (info.video.pixels.chroma_shift == (1, 1) and unlike_silence):
        marks["chroma_sample_location"] = str(location)
    return marks
