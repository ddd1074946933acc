"""What a clip's headers say: its size, codec and length. No picture is decoded for it, and no file read through.

A remote one is not downloaded: what is asked for are the ranges that hold its headers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from av.container import InputContainer
from av.video.stream import VideoStream

from streamrestore.errors import SourceError, UnsupportedError
from streamrestore.locations import Location
from streamrestore.opening import Opening, check_source
from streamrestore.probing import AV_ERRORS, average_rate, choose_video, open_container, reason, stream_seconds


@dataclass(frozen=True, slots=True)
class ClipHeader:
    """What is known of a clip without decoding any of it."""

    container: str
    """FFmpeg's names of it."""
    codec: str
    height: int
    width: int
    pixel_format_name: str | None
    frames: int | None
    """Packets, which need not all be shown; None where nothing tells."""
    seconds: float | None
    companions: tuple[str, ...]
    """Codecs of the streams beside the video, or their kinds where there is none."""
    companion_bytes: int
    """Of these streams, by their rates."""


def read_header(location: Location) -> ClipHeader:
    """Open a clip and look at its headers.

    Raises:
        SourceError: There is no such file, or FFmpeg cannot read it.
        UnsupportedError: It has no video, or none of which the size is known.
        StorageError: Its storage is out of reach.
        ConfigError: A package that its storage needs is not installed.
    """
    with _opened(location) as container:
        path = Path(location.key if location.is_local else location.name)
        try:
            return _describe(container, choose_video(container, path), path)
        except AV_ERRORS as error:
            raise SourceError(f"{location}: its headers cannot be read: {reason(error)}") from error


@contextmanager
def _opened(location: Location) -> Iterator[InputContainer]:
    if location.is_local:
        check_source(location.path)
        with open_container(location.path) as container:
            yield container
        return
    # Not before it is needed: it imports fsspec.
    from streamrestore.remote_storage import RemoteStorage

    with (
        RemoteStorage(location.scheme).open(location) as content,
        open_container(Opening(Path(location.shown)), content) as container,
    ):
        yield container


def _describe(container: InputContainer, stream: VideoStream, path: Path) -> ClipHeader:
    decoder = stream.codec_context
    if not decoder.width or not decoder.height:
        raise UnsupportedError(f"{path}: nothing says how large its pictures are: it breaks off, or is damaged")
    rate, seconds = average_rate(stream), stream_seconds(container, stream)
    frames = stream.frames or (round(seconds * rate) if seconds and rate else None)
    if seconds is None and frames and rate:
        seconds = float(frames / rate)
    others = [other.codec_context for other in container.streams if other is not stream]
    kinds = [other.type for other in container.streams if other is not stream]
    names = (kind if other is None else other.name for other, kind in zip(others, kinds, strict=True))
    bits = sum(other.bit_rate or 0 for other in others if other is not None)
    return ClipHeader(
        container=container.format.name,
        codec=decoder.codec.canonical_name,
        height=decoder.height,
        width=decoder.width,
        pixel_format_name=decoder.pix_fmt,
        frames=frames,
        seconds=seconds,
        companions=tuple(names),
        companion_bytes=round(bits * (seconds or 0.0) / 8),
    )
