"""How a live output is written: by its address, with encoders told not to hold a frame back."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from streamrestore.encoder import check_encoder
from streamrestore.encoders import find_encoder
from streamrestore.encoding import Encoding, EncodingRequest, plan_encoding
from streamrestore.errors import ConfigError
from streamrestore.formats import ColourTags, video_format
from streamrestore.live.addresses import Address
from streamrestore.live.clock import LIVE_TIME_BASE
from streamrestore.live.hls import segment_pattern
from streamrestore.nvenc import is_nvenc
from streamrestore.probing import SourceInfo

GOP_SECONDS = Fraction(1)
"""From one key frame to the next: how long whoever comes in waits for the first picture."""

CRF, PRESET = 23, "veryfast"
"""Where nothing is said: what one core encodes at 1080p in real time."""

_TIMEOUT_MICROSECONDS = 5_000_000
"""What connecting may take, for FFmpeg; the supervisor has a clock of its own."""

_HLS_SECONDS, _HLS_SEGMENTS = 1, 6

_CODECS = {
    "libx264": {"tune": "zerolatency", "forced-idr": "1"},
    "libx265": {"tune": "zerolatency", "forced-idr": "1"},
    "h264_nvenc": {"tune": "ull", "delay": "0", "zerolatency": "1", "bf": "0", "forced-idr": "1"},
    "hevc_nvenc": {"tune": "ull", "delay": "0", "zerolatency": "1", "bf": "0", "forced-idr": "1"},
}
"""Encoders that can be told to give each frame back at once, and how."""

_ALLOWED = "h264, hevc, h264_nvenc or hevc_nvenc"
"""The same, by the names that users know."""

_FILES = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".ts": "mpegts"}

_IN_PIECES: Mapping[str, Mapping[str, str]] = {
    "mp4": {"movflags": "+hybrid_fragmented", "frag_duration": "250000"},
    "mov": {"movflags": "+hybrid_fragmented", "frag_duration": "250000"},
    "matroska": {"cluster_time_limit": "250"},
}
"""So that what was written so far can be played whatever ends the process; in the end, MP4 becomes a plain one. Without
a limit, pieces end before key frames, and up to a second would be lost."""

PLAIN_SOURCE = SourceInfo(
    path=Path("camera"),
    container="rtsp",
    stream_index=0,
    codec="h264",
    video=video_format(1280, 720, "yuv420p", ColourTags(), "h264"),
    pixel_format_name="yuv420p",
    tags=ColourTags(),
    time_base=LIVE_TIME_BASE,
    sample_aspect_ratio=None,
    display_matrix=None,
    average_rate=Fraction(25),
    estimated_frames=None,
    start_pts=0,
    container_start=Fraction(0),
    duration_seconds=None,
    lost_side_data=(),
    other_streams=(),
)
"""The camera that most are like, for what is to be known before one has answered."""

_SMALL = replace(PLAIN_SOURCE, video=replace(PLAIN_SOURCE.video, height=180, width=320))

_REHEARSED_PICTURES = 3

_IN_MEMORY = {"rtsp": "mp4", "hls": "mp4"}
"""What stands in for muxers that write nowhere else than to a server or into a folder."""


@dataclass(frozen=True, slots=True)
class Target:
    """An output, as FFmpeg is told of it."""

    url: str
    muxer: str
    options: Mapping[str, str]
    """For the muxer and its protocol."""
    file: Path | None = None
    """Where it is one, which must not be written over."""
    folder: Path | None = None
    """What it lies in, where it is in this computer's files; FFmpeg makes none."""


def plan_target(address: Address) -> Target:
    """Which muxer writes to an address, and how.

    Args:
        address: ``rtsp://`` or ``rtsps://``, ``rtmp://`` or ``rtmps://``, a folder for HLS (its name ends with a slash,
            or it is one) or its playlist (``.m3u8``), or a file (``.mp4``, ``.mov``, ``.mkv``, ``.ts``).

    Raises:
        ConfigError: Nothing is known of such an address.
    """
    # Else a muxer waits for all streams, and holds video back for as long as no sound comes.
    common = {"max_interleave_delta": "1"}
    if address.scheme in ("rtsp", "rtsps"):
        return Target(address.url, "rtsp", common | {"rtsp_transport": "tcp", "timeout": str(_TIMEOUT_MICROSECONDS)})
    if address.scheme in ("rtmp", "rtmps"):
        return Target(address.url, "flv", common | {"flvflags": "no_duration_filesize"})
    if not address.is_network:
        path = Path(address.url)
        if path.suffix.lower() == ".m3u8" or address.url.endswith("/") or path.is_dir():
            return _hls(path if path.suffix.lower() == ".m3u8" else path / "index.m3u8", common)
        if (muxer := _FILES.get(path.suffix.lower())) is not None:
            options = {**common, **_IN_PIECES.get(muxer, {}), "flush_packets": "1"}
            return Target(f"file:{path}", muxer, options, path, path.parent)
    raise ConfigError(
        f"{address} is no output for a live stream: give rtsp://, rtmp://, a folder for HLS such as hls/, or a file "
        f"({', '.join(_FILES)})"
    )


def _hls(playlist: Path, common: Mapping[str, str]) -> Target:
    # Its end is no business of FFmpeg's, which would write it where a publisher only fails and another one goes on.
    flags = "delete_segments+independent_segments+program_date_time+temp_file+append_list+omit_endlist"
    options = {
        "hls_time": str(_HLS_SECONDS),
        "hls_list_size": str(_HLS_SEGMENTS),
        "hls_segment_type": "fmp4",
        "hls_flags": flags,
        "hls_segment_filename": str(segment_pattern(playlist)),
        "hls_fmp4_init_filename": f"{playlist.stem}-init.mp4",
    }
    return Target(f"file:{playlist}", "hls", {**common, **options}, folder=playlist.parent)


def check_live_request(request: EncodingRequest, muxer: str) -> None:
    """Refuse what could not even be had for the plainest source, while no other stream has to end for it.

    Some small pictures are encoded: only so one knows whether an encoder takes its options, and finds its hardware.

    Args:
        request: What the user asked for.
        muxer: FFmpeg's name of what it is written to.

    Raises:
        ConfigError: What was asked for cannot be had, or not live.
    """
    encoding = plan_live_encoding(_SMALL, request, muxer)
    try:
        check_encoder(_SMALL, replace(encoding, container=_IN_MEMORY.get(muxer, muxer)), _REHEARSED_PICTURES)
    except ConfigError as error:
        if not request.options:
            raise
        asked = " ".join(f"{key}={value}" for key, value in request.options)
        raise ConfigError(
            f"{error}; of these, {asked} came with -e: `ffmpeg -h encoder={encoding.encoder}` says what is allowed"
        ) from error


def live_info(info: SourceInfo) -> SourceInfo:
    """A source's pictures as outputs are told of them: on the output's clock."""
    return replace(info, time_base=LIVE_TIME_BASE, other_streams=(), duration_seconds=None, display_matrix=None)


def plan_live_encoding(info: SourceInfo, request: EncodingRequest, muxer: str) -> Encoding:
    """How frames are encoded for a live output.

    Args:
        info: What they are, from `live_info`.
        request: What the user asked for.
        muxer: FFmpeg's name of what it is written to.

    Raises:
        ConfigError: What was asked for cannot be had, or not live.
    """
    # By codec alone, for of another encoder's presets nobody has asked.
    if request.codec is None:
        encoder = plan_encoding(info, EncodingRequest(), ".mp4").encoder
    else:
        encoder = find_encoder(request.codec)
    if encoder not in _CODECS and request.codec is not None:
        raise ConfigError(f"{request.codec} does not encode live: take {_ALLOWED} as the codec (-c:v)")
    if encoder not in _CODECS:
        video = info.video
        raise ConfigError(
            f"no encoder that can be told to hold no picture back takes {video.pixels.name} at "
            f"{video.width}x{video.height}: take a source of even size, in a usual format such as yuv420p"
        )
    nvenc = is_nvenc(encoder)
    asked = replace(
        request,
        crf=CRF if request.crf is None and not nvenc else request.crf,
        preset=PRESET if request.preset is None and not nvenc else request.preset,
    )
    planned = plan_encoding(info, asked, ".mp4")
    # A rate of frames is not to be trusted: the publisher asks for key frames by time, and this only stands in.
    options = {"g": str(max(1, round((info.average_rate or 25) * GOP_SECONDS)) * 10)}
    options |= _CODECS[planned.encoder] | dict(planned.options)
    tag = planned.codec_tag if muxer in ("mp4", "mov", "hls") else None
    return replace(
        planned,
        container=muxer,
        codec_tag=tag,
        options=tuple(sorted(options.items())),
        notes=(),
    )
