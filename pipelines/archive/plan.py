"""What an archive will take, before anything is written: ``streamrestore archive plan``."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path

from pipelines.archive.command import RunParameters, cluster_devices, make_request
from pipelines.archive.context import ArchiveContext
from pipelines.archive.forecast import Forecast, Work, forecast, total
from pipelines.archive.header_survey import HeaderSurvey, Kind, largest_first, network_by_options, survey_headers
from pipelines.archive.items import ArchiveItem
from pipelines.archive.listing import Listing, list_items
from pipelines.archive.request import ArchiveRequest
from pipelines.archive.shards import parse_shard
from pipelines.archive.standing import Standing, find_standing
from pipelines.archive.strips import Strip, write_strip
from pipelines.archive.trial import PreparedClip, Trial, TryClips, Untried
from pipelines.planning import plan_job_carry
from streamrestore.cpu import cpu_cores
from streamrestore.devices import CPU_THREADS, DeviceChoice, choose_devices, default_workers, find_devices
from streamrestore.errors import StreamRestoreError
from streamrestore.source import WHOLE
from workers.archive import Alike, ClusterDevices, list_devices, open_step_pool

STRIPS = 5
"""Clips of which before and after is shown."""

LOOKED_INTO = 12
"""Make-ups of which one clip is looked into for what will be lost: those that most clips have."""

DOWNLOADED_BYTES = 1 << 28
"""The largest remote clip that is tried: it is downloaded for that, and kept for the run."""

_CLUSTER_SECONDS = 600.0
"""That a cluster may take to try clips, once it has room for a worker."""

log = logging.getLogger(__name__)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DeviceForecast:
    """What is predicted of one kind of device."""

    trial: Trial
    forecast: Forecast
    count: int
    """Of such devices, or on CPUs of workers."""
    sharing: int = 1
    """Workers that share a device."""

    def workers(self, wanted: int | None) -> int:
        """How many there are to be; None for as many as there is room for."""
        return self.count * self.sharing if wanted is None else max(1, wanted)

    def hours(self, wanted: int | None) -> float:
        """That these take; those that share a device are taken to be one."""
        return self.forecast.hours(max(1, self.workers(wanted) / self.sharing))


@dataclass(frozen=True, slots=True)
class Detail:
    """What the user of a run would read of some clips."""

    clips: int
    example: str
    notes: tuple[str, ...]
    refused: bool
    """Whether they would go into quarantine."""


@dataclass(frozen=True, slots=True)
class ArchivePlan:
    """All that is said."""

    listing: Listing
    standing: Standing
    survey: HeaderSurvey
    devices: tuple[DeviceForecast, ...]
    """Empty where there is nothing to do, or nothing could be tried."""
    untried: tuple[str, ...]
    """Why nothing could be."""
    details: tuple[Detail, ...]
    strips: tuple[Strip, ...]
    where: str
    """Of the devices: ``this machine`` or the cluster's address."""
    assesses: bool
    """Whether some shots are given what they need only."""

    @property
    def work(self) -> Work:
        """All that is to be done."""
        return total(self.survey.kinds.values())

    @property
    def endless_factor(self) -> float:
        """By how much all of it is more than `work`: clips that do not say how long they are, byte for byte."""
        known = self.work.bytes
        return (known + self.survey.endless_bytes) / known if known else 1.0

    @property
    def kinds(self) -> Sequence[tuple[Kind, Work]]:
        """By their share of the work."""
        return tuple(largest_first(self.survey.kinds))


def plan_archive(wanted: RunParameters, samples: Path | None = None, say: Say = lambda what: None) -> ArchivePlan:
    """Find out what a run of the same options will take.

    Args:
        wanted: The options of the run.
        samples: The folder for pictures of before and after; None for none.
        say: Is told what goes on.

    Raises:
        ConfigError: The request itself is impossible.
        ModelError: There are no weights for a task, several, or they are damaged.
        SourceError: The source cannot be read, or there is no video in it.
        StorageError: Storage is out of reach.
        WorkerStartError: The network could not be started, or the cluster not be joined.
        OutputError: Pictures cannot be written.
    """
    say("listing clips")
    listing = list_items(wanted.source, wanted.target, parse_shard(wanted.shard))
    request = make_request(wanted, listing)
    standing = find_standing(listing.items, request)
    choice = choose_devices(wanted.devices if wanted.address is None else "cpu", find_devices())
    network_of = network_by_options(lambda item: request.network.on(choice, item.options))
    count = len(standing.pending)
    survey = survey_headers(
        standing.pending,
        network_of,
        request.patch,
        lambda number: say(f"headers: {number} of {count} clips"),
    )
    say("looking into a few clips")
    details = find_details(survey, request, choice)
    clips = tuple(item for item in survey.typical() if item.source.is_local or item.size <= DOWNLOADED_BYTES)
    devices, untried = list[DeviceForecast](), list[str]()
    if clips:
        say(f"restoring a few frames of {', '.join(item.name for item in clips)}")
        for tried in _try(clips, wanted, request, choice):
            found = tried.found
            if isinstance(found, Untried):
                untried.extend(found.reasons)
                continue
            on_gpu = found.kind != "cpu"
            cores = found.cores / tried.on_one_machine if on_gpu else CPU_THREADS
            predicted = forecast(survey.kinds.values(), found.measured, found.kind, cores)
            sharing = (wanted.workers_per_gpu or 1) if on_gpu else 1
            devices.append(DeviceForecast(found, predicted, tried.count, sharing))
    elif survey.kinds:
        untried.append(f"each typical clip is larger than {DOWNLOADED_BYTES >> 20} MiB, and not on this machine")
    strips = list[Strip]()
    if samples is not None:
        context = ArchiveContext(request, wanted.devices if wanted.address is None else "auto")
        for item in choose_strips(survey):
            say(f"before and after of {item.name}")
            strips.append(write_strip(context, item, samples))
    return ArchivePlan(
        listing,
        standing,
        survey,
        tuple(devices),
        tuple(untried),
        details,
        tuple(strips),
        "this machine" if wanted.address is None else wanted.address,
        request.network.assessor is not None,
    )


@dataclass(frozen=True, slots=True)
class _Tried:
    """What clips take on a device, and how many there are like it."""

    found: Trial | Untried
    count: int
    on_one_machine: float


def _try(
    clips: tuple[ArchiveItem, ...], wanted: RunParameters, request: ArchiveRequest, choice: DeviceChoice
) -> list[_Tried]:
    """Restore a few frames on each kind of device."""
    if wanted.address is not None:
        return _try_on_cluster(clips, wanted.address, cluster_devices(wanted.devices), request)
    step = TryClips(clips)
    if choice.kind != "cuda":
        return [_Tried(step(ArchiveContext(request, wanted.devices)), default_workers(choice), 1)]
    names = [device.name for device in choice.devices]
    alike = {name: [device for device in choice.devices if device.name == name] for name in names}
    return [_Tried(step(ArchiveContext(request, str(some[0].index))), len(some), len(names)) for some in alike.values()]


def _try_on_cluster(
    clips: tuple[ArchiveItem, ...], address: str, devices: ClusterDevices, request: ArchiveRequest
) -> list[_Tried]:
    tried = list[_Tried]()
    # Where it has none yet, a device is waited for.
    for alike in list_devices(address, devices, CPU_THREADS) or (Alike("", 1, 1),):
        pool = open_step_pool(
            partial(ArchiveContext, request, devices),
            workers=1,
            devices=devices,
            threads=CPU_THREADS,
            address=address,
            accelerator=alike.accelerator,
        )
        found: Trial | Untried
        try:
            found = pool.submit(TryClips(clips), "restore").result(_CLUSTER_SECONDS)
        except TimeoutError:
            which = f"on {alike.accelerator} " if alike.accelerator else ""
            found = Untried((f"no worker tried any clip {which}within {_CLUSTER_SECONDS:g} s: `ray status` says why",))
        finally:
            pool.close()
        tried.append(_Tried(found, alike.count, alike.count / alike.machines))
    return tried


def find_details(survey: HeaderSurvey, request: ArchiveRequest, choice: DeviceChoice) -> tuple[Detail, ...]:
    """What will be lost or changed, by one clip of each make-up; remote ones would have to be downloaded for that.

    Args:
        survey: Of all clips.
        request: What is asked for.
        choice: The devices.
    """
    common = sorted(survey.make_ups.values(), key=lambda each: -each[0])
    local = [(count, item) for count, item in common if item.source.is_local][:LOOKED_INTO]

    def look(count: int, item: ArchiveItem) -> Detail | None:
        try:
            options = request.options(request.network.on(choice, item.options), item.options)
            clip = PreparedClip(item.source.path, options, item.suffix)
            carry = plan_job_carry(clip.info, clip.encoding, WHOLE, options)
        except StreamRestoreError as error:
            return Detail(count, item.name, (str(error),), refused=True)
        notes = (*clip.fields.notes, *clip.encoding.notes, *carry.warnings)
        return Detail(count, item.name, notes, refused=False) if notes else None

    with ThreadPoolExecutor(cpu_cores()) as pool:
        found = list(pool.map(lambda each: look(*each), local))
    return tuple(detail for detail in found if detail is not None)


def choose_strips(survey: HeaderSurvey) -> list[ArchiveItem]:
    """A few clips to look at, of as many kinds as there are, those with most work first."""
    by_kind = [survey.examples(kind) for kind, _ in largest_first(survey.kinds)]
    return [item for item in chain.from_iterable(zip_longest(*by_kind)) if item is not None][:STRIPS]
