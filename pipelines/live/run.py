"""A live run, put together and led to its end."""

import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

from pipelines.exit_codes import ExitCode
from pipelines.live.config import StreamConfig
from pipelines.live.log import note
from pipelines.live.metrics import LiveMetrics
from pipelines.live.publishing import PublisherLink
from pipelines.live.reading import OPEN_SECONDS, ReaderLink
from pipelines.live.restorers import Restorers
from pipelines.live.session import StreamSession
from pipelines.live.status import open_status
from pipelines.live.supervisor import Supervisor
from pipelines.planning import Network, plan_job_patches
from pipelines.signals import StopRequest
from streamrestore.costs import flops_per_pixel
from streamrestore.encoding import EncodingRequest
from streamrestore.errors import ConfigError, OutputError
from streamrestore.live.addresses import Address
from streamrestore.live.encoding import PLAIN_SOURCE, check_live_request, plan_target
from streamrestore.live.ladder import QualityLadder
from streamrestore.live.report import StreamReport
from streamrestore.tasks import Stages
from workers import Patience, RestorerPool, Upkeep
from workers.live.child import Nursery

FILL_SECONDS = 0.005
"""What a batch may wait for the frames of other streams."""

PATIENCE = Patience(least_seconds=2.0, most_seconds=60.0, start_seconds=300.0, upkeep=Upkeep())
"""A frame is long out of date when a worker that hangs is noticed, but the worker is needed again soon."""

LIVE_THREADS = 1
"""Of each worker on a CPU. Threads that share a frame wait for each other many times, and where any other process has
work to do, such as those that decode and encode, each time for a turn of the scheduler's: with one of two cores busy,
two threads took thirteen times as long as one."""

_STAGES: tuple[Stages, ...] = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What was asked for, the same for all streams of a run."""

    network: Network
    patch: int | None = None
    """Side of the largest patch in pixels; None decides."""
    status: str | None = None
    """Where /healthz and /metrics are served: ``HOST:PORT``."""
    seconds: float | None = None
    """How long the run lasts; None until it is stopped."""
    overwrite: bool = False


def run_live(
    streams: Sequence[StreamConfig],
    options: LiveOptions,
    start: Callable[[], RestorerPool],
    request: StopRequest,
) -> ExitCode:
    """Restore live streams until the run is to end.

    Args:
        streams: What is read, and where it goes.
        options: How it is restored.
        start: Starts the workers in the background. Until one is ready, or where none is left, frames are passed on
            as they come; streams that drop the oldest drop them, and the sources of those that wait have to.
        request: Set from outside to stop.

    Returns:
        0; 3 where no source ever gave a picture, and 1 where no output ever took one.

    Raises:
        ConfigError: The request makes no sense.
        OutputError: A file to be written is there already, or its folder cannot be made.
        WorkerStartError: No worker could be started.
    """
    check_encoders(streams)
    network = options.network
    # The size of patches is right for all sources or for none, but for those that are smaller than one.
    plan_job_patches(PLAIN_SOURCE, network, options.patch, frames=1)
    prepare_outputs([address for stream in streams for address in stream.to], overwrite=options.overwrite)
    allow_descriptors()
    with ExitStack() as cleanup:
        restorers = Restorers(start)
        cleanup.callback(restorers.close)
        nursery = Nursery(spares=2)
        cleanup.callback(nursery.close)
        supervisor: Supervisor | None = None

        def reports() -> Sequence[StreamReport]:
            return () if supervisor is None else supervisor.reports

        def gap_seconds() -> float:
            return 0.0 if supervisor is None else supervisor.longest_gap_seconds

        metrics = LiveMetrics(reports, gap_seconds, lambda: restorers.counts)
        now = time.monotonic()
        sessions = [_session(stream, options, nursery, metrics, now) for stream in streams]
        ladder = QualityLadder(network.stages, stage_costs(network))
        supervisor = Supervisor(sessions, restorers, ladder, nursery, most=network.stages)
        if options.status is not None:
            server = cleanup.enter_context(open_status(options.status, metrics, reports, lambda: restorers.counts))
            note("all", "supervisor", f"health and metrics at {server.url}")
        supervisor.run(request.event, None if options.seconds is None else now + options.seconds)
        return _verdict(supervisor.reports)


def check_encoders(streams: Sequence[StreamConfig]) -> None:
    """Try what each output is encoded with, each kind once.

    Raises:
        ConfigError: An encoder does not take its options, does not encode live, or its hardware is not there. Or
            nothing is known of an output's address.
    """
    tried = set[tuple[EncodingRequest, str]]()
    for stream in streams:
        for kind in ((_request(stream), plan_target(address).muxer) for address in stream.to):
            if kind in tried:
                continue
            try:
                check_live_request(*kind)
            except ConfigError as error:
                raise ConfigError(f'stream "{stream.name}": {error}' if len(streams) > 1 else str(error)) from error
            tried.add(kind)


def prepare_outputs(outputs: Iterable[Address], *, overwrite: bool) -> None:
    """Make sure that nothing is written over that is to stay, and make the folders of files and playlists.

    Raises:
        ConfigError: Nothing is known of such an address.
        OutputError: A file is there already, or its folder cannot be made.
    """
    targets = [(output, plan_target(output)) for output in outputs]
    for output, target in targets:
        if target.file is not None and target.file.exists() and not overwrite:
            raise OutputError(f"{output} exists: overwrite it with -y, or give another name with --to")
    for output, target in targets:
        if target.folder is not None:
            try:
                target.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{output} cannot be written: {error.strerror}; give another --to") from error


def allow_descriptors() -> None:
    """Let this process open as many files as it may: each stream takes some ten."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def stage_costs(network: Network) -> Mapping[int, float]:
    """What one, two and three stages of a chain of networks compute for a pixel."""
    return {
        stages: sum(flops_per_pixel(model.widths, stages) for model in network.models)
        for stages in _STAGES
        if stages <= network.stages
    }


def reader_options(source: Address, transport: str) -> Mapping[str, str]:
    """What FFmpeg is told when it opens a source."""
    # Less than the supervisor's patience, whose end costs a process.
    timeout = str(round(0.8 * OPEN_SECONDS * 1e6))
    common = {"fflags": "+discardcorrupt"}
    if source.scheme in ("rtsp", "rtsps"):
        # What the stream is its pictures say; to look at it longer only delays the first one.
        return {"rtsp_transport": transport, "timeout": timeout, "analyzeduration": "0", "probesize": "32"}
    if source.scheme in ("rtmp", "rtmps"):
        return {"analyzeduration": "500000"}
    if source.is_network:
        return common | {"timeout": timeout, "analyzeduration": "500000"}
    return {}


def _request(stream: StreamConfig) -> EncodingRequest:
    return EncodingRequest(stream.codec, stream.crf, stream.preset, options=stream.encoder_options)


def _session(
    stream: StreamConfig, options: LiveOptions, nursery: Nursery, metrics: LiveMetrics, now: float
) -> StreamSession:
    outputs = [PublisherLink(address, _request(stream), nursery) for address in stream.to]
    reader = ReaderLink(
        stream.source,
        reader_options(stream.source, stream.rtsp_transport),
        nursery,
        now,
        audio=stream.audio,
        waits=stream.drop_policy == "wait",
    )
    plan = partial(plan_job_patches, network=options.network, patch=options.patch, frames=1)
    return StreamSession(
        stream.name,
        str(stream.source),
        reader,
        outputs,
        plan,
        metrics,
        now,
        policy=stream.drop_policy,
        max_latency_seconds=stream.max_latency,
    )


def _verdict(reports: Sequence[StreamReport]) -> ExitCode:
    if not any(report.captured for report in reports):
        return ExitCode.INPUT
    if not any(output.published for report in reports for output in report.outputs):
        return ExitCode.FAILED
    return ExitCode.DONE
