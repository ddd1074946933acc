"""What a receipt is made of: each part is built from what it records by ``of`` or ``here``."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import av
import torch
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from streamrestore import __version__
from streamrestore.carry import CarryPlan
from streamrestore.checkpoint import Model
from streamrestore.checks import Check, Verdict
from streamrestore.devices import Device, DeviceKind, Precision
from streamrestore.encoder import writing_to
from streamrestore.encoding import Encoding
from streamrestore.errors import SourceError
from streamrestore.formats import colour_guesses
from streamrestore.frame import Defect, FieldOrder, Stamp
from streamrestore.identity import code_sha256, ffmpeg_libraries
from streamrestore.image_output import result_bytes, result_sha256
from streamrestore.limits import Loss
from streamrestore.patches import PatchPlan
from streamrestore.probing import SourceInfo
from streamrestore.samples import pixel_format
from streamrestore.shots import Shot
from streamrestore.source import Trim
from streamrestore.tasks import Task
from streamrestore.work_folder import SegmentRecord

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Ratio = Annotated[str, Field(pattern=r"^\d+/\d+$")]


class Part(BaseModel):
    """Values that never change, checked strictly; nothing unknown is let in."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Tool(Part):
    """What made the output."""

    name: Literal["streamrestore"] = "streamrestore"
    version: str
    code_sha256: _Sha256
    """Of the library's own source files."""

    @classmethod
    def here(cls) -> Self:
        """This installation."""
        return cls(version=__version__, code_sha256=code_sha256())


class Versions(Part):
    """What it ran on."""

    python: str
    torch: str
    av: str
    ffmpeg: str
    libraries: dict[str, str]
    """FFmpeg's, such as ``libavcodec``."""
    platform: str

    @classmethod
    def here(cls) -> Self:
        """This process."""
        return cls(
            python=platform.python_version(),
            torch=str(torch.__version__),
            av=av.__version__,
            ffmpeg=str(av.ffmpeg_version_info),
            libraries=ffmpeg_libraries(),
            platform=platform.platform(),
        )


class DeviceUsed(Part):
    """What the network was computed on."""

    kind: DeviceKind
    name: str
    precision: Precision

    @classmethod
    def of(cls, device: Device, precision: Precision) -> Self:
        """One of the devices; they are all of a kind."""
        return cls(kind=device.kind, name=device.name, precision=precision)


class SourceFile(Part):
    """The input."""

    path: str
    """From the receipt's folder; of numbered images their pattern."""
    bytes: int
    sha256: _Sha256
    """Of the whole file; of numbered images all of them, one after the other."""
    container: str
    stream_index: int
    """Of the video stream that was restored."""
    codec: str
    width: int
    height: int
    pixel_format: str
    """As decoded."""
    planar_format: str
    """The same samples as planes: the frames' MD5 is of these."""
    time_base: _Ratio
    """Seconds a tick of the frames' pts and duration."""
    colour_guesses: tuple[str, ...]
    """What its tags leave open, and was taken to be."""

    @classmethod
    def of(cls, info: SourceInfo, output: Path) -> Self:
        """Read the input once more, to hash it.

        Args:
            info: The input.
            output: Beside which the receipt will be.

        Raises:
            SourceError: It cannot be read.
        """
        try:
            size, sha256 = info.opening.bytes(), info.opening.sha256()
        except OSError as error:
            raise SourceError(f"{info.path} cannot be read: {error.strerror}") from error
        return cls(
            path=_text(os.path.relpath(info.path, output.parent)),
            bytes=size,
            sha256=sha256,
            container=info.container,
            stream_index=info.stream_index,
            codec=info.codec,
            width=info.video.width,
            height=info.video.height,
            pixel_format=info.pixel_format_name,
            planar_format=info.video.pixels.name,
            time_base=f"{info.time_base.numerator}/{info.time_base.denominator}",
            colour_guesses=colour_guesses(info.video, info.tags, info.chroma_location),
        )

    def file(self, receipt: Path) -> Path:
        """Where the input was."""
        return receipt.parent / self.path


class OutputFile(Part):
    """The result; of numbered images all of them, one after the other."""

    name: str
    bytes: int
    sha256: _Sha256

    @classmethod
    def of(cls, path: Path, name: str) -> Self:
        """Read the result once more, to hash it.

        Args:
            path: Where it is now.
            name: What it will be called.

        Raises:
            OutputError: It cannot be read.
        """
        with writing_to(path):
            return cls(name=_text(name), bytes=result_bytes(path), sha256=result_sha256(path))


class WeightsUsed(Part):
    """The weights of one task."""

    task: Task
    name: str
    sha256: str
    source: str
    license: str

    @classmethod
    def of(cls, model: Model) -> Self:
        """A model of the chain."""
        return cls(task=model.task, name=model.name, sha256=model.sha256, source=model.source, license=model.license)


class Plan(Part):
    """What the settings were resolved to: with it, a result can be compared with its source again."""

    patch: tuple[int, int]
    """(height, width) of what the network sees, in pixels."""
    margin: int
    batch: int
    """Patches of one forward pass."""
    container: str
    suffix: str
    encoder: str
    codec: str
    codec_tag: str | None
    pixel_format: str
    frame_format: str
    encoder_options: dict[str, str]
    field_order: FieldOrder | None
    """How every frame is marked; null for progressive video."""
    start_pts: int | None
    """Of the part that was restored, in ticks of the source; null from its beginning."""
    stop_pts: int | None
    shift: int
    """Ticks of the source added to every time, of all streams alike."""
    file_clock: int
    copied_streams: tuple[int, ...]
    """The source's, copied packet by packet."""
    attached_streams: tuple[int, ...]
    """Cover art that became an attached file."""
    tags: dict[str, str]
    """Written to the file after the source's own."""
    losses: tuple[Loss, ...]
    """What was announced to get lost; nothing else is excused when the output is compared with its source."""
    decoder: Literal["software", "nvdec"] = "software"
    """Of the source; NVDEC does not tell of damage within a picture."""

    @classmethod
    def of(
        cls,
        encoding: Encoding,
        carry: CarryPlan,
        patches: PatchPlan,
        decoder: Literal["software", "nvdec"] = "software",
    ) -> Self:
        """A job's plans, and what decoded its source."""
        return cls(
            patch=patches.patch,
            margin=patches.margin,
            batch=patches.batch,
            container=encoding.container,
            suffix=encoding.suffix,
            encoder=encoding.encoder,
            codec=encoding.codec,
            codec_tag=encoding.codec_tag,
            pixel_format=encoding.pixels.name,
            frame_format=encoding.frame_format,
            encoder_options=dict(encoding.options),
            field_order=encoding.field_order,
            start_pts=carry.trim.start_pts,
            stop_pts=carry.trim.stop_pts,
            shift=carry.shift,
            file_clock=carry.file_clock,
            copied_streams=carry.copied,
            attached_streams=carry.attached,
            tags=dict(carry.tags),
            losses=carry.losses,
            decoder=decoder,
        )

    def encoding(self) -> Encoding:
        """How the output was written."""
        return Encoding(
            container=self.container,
            suffix=self.suffix,
            encoder=self.encoder,
            codec=self.codec,
            codec_tag=self.codec_tag,
            pixels=pixel_format(self.pixel_format),
            frame_format=self.frame_format,
            options=tuple(sorted(self.encoder_options.items())),
            field_order=self.field_order,
        )

    def carry(self) -> CarryPlan:
        """What went along."""
        return CarryPlan(
            trim=Trim(self.start_pts, self.stop_pts),
            shift=self.shift,
            copied=self.copied_streams,
            attached=self.attached_streams,
            file_clock=self.file_clock,
            tags=tuple(self.tags.items()),
            losses=self.losses,
        )


class Counts(Part):
    """What became of the frames."""

    restored: int
    passed_through: int
    """Could not be restored, and are the source's own."""
    untouched: int = 0
    """Needed no restoring, and are the source's own."""
    concealed: int
    """Were damaged, and filled in by the decoder."""
    retimed: int
    rescaled: int
    lost_packets: int
    """Gave no picture."""

    @classmethod
    def of(cls, stamps: Sequence[Stamp]) -> Self:
        """Of a job or a segment."""
        passed = sum(stamp.passed for stamp in stamps)
        untouched = sum(stamp.untouched for stamp in stamps)
        defects = [defect for stamp in stamps for defect in stamp.defects]
        return cls(
            restored=len(stamps) - passed - untouched,
            passed_through=passed,
            untouched=untouched,
            concealed=defects.count(Defect.CONCEALED),
            retimed=defects.count(Defect.RETIMED),
            rescaled=defects.count(Defect.RESCALED),
            lost_packets=sum(stamp.lost for stamp in stamps),
        )


class ShotUsed(Part):
    """What was found in one shot, and what was therefore done to its frames."""

    start_pts: int
    """Of its first frame."""
    stop_pts: int
    """Of the next shot's first frame; of the last shot, when its last frame is over."""
    frames: int
    rain: float
    """Probability, 0 to 1."""
    noise: float
    blur: float
    tasks: tuple[Task, ...]
    """In the order in which they were run; none left the frames as they were."""

    @classmethod
    def of(cls, shot: Shot) -> Self:
        """A shot of the plan."""
        return cls(
            start_pts=shot.start_pts,
            stop_pts=shot.stop_pts,
            frames=shot.frames,
            rain=shot.assessment.rain,
            noise=shot.assessment.noise,
            blur=shot.assessment.blur,
            tasks=shot.tasks,
        )


class SegmentUsed(Part):
    """One piece of the work."""

    index: int
    start_pts: int | None
    """Of its first frame; null if it has none."""
    frames: int
    bytes: int
    sha256: str
    """Of its encoded file; empty if it has no frames."""
    counts: Counts
    seconds: float

    @classmethod
    def of(cls, record: SegmentRecord) -> Self:
        """A finished segment."""
        return cls(
            index=record.index,
            start_pts=record.stamps[0].pts if record.stamps else None,
            frames=len(record.stamps),
            bytes=record.bytes,
            sha256=record.sha256,
            counts=Counts.of(record.stamps),
            seconds=record.seconds,
        )


class Timings(Part):
    """When and how long; nothing else in a receipt changes from run to run on one machine."""

    started: AwareDatetime
    """Of the run that finished the job; in UTC."""
    finished: AwareDatetime
    seconds: dict[str, float]
    """By stage."""


class CheckMade(Part):
    """One property of the output, compared with the source when it was finished."""

    name: str
    expected: str
    found: str
    verdict: Verdict

    @classmethod
    def of(cls, check: Check) -> Self:
        """A check."""
        return cls(name=check.name, expected=check.expected, found=check.found, verdict=check.verdict)


def _text(path: str) -> str:
    """A path as text that JSON holds, whatever its bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
