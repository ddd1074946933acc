"""Read a video file: its frames with their exact times, whatever state it is in.

A frame's time is the decoder's own pts, an integer in the stream's time base, unless `plan_time`
must find another. Nothing here computes with seconds but the choice of where to begin.

::

    packets -> decoded -> timed -> of one format -> the wanted part -> copied planes
"""

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from streamrestore.endings import early_end
from streamrestore.errors import ConfigError, DecodeError, SourceError
from streamrestore.field_filters import Deinterlacer
from streamrestore.frame import Defect, FieldOrder, Frame, OnError
from streamrestore.landmarks import Landmark, find_landmarks, plan_start
from streamrestore.nvdec import Nvdec
from streamrestore.opening import Opening
from streamrestore.pictures import Shown, are_found_amid, read_images, read_pictures
from streamrestore.planes import copy_planes
from streamrestore.probing import AV_ERRORS, SourceInfo, probe, reason
from streamrestore.samples import sample_layout

_ADVICE = "get an undamaged copy, or restore what is there with --on-error pass"

_TROUBLE = {
    Defect.CONCEALED: "the frame is damaged",
    Defect.RETIMED: "the frame has no time, or one that does not follow the frame before",
    Defect.RESCALED: "the frame has another size or pixel format than the first",
}


@dataclass(frozen=True, slots=True)
class Trim:
    """The part of a source that is wanted, in ticks of its video stream: ``[start_pts, stop_pts)``."""

    start_pts: int | None = None
    stop_pts: int | None = None


WHOLE = Trim()
"""All of the source."""


def plan_trim(info: SourceInfo, start_seconds: float | None, stop_seconds: float | None) -> Trim:
    """Turn seconds since the file's start into ticks: the frames with start <= t < stop.

    Args:
        info: The source.
        start_seconds: To the microsecond; None from the first frame on.
        stop_seconds: To the microsecond; None to the last frame.

    Raises:
        ConfigError: A time is negative, or the part would be empty.
    """
    if min(start_seconds or 0, stop_seconds or 0) < 0:
        raise ConfigError("times of a part count from the start of the file: they cannot be negative")
    if stop_seconds is not None and stop_seconds <= (start_seconds or 0):
        raise ConfigError(
            f"the part ends at {stop_seconds:g} s, not after its start at {start_seconds or 0:g} s: give a later end"
        )

    def first_tick(seconds: float | None) -> int | None:
        if seconds is None:
            return None
        # A float's exact value lies just beside what was typed, which would lose the frame at 0.1 s.
        time = info.container_start + Fraction(seconds).limit_denominator(1_000_000)
        return -(-time // info.time_base)

    return Trim(first_tick(start_seconds), first_tick(stop_seconds))


class Source:
    """A video file, ready to be read. Passive: one reader at a time, closed in the thread that reads."""

    def __init__(self, info: SourceInfo, *, deinterlace: FieldOrder | None = None, nvdec: Nvdec | None = None) -> None:
        """Open nothing yet.

        Args:
            info: What is known of the file.
            deinterlace: Which field of its frames comes first, if they are to be made progressive.
            nvdec: What decodes it; None, as for all that is deinterlaced, decodes in software.
        """
        self.info = info
        self.nvdec = nvdec
        self._deinterlace = deinterlace
        self._reader: Generator[Frame] | None = None
        self._landmarks: tuple[Landmark, ...] | None = None
        """Key frames, once they were looked for."""
        self._file = _identify(info.opening)

    def locate(self, landmarks: tuple[Landmark, ...] | None = None) -> None:
        """Know from now on where reading can begin amid the file, also in processes to which this one is sent.

        Args:
            landmarks: Of the file, by whoever has read its packets through; None finds them out, if they are not known.
        """
        if landmarks is not None:
            self._landmarks = landmarks
        elif self._landmarks is None and self.info.opening.pipe is None and self.info.opening.images is None:
            self._landmarks = find_landmarks(self.info)

    @property
    def parts(self) -> "SourceParts":
        """What `reopen` makes the same source of, in another process or on another machine."""
        return SourceParts(self.info, self._deinterlace, self.nvdec, self._landmarks)

    def reads_apart(self, trim: Trim) -> bool:
        """Whether reading a part begins near it; its packets are read for that, as they would be for its frames."""
        passed = self._landmarks_before(trim.start_pts)
        return bool(passed) and are_found_amid(self.info, passed, trim.stop_pts)

    def frames(self, trim: Trim = WHOLE, *, on_error: OnError = "pass") -> Iterator[Frame]:
        """Decode the frames that are shown, in presentation order.

        Frames do not depend on where reading begins: those of a part are those of the whole file with
        ``start_pts <= pts < stop_pts``, damaged or not. To begin amid the file, its packets are read
        through once for each source; where they do not tell where to begin, decoding starts at the
        first of them.

        Args:
            trim: The part that is wanted; frames are counted from 0 within it.
            on_error: ``pass`` goes on after damage as FFmpeg does: packets that cannot be decoded are
                skipped and counted, what the decoder concealed is marked, missing times are found, and
                frames of another size or pixel format are made like the first. ``fail`` ends there.

        Returns:
            Frames whose planes are copies. Each call reads anew, and ends the reader before.

        Raises:
            SourceError: While iterating: the file is gone, or was changed since it was opened.
            DecodeError: While iterating: the disk or the network failed, no frame at all could be decoded,
                or, for ``fail``, something is damaged or the file breaks off.
        """
        self.close()
        self._reader = self._read(trim, on_error)
        return self._reader

    def close(self) -> None:
        """End the reader, if any; may be called twice."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, trim: Trim, on_error: OnError) -> Generator[Frame]:
        info = self.info
        index = 0
        shown: Shown | None = None
        self._check_unchanged()
        try:
            for shown in self._progressive(self._pictures(trim.start_pts)):
                if trim.stop_pts is not None and shown.pts >= trim.stop_pts:
                    self._check_unchanged()
                    return
                if trim.start_pts is not None and shown.pts < trim.start_pts:
                    continue
                if on_error == "fail":
                    _refuse_trouble(info, shown)
                planes = copy_planes(shown.image, sample_layout(shown.image.format.name), info.video)
                yield Frame(index, shown.pts, shown.image.duration, planes, shown.defects, shown.lost)
                index += 1
        except AV_ERRORS as error:
            self._check_unchanged()
            raise DecodeError(
                f"{_where(info, shown)}: reading stopped: {reason(error)}; "
                "if the disk or the network is well again, run the same command again"
            ) from error
        self._check_unchanged()
        if on_error == "fail" and shown is not None and (words := early_end(info, shown.end_pts)):
            raise DecodeError(f"{words}; {_ADVICE}")

    def _pictures(self, start_pts: int | None) -> Iterator[Shown]:
        """Pictures from the first one on, or from one that is sure to come before ``start_pts``."""
        if start_pts is None or start_pts <= self.info.start_pts:
            return read_pictures(self.info, nvdec=self.nvdec)
        if self.info.opening.pipe is not None:
            return read_pictures(self.info)
        if self.info.opening.images is not None:
            return read_images(self.info, start_pts)
        return read_pictures(self.info, self._landmarks_before(start_pts), self.nvdec)

    def _landmarks_before(self, start_pts: int | None) -> list[Landmark]:
        """Those that are passed on the way to a part; none where its way begins at the first packet."""
        if start_pts is None:
            return []
        if self._landmarks is None:
            self._landmarks = find_landmarks(self.info)
        start = plan_start(self._landmarks, start_pts)
        if start is None:
            return []
        return [landmark for landmark in self._landmarks[start:] if landmark.pts <= start_pts]

    def _progressive(self, pictures: Iterator[Shown]) -> Iterator[Shown]:
        """The pictures, deinterlaced if they are to be; each comes when its successor was read."""
        if self._deinterlace is None:
            yield from pictures
            return
        deinterlacer, waiting = Deinterlacer(self._deinterlace), deque[Shown]()
        for shown in pictures:
            waiting.append(shown)
            for image in deinterlacer.push(shown.image):
                yield replace(waiting.popleft(), image=image)
        for image in deinterlacer.flush():
            yield replace(waiting.popleft(), image=image)

    def _check_unchanged(self) -> None:
        if _identify(self.info.opening) != self._file:
            raise SourceError(
                f"{self.info.path} was replaced, or its size changed, since it was opened: "
                "wait until it is complete, then run the same command again"
            )


def open_source(source: Path | Opening) -> Source:
    """Open a video.

    Args:
        source: A regular file, whatever its name; or how another input is opened.

    Raises:
        SourceError, UnsupportedError, DecodeError: As `probe`.
    """
    return Source(probe(source))


class SourceParts(NamedTuple):
    """All that a source is made of."""

    info: SourceInfo
    deinterlace: FieldOrder | None
    nvdec: Nvdec | None
    landmarks: tuple[Landmark, ...] | None


def reopen(parts: SourceParts, opening: Opening | None = None) -> Source:
    """A source that was open elsewhere; nothing of it is found out again.

    Args:
        parts: Of the source.
        opening: How the same input is opened here; None: as there.

    Raises:
        SourceError: It is not there.
        StreamRestoreError: As of `Opening.stat`.
    """
    info = parts.info
    if opening is not None:
        opened = None if opening == Opening(opening.path) else opening
        info = replace(info, path=opening.path, opened=opened)
    source = Source(info, deinterlace=parts.deinterlace, nvdec=parts.nvdec)
    source._landmarks = parts.landmarks
    return source


def _identify(opening: Opening) -> tuple[int, ...]:
    try:
        return opening.stat()
    except OSError as error:
        raise SourceError(f"{opening} cannot be read any more: {reason(error)}") from error


def _refuse_trouble(info: SourceInfo, shown: Shown) -> None:
    lost = f"{shown.lost} packet{'s' * (shown.lost != 1)} before it gave no picture" if shown.lost else ""
    if trouble := ", ".join([*(_TROUBLE[defect] for defect in shown.defects), *([lost] if lost else [])]):
        raise DecodeError(f"{_where(info, shown)}: {trouble}; {_ADVICE}")


def _where(info: SourceInfo, shown: Shown | None) -> str:
    if shown is None:
        return f"{info.path}: before the first frame"
    return f"{info.path}: at pts {shown.pts} ({float(shown.pts * info.time_base):.3f} s)"
