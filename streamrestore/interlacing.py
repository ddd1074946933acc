"""Tell interlaced video from progressive, whatever its flags say, and what is to be done about its fields.

A frame of interlaced video holds two fields, its even and its odd lines, taken at different
times. A network that saw both at once would blend them. Flags are often wrong, in both
directions, so FFmpeg's idet looks at sample pictures from fixed places of the file.

One picture tells little; what is made of many is decided in `judge`, a pure function.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction

from av.video.frame import VideoFrame

from streamrestore.field_filters import FilterChain, Filters, check_deinterlacer
from streamrestore.frame import FieldOrder, VideoFormat
from streamrestore.probing import AV_ERRORS, SourceInfo, open_container, use_only

_PLACES = 5
_PICTURES = 12
"""At each place; the first and the last lack a neighbour, and are not judged."""

_ENOUGH = 8
"""Pictures that must agree before they are believed."""
_ENOUGH_CERTAIN = 5

_IDET = (("idet", "half_life=0"),)
# A picture is called interlaced when it changes by so much more, 1.3 instead of 1.04 times, to one field of its
# neighbours than to the other. Of 36 progressive clips, some of which fool idet in each picture, none has a picture
# that does. Woven from pairs of frames of natural clips, and coded as if progressive: 6 to 48 of 50 do.
_STERN_IDET = (("idet", "half_life=0:intl_thres=1.3"),)
_IS_TOP_FIRST = (("select", "eq(interlace_type,TOPFIRST)"),)

_CONTAINER_ORDERS = {
    2: FieldOrder.TOP,
    3: FieldOrder.BOTTOM,
    4: FieldOrder.BOTTOM,
    5: FieldOrder.TOP,
}
"""By FFmpeg's AVFieldOrder; the last two are coded in the other order than they are shown."""

_WORDS = {FieldOrder.TOP: "top field first", FieldOrder.BOTTOM: "bottom field first"}


@dataclass(frozen=True, slots=True)
class ScanCounts:
    """What was found in the sample pictures."""

    flagged_top: int = 0
    """Flagged as interlaced, top field first."""
    flagged_bottom: int = 0
    flagged_progressive: int = 0
    top: int = 0
    """Interlaced as idet sees it, top field first."""
    bottom: int = 0
    progressive: int = 0
    undecided: int = 0
    """idet cannot tell: hardly anything moves."""
    certain: int = 0
    """Interlaced also to an idet that is harder to convince."""
    whole: int = 0
    """Shown for the time of two fields."""
    repeating: int = 0
    """Shown for the time of three."""


@dataclass(frozen=True, slots=True)
class Scan:
    """Whether a video is interlaced."""

    fields: bool
    """Whether frames hold fields of different times, as interlaced and hard-telecined ones do."""
    flags: FieldOrder | None
    """What the stream or its frames say of themselves; None for progressive, or nothing."""
    measured: FieldOrder | None
    """What idet finds; None where it finds no fields, or no clear order."""
    soft_telecine: bool
    """Whether the stream asks for some of its whole frames to be shown for three fields' time."""
    counts: ScanCounts

    @property
    def order(self) -> FieldOrder:
        """Which field comes first in time; the top one, as in most of the world, where nothing tells."""
        return self.measured or self.flags or FieldOrder.TOP


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """What is done about a video's fields."""

    video: VideoFormat
    """The source's, with `VideoFormat.fields` set where fields are restored one by one."""
    flags: FieldOrder | None
    """What the output must say of itself."""
    deinterlace: FieldOrder | None
    """How frames go through a `Deinterlacer` first; None where they do not."""
    notes: tuple[str, ...] = ()
    """What the user should know before work starts."""


def detect_scan(info: SourceInfo) -> Scan:
    """Look at sample pictures of a file, always the same ones; damaged places are left out.

    Args:
        info: The source.

    Raises:
        SourceError: The file is gone.
    """
    found = Counter[str]()
    container_order = None
    last_pts: int | None = None
    for place in range(_PLACES):
        pictures, container_order, rate = _sample(info, Fraction(place, _PLACES), last_pts)
        if pictures:
            last_pts = pictures[-1].pts
            found += _look_at(pictures, info.time_base * rate)
    return judge(ScanCounts(**found), container_order)


def judge(counts: ScanCounts, container_order: FieldOrder | None = None) -> Scan:
    """Decide by what was found whether a video is interlaced.

    Pictures under interlaced flags must prove that they are whole: a still scene proves nothing,
    and to blend the fields of the next one would be worse than to restore a whole frame as two
    halves. Pictures without flags must prove that they are not.

    Args:
        counts: What was found in the sample pictures.
        container_order: What the stream's header says, if anything.
    """
    flags = container_order
    if counts.flagged_top or counts.flagged_bottom:
        flags = FieldOrder.TOP if counts.flagged_top >= counts.flagged_bottom else FieldOrder.BOTTOM
    interlaced = counts.top + counts.bottom
    decided = interlaced + counts.progressive
    clearer, order = max((counts.bottom, FieldOrder.BOTTOM), (counts.top, FieldOrder.TOP))
    ordered = clearer >= _ENOUGH and 10 * clearer >= 9 * interlaced
    if flags is not None:
        fields = counts.progressive < _ENOUGH or 10 * interlaced > decided
    else:
        # A hard telecine leaves one picture in five whole, as idet sees it.
        fields = ordered and 2 * interlaced >= decided and counts.certain >= _ENOUGH_CERTAIN
    pictures = counts.flagged_top + counts.flagged_bottom + counts.flagged_progressive
    return Scan(
        fields=fields,
        flags=flags,
        measured=order if fields and ordered else None,
        soft_telecine=not fields and 4 * counts.repeating >= pictures == counts.whole + counts.repeating > 0,
        counts=counts,
    )


def plan_fields(info: SourceInfo, scan: Scan, *, deinterlace: bool = False) -> FieldPlan:
    """Decide what is done about a video's fields.

    Args:
        info: The source.
        scan: Whether it is interlaced.
        deinterlace: Whether interlaced frames are to be made progressive, rather than restored
            field by field. Progressive ones stay as they are.

    Raises:
        ConfigError: The deinterlacer does not take the source's pixel format.
    """
    if deinterlace and scan.fields:
        check_deinterlacer(info.pixel_format_name)
    by_field = scan.fields and not deinterlace and info.video.divisible
    return FieldPlan(
        video=replace(info.video, fields=by_field),
        flags=None if deinterlace else scan.flags,
        deinterlace=scan.order if deinterlace and scan.fields else None,
        notes=tuple(_notes(info, scan, deinterlace=deinterlace)),
    )


def _sample(
    info: SourceInfo, place: Fraction, last_pts: int | None
) -> tuple[list[VideoFrame], FieldOrder | None, Fraction]:
    """The pictures of one place, what the header says of fields, and frames a second."""
    with open_container(info.opening) as container:
        stream = next(video for video in container.streams.video if video.index == info.stream_index)
        use_only(container, [stream])
        stream.thread_type = "AUTO"
        pictures = list[VideoFrame]()
        with suppress(*AV_ERRORS):
            if place and info.duration_seconds:
                skipped = int(place * Fraction(info.duration_seconds) / info.time_base)
                container.seek(info.start_pts + skipped, stream=stream)
            for picture in container.decode(stream):
                # Where key frames are rare the same one is found again: then this goes on behind the place before.
                if picture.pts is not None and (last_pts is None or picture.pts > last_pts) and _fits(picture, info):
                    pictures.append(picture)
                if len(pictures) == _PICTURES:
                    break
        context = stream.codec_context
        return pictures, _CONTAINER_ORDERS.get(context.field_order), context.framerate or Fraction(0)


def _fits(picture: VideoFrame, info: SourceInfo) -> bool:
    """Whether a filter that is open for the first picture takes this one: they do not check."""
    size = (info.video.width, info.video.height, info.pixel_format_name)
    return (picture.width, picture.height, picture.format.name) == size


def _look_at(pictures: Sequence[VideoFrame], frames_per_tick: Fraction) -> "Counter[str]":
    """Count what is found in neighbouring pictures, by the names of `ScanCounts`."""
    found = Counter[str]()
    for picture, top_first in zip(pictures, _flagged_top_first(pictures), strict=True):
        interlaced = "flagged_top" if top_first else "flagged_bottom"
        found[interlaced if picture.interlaced_frame else "flagged_progressive"] += 1
        found[{2: "whole", 3: "repeating"}.get(round(2 * picture.duration * frames_per_tick), "")] += 1
    del found[""]
    seen = _idet(pictures, _IDET)
    found.update({"tff": "top", "bff": "bottom", "undetermined": "undecided"}.get(verdict, verdict) for verdict in seen)
    if {"tff", "bff"} & set(seen):
        found["certain"] += sum(verdict in ("tff", "bff") for verdict in _idet(pictures, _STERN_IDET))
    return found


def _idet(pictures: Sequence[VideoFrame], filters: Filters) -> list[str]:
    """What idet says of each picture that has two neighbours: tff, bff, progressive or undetermined."""
    chain = FilterChain(pictures[0], filters)
    done = [picture for given in (*pictures, None) for picture in chain.push(given)]
    return [picture.metadata["lavfi.idet.single.current_frame"] for picture in done[1:-1]]


def _flagged_top_first(pictures: Sequence[VideoFrame]) -> Iterator[bool]:
    # PyAV says of a frame that it is interlaced, but not which field is first.
    chain = FilterChain(pictures[0], _IS_TOP_FIRST)
    return (bool(chain.push(picture)) for picture in pictures)


def _notes(info: SourceInfo, scan: Scan, *, deinterlace: bool) -> Iterator[str]:
    if scan.soft_telecine:
        yield (
            "soft telecine: the flags that repeat fields cannot be written again; "
            "every frame keeps the time at which they have it shown"
        )
    if deinterlace:
        if scan.fields:
            yield f"interlaced, {_WORDS[scan.order]}: deinterlaced with bwdif, one frame for each"
        elif scan.flags:
            yield "marked as interlaced, but its pictures are progressive: nothing to deinterlace, the mark is left out"
        return
    if scan.fields and info.video.divisible:
        yield f"interlaced, {_WORDS[scan.order]}: the fields are restored one by one and woven again"
    elif scan.fields:
        yield (
            f"interlaced, but a height of {info.video.height} in {info.video.pixels.name} cannot be divided into "
            "fields: restored whole, which may blend them; --deinterlace bwdif avoids that"
        )
    elif scan.flags:
        yield "marked as interlaced, but its pictures are progressive: restored whole, the mark is kept"
    if scan.fields and scan.flags is None:
        yield "nothing in the stream says that it is interlaced, nor will the output: --deinterlace bwdif removes combs"
    if scan.flags and scan.measured and scan.flags != scan.measured:
        yield f"the stream is marked as {_WORDS[scan.flags]}, which is not what its pictures are; the mark is kept"
    if scan.flags and scan.counts.flagged_progressive and (scan.counts.flagged_top or scan.counts.flagged_bottom):
        yield "only some of its frames are marked as interlaced: in the output all are"
