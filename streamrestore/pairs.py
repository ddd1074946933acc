"""Degraded pictures and videos with what they should be, frame by frame and restored as the product restores.

A pair is read when it is its turn, and a video frame by frame: what is held does not grow with
the number of pairs, nor with their length.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from streamrestore.checkpoint import Model
from streamrestore.costs import whole_pixels
from streamrestore.devices import Device, batch_pixels
from streamrestore.errors import DecodeError, SourceError, UnsupportedError
from streamrestore.frame import ChromaLocation, Chunk, Defect, Frame, Matrix, PixelFormat, Planes, VideoFormat
from streamrestore.interlacing import detect_scan, plan_fields
from streamrestore.metrics import SSIM_WINDOW
from streamrestore.patches import plan_patches
from streamrestore.probing import probe
from streamrestore.restorer import Restorer, RestorerSettings
from streamrestore.rgb import to_image
from streamrestore.source import Source

RGB = PixelFormat("gbrp", "rgb", 8)
"""What pictures are restored as; FFmpeg orders the planes green, blue, red."""

Restore = Callable[[Planes, VideoFormat], Planes]
"""The planes ``[H, W]`` of one frame and their format, to its restored planes."""


@dataclass(frozen=True, slots=True)
class Triple:
    """One picture, or one frame of a video. ``[3, H, W]`` uint8 RGB each, all of one size."""

    degraded: Tensor
    restored: Tensor
    target: Tensor


class Pair(Protocol):
    """Something degraded, and what it should be."""

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    def triples(self, restore: Restore) -> Iterator[Triple]:
        """Read and restore it: one for a picture, one a frame for a video.

        Raises:
            SourceError: It cannot be read, a video is damaged, or the two do not belong together.
            RestoreError: It could not be restored.
        """
        ...


def unrestored(planes: Planes, _: VideoFormat) -> Planes:
    """A `Restore` that does nothing: the pair is compared as it is."""
    return planes


class FrameRestorer:
    """A `Restore` by the product's own restorer, patches and all, one frame at a time. One per thread."""

    def __init__(self, models: Sequence[Model], settings: RestorerSettings, device: Device) -> None:
        """Build the networks on the device.

        Args:
            models: Run in this order.
            settings: How they are run.
            device: The one that the settings name.

        Raises:
            ModelError: Weights and network do not fit.
            DeviceMemoryError: The weights alone do not fit the device.
        """
        self._restorer = Restorer(models, settings)
        self._crop = min(model.crop for model in models)
        widths = (model.widths for model in models)
        self._whole_pixels = whole_pixels(widths, device) if settings.local_pooling else None
        self._batch_pixels = batch_pixels(device.kind)

    def __call__(self, planes: Planes, video: VideoFormat) -> Planes:
        """Restore one frame.

        Raises:
            DeviceMemoryError: One patch does not fit the device.
            RestoreError: The frame could not be restored.
        """
        plan = plan_patches(
            video.picture.upright_size,
            crop=self._crop,
            batch_pixels=self._batch_pixels,
            frames=video.pictures_per_frame,
            whole_pixels=self._whole_pixels,
        )
        chunk = Chunk(video, plan, tuple(plane[None] for plane in planes))
        return tuple(plane[0] for plane in self._restorer.restore(chunk).planes)


@dataclass(frozen=True, slots=True)
class PicturePair:
    """A still picture."""

    name: str
    read: Callable[[], tuple[Tensor, Tensor]]
    """Degraded and target, each ``[3, H, W]`` uint8 RGB; they may differ in size. As `Pair.triples` raises."""
    files: tuple[Path, ...] = ()
    """What it is read from."""

    def check(self) -> None:
        """See that it can be measured, before anything is restored.

        Raises:
            SourceError: It cannot be read, the two differ in size, or are too small for SSIM.
        """
        self._read()

    def triples(self, restore: Restore) -> Iterator[Triple]:
        """The one picture, as `Pair.triples`."""
        degraded, target = self._read()
        height, width = degraded.shape[1:]
        video = VideoFormat(width, height, RGB, Matrix.BT709, True, ChromaLocation.LEFT)
        red, green, blue = (plane.numpy() for plane in degraded)
        yield Triple(degraded, _picture(restore((green, blue, red), video)), target)

    def _read(self) -> tuple[Tensor, Tensor]:
        degraded, target = self.read()
        _check_pair(self.name, degraded.shape[1:], target.shape[1:])
        return degraded, target


@dataclass(frozen=True, slots=True)
class VideoPair:
    """Two videos of the same frames, compared in order, whatever their times are."""

    name: str
    degraded: Path
    target: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """What it is read from."""
        return self.degraded, self.target

    def check(self) -> None:
        """See that it can be measured, as far as its headers tell.

        Raises:
            SourceError: As of a picture.
        """
        with self._open():
            pass

    def triples(self, restore: Restore) -> Iterator[Triple]:
        """Frame after frame, in 8 bits, as `Pair.triples`."""
        with self._open() as (inputs, targets):
            pairs = zip_longest(_undamaged(inputs), _undamaged(targets))
            for number, (frame, wanted) in enumerate(pairs):
                if frame is None or wanted is None:
                    short, long = (self.degraded, self.target) if frame is None else (self.target, self.degraded)
                    raise SourceError(
                        f"{short} ends after {number} frames and {long} goes on: "
                        "the two videos of a pair must show the same frames"
                    )
                video = inputs.info.video
                degraded = as_picture(frame.planes, video)
                target = as_picture(wanted.planes, targets.info.video)
                yield Triple(degraded, as_picture(restore(frame.planes, video), video), target)

    @contextmanager
    def _open(self) -> Iterator[tuple[Source, Source]]:
        with closing(_open_video(self.degraded)) as inputs, closing(_open_video(self.target)) as targets:
            _check_pair(self.name, *(source.info.video.plane_shapes()[0] for source in (inputs, targets)))
            yield inputs, targets


def read_video(path: Path) -> Generator[Tensor]:
    """The frames of a video, or the one of a still picture, each ``[3, H, W]`` uint8 RGB.

    They are converted as its colour tags say.

    Raises:
        SourceError: It cannot be read.
    """
    with closing(_open_video(path)) as source:
        for frame in source.frames():
            yield as_picture(frame.planes, source.info.video)


def read_picture(path: Path) -> Tensor:
    """A still picture as ``[3, H, W]`` uint8 RGB; of a video its first frame.

    Read as the product reads videos: swscale's conversion of JPEGs would be off by most of a code, on average.

    Raises:
        SourceError: It cannot be read.
    """
    with closing(read_video(path)) as frames:
        return next(frames)


def check_sizes(name: str, degraded: Sequence[int], target: Sequence[int]) -> None:
    """See that two pictures, of (height, width) each, are of one size.

    Raises:
        SourceError: They are not.
    """
    if tuple(degraded) != tuple(target):
        raise SourceError(
            f"{name}: the input is {in_pixels(degraded)} and the target {in_pixels(target)}: "
            "the two of a pair must be of one size"
        )


def as_picture(planes: Planes, video: VideoFormat) -> Tensor:
    """One frame as ``[3, H, W]`` uint8 RGB: of deeper formats rounded, of grey ones three times the same."""
    colours = 1 if video.pixels.model == "grey" else 3
    return _picture(to_image(planes[:colours], video, RGB))


def _open_video(path: Path) -> Source:
    try:
        info = probe(path)
    except UnsupportedError as error:
        # Of a folder full of files it must be said which one it is.
        raise UnsupportedError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    return Source(replace(info, video=plan_fields(info, detect_scan(info)).video))


def _undamaged(source: Source) -> Iterator[Frame]:
    """Its frames, while none is missing or made up: the rest would be compared with what it does not show."""
    for frame in source.frames():
        if frame.lost or Defect.CONCEALED in frame.defects:
            raise DecodeError(
                f"{source.info.path} is damaged at frame {frame.index}: from there on its figures would mean "
                "nothing; get an undamaged copy"
            )
        yield frame


def _check_pair(name: str, degraded: Sequence[int], target: Sequence[int]) -> None:
    check_sizes(name, degraded, target)
    if min(target) < SSIM_WINDOW:
        raise SourceError(
            f"{name} is {in_pixels(target)}: SSIM needs at least {SSIM_WINDOW} px on each side; leave it out"
        )


def in_pixels(size: Sequence[int]) -> str:
    """Such as ``640x480 px``, of (height, width)."""
    height, width = size
    return f"{width}x{height} px"


def _picture(planes: Planes) -> Tensor:
    """Planes of `RGB`, or one grey plane of 8 bits."""
    tensors = [torch.from_numpy(plane) for plane in planes]
    green, blue, red = tensors * 3 if len(tensors) == 1 else tensors
    return torch.stack((red, green, blue))
