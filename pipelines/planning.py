"""Everything about one file's restoration is decided here, before anything is written."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from pipelines.hardware import IN_SOFTWARE, Decoding, Hwaccel, hardware_facts, plan_decoding, with_nvenc
from pipelines.outputs import Item, check_output, default_output
from pipelines.partial import landing_place
from streamrestore.assessor import ShotAssessor
from streamrestore.bare_carry import BARE, plan_bare_carry
from streamrestore.carry import CarryPlan
from streamrestore.carry_planning import plan_carry
from streamrestore.checkpoint import Model
from streamrestore.costs import flops_per_pixel, whole_pixels
from streamrestore.devices import Device, Precision, batch_pixels
from streamrestore.encoder import check_encoder
from streamrestore.encoding import AUTOMATIC, Encoding, EncodingRequest, plan_encoding
from streamrestore.errors import ConfigError, PatchSizeError, SourceError
from streamrestore.frame import OnError
from streamrestore.identity import FileIdentity, describe_environment, identify_file, key_of
from streamrestore.image_output import result_bytes
from streamrestore.interlacing import FieldPlan, detect_scan, plan_fields
from streamrestore.opening import UNSAID, InputRequest, find_opening
from streamrestore.patches import PatchPlan, plan_patches
from streamrestore.probing import SourceInfo, probe
from streamrestore.receipt import read_receipt, receipt_path
from streamrestore.restoration_tag import restoration_words
from streamrestore.scan import scan_times
from streamrestore.segments import Segment, frames_in_segment, plan_segments
from streamrestore.shots import Shot
from streamrestore.source import Source, Trim, plan_trim
from streamrestore.tasks import Stages, Task
from workers import frames_in_chunk

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Network:
    """What restores frames: the chain of weights, and how it is run."""

    models: tuple[Model, ...]
    """In the order they are run."""
    device: Device
    """One of those it runs on; they are all of a kind."""
    precision: Precision
    stages: Stages = 3
    local_pooling: bool = False
    strength: float = 1.0
    reuse: bool = True
    """Whether patches that show what the frame before showed take its result; changes no byte by itself."""
    reuse_threshold: float = 0.0
    """By how many codes of 8 bits samples may differ and still show the same."""
    assessor: ShotAssessor | None = None
    """Tells what each shot needs of the chain; None gives every frame all of it."""

    @property
    def tasks(self) -> tuple[Task | Literal["auto"], ...]:
        """What was asked for: what the chain does, or ``auto`` for what each shot needs of it."""
        return tuple(model.task for model in self.models) if self.assessor is None else ("auto",)

    @property
    def crop(self) -> int:
        """Side of the training crops, the smallest of the chain, in pixels."""
        return min(model.crop for model in self.models)

    @cached_property
    def flops_per_pixel(self) -> float:
        """Floating-point operations of the whole chain."""
        return sum(flops_per_pixel(model.widths, self.stages) for model in self.models)

    def whole_pixels(self, patch: int | None) -> int | None:
        """Pixels of the largest frame that is restored in one piece; None where that is not asked for.

        Args:
            patch: Side of the largest patch in pixels, if that is.
        """
        if not self.local_pooling or patch is not None:
            return None
        return whole_pixels((model.widths for model in self.models), self.device)

    def words(self) -> str:
        """What it does to a video, for a tag in it."""
        return restoration_words(self.models, strength=self.strength, by_shot=self.assessor is not None)

    def facts(self) -> dict[str, object]:
        """All of it that a result's bytes depend on."""
        return {
            "weights": {model.task: model.sha256 for model in self.models},
            "tasks": list(self.tasks),
            **({} if self.assessor is None else {"assessor": self.assessor.sha256}),
            "stages": self.stages,
            "local_pooling": self.local_pooling,
            "strength": self.strength,
            **({"reuse_threshold": self.reuse_threshold} if self.reuse_threshold else {}),
        }


@dataclass(frozen=True, slots=True)
class PipeOutput:
    """Standard output, handed to the video alone."""

    format: str
    """What it is to hold: one of `PIPES`."""
    descriptor: int


@dataclass(frozen=True, slots=True)
class FileOptions:
    """What was asked for, the same for every file of a run."""

    network: Network
    patch: int | None = None
    """Side of the largest patch in pixels; None decides."""
    encoding: EncodingRequest = AUTOMATIC
    start_seconds: float | None = None
    stop_seconds: float | None = None
    deinterlace: bool = False
    """Make interlaced video progressive, rather than restore it field by field."""
    input: InputRequest = UNSAID
    pipe: PipeOutput | None = None
    """Standard output, where that is the output."""
    on_error: OnError = "pass"
    hwaccel: Hwaccel = "none"
    overwrite: bool = False
    restart: bool = False
    """Forget the segments that an earlier run finished."""
    keep: bool = False
    """Leave the work folder when all is done."""
    work_dir: Path | None = None
    """Where work folders are made; None makes them beside the outputs."""

    def facts(self) -> dict[str, object]:
        """What was asked for that decides what the result is; where it goes is not part of it."""
        return {
            **self.network.facts(),
            "patch": self.patch,
            "encoding": asdict(self.encoding),
            "part": [self.start_seconds, self.stop_seconds],
            "deinterlace": self.deinterlace,
            "framerate": self.input.framerate,
            **({} if self.hwaccel == "none" else {"hwaccel": self.hwaccel}),
        }


@dataclass(frozen=True, slots=True)
class FileJob:
    """One file with everything decided; nothing was written yet."""

    source: Source
    fields: FieldPlan
    identity: FileIdentity
    output: Path
    options: FileOptions
    trim: Trim
    encoding: Encoding
    carry: CarryPlan
    patches: PatchPlan
    segments: tuple[Segment, ...]
    """None where it is done: finding them reads through the file."""
    done: bool
    """Whether the output is there already, with a receipt of the same request."""
    shots: tuple[Shot, ...] = ()
    """What each shot is given, once it was looked at; none where every frame is given the whole chain."""
    decoding: Decoding = IN_SOFTWARE

    @property
    def info(self) -> SourceInfo:
        """What is known of the source."""
        return self.source.info

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should read before work starts."""
        return (*self.fields.notes, *self.decoding.notes, *self.encoding.notes, *self.carry.warnings)

    def facts(self) -> Mapping[str, object]:
        """All that the bytes of a segment depend on: segments of the same facts may be joined."""
        network = self.options.network
        encoding = asdict(self.encoding)
        del encoding["notes"]
        return {
            "input": asdict(self.identity),
            **self.options.facts(),
            "environment": describe_environment(network.device),
            "plan": {
                "precision": network.precision,
                "patches": asdict(self.patches),
                "encoding": encoding,
                "fields": [self.fields.video.fields, self.fields.deinterlace],
                "segments": [segment.start_pts for segment in self.segments],
                "hardware": hardware_facts(self.decoding, self.encoding),
            },
        }

    def work_root(self) -> Path:
        """The folder of this output's work folders."""
        if self.options.work_dir is None:
            place = landing_place(self.output)
            return place.with_name(f"{place.name}.work")
        # Outputs of one name in different folders must not meet there.
        return self.options.work_dir / f"{self.output.name}.{key_of({'output': self.output.resolve()})[:8]}"


def prepare_file(item: Item, options: FileOptions) -> FileJob:
    """Open the input and decide everything about its restoration.

    Raises:
        ConfigError: What was asked for does not fit this file.
        SourceError: The input cannot be read, or not be restored without loss.
        OutputError: The output exists, cannot be written, or cannot hold what the input has.
    """
    opening = find_opening(item.source, options.input)
    info, fields = plan_job_fields(probe(opening), options)
    trim = plan_trim(info, options.start_seconds, options.stop_seconds)
    if info.duration_seconds is not None and (options.start_seconds or 0) >= info.duration_seconds:
        raise ConfigError(
            f"--ss {options.start_seconds:g} is at or after the end of {item.source}, "
            f"which lasts {info.duration_seconds:.3f} s"
        )
    encoding = plan_job_encoding(info, fields, options, item.output.suffix if item.output else None)
    output = item.output or (
        default_output(item.source, options.network.tasks, encoding.suffix, item.folder)
        if item.stem is None
        else item.stem.with_name(item.stem.name + encoding.suffix)
    )
    identity = identify_file(opening)
    done = not (options.overwrite or options.restart) and _is_done(output, request_key(identity, options))
    check_output(item.source, output, overwrite=options.overwrite or done)
    check_encoder(info, encoding)
    decoding = IN_SOFTWARE if done else plan_job_decoding(info, fields, options)
    job = FileJob(
        source=Source(info, deinterlace=fields.deinterlace, nvdec=decoding.nvdec),
        fields=fields,
        identity=identity,
        output=output,
        options=options,
        trim=trim,
        encoding=encoding,
        carry=plan_job_carry(info, encoding, trim, options),
        patches=plan_job_patches(info, options.network, options.patch),
        segments=(),
        done=done,
        decoding=decoding,
    )
    log.info("%s: %s into %s", item.source, _describe_encoder(encoding), encoding.container)
    return job if done else _with_segments(job)


def plan_job_fields(info: SourceInfo, options: FileOptions) -> tuple[SourceInfo, FieldPlan]:
    """What is done about the fields of a video, and what is known of it with that decided.

    Args:
        info: As it was found.
        options: What was asked for.

    Raises:
        ConfigError: It cannot be deinterlaced as was asked for.
        SourceError: The source cannot be read any more.
    """
    fields = plan_fields(info, detect_scan(info), deinterlace=options.deinterlace)
    return replace(info, video=fields.video), fields


def plan_job_encoding(info: SourceInfo, fields: FieldPlan, options: FileOptions, suffix: str | None) -> Encoding:
    """How a video is written to a file.

    Args:
        info: Its source, with the fields decided.
        fields: As they are decided.
        options: What was asked for.
        suffix: Of the output; None leaves it to be chosen.

    Raises:
        ConfigError: The encoder does not exist, or does not fit.
        OutputError: The container cannot hold it.
    """
    encoding = plan_encoding(info, options.encoding, suffix, field_order=fields.flags)
    return with_nvenc(info, encoding, options.encoding, options.hwaccel, options.network.device)


def plan_job_decoding(info: SourceInfo, fields: FieldPlan, options: FileOptions) -> Decoding:
    """What decodes a video.

    Raises:
        ConfigError: The GPU was insisted on, and does not decode it.
        SourceError: The source cannot be read any more.
    """
    device, deinterlace = options.network.device, fields.deinterlace is not None
    return plan_decoding(info, options.hwaccel, device, deinterlace=deinterlace, on_error=options.on_error)


def plan_job_carry(info: SourceInfo, encoding: Encoding, trim: Trim, options: FileOptions) -> CarryPlan:
    """What goes along with restored video, where anything can.

    Raises:
        OutputError: The container cannot hold an audio, subtitle, font or further video stream.
        SourceError: The source cannot be read any more.
    """
    if encoding.container in BARE:
        return plan_bare_carry(info, encoding, trim)
    return plan_carry(info, encoding, trim, on_error=options.on_error, restoration=options.network.words())


def request_key(identity: FileIdentity, options: FileOptions) -> str:
    """What was asked for, of which input: a finished output of the same request is done."""
    return key_of(request_facts(identity, options))


def request_facts(identity: FileIdentity, options: FileOptions) -> dict[str, object]:
    """What was asked for, of which input."""
    return {"input": asdict(identity), **options.facts()}


def _is_done(output: Path, key: str) -> bool:
    """Whether an output is there whose receipt says that it answers the same request."""
    try:
        receipt = read_receipt(receipt_path(output))
        return receipt.key == key and receipt.output.bytes == result_bytes(output)
    except (SourceError, OSError):
        return False


def shrink(job: FileJob) -> FileJob | None:
    """The job with patches half as large; None where there are none, or the size was asked for."""
    if job.options.patch is not None:
        return None
    try:
        patches = plan_job_patches(job.info, job.options.network, max(job.patches.patch) // 2)
    except PatchSizeError:
        return None
    if patches.patch == job.patches.patch:
        return None
    return _with_segments(replace(job, patches=patches))


def _with_segments(job: FileJob) -> FileJob:
    """The job, cut; heavier work into shorter segments."""
    patches, network = job.patches, job.options.network
    height, width = patches.patch
    pixels = len(patches.spans()) * height * width * job.info.video.pictures_per_frame
    segments = plan_segments(
        scan_times(job.source),
        job.info.time_base,
        most_frames=frames_in_segment(network.flops_per_pixel * pixels, network.device.kind),
        start_pts=job.trim.start_pts,
        stop_pts=job.trim.stop_pts,
    )
    log.info(
        "%s: %d patches of %dx%d px a frame, %d a batch; segments: %d",
        *(job.info.path, len(patches.spans()), width, height, patches.batch, len(segments)),
    )
    return replace(job, segments=segments)


def plan_job_patches(info: SourceInfo, network: Network, patch: int | None, frames: int | None = None) -> PatchPlan:
    """How the frames of a video are cut for a network.

    Args:
        info: The video, with its fields decided.
        network: What restores them.
        patch: Side of the largest patch in pixels; None decides.
        frames: That come at a time; None for as many as files are restored in.

    Raises:
        PatchSizeError: No patches of that size cover them.
    """
    frames = frames_in_chunk(info.video.frame_bytes()) if frames is None else frames
    return plan_patches(
        info.video.picture.upright_size,
        crop=network.crop,
        batch_pixels=batch_pixels(network.device.kind),
        frames=frames * info.video.pictures_per_frame,
        patch=patch,
        whole_pixels=network.whole_pixels(patch),
    )


def _describe_encoder(encoding: Encoding) -> str:
    return " ".join([encoding.encoder, *(f"{key}={value}" for key, value in encoding.options)])
