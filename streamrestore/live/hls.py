"""HLS in a folder: what its files are called, what a killed publisher leaves there, and how a playlist ends."""

import os
import re
from contextlib import suppress
from pathlib import Path

_END = "#EXT-X-ENDLIST"


def segment_pattern(playlist: Path) -> Path:
    """What segments are called, in FFmpeg's way of writing a number."""
    return playlist.with_name(f"{playlist.stem}-%08d.m4s")


def remove_leftovers(playlist: Path) -> None:
    """Delete segments that no playlist names any more, and whose publisher was killed before it did.

    As FFmpeg does, the last one that left the playlist is kept, for players that still fetch it. Other files stay,
    and so does whatever cannot be looked at or deleted: it only takes room.

    Args:
        playlist: Which is not written to now; it may not be there.
    """
    named = frozenset[str]()
    try:
        named = frozenset(playlist.read_text(errors="replace").splitlines())
    except FileNotFoundError:
        pass
    except OSError:
        return
    ours = re.compile(re.escape(playlist.stem) + r"-(?P<number>\d{8,})\.m4s(\.tmp)?")
    found = dict[str, int]()
    with suppress(OSError):
        for name in os.listdir(playlist.parent):
            if (match := ours.fullmatch(name)) is not None:
                found[name] = int(match["number"])
    first = min((number for name, number in found.items() if name in named), default=None)
    for name, number in found.items():
        if name not in named and (first is None or number != first - 1):
            with suppress(OSError):
                (playlist.parent / name).unlink()


def end_playlist(playlist: Path) -> None:
    """Say that nothing more comes, so that players end rather than wait.

    Args:
        playlist: Which is not written to any more; without a picture, it is not there.

    Raises:
        OSError: It cannot be written.
    """
    if not playlist.exists():
        return
    text = playlist.read_text()
    if _END not in text.splitlines():
        beside = playlist.with_name(f"{playlist.name}.tmp")  # as FFmpeg calls it, which writes it no more
        beside.write_text(f"{text}{_END}\n")
        os.replace(beside, playlist)
