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
from heapq import heappop, heappush
from itertools import chain, islice, takewhile
from math import inf
from typing import NamedTuple

from workers.contract import PoolState
from workers.patience import FAILURES_OF_A_WORKER, LEAST_TIMES_MEAN, MOST_TIMES_LONGER, Patience, Upkeep

CHUNKS_IN_FLIGHT = 2
"""Chunks given to one worker: one computes while the next one travels. More only adds delay."""

DEATHS_OF_A_CHUNK = 3
"""A chunk with which this many workers died is at fault itself."""

DEATHS_OF_A_SLOT = 4
"""A slot that died this often, with no chunk answered in between, is given up."""

SMOOTHING = 0.2
"""Weight of the newest chunk in the running mean of the seconds a byte takes."""


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
    """To be started; None where the slot rests or is given up."""
    poisoned: tuple[int, ...] = ()
    """Chunks that killed too many workers: they fail."""
    rest_seconds: float | None = None
    """How long the slot rests; None where it does not."""


class SlotState(StrEnum):
    """What a slot is doing."""

    STARTING = "starting"
    READY = "ready"
    RESTING = "resting"
    """Its workers only died; another one is started later."""
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
    """Deaths since a chunk was answered."""
    rests: int = 0
    """And how often it has rested."""
    failures: int = 0
    """Chunks that failed since one succeeded with this worker."""
    failing_since: float = 0.0
    """When the first of them did."""
    guilt: int = 0
    """Those of them that succeeded with another worker."""
    doubts: int = 0
    """How often its worker was replaced though it could not be told who was to blame, since one succeeded."""


@dataclass(slots=True)
class _Chunk:
    size_bytes: int
    deaths: int = 0
    slots: set[int] = field(default_factory=set)
    """Where it is running."""
    failed_with: tuple[Life, ...] = ()


class Scheduler:
    """Tables of slots and chunks, and every decision about them. For one thread.

    ``now`` is always seconds on one monotonic clock.
    """

    def __init__(self, slots: int, now: float, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._upkeep = self._patience.upkeep
        self._most_seconds = self._patience.most_seconds
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
        self._trusted: dict[int, _Slot] = {}
        """Slots whose worker succeeded with the last chunk that it answered."""
        self._succeeded = -inf
        """When any worker did."""
        self._ill: dict[Life, bool] = {}
        """To be killed, see `ill`; and whether they may be well."""
        self._rests: list[tuple[float, int]] = []
        """A heap: when which slot has rested enough."""
        self._deaths = 0
        self._replaced = 0
        self._redispatched = 0

    @property
    def lives(self) -> tuple[Life, ...]:
        """Workers that start or are ready."""
        return tuple(slot.life for slot in self._slots if slot.state in (SlotState.STARTING, SlotState.READY))

    @property
    def all_ready(self) -> bool:
        """Whether every slot that does not rest has a worker that is ready; False where all rest."""
        ready, resting = (len(self._slots_in[state]) for state in (SlotState.READY, SlotState.RESTING))
        return ready > 0 and ready + resting == len(self._slots)

    def state(self) -> PoolState:
        """A summary for progress lines."""
        return PoolState(
            workers=len(self._slots_in[SlotState.READY]),
            busy=len(self._chunks) - len(self._queue),
            queued=len(self._queue),
            deaths=self._deaths,
            redispatched=self._redispatched,
            starting=len(self._slots_in[SlotState.STARTING]),
            away=len(self._slots_in[SlotState.RESTING]) + len(self._slots_in[SlotState.GIVEN_UP]),
            replaced=self._replaced,
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
        self._replaced += life.number > 0
        self._enter(slot, SlotState.READY)
        return True

    def answered(self, life: Life, chunk: int, now: float) -> bool:
        """A worker gave a result for a chunk.

        Returns:
            Whether this is the chunk's first answer; another one is to be dropped. An answer
            of a worker that was given up meanwhile is as good as any.
        """
        slot = self._slots[life.slot]
        known = self._chunks.get(chunk)
        self._succeeded = now
        if slot.life == life:
            run = self._end_run(slot, chunk)
            slot.strikes = slot.rests = slot.failures = slot.guilt = slot.doubts = 0
            self._ill.pop(life, None)
            self._trusted[life.slot] = slot
            self._learn((now - run.since) / run.size_bytes)
        for other in known.failed_with if known is not None else ():
            accused = self._slots[other.slot]
            if accused.life == other != life:
                accused.guilt += 1
                if accused.guilt >= FAILURES_OF_A_WORKER:
                    self._ill[other] = False
        self.drop(chunk)
        return known is not None

    def failed(self, life: Life, chunk: int, now: float) -> bool:
        """A worker gave an error for a chunk.

        Returns:
            Whether this is the chunk's answer. Else it was answered already, or is tried with another worker.
        """
        slot = self._slots[life.slot]
        known = self._chunks.get(chunk)
        if slot.life == life:
            self._end_run(slot, chunk)
        if self._upkeep is None:
            if slot.life == life:
                slot.strikes = 0
            self.drop(chunk)
            return known is not None
        if slot.life != life:
            return False  # by now its chunks are others'
        self._doubt(slot, self._upkeep, now)
        if known is None:
            return False
        known.slots.discard(life.slot)
        known.failed_with += (life,)
        if known.slots:
            return False
        if len(known.failed_with) == 1 and len(self._slots_in[SlotState.READY]) > 1:
            self._queue_again(chunk)
            return False
        self.drop(chunk)
        return True

    def ill(self) -> tuple[Life, ...]:
        """Workers that fail with whatever they are given; to be killed and reported dead."""
        return tuple(self._ill)

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
        if slot.life != life or slot.state not in (SlotState.STARTING, SlotState.READY):
            return None
        self._deaths += 1
        if self._ill.pop(life, False):
            # It may have been well: its slot is not to rest for that, but to be doubted less readily.
            slot.doubts += 1
        else:
            slot.strikes += 1
        if self._seconds_per_byte is None:
            longest = max((now - run.since for run in slot.runs.values()), default=0.0)
            self._most_seconds = max(self._most_seconds, min(longest, MOST_TIMES_LONGER * self._patience.most_seconds))
        poisoned = self._take_back(slot)
        slot.life, slot.born = Life(life.slot, life.number + 1), now
        slot.failures = slot.guilt = 0
        self._trusted.pop(life.slot, None)
        if slot.strikes < DEATHS_OF_A_SLOT and not (hopeless and not slot.was_ready):
            self._enter(slot, SlotState.STARTING)
            return Verdict(slot.life, poisoned)
        if self._upkeep is None:
            self._enter(slot, SlotState.GIVEN_UP)
            return Verdict(None, poisoned)
        rest_seconds = min(self._upkeep.rest_seconds * 2.0 ** min(slot.rests, 30), self._upkeep.longest_seconds)
        slot.rests += 1
        heappush(self._rests, (now + rest_seconds, life.slot))
        self._enter(slot, SlotState.RESTING)
        return Verdict(None, poisoned, rest_seconds)

    def rested(self, now: float) -> tuple[Life, ...]:
        """Workers to be started now, since their slots have rested; they count as starting."""
        lives = []
        while self._rests and now >= self._rests[0][0]:
            slot = self._slots[heappop(self._rests)[1]]
            slot.born = now
            self._enter(slot, SlotState.STARTING)
            lives.append(slot.life)
        return tuple(lives)

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
        times += [until for until, _ in self._rests[:1]]
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

    def _end_run(self, slot: _Slot, chunk: int) -> _Run:
        run = slot.runs.pop(chunk)
        del self._runs[run]
        self._file(slot)
        return run

    def _doubt(self, slot: _Slot, upkeep: Upkeep, now: float) -> None:
        """Count a failure against a worker. Where no other one succeeds, it alone decides when that is too much."""
        if slot.failures == 0:
            slot.failing_since = now
        slot.failures += 1
        self._trusted.pop(slot.life.slot, None)
        seconds = min(upkeep.failing_seconds * 2.0 ** min(slot.doubts, 30), upkeep.longest_seconds)
        since = max(slot.failing_since, self._succeeded)
        if slot.failures >= FAILURES_OF_A_WORKER and now - since >= seconds and slot.life not in self._ill:
            self._ill[slot.life] = True

    def _queue_again(self, number: int) -> None:
        """Queue a chunk before all others."""
        self._queue[number] = None
        self._queue.move_to_end(number, last=False)
        self._redispatched += 1

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
                self._queue_again(number)
        for run in slot.runs.values():
            del self._runs[run]
        slot.runs.clear()
        return tuple(poisoned)

    def _assign_queued(self, now: float) -> Iterator[Assignment]:
        # The head of the queue is never overtaken: a suspect needs a worker of its own, and
        # would wait for ever if others kept all workers busy. But one that failed and needs
        # another worker only must not keep the worker that it failed with idle.
        passed = list[int]()
        while self._queue:
            number = next(iter(self._queue))
            slot = self._free_slot(number, now)
            if slot is None and not self._chunks[number].failed_with:
                break
            del self._queue[number]
            if slot is None:
                passed.append(number)
            else:
                yield self._give(number, slot, now)
        for number in reversed(passed):
            self._queue[number] = None
            self._queue.move_to_end(number, last=False)

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
        blamed for its deaths twice. One that failed goes to another worker, if there is any. A
        worker that is late gets nothing new.
        """
        chunk = self._chunks[number]
        room = 1 if chunk.deaths else CHUNKS_IN_FLIGHT
        for slot in chain.from_iterable(slots.values() for slots in self._with_room[:room]):
            if chunk.failed_with and not self._may_judge(slot, chunk):
                continue
            if not any(self._is_suspect(run.chunk) or now >= self._late_at(run) for run in slot.runs.values()):
                return slot
        return None

    def _may_judge(self, slot: _Slot, chunk: _Chunk) -> bool:
        """Whether what this worker makes of a chunk that failed with another one tells who is to blame."""
        if len(self._slots_in[SlotState.READY]) == 1:
            return True  # there is nobody else
        trusted = len(self._trusted) - sum(life.slot in self._trusted for life in chunk.failed_with)
        return slot.life not in chunk.failed_with and (slot.life.slot in self._trusted or not trusted)

    def _old_runs(self, now: float) -> Iterator[_Run]:
        """What has run for so long that it may be late; in the order in which it began."""
        deadline_seconds = self._least_deadline_seconds()
        return takewhile(lambda run: now >= run.since + deadline_seconds, self._runs)

    def _is_suspect(self, number: int) -> bool:
        chunk = self._chunks.get(number)
        return chunk is not None and chunk.deaths > 0

    def _deadline_seconds(self, size_bytes: float) -> float:
        if self._seconds_per_byte is None:
            return self._most_seconds
        generous_seconds = self._patience.times_mean * self._seconds_per_byte * size_bytes
        most_seconds = max(self._patience.most_seconds, LEAST_TIMES_MEAN * self._seconds_per_byte * size_bytes)
        return max(self._patience.least_seconds, min(generous_seconds, most_seconds))

    def _least_deadline_seconds(self) -> float:
        return self._deadline_seconds(self._smallest_bytes)

    def _late_at(self, run: _Run) -> float:
        return run.since + self._deadline_seconds(run.size_bytes)

    def _hangs_at(self, run: _Run) -> float:
        return run.since + self._patience.deadlines_to_kill * self._deadline_seconds(run.size_bytes)

    def _starts_by(self, slot: _Slot) -> float:
        return slot.born + self._patience.start_seconds
