"""What there is to do in an archive, by the headers of all its clips; what is kept does not grow with their number."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from pipelines.archive.forecast import NOTHING, Work, clip_work
from pipelines.archive.items import ArchiveItem
from pipelines.planning import Network
from streamrestore.cpu import cpu_cores
from streamrestore.devices import batch_pixels
from streamrestore.errors import StreamRestoreError
from streamrestore.headers import ClipHeader, read_header
from streamrestore.patches import plan_patches
from streamrestore.segments import SEGMENT_SECONDS, frames_in_segment

EXAMPLES = 3
"""Clips of each kind that are remembered, for trials."""

FRAMES_ENOUGH = 90
"""Of an example: longer ones are no better."""

_MUCH = 0.1
"""Of all work: sizes with less of it are not typical."""

_REMOTE_THREADS = 16
"""That wait for storage."""


class Kind(NamedTuple):
    """Clips of one codec and size."""

    codec: str
    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Of a frame."""
        return self.height * self.width


class MakeUp(NamedTuple):
    """Clips that a container holds in the same way."""

    container: str
    codec: str
    pixel_format_name: str | None
    companions: tuple[str, ...]


@dataclass(slots=True)
class _Examples:
    """The first clips of a kind that are long enough, or else the longest."""

    found: list[tuple[int, ArchiveItem]] = field(default_factory=list)

    def add(self, frames: int, item: ArchiveItem) -> None:
        self.found.append((min(frames, FRAMES_ENOUGH), item))
        self.found.sort(key=lambda each: -each[0])
        del self.found[EXAMPLES:]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A clip that would go into quarantine, as far as headers tell."""

    name: str
    reason: str


@dataclass(slots=True)
class HeaderSurvey:
    """What the headers say, all together."""

    kinds: dict[Kind, Work] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    endless: int = 0
    """Clips whose headers do not say how long they are; those are in no other count."""
    endless_bytes: int = 0
    make_ups: dict[MakeUp, tuple[int, ArchiveItem]] = field(default_factory=dict)
    """How many there are, and one of them."""
    _examples: dict[Kind, _Examples] = field(default_factory=dict)

    def add(self, item: ArchiveItem, header: ClipHeader, work: Work | None) -> None:
        """Take in one clip; ``work`` is None where its length is not known."""
        make_up = MakeUp(header.container, header.codec, header.pixel_format_name, header.companions)
        count, example = self.make_ups.get(make_up, (0, item))
        self.make_ups[make_up] = (count + 1, example)
        if work is None:
            self.endless += 1
            self.endless_bytes += item.size
            return
        kind = Kind(header.codec, header.height, header.width)
        self.kinds[kind] = self.kinds.get(kind, NOTHING) + work
        self._examples.setdefault(kind, _Examples()).add(work.frames, item)

    def typical(self) -> tuple[ArchiveItem, ...]:
        """A few clips of the median size, by work: half of it is in clips as large or larger.

        Where there are too few of it the next sizes follow, if much of the work is in them.
        """
        whole = sum(work.flops for work in self.kinds.values())
        half, median = whole / 2, 0
        for kind in sorted(self.kinds, key=lambda kind: kind.pixels):
            half -= self.kinds[kind].flops
            median = kind.pixels
            if half <= 0:
                break
        much = [kind for kind, work in self.kinds.items() if work.flops >= _MUCH * whole or kind.pixels == median]
        much.sort(key=lambda kind: (abs(math.log(kind.pixels / median)), -self.kinds[kind].flops))
        return tuple(item for kind in much for item in self.examples(kind))[:EXAMPLES]

    def examples(self, kind: Kind) -> tuple[ArchiveItem, ...]:
        """A few clips of a kind: the first that are long enough."""
        return tuple(item for _, item in self._examples[kind].found)


def survey_headers(
    items: Sequence[ArchiveItem],
    network_of: Callable[[ArchiveItem], Network],
    patch: int | None,
    seen: Callable[[int], None] = lambda count: None,
) -> HeaderSurvey:
    """Look at the headers of many clips, several at a time.

    Args:
        items: The clips.
        network_of: What restores one.
        patch: Side of the largest patch in pixels; None decides.
        seen: Is told, now and then, how many were looked at.
    """
    survey, lock = HeaderSurvey(), threading.Lock()
    waiting: Iterator[tuple[int, ArchiveItem]] = enumerate(items, 1)
    measure = _Measure(network_of, patch)

    def next_item() -> tuple[int, ArchiveItem] | None:
        with lock:
            return next(waiting, None)

    def look() -> None:
        while (each := next_item()) is not None:
            number, item = each
            try:
                header = read_header(item.source)
                work = measure(item, header)
            except (StreamRestoreError, OSError) as error:
                with lock:
                    survey.unreadable.append(Unreadable(item.name, str(error)))
            else:
                with lock:
                    survey.add(item, header, work)
            seen(number)

    threads = 2 * cpu_cores() if all(item.source.is_local for item in items) else _REMOTE_THREADS
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(look) for _ in range(threads)]
        try:
            for future in running:
                future.result()
        finally:
            waiting = iter(())  # or Ctrl-C would wait for all of them
    survey.unreadable.sort(key=lambda each: each.name)
    return survey


class _Measure:
    """How much work a clip is."""

    def __init__(self, network_of: Callable[[ArchiveItem], Network], patch: int | None) -> None:
        self._network_of = network_of
        self._patch = patch
        self._computed = cache(self._count_computed)

    def __call__(self, item: ArchiveItem, header: ClipHeader) -> Work | None:
        """Of one clip; None where its length is not known.

        Raises:
            PatchSizeError: No patches of the size that was asked for cover it.
        """
        network = self._network_of(item)
        size, batch = (header.height, header.width), batch_pixels(network.device.kind)
        computed = self._computed(size, network.crop, batch, network.whole_pixels(self._patch))
        if header.frames is None or header.seconds is None:
            return None
        flops = network.flops_per_pixel * computed
        shown = min(item.options.stop or header.seconds, header.seconds) - (item.options.start or 0.0)
        share = min(1.0, max(0.0, shown) / header.seconds) if header.seconds else 1.0
        by_time = SEGMENT_SECONDS * header.frames / max(header.seconds, 1e-3)
        return clip_work(
            frames=round(header.frames * share),
            seconds=header.seconds * share,
            size=(header.height, header.width),
            flops_per_frame=flops,
            frames_in_segment=max(1.0, min(by_time, frames_in_segment(flops, network.device.kind))),
            bytes=item.size,
            companion_bytes=round(header.companion_bytes * share),
        )

    def _count_computed(self, size: tuple[int, int], crop: int, batch: int, whole_pixels: int | None) -> float:
        """Pixels that the network computes for one frame."""
        plan = plan_patches(size, crop=crop, batch_pixels=batch, frames=1, patch=self._patch, whole_pixels=whole_pixels)
        height, width = plan.patch
        return float(plan.patches * height * width)


def network_by_options(find: Callable[[ArchiveItem], Network]) -> Callable[[ArchiveItem], Network]:
    """The same, found once for all items that ask for the same."""
    found: dict[object, Network] = {}

    def network_of(item: ArchiveItem) -> Network:
        options = item.options
        key = (options.task, options.weights, options.strength, options.stages)
        if key not in found:
            found[key] = find(item)
        return found[key]

    return network_of


def largest_first(kinds: dict[Kind, Work]) -> Iterator[tuple[Kind, Work]]:
    """Kinds by their share of the work."""
    return iter(sorted(kinds.items(), key=lambda each: (-each[1].flops, each[0])))
