"""Who restores which chunk, again after a death, elsewhere when late. Decides and never acts.

No Ray, no threads and no clock in here: the pool reports what happened and when, and does what
is decided. Chunks are named by number, lowest first; a worker is a *slot* that lives several
*lives*, one after each death.

Restoring is a pure function, so running a chunk twice is harmless and its first answer counts.

What one event costs does not grow with slots or chunks, so that one thread can lead a thousand
workers: slots are kept by what they can take, and runs in the order in which they began.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, islice, takewhile
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
    """A worker with a chunk this many times later than late, at least 1, is killed: it hangs."""
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
    life: Life
    chunk: int
    size_bytes: int
    since: float


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
        self._slots_in: dict[SlotState, dict[int, _Slot]] = {state: {} for state in SlotState}
        """Slots by number, in the order in which they came to that state."""
        self._slots_in[SlotState.STARTING].update(enumerate(self._slots))
        self._with_room: tuple[dict[int, _Slot], ...] = tuple({} for _ in range(CHUNKS_IN_FLIGHT))
        """Slots that are ready, by how many chunks they have; the one that came last is last."""
        self._chunks: dict[int, _Chunk] = {}
        """Those that wait and those that run."""
        self._queue: OrderedDict[int, None] = OrderedDict()
        """Those that wait, in the order in which they are given."""
        self._runs: dict[_Run, None] = {}
        """What every worker has, in the order in which it was given."""
        self._smallest_bytes: float = inf
        """Of all chunks so far: none of them is ever late sooner than this one would be."""
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
        return len(self._slots_in[SlotState.READY]) == len(self._slots)

    def state(self) -> PoolState:
        """A summary for progress lines."""
        return PoolState(
            workers=len(self._slots_in[SlotState.READY]),
            busy=len(self._chunks) - len(self._queue),
            queued=len(self._queue),
            deaths=self._deaths,
            redispatched=self._redispatched,
        )

    def add(self, chunk: int, size_bytes: int) -> None:
        """Queue a new chunk, behind all others."""
        self._chunks[chunk] = _Chunk(size_bytes)
        self._queue[chunk] = None
        self._smallest_bytes = min(self._smallest_bytes, size_bytes)

    def drop(self, chunk: int) -> None:
        """Forget a chunk that nobody waits for any more."""
        self._chunks.pop(chunk, None)
        self._queue.pop(chunk, None)

    def ready(self, life: Life) -> bool:
        """A worker has started; False where it was given up meanwhile."""
        slot = self._slots[life.slot]
        if slot.life != life or slot.state is not SlotState.STARTING:
            return False
        slot.was_ready = True
        self._enter(slot, SlotState.READY)
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
            del self._runs[run]
            slot.strikes = 0
            self._file(slot)
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
            self._enter(slot, SlotState.GIVEN_UP)
            return Verdict(None, poisoned)
        self._enter(slot, SlotState.STARTING)
        return Verdict(slot.life, poisoned)

    def assign(self, now: float) -> tuple[Assignment, ...]:
        """Which chunks go to which workers now; they count as given."""
        queued = list(self._assign_queued(now))
        return (*queued, *self._assign_late(now))

    def hanging(self, now: float) -> tuple[Life, ...]:
        """Workers that have made no progress for far too long; to be killed and reported dead."""
        starting = takewhile(lambda slot: now >= self._starts_by(slot), self._slots_in[SlotState.STARTING].values())
        running = (run for run in self._old_runs(now) if now >= self._hangs_at(run))
        return tuple(dict.fromkeys((*(slot.life for slot in starting), *(run.life for run in running))))

    def next_due(self, now: float) -> float | None:
        """When time alone may change a decision, at the earliest, once all are made that are due ``now``.

        Returns:
            On the clock of ``now``, and after it; None if time never changes anything.
        """
        old = tuple(self._old_runs(now))
        times = [time for run in old for time in (self._late_at(run), self._hangs_at(run))]
        # Whatever began later is due later.
        times += [run.since + self._least_deadline_seconds() for run in islice(self._runs, len(old), len(old) + 1)]
        times += [self._starts_by(slot) for slot in islice(self._slots_in[SlotState.STARTING].values(), 1)]
        return min((time for time in times if now < time < inf), default=None)

    def _enter(self, slot: _Slot, state: SlotState) -> None:
        number = slot.life.slot
        del self._slots_in[slot.state][number]
        self._slots_in[state][number] = slot
        slot.state = state
        self._file(slot)

    def _file(self, slot: _Slot) -> None:
        """Keep a slot where its state and its chunks say, after either has changed."""
        for slots in self._with_room:
            slots.pop(slot.life.slot, None)
        if slot.state is SlotState.READY and len(slot.runs) < CHUNKS_IN_FLIGHT:
            self._with_room[len(slot.runs)][slot.life.slot] = slot

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
                self._queue[number] = None
                self._queue.move_to_end(number, last=False)
                self._redispatched += 1
        for run in slot.runs.values():
            del self._runs[run]
        slot.runs.clear()
        return tuple(poisoned)

    def _assign_queued(self, now: float) -> Iterator[Assignment]:
        # The head of the queue is never overtaken: a suspect needs a worker of its own, and
        # would wait for ever if others kept all workers busy.
        while self._queue:
            number = next(iter(self._queue))
            slot = self._free_slot(number, now)
            if slot is None:
                return
            del self._queue[number]
            yield self._give(number, slot, now)

    def _assign_late(self, now: float) -> Iterator[Assignment]:
        for run in tuple(self._old_runs(now)):
            chunk = self._chunks.get(run.chunk)
            if chunk is None or len(chunk.slots) != 1 or now < self._late_at(run):
                continue
            slot = self._free_slot(run.chunk, now)
            if slot is not None:
                self._redispatched += 1
                yield self._give(run.chunk, slot, now)

    def _give(self, number: int, slot: _Slot, now: float) -> Assignment:
        chunk = self._chunks[number]
        run = _Run(slot.life, number, chunk.size_bytes, now)
        slot.runs[number] = run
        self._runs[run] = None
        chunk.slots.add(slot.life.slot)
        self._file(slot)
        return Assignment(slot.life, number)

    def _free_slot(self, number: int, now: float) -> _Slot | None:
        """The least loaded slot that may take this chunk; among equals, the one that waits longest.

        A chunk that a worker died with travels alone from then on, so that no other chunk is
        blamed for its deaths twice. A worker that is late gets nothing new.
        """
        room = 1 if self._chunks[number].deaths else CHUNKS_IN_FLIGHT
        for slot in chain.from_iterable(slots.values() for slots in self._with_room[:room]):
            if not any(self._is_suspect(run.chunk) or now >= self._late_at(run) for run in slot.runs.values()):
                return slot
        return None

    def _old_runs(self, now: float) -> Iterator[_Run]:
        """What has run for so long that it may be late; in the order in which it began."""
        deadline_seconds = self._least_deadline_seconds()
        return takewhile(lambda run: now >= run.since + deadline_seconds, self._runs)

    def _is_suspect(self, number: int) -> bool:
        chunk = self._chunks.get(number)
        return chunk is not None and chunk.deaths > 0

    def _deadline_seconds(self, size_bytes: float) -> float:
        if self._seconds_per_byte is None:
            return inf
        return max(self._patience.least_seconds, self._patience.times_mean * self._seconds_per_byte * size_bytes)

    def _least_deadline_seconds(self) -> float:
        return self._deadline_seconds(self._smallest_bytes)

    def _late_at(self, run: _Run) -> float:
        return run.since + self._deadline_seconds(run.size_bytes)

    def _hangs_at(self, run: _Run) -> float:
        return run.since + self._patience.deadlines_to_kill * self._deadline_seconds(run.size_bytes)

    def _starts_by(self, slot: _Slot) -> float:
        return slot.born + self._patience.start_seconds
