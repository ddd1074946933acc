"""A run from its options to its exit code."""

import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from pipelines.archive.context import ArchiveContext
from pipelines.archive.items import ArchiveItem
from pipelines.archive.listing import Listing, list_items
from pipelines.archive.models import find_network
from pipelines.archive.progress import ArchiveReporter, clips_are, make_archive_reporter
from pipelines.archive.request import STATE_FOLDER, ArchiveRequest, default_scratch
from pipelines.archive.run import ArchiveRun, OnFailure
from pipelines.archive.shards import parse_shard
from pipelines.archive.standing import find_standing
from pipelines.archive.state import StateFile
from pipelines.arguments import parse_encoder_options, parse_patch
from pipelines.exit_codes import ExitCode, exit_code
from pipelines.signals import stop_on_signals, take_signals_back
from streamrestore.devices import CPU_THREADS, DeviceKind, choose_devices, find_devices
from streamrestore.encoders import find_encoder
from streamrestore.encoding import EncodingRequest
from streamrestore.errors import ConfigError, StoppedError, StreamRestoreError
from streamrestore.locations import from_any_folder, parse_location
from streamrestore.storage import check_creating
from workers.archive import ClusterDevices, StepPool, open_step_pool
from workers.archive.own_job import own_job

_KINDS: dict[ClusterDevices, tuple[DeviceKind, ...]] = {"auto": ("cuda", "cpu"), "gpu": ("cuda",), "cpu": ("cpu",)}
"""Kinds of devices that each may turn out to mean."""


class RunParameters(BaseModel):
    """The options of ``archive run``, by their names there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    target: str
    task: list[str] | None = None
    weights: list[str] | None = None
    stages: int = 3
    local_pooling: bool = False
    strength: float = 1.0
    devices: str = "auto"
    workers: int | None = None
    workers_per_gpu: int | None = None
    address: str | None = None
    precision: str = "auto"
    patch: str = "auto"
    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    encoder_options: list[str] | None = None
    preserve: bool = False
    deinterlace: bool = False
    on_error: OnFailure = "quarantine"
    shard: str | None = None
    scratch: Path | None = None
    overwrite: bool = False
    progress: str = "auto"
    quiet: bool = False
    verbose: bool = False


def run_archive(wanted: RunParameters) -> ExitCode:
    """Restore an archive.

    Raises:
        ConfigError: The request itself is impossible.
        StreamRestoreError: The source cannot be read, nothing can be written, or nobody is left to work.
    """
    # ``retry`` takes what is kept of them.
    wanted = from_anywhere(wanted)
    listing = list_items(wanted.source, wanted.target, parse_shard(wanted.shard))
    request = make_request(wanted, listing)
    state = StateFile(request.target, kept_parameters(wanted), own_job())
    with stop_on_signals() as stop, make_archive_reporter(wanted.progress, quiet=wanted.quiet) as reporter:
        _tell(listing, reporter)
        code = ExitCode.FAILED
        with ExitStack() as cleanup:

            def start() -> StepPool:
                pool = open_workers(wanted, request)
                cleanup.callback(take_signals_back)
                cleanup.callback(pool.close)
                return pool

            try:
                if not request.target.is_local:
                    check_creating(request.target.child(STATE_FOLDER))
                driver = ArchiveRun(
                    start,
                    request,
                    reporter,
                    state=state,
                    on_failure=wanted.on_error,
                    command=partial(describe_command, wanted),
                )
                code = driver.run(find_standing(listing.items, request), stop.event)
                if failed := driver.progress.failed:
                    target = shlex.quote(wanted.target)
                    reporter.note(
                        f"{clips_are(failed)} in quarantine: `streamrestore archive status {target}` says why, "
                        f"`streamrestore archive retry {target} --failed` tries again"
                    )
            except KeyboardInterrupt:
                reporter.note("stopped at once; what is finished stays, and the same command goes on")
                code = stop.code
            except StoppedError as error:
                reporter.note(str(error))
                code = stop.code
            except StreamRestoreError as error:
                code = exit_code(error)
                raise
            finally:
                with suppress(StreamRestoreError):
                    state.conclude(code)
    return code


def from_anywhere(wanted: RunParameters) -> RunParameters:
    """The same, also for a command that is run in another folder, or on another machine.

    Raises:
        ConfigError: Source or target is no location.
    """
    weights = None
    if wanted.weights is not None:
        # Those that are no files have names.
        weights = [os.path.abspath(name) if os.path.exists(name) else name for name in wanted.weights]
    update = {
        "source": from_any_folder(wanted.source),
        "target": from_any_folder(wanted.target),
        "weights": weights,
        "scratch": None if wanted.scratch is None else wanted.scratch.absolute(),
    }
    return wanted.model_copy(update=update)


def kept_parameters(wanted: RunParameters) -> dict[str, JsonValue]:
    """What is kept of the options in the target, which others may read.

    A source that is named with a password is left empty: whoever tries again must name it again.
    """
    hidden = bool(parse_location(wanted.source).secrets)
    return {**wanted.model_dump(mode="json"), **({"source": ""} if hidden else {})}


def make_request(wanted: RunParameters, listing: Listing) -> ArchiveRequest:
    """What every worker must know.

    Raises:
        ConfigError: The options contradict each other, or do not fit the machine.
        ModelError: There are no weights for a task, several, or they are damaged.
    """
    for codec in {wanted.codec, *(item.options.codec for item in listing.items)} - {None}:
        find_encoder(str(codec))  # or each clip would fail of it
    kinds: tuple[DeviceKind, ...]
    if wanted.address is None:
        kinds = (choose_devices(wanted.devices, find_devices()).kind,)
    else:
        # What its machines have is known only when they are joined.
        kinds = _KINDS[cluster_devices(wanted.devices)]
    return ArchiveRequest(
        target=parse_location(wanted.target),
        scratch=wanted.scratch or default_scratch(),
        network=find_network(
            ",".join(wanted.task or []),
            wanted.weights or [],
            kinds,
            listing.items,
            precision=wanted.precision,
            stages=wanted.stages,
            local_pooling=wanted.local_pooling,
            strength=wanted.strength,
        ),
        encoding=EncodingRequest(
            wanted.codec,
            wanted.crf,
            wanted.preset,
            options=parse_encoder_options(wanted.encoder_options or []),
            preservation=wanted.preserve,
        ),
        patch=parse_patch(wanted.patch),
        deinterlace=wanted.deinterlace,
        overwrite=wanted.overwrite,
        source=listing.root,
    )


def open_workers(wanted: RunParameters, request: ArchiveRequest) -> StepPool:
    """Start workers in the background.

    Raises:
        ConfigError: The request makes no sense, whatever the machine.
    """
    devices: ClusterDevices | Sequence[int] = "cpu"
    if wanted.address is not None:
        devices = cluster_devices(wanted.devices)
    else:
        choice = choose_devices(wanted.devices, find_devices())
        if choice.kind == "cuda":
            devices = [device.index for device in choice.devices]
    return open_step_pool(
        partial(ArchiveContext, request, wanted.devices if wanted.workers == 0 else None),
        workers=wanted.workers,
        workers_per_gpu=wanted.workers_per_gpu,
        devices=devices,
        threads=CPU_THREADS,
        address=wanted.address,
    )


def cluster_devices(request: str) -> ClusterDevices:
    """What a run takes of a cluster.

    Raises:
        ConfigError: The request is for no cluster.
    """
    for known in _KINDS:
        if request == known:
            return known
    raise ConfigError(f"--devices {request!r} is for one machine: of a cluster, give auto, cpu or gpu")


def describe_command(wanted: RunParameters, item: ArchiveItem) -> str:
    """What restores an item alone, for whoever wants to see why it fails."""
    own = item.options
    tasks = wanted.task if own.task is None else [",".join(own.task)]
    options = {
        "-t": ",".join(tasks or []) or None,
        "--strength": wanted.strength if own.strength is None else own.strength,
        "--stages": own.stages or wanted.stages,
        "-c:v": own.codec or wanted.codec,
        "--crf": wanted.crf if own.crf is None else own.crf,
        "--preset": own.preset or wanted.preset,
        "--pix-fmt": own.pix_fmt,
        "--ss": own.start,
        "--to": own.stop,
        "--precision": wanted.precision,
        "--patch": wanted.patch,
        "--devices": wanted.devices,
    }
    words = ["streamrestore", "restore", item.source.shown]
    words += [word for name, value in options.items() if value is not None for word in (name, str(value))]
    words += [word for value in own.weights or wanted.weights or () for word in ("--weights", value)]
    words += [word for value in wanted.encoder_options or () for word in ("-e", value)]
    words += ["--preserve"] * wanted.preserve + ["--local-pooling"] * wanted.local_pooling
    deinterlace = wanted.deinterlace if own.deinterlace is None else own.deinterlace
    return shlex.join([*words, *(["--deinterlace", "bwdif"] if deinterlace else [])])


def _tell(listing: Listing, reporter: ArchiveReporter) -> None:
    """Say what of the source is left alone."""
    if listing.others:
        reporter.note(f"{listing.others} other files are left alone: their suffix is no video's")
    for unread in listing.unread:
        reporter.note(f"the folder {unread.name} cannot be read: {unread.reason}; what is in it is not known")
