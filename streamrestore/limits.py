"""What containers and codecs are known not to hold: one list for what is announced and what is forgiven."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one container, as FFmpeg writes it."""

    rounds_times: bool = False
    """Whether it has a clock of its own, to which every time is rounded once."""
    holds_end: bool = True
    """Whether it says how long the last frame is shown."""
    holds_tags: bool = True
    """Of the file."""
    stream_tags: frozenset[str] | None = None
    """The only tags that a stream can have beside its language, in lower case; None for any."""
    every_language: bool = True
    """Whether any stream can have any language."""
    dispositions: frozenset[str] = frozenset()
    """Marks that streams can have, by FFmpeg's names."""
    holds_chapters: bool = True
    holds_chapter_ends: bool = True
    """Or a chapter lasts until the next one begins."""
    holds_display_matrix: bool = True


_MATROSKA = Limits(
    rounds_times=True,
    dispositions=frozenset({"default", "dub", "original", "comment", "forced", "hearing_impaired", "visual_impaired"}),
)

LIMITS = {
    "mp4": Limits(
        stream_tags=frozenset({"title", "handler_name", "creation_time", "timecode"}),
        dispositions=frozenset({"default", "dub", "comment", "forced", "hearing_impaired", "visual_impaired"}),
        holds_chapter_ends=False,
    ),
    "mov": Limits(
        stream_tags=frozenset({"title", "handler_name", "creation_time", "timecode"}),
        # QuickTime's own list has German as "ger", and not every language.
        every_language=False,
        dispositions=frozenset({"default"}),
        holds_chapter_ends=False,
    ),
    "matroska": _MATROSKA,
    "webm": _MATROSKA,
    "mpegts": Limits(
        rounds_times=True,
        holds_end=False,
        holds_tags=False,
        stream_tags=frozenset(),
        every_language=False,  # a video has none
        holds_chapters=False,
        holds_display_matrix=False,
    ),
}
"""By FFmpeg's name of the muxer."""


def holds_aspect(container: str, codec: str) -> bool:
    """Whether a pixel aspect ratio can be kept: FFmpeg's Matroska muxer asks a field that PyAV cannot set."""
    return codec in ("h264", "hevc") or container not in ("matroska", "webm")
