"""Where a stream's own headers say that its chroma samples sit, which PyAV does not tell."""

import io

import av
from av.bitstream import BitStreamFilterContext
from av.video.stream import VideoStream

from streamrestore.ebml import TRACK, TRACKS, VIDEO, read_header
from streamrestore.frame import ChromaLocation

_H273_ORDER = (
    ChromaLocation.LEFT,
    ChromaLocation.CENTER,
    ChromaLocation.TOP_LEFT,
    ChromaLocation.TOP,
    ChromaLocation.BOTTOM_LEFT,
    ChromaLocation.BOTTOM,
)
"""By the numbers that H.264 and HEVC give them (ITU-T H.273, Chroma420SampleLocType)."""

_AV1_ORDER = (None, ChromaLocation.LEFT, ChromaLocation.TOP_LEFT, None)
"""AV1's chroma_sample_position: unknown, vertical, colocated, reserved."""


_Y4M = {
    b"C420": ChromaLocation.CENTER,
    b"C420jpeg": ChromaLocation.CENTER,
    b"C420mpeg2": ChromaLocation.LEFT,
    b"C420paldv": ChromaLocation.TOP_LEFT,
}

_IN_HEADERS = {
    "h264": frozenset(ChromaLocation),
    "hevc": frozenset(ChromaLocation),
    "av1": frozenset(location for location in _AV1_ORDER if location is not None),
}
_COLOUR, _SITING_ACROSS, _SITING_DOWN = 0x55B0, 0x55B7, 0x55B8
_MATROSKA = {
    (1, 1): ChromaLocation.TOP_LEFT,
    (1, 2): ChromaLocation.LEFT,
    (2, 1): ChromaLocation.TOP,
    (2, 2): ChromaLocation.CENTER,
}
"""By Matroska's ChromaSitingHorz and ChromaSitingVert."""


def holds_chroma_location(codec: str, container: str, location: ChromaLocation) -> bool:
    """Whether an output can say where its chroma samples sit.

    Args:
        codec: FFmpeg's name of the format.
        container: FFmpeg's name of the muxer.
        location: Where they sit; the left is what silence means.
    """
    in_container = container in ("matroska", "webm") and location in _MATROSKA.values()
    return location is ChromaLocation.LEFT or in_container or location in _IN_HEADERS.get(codec, ())


def tagged_chroma_location(stream: VideoStream) -> ChromaLocation | None:
    """Read where 4:2:0 chroma sits from a stream's headers.

    Args:
        stream: Of an input.

    Returns:
        None where the headers do not say, or cannot: its codec's default holds.
    """
    headers = stream.codec_context.extradata
    codec = stream.codec_context.codec.canonical_name
    if not headers:
        return None
    if codec == "av1":
        is_av1c = len(headers) >= 4 and headers[0] == 0x81
        return _AV1_ORDER[headers[2] & 3] if is_av1c else None
    if codec not in ("h264", "hevc"):
        return None
    try:
        # FFmpeg can set the location, not tell it: it is the one that changes nothing when it is set.
        unchanged = _rewritten_headers(stream, f"{codec}_metadata")
        same = [
            location
            for number, location in enumerate(_H273_ORDER)
            if _rewritten_headers(stream, f"{codec}_metadata=chroma_sample_loc_type={number}") == unchanged
        ]
    except (av.FFmpegError, ValueError):
        return None  # headers too odd for FFmpeg to write again
    return same[0] if len(same) == 1 else None


def matroska_chroma_location(beginning: bytes, track: int) -> ChromaLocation | None:
    """Read where 4:2:0 chroma sits from a Matroska file, for codecs whose headers do not say it.

    Args:
        beginning: Its first bytes, at least up to the end of its tracks' descriptions.
        track: Counted from 0, as FFmpeg numbers streams.

    Returns:
        None where it does not say.
    """
    _, header = read_header(beginning)
    tracks = [entry for element in header if element.id == TRACKS for entry in element.children() if entry.id == TRACK]
    sites = {
        site.id: int.from_bytes(site.body, "big")
        for entry in tracks[track : track + 1]
        for video in entry.children()
        if video.id == VIDEO
        for colour in video.children()
        if colour.id == _COLOUR
        for site in colour.children()
    }
    return _MATROSKA.get((sites.get(_SITING_ACROSS, 0), sites.get(_SITING_DOWN, 0)))


def y4m_chroma_location(beginning: bytes) -> ChromaLocation | None:
    """Read where 4:2:0 chroma sits from a YUV4MPEG2 stream.

    Args:
        beginning: Its first bytes.

    Returns:
        None where it does not say, as with more than 8 bits.
    """
    words = beginning.partition(b"\n")[0].split(b" ")
    return _Y4M.get(next((word for word in words if word.startswith(b"C")), b"C420jpeg"))


def _rewritten_headers(stream: VideoStream, bitstream_filter: str) -> bytes | None:
    with av.open(io.BytesIO(), "w", format="matroska") as nowhere:
        target = nowhere.add_stream_from_template(stream, opaque=True)
        BitStreamFilterContext(bitstream_filter, stream, target)
        return target.codec_context.extradata
