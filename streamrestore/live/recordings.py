"""Files that a live stream is written to, one after the other: which name is free, and what is not worth keeping."""

from contextlib import suppress
from itertools import islice
from pathlib import Path

import av

from streamrestore.probing import AV_ERRORS

_LARGE_BYTES = 1 << 20
"""What is as large as that is not looked at: there are pictures in it."""


def free_name(path: Path) -> Path:
    """The first of ``name.mp4``, ``name.1.mp4``, ``name.2.mp4`` and so on that is not there yet, or is empty.

    Raises:
        OSError: One cannot be looked at.
    """
    number, other = 0, path
    while other.exists() and other.stat().st_size:
        number += 1
        other = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return other


def remove_without_picture(path: Path) -> None:
    """Delete a file that holds no picture, as is left of an attempt to write one on a full disk.

    A link, and whatever cannot be looked at, stays.

    Args:
        path: Which is not written to any more.
    """
    with suppress(OSError):
        if not path.is_symlink() and path.is_file() and not _holds_picture(path):
            path.unlink()


def _holds_picture(path: Path) -> bool:
    if path.stat().st_size >= _LARGE_BYTES:
        return True
    try:
        with av.open(f"file:{path}") as container:
            videos = container.streams.video
            packets = (packet for packet in container.demux(*videos) if packet.size) if videos else iter(())
            # In a transport stream, only the next one shows that a picture is whole.
            return len([*islice(packets, 2)]) == 2
    except (av.error.InvalidDataError, EOFError):
        return False
    except AV_ERRORS:  # for want of memory, say: nothing is known of it then
        return True
