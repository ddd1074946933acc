"""When the pictures of a video are shown, found without decoding them."""

from collections.abc import Iterator
from contextlib import suppress

from streamrestore.errors import DecodeError
from streamrestore.probing import AV_ERRORS, SourceInfo, open_container, reason, use_only
from streamrestore.segments import ShownTime


def scan_times(info: SourceInfo) -> list[ShownTime]:
    """Read through a source's packets.

    A hint for cutting, not a count of frames: packets need not all be shown, and where the
    container says only when they are decoded, that is taken.

    Returns:
        In order of presentation. What follows an unreadable place is missing.

    Raises:
        SourceError: The file cannot be opened any more.
    """
    times = list[ShownTime]()
    with suppress(DecodeError):  # decoding will meet the same place, and say so
        times.extend(_packets(info))
    return sorted(times)


def _packets(info: SourceInfo) -> Iterator[ShownTime]:
    with open_container(info.path) as container:
        stream = container.streams[info.stream_index]
        use_only(container, [stream])
        try:
            for packet in container.demux(stream):
                time = packet.dts if packet.pts is None else packet.pts
                if packet.size and time is not None and not packet.is_discard:
                    yield ShownTime(time, packet.is_keyframe)
        except AV_ERRORS as error:
            raise DecodeError(f"{info.path}: reading stopped: {reason(error)}") from error
