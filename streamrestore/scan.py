"""When the pictures of a video are shown, found without decoding them."""

from contextlib import suppress

from streamrestore.decoding import demux, open_video
from streamrestore.landmarks import LandmarkFinder
from streamrestore.probing import AV_ERRORS
from streamrestore.segments import ShownTime
from streamrestore.source import Source


def scan_times(source: Source) -> list[ShownTime]:
    """Read through a source's packets, once: the source knows from then on where reading can begin.

    A hint for cutting, not a count of frames: packets need not all be shown, and where the
    container says only when they are decoded, that is taken.

    Returns:
        In order of presentation. What follows an unreadable place is missing.

    Raises:
        SourceError: The file cannot be opened any more.
    """
    info = source.info
    if info.opening.images is not None:  # reading them through would tell no more
        return [ShownTime(number, True) for number in range(info.opening.images.count)]
    times, finder = list[ShownTime](), LandmarkFinder()
    with suppress(*AV_ERRORS), open_video(info) as (container, stream):  # decoding will meet that place, and say so
        for packet in demux(container, stream):
            finder.add(packet)
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None and not packet.is_discard:
                times.append(ShownTime(time, packet.is_keyframe))
    source.locate(finder.landmarks())
    return sorted(times)
