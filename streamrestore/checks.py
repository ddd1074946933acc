"""Compare what a source had with what was found in its output: pure, one `Check` for each property."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from itertools import zip_longest
from math import lcm

from streamrestore.carry import CarryPlan
from streamrestore.encoding import Encoding
from streamrestore.limits import NOT_THERE, UNTURNED, Loss
from streamrestore.packets import Part
from streamrestore.probing import SourceInfo
from streamrestore.restoration_tag import restoration_tag
from streamrestore.survey import ChapterContent, StreamContent, Survey
from streamrestore.tags import file_tags

_NEAR = Fraction(1, 1000)
"""Seconds by which a chapter may move: containers count them by clocks of their own."""


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
    lost: tuple[str, ...] = ()
    """Which parts of it differ, where it has parts: names of tags, of marks."""

    def __str__(self) -> str:
        """As a sentence for the user."""
        return f"{self.name}: expected {self.expected}, found {self.found}"


def check(name: str, expected: object, found: object, *, same: bool | None = None, lost: Iterable[str] = ()) -> Check:
    """Compare a property.

    Args:
        name: Of it.
        expected: What it must be.
        found: What it is.
        same: Whether that is the same; None where it is if the two are equal.
        lost: Which parts of it differ.
    """
    is_same = expected == found if same is None else same
    verdict = Verdict.OK if is_same else Verdict.MISMATCH
    return Check(name, _printable(expected), _printable(found), verdict, tuple(map(_printable, sorted(lost))))


def excuse(checks: Iterable[Check], losses: Iterable[Loss]) -> Iterator[Check]:
    """Mark the differences that were announced, which are those that were found as they were foretold.

    Args:
        checks: All that were made.
        losses: Of the job's plan.
    """
    foretold = {pair for loss in losses for pair in loss.found}
    for made in checks:
        excused = made.verdict is Verdict.MISMATCH and (made.name, made.found) in foretold
        yield replace(made, verdict=Verdict.ANNOUNCED) if excused else made


def compare_pictures(info: SourceInfo, encoding: Encoding, found: SourceInfo) -> Iterator[Check]:
    """What all pictures have in common: size, layout, colour, shape, HDR metadata.

    Args:
        info: The source.
        encoding: How it was written.
        found: The output, probed.
    """
    yield check("video codec", encoding.codec, found.codec)
    yield check("size", f"{info.video.width}x{info.video.height}", f"{found.video.width}x{found.video.height}")
    yield check("pixel format", encoding.pixels.name, found.video.pixels.name)
    # Not the tag itself: where a codec's headers say nothing they mean limited, and some decoders say so.
    yield check("colour range", _range(info), _range(found))
    if encoding.pixels.model == "yuv":
        yield check("colour matrix", info.tags.matrix, found.tags.matrix)
    yield check("colour primaries", info.tags.primaries, found.tags.primaries)
    yield check("colour transfer", info.tags.transfer, found.tags.transfer)
    if encoding.pixels.chroma_shift == (1, 1):
        yield check("chroma location", info.video.chroma_location.value, found.video.chroma_location.value)
    yield check("pixel aspect ratio", info.sample_aspect_ratio or Fraction(1), found.sample_aspect_ratio or Fraction(1))
    turns = _turn if encoding.container in ("matroska", "webm") else tuple[int, ...]
    yield check("display matrix", turns(info.display_matrix or UNTURNED), turns(found.display_matrix or UNTURNED))
    yield from _compare_hdr(info, found)


def _compare_hdr(info: SourceInfo, found: SourceInfo) -> Iterator[Check]:
    """What rides along with the first picture, as far as the source has it."""
    if info.mastering_display is not None:
        display = found.mastering_display
        units = NOT_THERE if display is None else display.sei_units()
        yield check("mastering display", info.mastering_display.sei_units(), units)
    if info.content_light is not None:
        yield check("content light levels", info.content_light, found.content_light or NOT_THERE)
    for riding in info.riding:
        there = any(other.name == riding.name for other in found.riding)
        yield check(riding.name, "there", "there" if there else NOT_THERE)
    for name in info.lost_side_data:
        yield check(name, "there", "there" if name in found.lost_side_data else NOT_THERE)


def _turn(matrix: tuple[int, ...]) -> tuple[int, ...]:
    """A display matrix without its translation, which Matroska has no place for: players fit the picture anyway."""
    return (*matrix[:6], 0, 0, matrix[8])


def _range(info: SourceInfo) -> str:
    return "full" if info.video.full_range else "limited"


def compare_surveys(before: Survey, after: Survey, info: SourceInfo, plan: CarryPlan) -> Iterator[Check]:
    """Everything beside the pictures: other streams, chapters, tags.

    Args:
        before: The source, as far as it was wanted.
        after: The output.
        info: The source.
        plan: What was to go along, and when.
    """
    yield from compare_headers(before, after, info, plan)
    shift = plan.shift * info.time_base
    for ours, theirs in _pairs(before, after, plan):
        if ours is not None and theirs is not None:
            yield from _compare_packets(ours, theirs, shift)


def compare_headers(before: Survey, after: Survey, info: SourceInfo, plan: CarryPlan) -> Iterator[Check]:
    """What files say of their streams, chapters and themselves; arguments as of `compare_surveys`."""
    for stream in before.streams:
        if stream.index not in (*plan.copied, *plan.attached) and not stream.rewritten:
            yield check(f"{stream}", "carried along", NOT_THERE)
    for ours, theirs in _pairs(before, after, plan):
        if ours is not None and theirs is not None:
            yield from _compare_marks(f"{ours}", ours, theirs)
        elif ours is not None:
            yield check(f"{ours}", "there", NOT_THERE)
        elif theirs is not None and theirs.kind != "data":  # chapters and timecodes make such streams
            yield check(f"{theirs} of the output", "no such stream", "there")
    yield from _compare_file_tags(before.tags, after.tags, plan)
    yield from _compare_marks("video stream", before.video, after.video)
    yield from _compare_chapters(_placed(before.chapters, info, plan), after.chapters)


def _pairs(
    before: Survey, after: Survey, plan: CarryPlan
) -> Iterator[tuple[StreamContent | None, StreamContent | None]]:
    """Each stream that goes along and what became of it: the streams of one kind keep their order."""
    carried = [stream for stream in before.streams if stream.index in (*plan.copied, *plan.attached)]
    for kind in dict.fromkeys(stream.kind for stream in (*carried, *after.streams)):
        ours, theirs = ([stream for stream in group if stream.kind == kind] for group in (carried, after.streams))
        if len(ours) > len(theirs) and kind != "attachment":
            ours = [stream for stream in ours if stream.packets]  # mp4, mov and ts have no stream without any
        yield from zip_longest(ours, theirs)


def _compare_packets(ours: StreamContent, theirs: StreamContent, shift: Fraction) -> Iterator[Check]:
    yield check(f"{ours}: codec", ours.codec, theirs.codec)
    # Containers cut uncompressed sound into packets as they like.
    recut = (ours.codec or "").startswith("pcm_")
    if ours.kind != "attachment" and not recut:
        yield check(f"{ours}: packets", ours.packets, theirs.packets)
    yield check(f"{ours}: SHA-256 of its content", ours.sha256, theirs.sha256)
    if ours.kind not in ("attachment", "cover"):
        yield _compare_times(ours, theirs, shift, first_only=recut)


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


def _compare_file_tags(ours: Mapping[str, str], theirs: Mapping[str, str], plan: CarryPlan) -> Iterator[Check]:
    """The source's tags, and the one that says what was done."""
    for _, words in plan.tags:
        yield check("tag of what was done", words, theirs.get(restoration_tag(theirs) or "", "none"))
        before = restoration_tag(ours)
        ours = {key: value for key, value in ours.items() if key != before}
    yield _compare_tags("tags", file_tags(ours), file_tags(theirs))


def _compare_marks(name: str, ours: StreamContent, theirs: StreamContent) -> Iterator[Check]:
    """What a stream says of itself."""
    yield check(f"{name}: language", ours.language, theirs.language, lost=[ours.language])
    yield _compare_tags(f"{name}: tags", ours.tags, theirs.tags)
    if ours.kind not in ("attachment", "cover"):
        lost, added = ours.dispositions - theirs.dispositions, theirs.dispositions - ours.dispositions - {"default"}
        yield check(
            f"{name}: dispositions",
            ", ".join(sorted(ours.dispositions)) or "none",
            ", ".join(sorted(theirs.dispositions)) or "none",
            same=not lost and not added,
            lost=lost,
        )


def _compare_tags(name: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> Check:
    lost = {key for key, value in ours.items() if theirs.get(key) != value}
    return check(name, _listed(ours), _missing(lost), same=not lost, lost=lost)


def _placed(chapters: tuple[ChapterContent, ...], info: SourceInfo, plan: CarryPlan) -> tuple[ChapterContent, ...]:
    """The chapters of the wanted part, where they must be in the output."""
    part, shift = Part.of(plan.trim, info.time_base), plan.shift * info.time_base
    cut = (
        replace(
            chapter,
            start=chapter.start if part.start is None else max(part.start, chapter.start),
            stop=chapter.stop if part.stop is None else min(part.stop, chapter.stop),
        )
        for chapter in chapters
    )
    return tuple(
        replace(chapter, start=chapter.start + shift, stop=chapter.stop + shift)
        for chapter in cut
        if chapter.start < chapter.stop
    )


def _compare_chapters(ours: tuple[ChapterContent, ...], theirs: tuple[ChapterContent, ...]) -> Iterator[Check]:
    alike = [chapter.title for chapter in ours] == [chapter.title for chapter in theirs] and all(
        abs(mine.start - other.start) <= _NEAR for mine, other in zip(ours, theirs, strict=True)
    )
    titles = {chapter.title for chapter in ours}
    yield check("chapters", _described(ours), _described(theirs), same=alike, lost=titles)
    if not alike:
        return
    pairs = list(zip(ours, theirs, strict=True))
    ends_alike = all(abs(mine.stop - other.stop) <= _NEAR for mine, other in pairs)
    yield check("ends of chapters", _described(ours), _described(theirs), same=ends_alike, lost=titles)
    lost = {key for mine, other in pairs for key, value in mine.tags.items() if other.tags.get(key) != value}
    yield check("tags of chapters", "all of them", _missing(lost), same=not lost, lost=lost)


def _missing(lost: Collection[str]) -> str:
    return f"without {', '.join(sorted(lost))}" if lost else "all of them"


def _described(chapters: tuple[ChapterContent, ...]) -> str:
    words = [f"{chapter.title!r} {float(chapter.start):.3f}-{float(chapter.stop):.3f} s" for chapter in chapters]
    return ", ".join(words) or "none"


def _listed(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(tags.items())) or "none"


def _printable(value: object) -> str:
    """As text that any terminal and JSON can hold: tags may be of any bytes."""
    return str(value).encode("utf-8", "backslashreplace").decode()
