"""Which worker runs which step: again after a death, twice at the end, and not where live streams need the device.

No Ray, no threads and no clock in here: the pool reports what happened and when, and does what is decided. Steps are
named by number, and the lowest that waits comes first; a worker is a *slot* that lives several *lives*, one after each
death. A step may be run twice, so its first answer counts.

What one event costs does not grow with slots or steps, but for what happens rarely or at most once a second.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from workers.archive.contract import LANES, Lane, StepPoolState
from workers.scheduling import Life

DEATHS_OF_A_STEP = 3
"""A step with which so many workers died is at fault itself."""

REQUEUES_OF_A_STEP = 10
"""A step that so many workers were lost with through no fault of its own has no chance to end here."""

DEATHS_OF_A_SLOT = 10
"""A slot whose workers died so often, and ended no step in between, rests: three steps that are at fault, one after
the other, are no reason yet."""

FALSE_STARTS = 4
"""So does a slot whose workers died so often before they were ready."""

LONG_TIMES = 2.0
"""A step that takes so many times longer than expected is run a second time where a worker has nothing else to do."""

QUIET_SECONDS = 10.0
"""After devices were left to others, for so long no worker waits for one that is not there yet: it might get in before
them."""


@dataclass(frozen=True, slots=True)
class StepPatience:
    """How long steps and workers may take."""

    times_expected: float = 10.0
    """A worker whose step takes so many times longer than expected is killed: it hangs."""
    least_seconds: float = 300.0
    """But not before it has taken this long."""
    unknown_seconds: float = 3600.0
    """How long a step may take where nothing is expected."""
    twice_seconds: float = 5.0
    """No step is run a second time before it has taken this long."""
    start_seconds: float = 900.0
    """A worker that a machine has room for, and that is not ready after this long, is killed."""
    kind_seconds: float = 900.0
    """How long steps of a kind wait while there are workers, but none of that kind."""
    rest_seconds: float = 60.0
    """How long a slot whose workers cannot start rests at first; then twice as long, and so on."""
    longest_rest_seconds: float = 600.0
    """What that grows to."""


class Assignment(NamedTuple):
    """A step to give to a worker now."""

    life: Life
    step: int


class Overdue(NamedTuple):
    """A worker that hangs; to be killed and reported dead."""

    life: Life
    step: int | None
    """With which step; None where it did not get ready."""


class Verdict(NamedTuple):
    """What follows from a death."""

    poisoned: tuple[int, ...] = ()
    """Steps that killed too many workers: they fail."""
    exhausted: tuple[int, ...] = ()
    """Steps whose workers were lost too often: they fail too."""
    requeued: tuple[int, ...] = ()
    """Steps that wait again."""


class SlotState(StrEnum):
    """What a slot is doing."""

    AWAY = "away"
    """It has no worker, and may be given one later."""
    WAITING = "waiting"
    """For a machine that has room for its worker."""
    BUILDING = "building"
    """Its worker builds the context."""
    READY = "ready"


class _Run(NamedTuple):
    life: Life
    step: int
    lane: Lane
    since: float


@dataclass(slots=True)
class _Slot:
    life: Life
    state: SlotState = SlotState.AWAY
    since: float = 0.0
    """When it came to its state."""
    until: float = -inf
    """When it may have a worker again."""
    broken: bool = False
    """Whether its last workers could not start, or only died."""
    draining: bool = False
    """It gets no more steps, and is ended when it has none."""
    reserved: int | None = None
    """A suspect that waits until this slot has nothing else to do."""
    node: str = ""
    gpus: tuple[str, ...] = ()
    kind: str = ""
    runs: dict[int, _Run] = field(default_factory=dict)
    """By step; also of steps that another worker has answered since."""
    strikes: int = 0
    """Deaths since a step was answered."""
    false_starts: int = 0
    """Deaths since a worker was ready."""
    rests: int = 0
    """How often it has rested since a step was answered."""

    def load(self, lane: Lane) -> int:
        return sum(run.lane == lane for run in self.runs.values())


@dataclass(slots=True)
class _Step:
    lane: Lane
    kind: str | None
    seconds: float | None
    deaths: int = 0
    requeues: int = 0
    slots: set[int] = field(default_factory=set)
    """Where it is running."""


class StepScheduler:
    """Tables of slots and steps, and every decision about them. For one thread.

    ``now`` is always seconds on one monotonic clock.
    """

    def __init__(self, patience: StepPatience | None = None) -> None:
        self._patience = patience or StepPatience()
        self._slots: list[_Slot] = []
        self._slots_in: dict[SlotState, dict[int, _Slot]] = {state: {} for state in SlotState}
        self._open: dict[tuple[Lane, str], tuple[dict[int, _Slot], ...]] = {}
        """Slots that may take steps of a lane, by their kind and how many they have of it; the newest is last."""
        self._steps: dict[int, _Step] = {}
        """Those that wait and those that run."""
        self._waiting: set[int] = set()
        self._queues: dict[tuple[Lane, str | None], list[int]] = {}
        """Heaps of those that wait, and of some that do not any more."""
        self._suspects: dict[int, int | None] = {}
        """Steps that wait and that workers died with, and the slot that is reserved for each."""
        self._runs: dict[Lane, dict[_Run, None]] = {lane: {} for lane in LANES}
        """What every worker has, in the order in which it was given."""
        self._deadlines: list[tuple[float, _Run]] = []
        """A heap, also of runs that have ended."""
        self._finished: dict[Lane, tuple[int, float]] = dict.fromkeys(LANES, (0, 0.0))
        """How many steps ended well, and how long they took together."""
        self._absent_since: dict[str, float] = {}
        """Since when there has been no worker of a kind that steps wait for."""
        self._devices, self._reserved = 0, 0
        self._quiet_until = -inf
        self._withdrawn: list[Life] = []
        """Waiting workers that were ended for claims."""
        self._most_placed = 0
        self._barren = 0
        """Workers that died since the last step was answered."""
        self._failed_starts = 0
        """Workers that died in starting since the last one was ready."""
        self._deaths = 0
        self._redispatched = 0

    @property
    def lost(self) -> bool:
        """Whether there is no worker, and no hope for one."""
        away = self._slots_in[SlotState.AWAY]
        if self._slots and len(away) == len(self._slots) and all(slot.broken for slot in away.values()):
            return True
        if self._slots_in[SlotState.READY] or self._slots_in[SlotState.BUILDING]:
            return False
        # Slots that wait for room would take their turn with what failed for others.
        return self._failed_starts >= FALSE_STARTS or 0 < DEATHS_OF_A_SLOT * self._most_placed <= self._barren

    def state(self) -> StepPoolState:
        """A summary for progress lines."""
        ready = self._slots_in[SlotState.READY]
        return StepPoolState(
            workers=len(ready),
            wanted=len(self._slots),
            waiting=len(self._slots_in[SlotState.WAITING]),
            busy=len(self._steps) - len(self._waiting),
            queued=len(self._waiting),
            deaths=self._deaths,
            redispatched=self._redispatched,
            nodes=len({slot.node for slot in ready.values()}),
            lost=self.lost,
        )

    # Workers

    def grow(self, slots: int) -> None:
        """There are to be so many slots, if there are not more already."""
        for number in range(len(self._slots), slots):
            slot = _Slot(Life(number, 0))
            self._slots.append(slot)
            self._slots_in[SlotState.AWAY][number] = slot

    def starts(self, now: float) -> tuple[Life, ...]:
        """Workers to be started now; they count as waiting for a machine."""
        room = self._room(now) - self._active()
        due = [slot for slot in self._slots_in[SlotState.AWAY].values() if now >= slot.until][: max(0, room)]
        for slot in due:
            self._enter(slot, SlotState.WAITING, now)
        return tuple(slot.life for slot in due)

    def placed(self, life: Life, node: str, gpus: tuple[str, ...], now: float) -> bool:
        """A machine had room for a worker; False where that was ended meanwhile."""
        slot = self._slots[life.slot]
        if slot.life != life or slot.state is not SlotState.WAITING:
            return False
        slot.node, slot.gpus = node, gpus
        self._enter(slot, SlotState.BUILDING, now)
        self._most_placed = max(self._most_placed, len(self._placed()))
        return True

    def ready(self, life: Life, kind: str, now: float) -> bool:
        """A worker has built its context; False where it was ended meanwhile."""
        slot = self._slots[life.slot]
        if slot.life != life or slot.state is not SlotState.BUILDING:
            return False
        if not self._slots_in[SlotState.READY]:
            # Until now there was none of any kind.
            self._absent_since = dict.fromkeys(self._absent_since, now)
        slot.kind, slot.false_starts, self._failed_starts = kind, 0, 0
        self._absent_since.pop(kind, None)
        self._enter(slot, SlotState.READY, now)
        return True

    def died(
        self, life: Life, now: float, *, blamed: Collection[int] | None = None, hopeless: bool = False
    ) -> Verdict | None:
        """A worker died, was killed, or failed to start. Its steps wait again, before all others, or fail.

        Args:
            life: Which one.
            now: When.
            blamed: Steps that may be at fault; None for all it was running, none where its machine was lost.
            hopeless: It failed to start for a reason that will not go away by itself.

        Returns:
            What becomes of its steps; None where this death was known already.
        """
        slot = self._slots[life.slot]
        if slot.life != life or slot.state is SlotState.AWAY:
            return None
        self._deaths += 1
        innocent = blamed is not None and not blamed
        was_ready = slot.state is SlotState.READY
        if not innocent:
            slot.strikes += was_ready
            slot.false_starts += not was_ready
            self._failed_starts += not was_ready
            self._barren += 1
        verdict = self._take_back(slot, slot.runs.keys() if blamed is None else blamed)
        if hopeless or slot.strikes >= DEATHS_OF_A_SLOT or slot.false_starts >= FALSE_STARTS:
            slot.broken = True
            slot.until = now + min(
                self._patience.rest_seconds * 2.0 ** min(slot.rests, 30), self._patience.longest_rest_seconds
            )
            slot.rests += 1
        self._end(slot, now)
        return verdict

    def make_room(self, devices: int, reserved: int, now: float) -> None:
        """Leave devices to those who claim them: as steps end, or at once where nothing runs.

        Args:
            devices: Workers that the cluster's machines would have room for.
            reserved: How many of these places are claimed by others.
            now: When.
        """
        claimed = reserved > self._reserved
        self._devices, self._reserved = devices, reserved
        usable = devices - reserved if reserved else len(self._slots)
        draining = [slot for slot in self._placed() if slot.draining]
        excess = len(self._placed()) - len(draining) - usable
        if claimed or excess > 0:
            self._quiet_until = now + QUIET_SECONDS
        for slot in self._to_drain(max(0, excess)):
            self._drain(slot, True)
        for slot in draining[: max(0, -excess)]:
            self._drain(slot, False)
        surplus = max(0, self._active() - self._room(now))
        for slot in tuple(self._slots_in[SlotState.WAITING].values())[::-1][:surplus]:
            self._withdrawn.append(slot.life)
            self._end(slot, now)

    def drained(self, now: float) -> tuple[Life, ...]:
        """Workers to be killed now, since others claim their devices; they are no deaths."""
        idle = [slot for slot in self._placed() if slot.draining and not slot.runs]
        lives = (*self._withdrawn, *(slot.life for slot in idle))
        self._withdrawn = []
        for slot in idle:
            self._quiet_until = now + QUIET_SECONDS
            self._end(slot, now)
        return lives

    def overdue(self, now: float) -> tuple[Overdue, ...]:
        """Workers that hang."""
        found = list[Overdue]()
        while self._deadlines and now >= self._deadlines[0][0]:
            _, run = heappop(self._deadlines)
            if run in self._runs[run.lane]:
                found.append(Overdue(run.life, run.step))
        for slot in self._slots_in[SlotState.BUILDING].values():
            if now >= slot.since + self._patience.start_seconds:
                found.append(Overdue(slot.life, None))
        return tuple(found)

    # Steps

    def add(self, step: int, lane: Lane, kind: str | None, seconds: float | None, now: float) -> None:
        """A new step waits; its number is higher than those of all before it."""
        self._steps[step] = _Step(lane, kind, seconds)
        self._queue(step)
        if kind is not None and not self._is_present(kind):
            self._absent_since.setdefault(kind, now)

    def drop(self, step: int) -> None:
        """Forget a step that nobody waits for any more. A worker that has it goes on, for nothing."""
        self._steps.pop(step, None)
        self._waiting.discard(step)
        self._unreserve(self._suspects.pop(step, None))

    def answered(self, life: Life, step: int, now: float) -> bool:
        """A worker gave a step's result.

        Returns:
            Whether this is the step's first answer; another one is to be dropped. An answer of a worker that was
            ended meanwhile is as good as any.
        """
        slot = self._slots[life.slot]
        self._barren = 0
        if slot.life == life and step in slot.runs:
            run = self._end_run(slot, step)
            slot.strikes = slot.rests = 0
            slot.broken = False
            count, seconds = self._finished[run.lane]
            self._finished[run.lane] = count + 1, seconds + now - run.since
        known = step in self._steps
        self.drop(step)
        return known

    def failed(self, life: Life, step: int) -> bool:
        """A worker gave a step's error.

        Returns:
            Whether that is the step's answer; not where it was answered already, waits for another worker, or runs
            on one.
        """
        slot = self._slots[life.slot]
        self._barren = 0
        if slot.life != life or step not in slot.runs:
            return False
        self._end_run(slot, step)
        known = self._steps.get(step)
        if known is None:
            return False
        known.slots.discard(life.slot)
        if known.slots:
            return False
        self.drop(step)
        return True

    def stranded(self, now: float) -> tuple[int, ...]:
        """Steps for which there has been no worker of their kind for long, though there are others; they fail."""
        if not self._slots_in[SlotState.READY]:
            return ()
        kinds = {kind for kind, since in self._absent_since.items() if now - since >= self._patience.kind_seconds}
        if not kinds:
            return ()
        steps = tuple(sorted(step for step in self._waiting if self._steps[step].kind in kinds))
        for step in steps:
            self.drop(step)
        for kind in kinds:
            del self._absent_since[kind]
        return steps

    def assign(self, now: float) -> tuple[Assignment, ...]:
        """Which steps go to which workers now; they count as given."""
        return (*self._assign_suspects(now), *self._assign_queued(now))

    def assign_twice(self, now: float) -> tuple[Assignment, ...]:
        """Steps that take long, and that another worker with nothing else to do is to run as well."""
        given = list[Assignment]()
        for (lane, kind), (idle, *_) in self._open.items():
            if idle and self._head(lane, None) is None and self._head(lane, kind) is None:
                for slot, step in zip(tuple(idle.values()), self._stragglers(lane, kind, now), strict=False):
                    self._redispatched += 1
                    given.append(self._give(step, slot, now))
        return tuple(given)

    # How slots are kept

    def _enter(self, slot: _Slot, state: SlotState, now: float) -> None:
        number = slot.life.slot
        del self._slots_in[slot.state][number]
        self._slots_in[state][number] = slot
        slot.state, slot.since = state, now
        self._file(slot)

    def _file(self, slot: _Slot) -> None:
        """Keep a slot where its state and its steps say, after either has changed."""
        number = slot.life.slot
        is_open = (
            slot.state is SlotState.READY
            and not slot.draining
            and slot.reserved is None
            and not any(self._is_suspect(step) for step in slot.runs)
        )
        for lane, most in LANES.items():
            loads = self._open.setdefault((lane, slot.kind), tuple({} for _ in range(most)))
            for slots in loads:
                slots.pop(number, None)
            load = slot.load(lane)
            if is_open and load < most:
                loads[load][number] = slot

    def _end(self, slot: _Slot, now: float) -> None:
        """A slot has no worker any more; the next one is another life."""
        kind = slot.kind if slot.state is SlotState.READY else None
        self._unreserve(slot.life.slot)
        slot.draining = False
        self._enter(slot, SlotState.AWAY, now)
        slot.life = Life(slot.life.slot, slot.life.number + 1)
        if kind is not None and not self._is_present(kind):
            self._absent_since[kind] = now

    def _active(self) -> int:
        return len(self._slots) - len(self._slots_in[SlotState.AWAY])

    def _placed(self) -> tuple[_Slot, ...]:
        return (*self._slots_in[SlotState.BUILDING].values(), *self._slots_in[SlotState.READY].values())

    def _is_present(self, kind: str) -> bool:
        return any(slot.kind == kind for slot in self._slots_in[SlotState.READY].values())

    def _room(self, now: float) -> int:
        """How many workers there may be now, those that wait for room included."""
        if not self._reserved:
            return len(self._slots)
        usable = max(0, self._devices - self._reserved) + sum(slot.draining for slot in self._placed())
        missing = max(0, len(self._slots) - self._devices)
        return usable + (missing if now >= self._quiet_until else 0)

    def _to_drain(self, count: int) -> list[_Slot]:
        """Slots that are to leave their devices: whole devices, those with the least to do first."""
        devices: dict[tuple[str, tuple[str, ...]], list[_Slot]] = {}
        for slot in self._placed():
            devices.setdefault((slot.node, slot.gpus), []).append(slot)
        begun_first = sorted(
            devices.values(),
            key=lambda slots: (-sum(slot.draining for slot in slots), sum(len(slot.runs) for slot in slots)),
        )
        return [slot for slots in begun_first for slot in slots if not slot.draining][:count]

    def _drain(self, slot: _Slot, draining: bool) -> None:
        slot.draining = draining
        self._unreserve(slot.life.slot)
        self._file(slot)

    # How steps are kept

    def _is_suspect(self, number: int) -> bool:
        step = self._steps.get(number)
        return step is not None and step.deaths > 0

    def _queue(self, number: int) -> None:
        step = self._steps[number]
        self._waiting.add(number)
        if step.deaths:
            self._suspects[number] = None
        else:
            heappush(self._queues.setdefault((step.lane, step.kind), []), number)

    def _head(self, lane: Lane, kind: str | None) -> int | None:
        """The first step that waits for a worker of a kind, or of any."""
        queue = self._queues.get((lane, kind), [])
        while queue and (queue[0] not in self._waiting or queue[0] in self._suspects):
            heappop(queue)
        return queue[0] if queue else None

    def _take_back(self, slot: _Slot, blamed: Collection[int]) -> Verdict:
        """Let the steps of a dead worker wait again; those that had too many of them fail."""
        poisoned, exhausted, requeued = list[int](), list[int](), list[int]()
        for number, run in sorted(slot.runs.items()):
            del self._runs[run.lane][run]
            step = self._steps.get(number)
            if step is None:
                continue
            step.slots.discard(slot.life.slot)
            step.deaths += number in blamed
            step.requeues += number not in blamed
            if step.deaths >= DEATHS_OF_A_STEP:
                poisoned.append(number)
            elif not step.slots and step.requeues > REQUEUES_OF_A_STEP:
                exhausted.append(number)
            elif not step.slots:
                requeued.append(number)
                self._queue(number)
        slot.runs.clear()
        self._redispatched += len(requeued)
        for number in (*poisoned, *exhausted):
            self.drop(number)
        return Verdict(tuple(poisoned), tuple(exhausted), tuple(requeued))

    def _assign_suspects(self, now: float) -> Iterator[Assignment]:
        """A step that a worker died with runs alone on the next one, so that no other step is blamed for it."""
        for number, reserved in sorted(self._suspects.items()):
            slot = self._reserve(number) if reserved is None else self._slots[reserved]
            if slot is not None and not slot.runs:
                del self._suspects[number]
                slot.reserved = None
                yield self._give(number, slot, now)

    def _reserve(self, number: int) -> _Slot | None:
        """Keep a slot from all other steps until it has none, since without that it might never be so."""
        kind = self._steps[number].kind
        able = (
            slot
            for slot in self._slots_in[SlotState.READY].values()
            if slot.reserved is None and not slot.draining and kind in (None, slot.kind)
        )
        slot = min(able, key=lambda slot: len(slot.runs), default=None)
        if slot is not None:
            self._suspects[number], slot.reserved = slot.life.slot, number
            self._file(slot)
        return slot

    def _unreserve(self, number: int | None) -> None:
        slot = None if number is None else self._slots[number]
        if slot is None or slot.reserved is None:
            return
        if slot.reserved in self._suspects:
            self._suspects[slot.reserved] = None
        slot.reserved = None
        self._file(slot)

    def _assign_queued(self, now: float) -> Iterator[Assignment]:
        for lane in LANES:
            while (assignment := self._assign_first(lane, now)) is not None:
                yield assignment

    def _assign_first(self, lane: Lane, now: float) -> Assignment | None:
        """Give the first step of a lane that some worker may take."""
        kinds = [kind for queue_lane, kind in self._queues if queue_lane == lane]
        heads = sorted((head, kind) for kind in kinds if (head := self._head(lane, kind)) is not None)
        for number, kind in heads:
            slot = self._free_slot(lane, kind)
            if slot is not None:
                return self._give(number, slot, now)
        return None

    def _free_slot(self, lane: Lane, kind: str | None) -> _Slot | None:
        """The slot that has least to do in a lane; among equals, the one that waits longest."""
        able = [loads for (of, of_kind), loads in self._open.items() if of == lane and kind in (None, of_kind)]
        for load in range(LANES[lane]):
            for loads in able:
                for slot in loads[load].values():
                    return slot
        return None

    def _give(self, number: int, slot: _Slot, now: float) -> Assignment:
        step = self._steps[number]
        run = _Run(slot.life, number, step.lane, now)
        self._waiting.discard(number)
        step.slots.add(slot.life.slot)
        slot.runs[number] = run
        self._runs[step.lane][run] = None
        heappush(self._deadlines, (now + self._longest_seconds(step), run))
        self._file(slot)
        return Assignment(slot.life, number)

    def _end_run(self, slot: _Slot, number: int) -> _Run:
        run = slot.runs.pop(number)
        del self._runs[run.lane][run]
        self._file(slot)
        return run

    def _longest_seconds(self, step: _Step) -> float:
        if step.seconds is None:
            return self._patience.unknown_seconds
        return max(self._patience.least_seconds, self._patience.times_expected * step.seconds)

    def _stragglers(self, lane: Lane, kind: str, now: float) -> Iterator[int]:
        """Steps that have run for too long on one worker alone, and that one of a kind may run; the oldest first."""
        count, seconds = self._finished[lane]
        mean = seconds / count if count else inf
        for run in tuple(self._runs[lane]):
            step = self._steps.get(run.step)
            if step is None or len(step.slots) != 1 or step.deaths or step.kind not in (None, kind):
                continue
            expected = mean if step.seconds is None else step.seconds
            if now - run.since > max(self._patience.twice_seconds, LONG_TIMES * expected):
                yield run.step
