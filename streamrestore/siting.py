"""Where a stream's own headers say that its chroma samples sit, which PyAV does not tell."""

import io

import av
from av.bitstream import BitStreamFilterContext
from av.video.stream import VideoStream

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


_IN_HEADERS = {
    "h264": frozenset(ChromaLocation),
    "hevc": frozenset(ChromaLocation),
    "av1": frozenset(location for location in _AV1_ORDER if location is not None),
}
_IN_MATROSKA = frozenset({ChromaLocation.LEFT, ChromaLocation.CENTER, ChromaLocation.TOP_LEFT, ChromaLocation.TOP})


def holds_chroma_location(codec: str, container: str, location: ChromaLocation) -> bool:
    """Whether an output can say where its chroma samples sit.

    Args:
        codec: FFmpeg's name of the format.
        container: FFmpeg's name of the muxer.
        location: Where they sit; the left is what silence means.
    """
    in_container = container in ("matroska", "webm") and location in _IN_MATROSKA
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


def _rewritten_headers(stream: VideoStream, bitstream_filter: str) -> bytes | None:
    with av.open(io.BytesIO(), "w", format="matroska") as nowhere:
        target = nowhere.add_stream_from_template(stream, opaque=True)
        BitStreamFilterContext(bitstream_filter, stream, target)
        return target.codec_context.extradata
