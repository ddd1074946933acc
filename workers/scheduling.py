"""Who restores which chunk, again after a death, elsewhere when late. Decides and never acts.

No Ray, no threads and no clock in here: the pool reports what happened and when, and does what
is decided. Chunks are named by number, lowest first; a worker is a *slot* that lives several
*lives*, one after each death.

Restoring is a pure function, so running a chunk twice is harmless and its first answer counts.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import NamedTuple

from workers.contract import PoolState

CHUNKS_IN_FLIGHT = 2
"""Chunks given to one worker: one computes while the next one travels. More only adds delay."""

DEATHS_OF_A_CHUNK = 3
"""A chunk with which this many workers died is at fault itself."""

DEATHS_OF_A_SLOT = 4
"""A slot that died this often, with no chunk answered in between, is given up."""

SMOOTHING = 0.2
"""Weight of the newest chunk in the running mean of the seconds a byte takes."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a chunk and a worker may take; generous by default, as for files."""

    least_seconds: float = 60.0
    """A chunk is late after this long at the earliest."""
    times_mean: float = 20.0
    """A chunk is late after this many times what chunks of its size took on average. Before
    the first answer there is no average and nothing is late: a chunk may take a CPU minutes."""
    deadlines_to_kill: float = 3.0
    """A worker with a chunk this many times later than late is killed: it hangs."""
    start_seconds: float = 900.0
    """A worker that is not ready after this long is killed, so that a pool cannot wait for ever."""


class Life(NamedTuple):
    """One worker process: the ``number``-th of its slot."""

    slot: int
    number: int


class Assignment(NamedTuple):
    """A chunk to give to a worker now."""

    life: Life
    chunk: int


class Verdict(NamedTuple):
    """What follows from a death."""

    successor: Life | None
    """To be started; None where the slot is given up."""
    poisoned: tuple[int, ...] = ()
    """Chunks that killed too many workers: they fail."""


class SlotState(StrEnum):
    """What a slot is doing."""

    STARTING = "starting"
    READY = "ready"
    GIVEN_UP = "given up"


class _Run(NamedTuple):
    since: float
    size_bytes: int


@dataclass(slots=True)
class _Slot:
    life: Life
    born: float
    state: SlotState = SlotState.STARTING
    runs: dict[int, _Run] = field(default_factory=dict)
    """By chunk; also of chunks that another worker has answered since."""
    was_ready: bool = False
    strikes: int = 0


@dataclass(slots=True)
class _Chunk:
    size_bytes: int
    deaths: int = 0
    slots: set[int] = field(default_factory=set)
    """Where it is running."""


class Scheduler:
    """Tables of slots and chunks, and every decision about them. For one thread.

    ``now`` is always seconds on one monotonic clock.
    """

    def __init__(self, slots: int, now: float, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._slots = [_Slot(Life(slot, 0), now) for slot in range(slots)]
        self._chunks: dict[int, _Chunk] = {}
        self._queue: deque[int] = deque()
        self._seconds_per_byte: float | None = None
        self._deaths = 0
        self._redispatched = 0

    @property
    def lives(self) -> tuple[Life, ...]:
        """Workers that start or are ready."""
        return tuple(slot.life for slot in self._slots if slot.state is not SlotState.GIVEN_UP)

    @property
    def all_ready(self) -> bool:
        """Whether every slot has a worker that is ready."""
        return all(slot.state is SlotState.READY for slot in self._slots)

    def state(self) -> PoolState:
        """A summary for progress lines."""
        return PoolState(
            workers=sum(slot.state is SlotState.READY for slot in self._slots),
            busy=sum(bool(chunk.slots) for chunk in self._chunks.values()),
            queued=len(self._queue),
            deaths=self._deaths,
            redispatched=self._redispatched,
        )

    def add(self, chunk: int, size_bytes: int) -> None:
        """Queue a new chunk, behind all others."""
        self._chunks[chunk] = _Chunk(size_bytes)
        self._queue.append(chunk)

    def drop(self, chunk: int) -> None:
        """Forget a chunk that nobody waits for any more."""
        if self._chunks.pop(chunk, None) is not None and chunk in self._queue:
            self._queue.remove(chunk)

    def ready(self, life: Life) -> bool:
        """A worker has started; False where it was given up meanwhile."""
        slot = self._slots[life.slot]
        if slot.life != life or slot.state is not SlotState.STARTING:
            return False
        slot.state, slot.was_ready = SlotState.READY, True
        return True

    def answered(self, life: Life, chunk: int, now: float) -> bool:
        """A worker gave a result or an error for a chunk.

        Returns:
            Whether this is the chunk's first answer; another one is to be dropped. An answer
            of a worker that was given up meanwhile is as good as any.
        """
        slot = self._slots[life.slot]
        known = self._chunks.get(chunk)
        if slot.life == life:
            run = slot.runs.pop(chunk)
            slot.strikes = 0
            self._learn((now - run.since) / run.size_bytes)
        self.drop(chunk)
        return known is not None

    def died(self, life: Life, now: float, *, hopeless: bool = False) -> Verdict | None:
        """A worker died, was killed, or failed to start.

        Its chunks are queued again, before all others, unless they run elsewhere too.

        Args:
            life: Which one.
            now: When.
            hopeless: It failed to start for a reason that will not go away by itself.

        Returns:
            What to do now; None where this death was known already.
        """
        slot = self._slots[life.slot]
        if slot.life != life or slot.state is SlotState.GIVEN_UP:
            return None
        self._deaths += 1
        slot.strikes += 1
        poisoned = self._take_back(slot)
        slot.life, slot.born = Life(life.slot, life.number + 1), now
        if slot.strikes >= DEATHS_OF_A_SLOT or (hopeless and not slot.was_ready):
            slot.state = SlotState.GIVEN_UP
            return Verdict(None, poisoned)
        slot.state = SlotState.STARTING
        return Verdict(slot.life, poisoned)

    def assign(self, now: float) -> tuple[Assignment, ...]:
        """Which chunks go to which workers now; they count as given."""
        queued = list(self._assign_queued(now))
        return (*queued, *self._assign_late(now))

    def hanging(self, now: float) -> tuple[Life, ...]:
        """Workers that have made no progress for far too long; to be killed and reported dead."""
        return tuple(slot.life for slot in self._slots if now >= self._hangs_at(slot))

    def next_due(self, now: float) -> float | None:
        """Seconds until time alone changes a decision; None if it never does."""
        times = [self._hangs_at(slot) for slot in self._slots]
        times += [self._late_at(run) for slot in self._slots for run in slot.runs.values()]
        later = [time - now for time in times if now < time < inf]
        return min(later, default=None)

    def _learn(self, seconds_per_byte: float) -> None:
        mean = self._seconds_per_byte
        self._seconds_per_byte = seconds_per_byte if mean is None else mean + SMOOTHING * (seconds_per_byte - mean)

    def _take_back(self, slot: _Slot) -> tuple[int, ...]:
        """Queue the chunks of a dead worker again; return those that killed too many."""
        poisoned = []
        for number in sorted(slot.runs, reverse=True):
            chunk = self._chunks.get(number)
            if chunk is None:
                continue
            chunk.deaths += 1
            chunk.slots.discard(slot.life.slot)
            if chunk.deaths >= DEATHS_OF_A_CHUNK:
                self.drop(number)
                poisoned.append(number)
            elif not chunk.slots:
                self._queue.appendleft(number)
                self._redispatched += 1
        slot.runs.clear()
        return tuple(poisoned)

    def _assign_queued(self, now: float) -> Iterator[Assignment]:
        # The head of the queue is never overtaken: a suspect needs a worker of its own, and
        # would wait for ever if others kept all workers busy.
        while self._queue:
            slot = self._free_slot(self._queue[0], now)
            if slot is None:
                return
            yield self._give(self._queue.popleft(), slot, now)

    def _assign_late(self, now: float) -> Iterator[Assignment]:
        for number, chunk in self._chunks.items():
            if len(chunk.slots) != 1:
                continue
            (only,) = chunk.slots
            slot = self._free_slot(number, now) if now >= self._late_at(self._slots[only].runs[number]) else None
            if slot is not None:
                self._redispatched += 1
                yield self._give(number, slot, now)

    def _give(self, number: int, slot: _Slot, now: float) -> Assignment:
        chunk = self._chunks[number]
        slot.runs[number] = _Run(now, chunk.size_bytes)
        chunk.slots.add(slot.life.slot)
        return Assignment(slot.life, number)

    def _free_slot(self, number: int, now: float) -> _Slot | None:
        """The least loaded slot that may take this chunk.

        A chunk that a worker died with travels alone from then on, so that no other chunk is
        blamed for its deaths twice. A worker that is late gets nothing new.
        """
        room = 1 if self._chunks[number].deaths else CHUNKS_IN_FLIGHT
        free = [
            slot
            for slot in self._slots
            if slot.state is SlotState.READY
            and len(slot.runs) < room
            and not any(self._is_suspect(other) or now >= self._late_at(run) for other, run in slot.runs.items())
        ]
        return min(free, key=lambda slot: len(slot.runs), default=None)

    def _is_suspect(self, number: int) -> bool:
        chunk = self._chunks.get(number)
        return chunk is not None and chunk.deaths > 0

    def _deadline_seconds(self, run: _Run) -> float:
        if self._seconds_per_byte is None:
            return inf
        return max(self._patience.least_seconds, self._patience.times_mean * self._seconds_per_byte * run.size_bytes)

    def _late_at(self, run: _Run) -> float:
        return run.since + self._deadline_seconds(run)

    def _hangs_at(self, slot: _Slot) -> float:
        if slot.state is SlotState.STARTING:
            return slot.born + self._patience.start_seconds
        waits = self._patience.deadlines_to_kill
        return min((run.since + waits * self._deadline_seconds(run) for run in slot.runs.values()), default=inf)
