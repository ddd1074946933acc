"""Compare what a source had with what was found in its output: pure, one `Check` for each property."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from itertools import zip_longest
from math import lcm

from streamrestore.carry import CarryPlan
from streamrestore.encoding import Encoding
from streamrestore.hdr import writes_static_hdr
from streamrestore.limits import LIMITS, Limits, holds_aspect
from streamrestore.messages import holds
from streamrestore.probing import SourceInfo
from streamrestore.siting import holds_chroma_location
from streamrestore.survey import ChapterContent, StreamContent, Survey

_NEAR = Fraction(1, 1000)
"""Seconds by which a chapter may move: containers count them by clocks of their own."""

_UNTURNED = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
"""The display matrix that changes nothing."""

_OLD_FILE_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands")
_OLD_STREAM_TAGS = (
    *("encoder", "vendor_id", "language", "duration"),
    *("bps", "number_of_frames", "number_of_bytes", "_statistics_"),
)
"""Tags that describe the file that was, compared by their beginning; the language is a check of its own."""

_IMPLIED = frozenset({"default", "captions", "descriptions"})
"""Marks that FFmpeg's muxers and demuxers add where others, or none, are set."""

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


class Verdict(StrEnum):
    """How a comparison came out."""

    OK = "ok"
    ANNOUNCED = "announced"
    """It was lost, and known before work started that it would be: the container or the codec cannot hold it."""
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True)
class Check:
    """One property: what it must be, and what it is."""

    name: str
    """Such as ``audio stream #1: packets``."""
    expected: str
    found: str
    verdict: Verdict

    def __str__(self) -> str:
        """As a sentence for the user."""
        return f"{self.name}: expected {self.expected}, found {self.found}"


def check(name: str, expected: object, found: object, *, same: bool | None = None, announced: bool = False) -> Check:
    """Compare a property.

    Args:
        name: Of it.
        expected: What it must be.
        found: What it is.
        same: Whether that is the same; None where it is if the two are equal.
        announced: Whether a difference is what was said to happen.
    """
    is_same = expected == found if same is None else same
    verdict = Verdict.OK if is_same else Verdict.ANNOUNCED if announced else Verdict.MISMATCH
    return Check(name, _printable(expected), _printable(found), verdict)


def compare_pictures(info: SourceInfo, encoding: Encoding, found: SourceInfo) -> Iterator[Check]:
    """What all pictures have in common: size, layout, colour, shape, HDR metadata.

    Args:
        info: The source.
        encoding: How it was written.
        found: The output, probed.
    """
    limits, codec = LIMITS[encoding.container], encoding.codec
    yield check("video codec", codec, found.codec)
    yield check("size", f"{info.video.width}x{info.video.height}", f"{found.video.width}x{found.video.height}")
    yield check("pixel format", encoding.pixels.name, found.video.pixels.name)
    # Not the tag itself: where a codec's headers say nothing they mean limited, and some decoders say so.
    yield check("colour range", _range(info), _range(found))
    if encoding.pixels.model == "yuv":
        yield check("colour matrix", info.tags.matrix, found.tags.matrix)
    yield check("colour primaries", info.tags.primaries, found.tags.primaries)
    yield check("colour transfer", info.tags.transfer, found.tags.transfer)
    if encoding.pixels.chroma_shift == (1, 1):
        yield check(
            "chroma location",
            *(info.video.chroma_location.value, found.video.chroma_location.value),
            announced=not holds_chroma_location(codec, encoding.container, info.video.chroma_location),
        )
    yield check(
        "pixel aspect ratio",
        *(info.sample_aspect_ratio or Fraction(1), found.sample_aspect_ratio or Fraction(1)),
        announced=not holds_aspect(encoding.container, codec),
    )
    yield check(
        "display matrix",
        *(info.display_matrix or _UNTURNED, found.display_matrix or _UNTURNED),
        announced=not limits.holds_display_matrix,
    )
    yield from _compare_hdr(info, encoding, found)


def _compare_hdr(info: SourceInfo, encoding: Encoding, found: SourceInfo) -> Iterator[Check]:
    """What rides along with the first picture, as far as the source has it."""
    told = writes_static_hdr(encoding.encoder)
    if info.mastering_display is not None:
        display = found.mastering_display
        expected, units = info.mastering_display.sei_units(), None if display is None else display.sei_units()
        yield check("mastering display", expected, units or "none", announced=not told)
    if info.content_light is not None:
        yield check("content light levels", info.content_light, found.content_light or "none", announced=not told)
    for riding in info.riding:
        there = any(other.name == riding.name for other in found.riding)
        yield check(
            riding.name, "there", "there" if there else "not there", announced=not holds(encoding.codec, riding.kind)
        )
    for name in info.lost_side_data:
        yield check(name, "there", "there" if name in found.lost_side_data else "not there", announced=True)


def _range(info: SourceInfo) -> str:
    return "full" if info.video.full_range else "limited"


def compare_surveys(
    before: Survey, after: Survey, info: SourceInfo, encoding: Encoding, plan: CarryPlan
) -> Iterator[Check]:
    """Everything beside the pictures: other streams, chapters, tags.

    Args:
        before: The source, as far as it was wanted.
        after: The output.
        info: The source.
        encoding: How it was written.
        plan: What was to go along, and when.
    """
    limits = LIMITS[encoding.container]
    shift = plan.shift * info.time_base
    expected = [stream for stream in before.streams if stream.index in (*plan.copied, *plan.attached)]
    for stream in before.streams:
        if stream not in expected and not stream.rewritten:
            yield check(f"{stream}", "carried along", "left out", announced=stream.kind == "data")
    for kind in dict.fromkeys(stream.kind for stream in (*expected, *after.streams)):
        pairs = zip_longest(
            *([stream for stream in group if stream.kind == kind] for group in (expected, after.streams))
        )
        for ours, theirs in pairs:
            if ours is not None and theirs is not None:
                yield from _compare_streams(ours, theirs, limits, shift)
            elif ours is not None:
                yield check(f"{ours}", "there", "not there")
            elif theirs is not None and theirs.kind != "data":  # chapters and timecodes make such streams
                yield check(f"{theirs} of the output", "no such stream", "there")
    yield _compare_tags("tags", before.tags, after.tags, _OLD_FILE_TAGS, frozenset() if not limits.holds_tags else None)
    yield from _compare_marks("video stream", before.video_tags, after.video_tags, limits)
    yield _compare_dispositions("video stream", before.video_dispositions, after.video_dispositions, limits)
    yield _compare_chapters(_placed(before.chapters, info, plan, shift), after.chapters, limits)


def _compare_streams(ours: StreamContent, theirs: StreamContent, limits: Limits, shift: Fraction) -> Iterator[Check]:
    yield check(f"{ours}: codec", ours.codec, theirs.codec)
    # Containers cut uncompressed sound into packets as they like.
    recut = (ours.codec or "").startswith("pcm_")
    if ours.kind != "attachment" and not recut:
        yield check(f"{ours}: packets", ours.packets, theirs.packets)
    yield check(f"{ours}: SHA-256 of its content", ours.sha256, theirs.sha256)
    if ours.kind not in ("attachment", "cover"):
        yield _compare_times(ours, theirs, shift, first_only=recut)
        yield _compare_dispositions(f"{ours}", ours.dispositions, theirs.dispositions, limits)
    yield from _compare_marks(f"{ours}", ours.tags, theirs.tags, limits)


def _compare_times(ours: StreamContent, theirs: StreamContent, shift: Fraction, *, first_only: bool) -> Check:
    """Every packet's time, which must be the source's moved as far as the video, rounded once."""
    units = lcm(ours.time_base.denominator, theirs.time_base.denominator, shift.denominator)
    step, their_step, moved = (int(seconds * units) for seconds in (ours.time_base, theirs.time_base, shift))
    count = 1 if first_only else None
    away = [
        abs(time * step + moved - their_time * their_step)
        for time, their_time in zip(ours.times[:count], theirs.times[:count], strict=False)
    ]
    worst = max(away, default=0)
    same = 2 * worst <= their_step and (first_only or len(ours.times) == len(theirs.times))
    clock = f"rounded to {theirs.time_base} s"
    return check(
        f"{ours}: times against the video's",
        f"{len(ours.times[:count])} unchanged, {clock}",
        f"{len(theirs.times[:count])}, at most {1000 * worst / units:.3f} ms away",
        same=same,
    )


def _compare_marks(name: str, ours: Mapping[str, str], theirs: Mapping[str, str], limits: Limits) -> Iterator[Check]:
    """A stream's language and tags."""
    expected, found = _language(ours), _language(theirs)
    yield check(f"{name}: language", expected, found, announced=found == "und" and not limits.every_language)
    yield _compare_tags(f"{name}: tags", ours, theirs, _OLD_STREAM_TAGS, limits.stream_tags)


def _compare_tags(
    name: str, ours: Mapping[str, str], theirs: Mapping[str, str], old: tuple[str, ...], held: frozenset[str] | None
) -> Check:
    expected, found = _normal(ours, old), _normal(theirs, ())
    changed = {key: value for key, value in expected.items() if found.get(key) != value}
    return check(
        name,
        _listed(expected),
        f"without {_listed(changed)}" if changed else "all of them",
        same=not changed,
        announced=held is not None and not held & changed.keys(),
    )


def _normal(tags: Mapping[str, str], old: tuple[str, ...]) -> dict[str, str]:
    """Tags in one spelling for all containers."""
    normal = dict[str, str]()
    for given, value in tags.items():
        key = given.lower()
        key = "title" if key == "name" else key  # what mp4 calls it, and FFmpeg repeats
        if key.startswith(old):
            continue
        if key == "creation_time":
            value = _moment(value)
        elif key.startswith("location"):
            value = ",".join(f"{float(number):.3f}" for number in _NUMBER.findall(value))
        normal[key] = value
    return normal


def _moment(text: str) -> str:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None).isoformat(timespec="seconds")
    except ValueError:
        return text


def _language(tags: Mapping[str, str]) -> str:
    return next((value for key, value in tags.items() if key.lower() == "language"), "und")


def _compare_dispositions(name: str, ours: frozenset[str], theirs: frozenset[str], limits: Limits) -> Check:
    lost, added = ours - theirs, theirs - ours - _IMPLIED
    return check(
        f"{name}: dispositions",
        ", ".join(sorted(ours)) or "none",
        ", ".join(sorted(theirs)) or "none",
        same=not lost and not added,
        announced=not lost & limits.dispositions and not added,
    )


def _placed(
    chapters: tuple[ChapterContent, ...], info: SourceInfo, plan: CarryPlan, shift: Fraction
) -> tuple[ChapterContent, ...]:
    """The chapters of the wanted part, where they must be in the output."""
    first, last = (None if pts is None else pts * info.time_base for pts in (plan.trim.start_pts, plan.trim.stop_pts))
    cut = (
        replace(
            chapter,
            start=chapter.start if first is None else max(first, chapter.start),
            stop=chapter.stop if last is None else min(last, chapter.stop),
        )
        for chapter in chapters
    )
    return tuple(
        replace(chapter, start=chapter.start + shift, stop=chapter.stop + shift)
        for chapter in cut
        if chapter.start < chapter.stop
    )


def _compare_chapters(ours: tuple[ChapterContent, ...], theirs: tuple[ChapterContent, ...], limits: Limits) -> Check:
    begin_alike = [chapter.title for chapter in ours] == [chapter.title for chapter in theirs] and all(
        abs(mine.start - other.start) <= _NEAR for mine, other in zip(ours, theirs, strict=True)
    )
    alike = begin_alike and all(abs(mine.stop - other.stop) <= _NEAR for mine, other in zip(ours, theirs, strict=True))
    return check(
        "chapters",
        _described(ours),
        _described(theirs),
        same=alike,
        announced=not limits.holds_chapters or (begin_alike and not limits.holds_chapter_ends),
    )


def _described(chapters: tuple[ChapterContent, ...]) -> str:
    words = [f"{chapter.title!r} {float(chapter.start):.3f}-{float(chapter.stop):.3f} s" for chapter in chapters]
    return ", ".join(words) or "none"


def _listed(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(tags.items())) or "none"


def _printable(value: object) -> str:
    """As text that any terminal and JSON can hold: tags may be of any bytes."""
    return str(value).encode("utf-8", "backslashreplace").decode()
