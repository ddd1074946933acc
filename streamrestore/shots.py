"""Find the shots of a video while it goes by, and what each of them needs.

A cut is where the frames on either side have nothing in common: even the two closest across it are far apart,
by themselves and measured by how much the picture moves on either side. So what changes fast and comes back
(a flash), or goes on changing (a pan), or changes slowly (a fade) is no cut.

Frames are compared as thumbnails: grey, and small enough that neither noise nor rain is left in them. Nothing
but what is pending is held, however long the video is, and the same frames always give the same shots.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamrestore.assessor import Assessment, ShotAssessor
from streamrestore.color import to_pictures
from streamrestore.frame import Frame, VideoFormat
from streamrestore.passing_threads import in_passing_thread
from streamrestore.tasks import Task

LEAST_FRAMES = 8
"""Of a shot, unless the video is shorter; what flashes up for less time belongs to the shot around it."""

_THUMBNAIL = (36, 64)
"""(rows, columns) of a thumbnail, at most."""

_CELL = 8
"""Least side of what one of its samples is the mean of, in pixels of the frame."""

_FAR_APART = 0.06
"""Least mean difference of thumbnails across a cut, as a share of white. Neighbours within a shot mostly differ by
less than 0.03, in fast pans by up to 0.08; pictures of different scenes by 0.08 to 0.3."""

_TIMES_THE_USUAL = 2.5
"""Least difference across a cut, by the median difference of neighbours on either side. Seen at cuts: 2.6 to 16;
elsewhere, where the pictures are as far apart as above, at most 2.2 (a camera that jerks)."""

_SAMPLE_STRIDE = 4
"""Every so many frames one may be kept to be assessed."""

_MOST_SAMPLES = 8
"""Frames of a shot that are assessed."""

_SAMPLE_BYTES = 1 << 29
"""What the pictures of these may hold together, if that are not fewer than two frames'."""

_Thumbnail = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shot:
    """One stretch of video that was taken in one go, and what was found in it."""

    start_pts: int
    """When its first frame is shown, in ticks of the source's video stream."""
    stop_pts: int
    """When the next shot begins; of the last one, when its last frame is over."""
    frames: int
    assessment: Assessment

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it needs, in the order it is run; nothing leaves its frames as they are."""
        return self.assessment.tasks


def shot_at(shots: Sequence[Shot], pts: int) -> Shot:
    """The shot in which a frame lies.

    Args:
        shots: At least one, in order.
        pts: Of the frame. Before the first shot it is taken to be in that.
    """
    return shots[max(0, bisect_right(shots, pts, key=lambda shot: shot.start_pts) - 1)]


def find_shots(frames: Iterable[Frame], video: VideoFormat, assessor: ShotAssessor) -> Iterator[Shot]:
    """Cut a video into shots and have each one assessed.

    Args:
        frames: In presentation order.
        video: What they have in common.
        assessor: Is shown some pictures of each shot.

    Returns:
        The shots, each as soon as its end is known, which is `LEAST_FRAMES` frames later. They cover all frames
        without gap or overlap; where there are no frames there are no shots.
    """
    cuts, pending = _CutFinder(), deque[Frame]()
    shot: _OpenShot | None = None
    for frame in frames:
        is_sample = frame.index % _SAMPLE_STRIDE == 0
        pending.append(frame if is_sample else replace(frame, planes=()))
        if cuts.push(_thumbnail(frame, video)) and shot is not None:
            yield shot.close(assessor, pending[0].pts)
            shot = None
        if len(pending) == LEAST_FRAMES:
            shot = _extend(shot, pending.popleft(), video)
    for frame in pending:
        shot = _extend(shot, frame, video)
    if shot is not None:
        yield shot.close(assessor)


def _thumbnail(frame: Frame, video: VideoFormat) -> _Thumbnail:
    """``[h, w]``, 0 to 1, of the first plane: luma, grey, or green, which is most of luma."""
    plane = frame.planes[0]
    rows, columns = (min(most, max(1, length // _CELL)) for most, length in zip(_THUMBNAIL, plane.shape, strict=True))
    high, wide = plane.shape[0] // rows, plane.shape[1] // columns
    lines = plane[: rows * high, : columns * wide].reshape(rows, high, -1).sum(1, dtype=np.uint32)
    cells = lines.reshape(rows, columns, wide).sum(2, dtype=np.uint64)
    white = high * wide * (2**video.pixels.depth - 1)
    means: _Thumbnail = (cells / white).astype(np.float32)
    return means


def _distance(one: _Thumbnail, other: _Thumbnail) -> float:
    return float(np.abs(one - other).mean())


class _CutFinder:
    """Takes thumbnails one by one; a place is judged once `LEAST_FRAMES` are known on either side of it."""

    def __init__(self) -> None:
        self._thumbnails = deque[_Thumbnail](maxlen=2 * LEAST_FRAMES)
        self._steps = deque[float](maxlen=2 * LEAST_FRAMES - 1)
        """From each of these to the next."""
        self._length = LEAST_FRAMES - 1
        """Frames of the shot up to the place that is judged."""

    def push(self, thumbnail: _Thumbnail) -> bool:
        """Take one more; whether the oldest of the last `LEAST_FRAMES` begins a new shot."""
        if self._thumbnails:
            self._steps.append(_distance(self._thumbnails[-1], thumbnail))
        self._thumbnails.append(thumbnail)
        if len(self._thumbnails) < 2 * LEAST_FRAMES:
            return False
        self._length += 1
        is_cut = self._length >= LEAST_FRAMES and self._is_cut()
        if is_cut:
            self._length = 0
        return is_cut

    def _is_cut(self) -> bool:
        steps, thumbnails = list(self._steps), list(self._thumbnails)
        before, across, after = steps[: LEAST_FRAMES - 1], steps[LEAST_FRAMES - 1], steps[LEAST_FRAMES:]
        least = max(_FAR_APART, _TIMES_THE_USUAL * max(median(before), median(after)))
        return across >= least and all(
            _distance(one, other) >= least for one in thumbnails[:LEAST_FRAMES] for other in thumbnails[LEAST_FRAMES:]
        )


class _OpenShot:
    """A shot whose end is not known yet. Keeps frames at even distances, which double when there are too many."""

    def __init__(self, first: Frame, video: VideoFormat) -> None:
        picture_bytes = 3 * 4 * video.width * video.height
        self._video = video
        self._most = max(2, min(_MOST_SAMPLES, _SAMPLE_BYTES // picture_bytes))
        self._samples = list[Frame]()
        self._stride = _SAMPLE_STRIDE
        self._start_pts = first.pts
        self._end_pts = first.pts
        self._frames = 0

    def add(self, frame: Frame) -> None:
        """Take the next frame; one without planes cannot be kept."""
        self._frames += 1
        self._end_pts = frame.pts + frame.duration
        if not frame.planes or frame.index % self._stride:
            return
        self._samples.append(frame)
        if len(self._samples) > self._most:
            self._stride *= 2
            self._samples = [sample for sample in self._samples if sample.index % self._stride == 0]

    def close(self, assessor: ShotAssessor, stop_pts: int | None = None) -> Shot:
        """The shot, assessed; ``stop_pts`` is when the next one begins, if there is one."""
        pictures = [picture for sample in self._samples for picture in _pictures(sample, self._video)]
        end = self._end_pts if stop_pts is None else stop_pts
        assessment = in_passing_thread(lambda: assessor.assess(pictures))
        return Shot(self._start_pts, end, self._frames, assessment)


def _extend(shot: _OpenShot | None, frame: Frame, video: VideoFormat) -> _OpenShot:
    """A shot with one more frame; the first one opens it."""
    shot = shot or _OpenShot(frame, video)
    shot.add(frame)
    return shot


def _pictures(frame: Frame, video: VideoFormat) -> list[Tensor]:
    """What networks are shown of a frame: ``[3, h, w]`` each."""
    return list(to_pictures(tuple(torch.from_numpy(plane[None]) for plane in frame.planes), video))
