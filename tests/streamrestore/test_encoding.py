"""The choice of container, codec and options: what is kept, what wins, what is refused in words."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from streamrestore.encoding import AUTOMATIC, Encoding, EncodingRequest, plan_encoding
from streamrestore.errors import ConfigError
from streamrestore.formats import ColourTags, video_format
from streamrestore.frame import ChromaLocation
from streamrestore.hdr import ContentLight, MasteringDisplay
from streamrestore.probing import SourceInfo
from tests.clips import INFO


def source(name: str, pix_fmt: str = "yuv420p", size: tuple[int, int] = (144, 176), transfer: int = 2) -> SourceInfo:
    """What `open_source` would say of a file; ``size`` is (height, width)."""
    tags = ColourTags(transfer=transfer)
    containers = {".mkv": "matroska,webm", ".webm": "matroska,webm", ".ts": "mpegts", ".avi": "avi", ".flv": "flv"}
    return replace(
        INFO,
        path=Path(name),
        container=containers.get(Path(name).suffix, INFO.container),
        tags=tags,
        video=video_format(size[1], size[0], pix_fmt, tags, "h264"),
        pixel_format_name=pix_fmt,
    )


def chosen(info: SourceInfo, request: EncodingRequest = AUTOMATIC, suffix: str | None = None) -> Encoding:
    return plan_encoding(info, request, suffix)


@pytest.mark.parametrize(
    ("info", "suffix", "encoder"),
    [
        (source("a.mp4"), ".mp4", "libx264"),
        (source("a.MP4"), ".MP4", "libx264"),
        (source("a.mov"), ".mov", "libx264"),
        (source("a.mkv"), ".mkv", "libx264"),
        (source("a.ts"), ".ts", "libx264"),
        (source("a.webm"), ".webm", "libsvtav1"),
        (source("a.webm", "yuv444p"), ".webm", "libvpx-vp9"),
        (source("a.webm", "yuv444p10le"), ".mkv", "ffv1"),
        (source("a.avi"), ".mkv", "libx264"),
        (source("a.flv"), ".mkv", "libx264"),
        (source("a.3gp"), ".mkv", "libx264"),
        (source("a"), ".mp4", "libx264"),
        (source("a.mp4", "yuv420p10le"), ".mp4", "libx265"),
        (source("a.mp4", "yuv422p12le"), ".mp4", "libx265"),
        (source("a.mp4", transfer=16), ".mp4", "libx265"),
        (source("a.mp4", transfer=18), ".mp4", "libx265"),
        (source("a.mp4", size=(143, 176)), ".mp4", "libsvtav1"),
        (source("a.mp4", "yuv420p10le", size=(144, 175)), ".mp4", "libsvtav1"),
        (source("a.ts", size=(144, 175)), ".mkv", "libsvtav1"),
        (source("a.mov", size=(144, 175)), ".mkv", "libsvtav1"),
        (source("a.mp4", "yuv422p", size=(143, 176)), ".mp4", "libx264"),
        (source("a.mp4", "yuv422p", size=(144, 175)), ".mkv", "ffv1"),
        (source("a.mp4", "yuv420p12le", size=(143, 175)), ".mkv", "ffv1"),
        (source("a.mp4", "yuv444p", size=(143, 175)), ".mp4", "libx264"),
        (source("a.mp4", "yuv444p10le", size=(143, 175)), ".mp4", "libx265"),
        (source("a.mp4", "gray"), ".mp4", "libx265"),
        (source("a.mp4", "gbrp"), ".mp4", "libx265"),
        (source("a.mp4", "rgb24"), ".mp4", "libx265"),
        (source("a.mp4", "nv12"), ".mp4", "libx264"),
        (source("a.mp4", "gbrp16le"), ".mkv", "ffv1"),
        (source("a.mp4", "yuv440p"), ".mkv", "ffv1"),
        (source("a.avi", "yuv411p"), ".mkv", "ffv1"),
        (source("a.mkv", "yuv420p10le", size=(48, 64)), ".mkv", "libsvtav1"),
    ],
    ids=lambda value: f"{value.path.name}-{value.pixel_format_name}" if isinstance(value, SourceInfo) else str(value),
)
def test_defaults(info: SourceInfo, suffix: str, encoder: str) -> None:
    encoding = chosen(info)
    assert (encoding.suffix, encoding.encoder, encoding.pixels) == (suffix, encoder, info.video.pixels)
    assert (".mkv" in " ".join(encoding.notes)) == (suffix == ".mkv" and info.path.suffix != ".mkv")
    assert ("lossless and large" in " ".join(encoding.notes)) == (encoder == "ffv1")


def test_hevc_is_named_as_apples_players_ask() -> None:
    hevc = EncodingRequest(codec="hevc")
    assert [chosen(source(name), hevc).codec_tag for name in ("a.mp4", "a.mov", "a.mkv", "a.ts")] == [
        "hvc1",
        "hvc1",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("alias", "encoder"),
    [
        ("h264", "libx264"),
        ("X264", "libx264"),
        ("hevc", "libx265"),
        ("x265", "libx265"),
        ("av1", "libsvtav1"),
        ("ffv1", "ffv1"),
        ("vp9", "libvpx-vp9"),
        ("h264_nvenc", "h264_nvenc"),
    ],
)
def test_codecs_by_any_name(alias: str, encoder: str) -> None:
    assert chosen(source("a.mkv"), EncodingRequest(codec=alias)).encoder == encoder


def test_quality_preset_and_options_of_the_user_win() -> None:
    request = EncodingRequest(crf=30, preset="slow", options=(("tune", "film"), ("crf", "31")))
    options = dict(chosen(source("a.mp4"), request).options)
    assert (options["crf"], options["preset"], options["tune"]) == ("31", "slow", "film")
    av1 = chosen(source("a.mp4"), EncodingRequest(codec="av1", crf=40, preset="8"))
    assert (dict(av1.options)["crf"], dict(av1.options)["preset"]) == ("40", "8")


def test_thread_counts_stay_when_parameters_are_added() -> None:
    request = EncodingRequest(codec="hevc", options=(("x265-params", "aq-mode=3"),))
    assert dict(chosen(source("a.mp4"), request).options)["x265-params"].endswith("pools=4:frame-threads=2:aq-mode=3")


def test_another_depth_only_if_asked() -> None:
    encoding = chosen(source("a.mp4"), EncodingRequest(pixel_format_name="yuv420p10le"))
    assert (encoding.pixels.name, encoding.encoder) == ("yuv420p10le", "libx265")
    assert "converted from yuv420p to yuv420p10le, as asked" in encoding.notes


@pytest.mark.parametrize(
    ("info", "request_", "suffix", "message"),
    [
        (
            source("a.mp4"),
            AUTOMATIC,
            ".avi",
            r"\*\.avi cannot be written: take one of \.mp4, .*\.mkv holds every stream",
        ),
        (source("a.mp4"), AUTOMATIC, "", r"cannot be written: take one of"),
        (source("a.mp4"), EncodingRequest(codec="h264"), ".webm", r"\.webm holds av1, vp9, not h264: name .* \.mkv"),
        (source("a.mp4"), EncodingRequest(codec="ffv1"), ".mp4", r"\.mp4 holds .* not ffv1: name the output \.mkv"),
        (source("a.mp4", "yuv440p"), AUTOMATIC, ".mp4", r"\.mp4 holds .* not ffv1: name the output \.mkv"),
        (source("a.mp4"), EncodingRequest(codec="divx"), None, "no codec divx: take one of av1, .*libx264"),
        (source("a.mp4", "gbrp"), EncodingRequest(codec="h264"), None, "libx264 cannot take gbrp .*choose libx265 or"),
        (
            source("a.mp4", size=(143, 175)),
            EncodingRequest(codec="hevc"),
            None,
            "needs a height divisible by 2 and a w",
        ),
        (source("a.mp4", size=(48, 64)), EncodingRequest(codec="hevc"), None, "at least 96 pixels a side"),
        (
            source("a.mp4"),
            EncodingRequest(codec="prores"),
            None,
            "prores_ks cannot take yuv420p .* it takes yuv422p10le",
        ),
        (source("a.mp4"), EncodingRequest(crf=99), None, r"CRF of 99 is out of the range .* 0 \(best\) to 51"),
        (source("a.mkv"), EncodingRequest(codec="ffv1", crf=5), None, "ffv1 has no CRF"),
        (source("a.mkv"), EncodingRequest(codec="ffv1", preset="slow"), None, "ffv1 has no presets"),
        (source("a.mp4"), EncodingRequest(preset="warp"), None, "libx264 has no preset warp: take one of ultrafast"),
        (source("a.mp4"), EncodingRequest(options=(("crff", "1"),)), None, "libx264 has no option crff"),
        (source("a.mp4"), EncodingRequest(pixel_format_name="nv12"), None, "nv12 cannot be written: take yuv420p"),
        (source("a.mp4"), EncodingRequest(pixel_format_name="gbrp"), None, "yuv420p cannot become gbrp"),
        (
            source("a.mp4"),
            EncodingRequest(codec="h264", pixel_format_name="yuv420p12le"),
            None,
            "choose libx265 or ffv1",
        ),
    ],
)
def test_what_cannot_be_put_together(
    info: SourceInfo, request_: EncodingRequest, suffix: str | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(info, request_, suffix)


def test_a_preservation_master_is_what_archives_ask_for() -> None:
    master = EncodingRequest(preservation=True)
    encoding = chosen(source("a.mp4", "yuv422p10le"), master)
    assert (encoding.suffix, encoding.encoder, encoding.pixels.name) == (".mkv", "ffv1", "yuv422p10le")
    asked = {"level": "3", "coder": "1", "context": "1", "g": "1", "slices": "24", "slicecrc": "1"}
    assert dict(encoding.options) == asked
    assert "large" not in " ".join(encoding.notes)
    own = replace(master, codec="ffv1", options=(("slices", "30"),))
    assert dict(chosen(source("a.mp4"), own, ".mkv").options)["slices"] == "30"


@pytest.mark.parametrize(
    ("request_", "suffix", "message"),
    [
        (EncodingRequest(preservation=True, codec="h264"), None, "--preserve writes FFV1, not h264"),
        (EncodingRequest(preservation=True, crf=17), None, "ffv1 has no CRF"),
        (EncodingRequest(preservation=True, preset="slow"), None, "ffv1 has no presets"),
        (EncodingRequest(preservation=True, pixel_format_name="yuv444p"), None, "leave --pix-fmt out"),
        (EncodingRequest(preservation=True), ".mov", r"--preserve writes Matroska, not \.mov: name the output \.mkv"),
    ],
)
def test_what_contradicts_a_preservation_master(request_: EncodingRequest, suffix: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(source("a.mp4"), request_, suffix)


@pytest.mark.parametrize(
    ("pipe", "pix_fmt", "encoder"),
    [
        ("yuv4mpegpipe", "yuv422p10le", "rawvideo"),
        ("rawvideo", "gbrap12le", "rawvideo"),
        ("nut", "gbrp", "rawvideo"),
        ("matroska", "yuv420p", "libx264"),
        ("mpegts", "yuv420p", "libx264"),
    ],
)
def test_pipes_hold_the_samples_as_they_are_where_they_can(pipe: str, pix_fmt: str, encoder: str) -> None:
    encoding = plan_encoding(source("a.mp4", pix_fmt), pipe=pipe)
    assert (encoding.container, encoding.encoder, encoding.frame_format) == (pipe, encoder, pix_fmt)


@pytest.mark.parametrize("pix_fmt", ["gbrp", "yuva420p", "yuv440p"])
def test_yuv4mpeg_says_what_it_cannot_hold(pix_fmt: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot hold {pix_fmt}: take -f nut"):
        plan_encoding(source("a.mp4", pix_fmt), pipe="yuv4mpegpipe")


def test_alpha_is_neither_added_nor_dropped() -> None:
    for given, wanted in (("yuv420p", "yuva420p"), ("bgra", "gbrp")):
        with pytest.raises(ConfigError, match=f"cannot become {wanted}: .*alpha is neither added nor dropped"):
            chosen(source("a.mkv", given), EncodingRequest(pixel_format_name=wanted))


@pytest.mark.parametrize(
    ("name", "pix_fmt", "frame_format"),
    [
        ("a.mov", "yuva444p12le", "yuva444p12le"),
        ("a.webm", "yuva420p", "yuva420p"),
        ("a.mkv", "argb", "bgra"),
        ("a.mkv", "rgba64be", "gbrap16le"),
        ("a.mkv", "ya8", "ya8"),
    ],
)
def test_alpha_is_kept_without_loss(name: str, pix_fmt: str, frame_format: str) -> None:
    encoding = chosen(source(name, pix_fmt))
    assert (encoding.encoder, encoding.suffix, encoding.frame_format) == ("ffv1", ".mkv", frame_format)
    assert any(note.startswith("the video has an alpha channel, which H.264") for note in encoding.notes)


def test_alpha_that_nothing_holds_is_refused() -> None:
    with pytest.raises(ConfigError, match="no encoder takes ya16le"):
        chosen(source("a.mkv", "ya16be"))


@pytest.mark.parametrize("name", ["a.gif", "a.avi"])
def test_a_palette_is_written_out(name: str) -> None:
    gif = name == "a.gif"
    encoding = chosen(replace(source(name, "bgra" if gif else "pal8"), codec="gif" if gif else "msrle"))
    assert "the palette's colours are written out in full, as gbrap" in encoding.notes


def test_prores_keeps_alpha_where_it_is_named() -> None:
    deep = source("a.mov", "yuva444p12le")
    with pytest.raises(ConfigError, match=r"it takes .*yuva444p10le.*choose ffv1, or another --pix-fmt"):
        chosen(deep, EncodingRequest(codec="prores"))
    encoding = chosen(deep, EncodingRequest(codec="prores", pixel_format_name="yuva444p10le"))
    assert (encoding.encoder, encoding.suffix) == ("prores_ks", ".mov")


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "frame_format"),
    [
        ("ffv1", "gbrp", "bgr0"),
        ("ffv1", "nv12", "yuv420p"),
        ("hevc_nvenc", "yuv420p10le", "p010le"),
        ("hevc_nvenc", "yuv444p10le", "yuv444p10msble"),
        ("hevc_nvenc", "gbrp", "gbrp"),
    ],
)
def test_encoders_get_the_samples_as_they_want_them(codec: str, pix_fmt: str, frame_format: str) -> None:
    encoding = chosen(source("a.mkv", pix_fmt), EncodingRequest(codec=codec))
    assert encoding.frame_format == frame_format


@pytest.mark.parametrize("pix_fmt", ["yuv420p16le", "gbrp16le", "yuv444p16le"])
def test_nvenc_has_ten_bits_at_most(pix_fmt: str) -> None:
    with pytest.raises(ConfigError, match=f"hevc_nvenc cannot take {pix_fmt}"):
        chosen(source("a.mkv", pix_fmt), EncodingRequest(codec="hevc_nvenc"))


@pytest.mark.parametrize(
    ("codec", "key", "light"),
    [
        ("hevc", "x265-params", "max-cll=1000,400"),
        ("h264", "x264-params", "cll=1000,400"),
        ("av1", "svtav1-params", "content-light=1000,400"),
    ],
)
def test_hdr10_is_told_to_the_encoder_beside_its_other_parameters(codec: str, key: str, light: str) -> None:
    point = (Fraction(1, 2), Fraction(1, 4))
    display = MasteringDisplay(point, point, point, point, Fraction(0), Fraction(1000))
    info = replace(source("a.mkv"), mastering_display=display, content_light=ContentLight(1000, 400))
    options = dict(chosen(info, EncodingRequest(codec=codec)).options)
    plain = dict(chosen(source("a.mkv"), EncodingRequest(codec=codec)).options)
    assert options[key].startswith(plain.get(key, ""))
    assert "G(" in options[key]
    assert options[key].endswith(light)
    assert (
        chosen(info, EncodingRequest(codec="ffv1")).options
        == chosen(source("a.mkv"), EncodingRequest(codec="ffv1")).options
    )


def test_chroma_location_is_written_where_it_was_said_or_is_not_the_left() -> None:
    def written(tagged: ChromaLocation | None, codecs_own: ChromaLocation) -> str | None:
        plain = source("a.mkv")
        info = replace(plain, chroma_location=tagged, video=replace(plain.video, chroma_location=tagged or codecs_own))
        return dict(chosen(info).options).get("chroma_sample_location")

    assert written(None, ChromaLocation.LEFT) is None
    assert written(None, ChromaLocation.CENTER) == "center"
    assert written(ChromaLocation.LEFT, ChromaLocation.LEFT) == "left"
    assert written(ChromaLocation.TOP_LEFT, ChromaLocation.LEFT) == "topleft"


def test_prores_cannot_say_full_range() -> None:
    info = source("a.mov", "yuv422p10le")
    prores = EncodingRequest(codec="prores")
    assert chosen(info, prores).encoder == "prores_ks"
    with pytest.raises(ConfigError, match="knows limited range only"):
        chosen(replace(info, video=replace(info.video, full_range=True)), prores)
