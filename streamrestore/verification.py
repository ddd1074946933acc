"""Read a finished file back and compare it with what its source had.

The whole video is decoded: that it plays is proven, not assumed. All else is read packet by
packet. What was announced to get lost is told apart from what was lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.video.frame import VideoFrame

from streamrestore.carry import CarryPlan
from streamrestore.checks import Check, Verdict, check, compare_pictures, compare_surveys, excuse
from streamrestore.encoding import Encoding
from streamrestore.errors import SourceError, VerificationError
from streamrestore.frame import Stamp, planes_md5
from streamrestore.limits import CLOCKS, Clock
from streamrestore.packets import Part
from streamrestore.planes import copy_planes
from streamrestore.probing import AV_ERRORS, SourceInfo, open_container, probe, reason, use_only
from streamrestore.samples import sample_layout
from streamrestore.survey import Survey, survey


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in a finished file."""

    checks: tuple[Check, ...]
    frames: tuple[str, ...]
    """`planes_md5` of each frame that it shows."""

    @property
    def mismatches(self) -> tuple[Check, ...]:
        """What is not as it must be."""
        return tuple(check for check in self.checks if check.verdict is Verdict.MISMATCH)


def verify(
    output: Path, info: SourceInfo, encoding: Encoding, plan: CarryPlan, stamps: Sequence[Stamp]
) -> Verification:
    """Make sure that a finished file is what its source says it must be.

    Args:
        output: The file, complete, under whatever name.
        info: Its source, which is read again but for its video.
        encoding: How the video was written.
        plan: What goes along, and when.
        stamps: Of the frames that were written, in order.

    Returns:
        Every check; none is a mismatch.

    Raises:
        VerificationError: One is; the message lists all.
        SourceError: The source cannot be read any more.
    """
    verification = compare(output, info, encoding, plan, stamps)
    if verification.mismatches:
        raise VerificationError(
            f"{output} is not what {info.path} says it must be: {'; '.join(map(str, verification.mismatches))}"
        )
    return verification


def compare(
    output: Path, info: SourceInfo, encoding: Encoding, plan: CarryPlan, stamps: Sequence[Stamp]
) -> Verification:
    """Compare a finished file with its source, whatever comes of it; arguments as of `verify`.

    Raises:
        SourceError: The source cannot be read any more.
    """
    before = survey(info.opening, info.stream_index, Part.of(plan.trim, info.time_base))
    try:
        found = probe(output, 0)
        after = survey(output, found.stream_index, on_error="fail")
    except SourceError as error:
        return Verification((check("plays", "a video that can be read", error),), ())
    pictures = compare_frames(found, encoding, stamps, info.time_base, plan.shift)
    checks = (
        *pictures.checks,
        *_compare_untouched(stamps, pictures.frames, info, encoding),
        *_compare_end(stamps, info, plan, after, CLOCKS[encoding.container]),
        *compare_pictures(info, encoding, found),
        *compare_surveys(before, after, info, plan),
    )
    return Verification(tuple(excuse(checks, plan.losses)), pictures.frames)


def compare_frames(
    found: SourceInfo,
    encoding: Encoding,
    stamps: Sequence[Stamp],
    time_base: Fraction,
    shift: int,
) -> Verification:
    """Decode a finished file's video, all of it, and compare its frames with those that were written.

    Args:
        found: The file, probed.
        encoding: How it was written.
        stamps: Of the frames that were written, in order.
        time_base: Seconds a tick of their times.
        shift: Ticks that were added to them.
    """
    layout = sample_layout(found.pixel_format_name)
    digests = list[str]()
    times = _Times(found.time_base, rounded=CLOCKS[encoding.container].rounds_times)
    marked = damaged = 0
    trouble = "to the end"
    try:
        for number, picture in enumerate(_decode(found)):
            if (picture.width, picture.height, picture.format.name) != _shape(found):
                trouble = f"frame {number} is {picture.width}x{picture.height} {picture.format.name}"
                break
            digests.append(planes_md5(copy_planes(picture, layout, found.video)))
            if number < len(stamps):
                times.compare(number, (stamps[number].pts + shift) * time_base, picture.pts)
            marked += picture.interlaced_frame
            damaged += picture.is_corrupt
    except AV_ERRORS as error:
        trouble = f"up to frame {len(digests)}: {reason(error)}"
    return Verification(
        (
            check("plays", "to the end", f"{damaged} frames are damaged" if damaged else trouble),
            check("frames", len(stamps), len(digests)),
            times.check(len(stamps)),
            check("frames marked as interlaced", 0 if encoding.field_order is None else len(stamps), marked),
        ),
        tuple(digests),
    )


def _shape(info: SourceInfo) -> tuple[int, int, str]:
    return info.video.width, info.video.height, info.pixel_format_name


def _decode(found: SourceInfo) -> Iterator[VideoFrame]:
    with open_container(found.opening) as container:
        stream = next(video for video in container.streams.video if video.index == found.stream_index)
        use_only(container, [stream])
        stream.thread_type = "AUTO"
        # Decoders hide damage unless they are told not to: a file of ours has none.
        stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
        yield from container.decode(stream)


class _Times:
    """Compares frames' times one by one."""

    def __init__(self, time_base: Fraction, *, rounded: bool) -> None:
        self._time_base = time_base
        self._rounded = rounded
        self._compared = 0
        self._wrong = 0
        self._first_wrong = ""
        self._furthest = Fraction(0)

    def compare(self, number: int, seconds: Fraction, pts: int | None) -> None:
        """Take one more frame: when it must be shown, and the time that it has in the output."""
        exact = seconds / self._time_base
        # Halves away from zero, as FFmpeg's muxers round.
        whole = int(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
        expected = Fraction(whole) if self._rounded else exact
        self._compared += 1
        self._furthest = max(self._furthest, abs(expected - exact) * self._time_base)
        if pts != expected:
            self._wrong += 1
            self._first_wrong = self._first_wrong or f"frame {number} has pts {pts}, not {expected}"

    def check(self, frames: int) -> Check:
        """The verdict over all."""
        how = f"rounded once to {self._time_base} s" if self._rounded else "exact"
        away = f", at most {float(1000 * self._furthest):.3f} ms away" if self._furthest else ""
        return check(
            "frame times",
            f"the source's {frames}, {how}",
            f"{self._wrong} others: {self._first_wrong}" if self._wrong else f"{self._compared} of them{away}",
            same=not self._wrong and self._compared == frames,
        )


def _compare_untouched(
    stamps: Sequence[Stamp], frames: Sequence[str], info: SourceInfo, encoding: Encoding
) -> Iterator[Check]:
    """Whether frames that needed no restoring are the source's, sample for sample, where the encoder loses nothing."""
    if encoding.codec != "ffv1" or encoding.pixels != info.video.pixels:
        return
    pairs = [(stamp.md5, md5) for stamp, md5 in zip(stamps, frames, strict=False) if stamp.untouched]
    if pairs:
        same = sum(before == after for before, after in pairs)
        yield check("frames that were left untouched", f"{len(pairs)} as in the source", f"{same} as in the source")


def _compare_end(
    stamps: Sequence[Stamp], info: SourceInfo, plan: CarryPlan, after: Survey, clock: Clock
) -> Iterator[Check]:
    """How long the last frame is shown, where the source says it and the container can."""
    if not (clock.holds_end and stamps and stamps[-1].duration):
        return
    expected = (max(stamp.pts + stamp.duration for stamp in stamps) + plan.shift) * info.time_base
    # Matroska rounds the last frame's time and its duration; mp4 counts the length of a track by the file's clock.
    near = Fraction(1, 1000 if clock.rounds_times else plan.file_clock)
    found = after.video_end
    yield check(
        "end of the video",
        f"{float(expected):.6f} s",
        "not said" if found is None else f"{float(found):.6f} s",
        same=found is not None and abs(found - expected) <= near,
    )
