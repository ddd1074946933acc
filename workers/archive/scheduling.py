"""Which worker runs which step: again after a death, twice at the end, and not where live streams need the device.

No Ray, no threads and no clock in here: the pool reports what happened and when, and does what is decided. Steps are
named by number, and the lowest that waits comes first, of those that a machine should take (`StepQueues`); a worker is
a *slot* that lives several *lives*, one after each death. A step may be run twice, so its first answer counts.

What one event costs does not grow with slots or steps, but for what happens rarely or at most once a second.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf
from typing import NamedTuple

from workers.archive.contract import LANES, Lane, StepPoolState
from workers.archive.patience import StepPatience
from workers.archive.queues import StepQueues
from workers.archive.slots import Run, Slot, Slots, SlotState
from workers.scheduling import Life

DEATHS_OF_A_STEP = 3
"""A step with which so many workers died is at fault itself."""

REQUEUES_OF_A_STEP = 10
"""A step that so many workers were lost with through no fault of its own has no chance to end here."""

LONG_TIMES = 2.0
"""A step that takes so many times longer than expected is run a second time where a worker has nothing else to do."""


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


@dataclass(slots=True)
class _Step:
    lane: Lane
    kind: str | None
    seconds: float | None
    deaths: int = 0
    died_in: set[int] = field(default_factory=set)
    """Slots whose workers died with it."""
    requeues: int = 0
    slots: set[int] = field(default_factory=set)
    """Where it is running."""
    twice: bool = False
    """Whether it was given to a second worker while the first one has it."""


class StepScheduler:
    """Tables of slots and steps, and every decision about them. For one thread.

    ``now`` is always seconds on one monotonic clock.
    """

    def __init__(self, patience: StepPatience | None = None) -> None:
        self._patience = patience or StepPatience()
        self._slots = Slots(self._patience)
        self._open: dict[tuple[Lane, str], tuple[dict[int, Slot], ...]] = {}
        """Slots that may take steps of a lane, by their kind and how many they have of it; the newest is last."""
        self._open_at: dict[tuple[Lane, str, str], tuple[dict[int, Slot], ...]] = {}
        """The same slots, by their machines, too."""
        self._steps: dict[int, _Step] = {}
        """Those that wait and those that run."""
        self._queues = StepQueues()
        """Of those that wait, but for suspects."""
        self._suspects: dict[int, int | None] = {}
        """Steps that wait and that workers died with, and the slot that is reserved for each."""
        self._runs: dict[Lane, dict[Run, None]] = {lane: {} for lane in LANES}
        """What every worker has, in the order in which it was given."""
        self._deadlines: list[tuple[float, Run]] = []
        """A heap, also of runs that have ended."""
        self._finished: dict[Lane, tuple[int, float]] = dict.fromkeys(LANES, (0, 0.0))
        """How many steps ended well, and how long they took together."""
        self._absent_since: dict[str, float] = {}
        """Since when there has been no worker of a kind that steps wait for."""
        self._redispatched = 0

    @property
    def lost(self) -> bool:
        """Whether there is no worker, and no hope for one."""
        return self._slots.lost

    def state(self) -> StepPoolState:
        """A summary for progress lines."""
        waiting = len(self._queues) + len(self._suspects)
        return StepPoolState(
            workers=self._slots.count(SlotState.READY),
            wanted=len(self._slots),
            waiting=self._slots.count(SlotState.WAITING),
            busy=len(self._steps) - waiting,
            queued=waiting,
            deaths=self._slots.deaths,
            redispatched=self._redispatched,
            nodes=len(self._slots.nodes),
            lost=self.lost,
        )

    # Workers

    def grow(self, slots: int) -> None:
        """There are to be so many slots, if there are not more already."""
        self._slots.grow(slots)

    def starts(self, now: float) -> tuple[Life, ...]:
        """Workers to be started now; they count as waiting for a machine."""
        return self._slots.start(now)

    def placed(self, life: Life, node: str, gpus: tuple[str, ...], now: float) -> bool:
        """A machine had room for a worker; False where that was ended meanwhile."""
        slot = self._slots.find(life, SlotState.WAITING)
        if slot is not None:
            self._slots.place(slot, node, gpus, now)
        return slot is not None

    def ready(self, life: Life, kind: str, now: float) -> bool:
        """A worker has built its context; False where it was ended meanwhile."""
        slot = self._slots.find(life, SlotState.BUILDING)
        if slot is None:
            return False
        if not self._slots.count(SlotState.READY):
            # Until now there was none of any kind.
            self._absent_since = dict.fromkeys(self._absent_since, now)
        self._absent_since.pop(kind, None)
        self._slots.get_ready(slot, kind, now)
        self._file(slot)
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
        slot = self._slots.find(life, SlotState.WAITING, SlotState.BUILDING, SlotState.READY)
        if slot is None:
            return None
        verdict = self._take_back(slot, slot.runs.keys() if blamed is None else blamed)
        self._slots.bury(slot, now, innocent=blamed is not None and not blamed, hopeless=hopeless)
        self._close(slot, now)
        return verdict

    def make_room(self, places: int, reserved: int, now: float, sharing: int = 1) -> None:
        """Leave devices to those who claim them: as steps end, or at once where nothing runs.

        Args:
            places: Workers that the cluster's machines would have room for.
            reserved: How many of these places are claimed by others.
            now: When.
            sharing: Places of one device.
        """
        for slot in self._slots.make_room(places, reserved, now, sharing):
            self._unreserve(slot.life.slot)
            self._file(slot)

    def leave(self, nodes: Collection[str]) -> None:
        """Leave machines that are about to go, as steps end; their workers wait for others then.

        Args:
            nodes: Ray's ids of all such machines.
        """
        for slot in self._slots.leave(nodes):
            self._unreserve(slot.life.slot)
            self._file(slot)
            self._queues.desert(slot.node)

    def drained(self, now: float) -> tuple[Life, ...]:
        """Workers to be killed now, since others claim their devices, or their machines go; they are no deaths."""
        slots = self._slots.drained()
        lives = self._slots.end_drained(now)
        for slot in slots:
            self._close(slot, now)
        return lives

    def overdue(self, now: float) -> tuple[Overdue, ...]:
        """Workers that hang."""
        found = list[Overdue]()
        while self._deadlines and now >= self._deadlines[0][0]:
            _, run = heappop(self._deadlines)
            if run in self._runs[run.lane]:
                found.append(Overdue(run.life, run.step))
        for slot in self._slots.among(SlotState.BUILDING):
            if now >= slot.since + self._patience.start_seconds:
                found.append(Overdue(slot.life, None))
        return tuple(found)

    # Steps

    def add(
        self, step: int, lane: Lane, kind: str | None, seconds: float | None, now: float, group: str | None = None
    ) -> None:
        """A new step waits; its number is higher than those of all before it."""
        self._steps[step] = _Step(lane, kind, seconds)
        self._queues.add(step, lane, kind, group)
        self._queue(step)
        if kind is not None and kind not in self._slots.kinds:
            self._absent_since.setdefault(kind, now)

    def drop(self, step: int) -> None:
        """Forget a step that nobody waits for any more. A worker that has it goes on, for nothing."""
        self._steps.pop(step, None)
        self._queues.forget(step)
        self._unreserve(self._suspects.pop(step, None))

    def answered(self, life: Life, step: int, now: float) -> bool:
        """A worker gave a step's result.

        Returns:
            Whether this is the step's first answer; another one is to be dropped. An answer of a worker that was
            ended meanwhile is as good as any.
        """
        slot = self._slots.find(life, SlotState.READY)
        if slot is not None and step in slot.runs:
            run = self._end_run(slot, step)
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
        slot = self._slots.find(life, SlotState.READY)
        if slot is None or step not in slot.runs:
            return False
        self._end_run(slot, step)
        known = self._steps.get(step)
        if known is None:
            return False
        known.slots.discard(life.slot)
        if known.slots:
            return False
        self._queues.shun(step, slot.node)
        self.drop(step)
        return True

    def stranded(self, now: float) -> tuple[int, ...]:
        """Steps for which there has been no worker of their kind for long, though there are others; they fail."""
        if not self._slots.count(SlotState.READY):
            return ()
        kinds = {kind for kind, since in self._absent_since.items() if now - since >= self._patience.kind_seconds}
        if not kinds:
            return ()
        steps = tuple(
            number
            for number, step in sorted(self._steps.items())
            if step.kind in kinds and (number in self._queues or number in self._suspects)
        )
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
            if idle and self._queues.first(lane, None) is None and self._queues.first(lane, kind) is None:
                for slot, step in zip(tuple(idle.values()), self._stragglers(lane, kind, now), strict=False):
                    self._redispatched += 1
                    self._steps[step].twice = True
                    given.append(self._give(step, slot, now))
        return tuple(given)

    # How slots are kept

    def _file(self, slot: Slot) -> None:
        """Keep a slot where its state and its steps say, after either has changed."""
        number = slot.life.slot
        is_open = slot.takes_steps and slot.reserved is None and not any(self._is_suspect(step) for step in slot.runs)
        for lane, most in LANES.items():
            of_all = self._open.setdefault((lane, slot.kind), tuple({} for _ in range(most)))
            at_home = self._open_at.setdefault((lane, slot.kind, slot.node), tuple({} for _ in range(most)))
            for slots in (*of_all, *at_home):
                slots.pop(number, None)
            load = slot.load(lane)
            if is_open and load < most:
                of_all[load][number] = at_home[load][number] = slot

    def _close(self, slot: Slot, now: float) -> None:
        """A slot has no worker any more."""
        self._unreserve(slot.life.slot)
        self._file(slot)
        if slot.kind and slot.kind not in self._slots.kinds:
            self._absent_since.setdefault(slot.kind, now)
        if slot.node not in self._slots.nodes:
            self._queues.desert(slot.node)
            for lane in LANES:
                self._open_at.pop((lane, slot.kind, slot.node), None)

    # How steps are kept

    def _is_suspect(self, number: int) -> bool:
        step = self._steps.get(number)
        return step is not None and step.deaths > 0

    def _queue(self, number: int) -> None:
        if self._steps[number].deaths:
            self._suspects[number] = None
        else:
            self._queues.put(number)

    def _take_back(self, slot: Slot, blamed: Collection[int]) -> Verdict:
        """Let the steps of a dead worker wait again; those that had too many of them fail."""
        poisoned, exhausted, requeued = list[int](), list[int](), list[int]()
        for number, run in sorted(slot.runs.items()):
            del self._runs[run.lane][run]
            step = self._steps.get(number)
            if step is None:
                continue
            step.slots.discard(slot.life.slot)
            if number in blamed:
                step.deaths += 1
                step.died_in.add(slot.life.slot)
            step.requeues += number not in blamed
            if step.deaths >= DEATHS_OF_A_STEP:
                poisoned.append(number)
            elif not step.slots and step.requeues > REQUEUES_OF_A_STEP:
                exhausted.append(number)
            elif not step.slots:
                step.twice = False
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

    def _reserve(self, number: int) -> Slot | None:
        """Keep a slot from all other steps until it has none, since without that it might never be so."""
        step = self._steps[number]
        ready = self._slots.among(SlotState.READY)
        able = [slot for slot in ready if slot.takes_steps and step.kind in (None, slot.kind)]
        if step.deaths == DEATHS_OF_A_STEP - 1:
            # Its last chance is elsewhere: a slot whose device breaks again and again is always the freest.
            able = [slot for slot in able if slot.life.slot not in step.died_in] or able
        free = (slot for slot in able if slot.reserved is None)
        slot = min(free, key=lambda slot: len(slot.runs), default=None)
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
        """Give a step of a lane: the first that some worker may take, unless that worker has others at home."""
        for number, kind in self._queues.heads(lane):
            slot = self._free_slot(lane, kind)
            if slot is None:
                continue
            at_home = self._free_slot(lane, kind, self._queues.home(number))
            if at_home is not None and at_home.load(lane) == slot.load(lane):
                return self._give(number, at_home, now)
            return self._give(self._queues.choose(lane, slot.kind, slot.node, number), slot, now)
        return None

    def _free_slot(self, lane: Lane, kind: str | None, node: str | None = None) -> Slot | None:
        """The slot that has least to do in a lane, of all or of one machine; of equals the one that waits longest."""
        kinds = [of_kind for of, of_kind in self._open if of == lane and kind in (None, of_kind)]
        if node is None:
            able = [self._open[lane, kind] for kind in kinds]
        else:
            able = [loads for kind in kinds if (loads := self._open_at.get((lane, kind, node))) is not None]
        for load in range(LANES[lane]):
            for loads in able:
                for slot in loads[load].values():
                    return slot
        return None

    def _give(self, number: int, slot: Slot, now: float) -> Assignment:
        step = self._steps[number]
        run = Run(slot.life, number, step.lane, now)
        self._queues.take(number, slot.node)
        step.slots.add(slot.life.slot)
        slot.runs[number] = run
        self._runs[step.lane][run] = None
        heappush(self._deadlines, (now + self._longest_seconds(step), run))
        self._forget_deadlines()
        self._file(slot)
        return Assignment(slot.life, number)

    def _end_run(self, slot: Slot, number: int) -> Run:
        run = slot.runs.pop(number)
        del self._runs[run.lane][run]
        if run.lane == "restore":
            # What was done beside the device says nothing about it.
            self._slots.answered(slot)
        self._file(slot)
        return run

    def _longest_seconds(self, step: _Step) -> float:
        if step.seconds is None:
            return self._patience.unknown_seconds
        return max(self._patience.least_seconds, self._patience.times_expected * step.seconds)

    def _forget_deadlines(self) -> None:
        """Leave out those of runs that have ended, when they are more than the others: an hour's would be many."""
        if len(self._deadlines) > 1000 + 2 * sum(len(runs) for runs in self._runs.values()):
            self._deadlines = [deadline for deadline in self._deadlines if deadline[1] in self._runs[deadline[1].lane]]
            heapify(self._deadlines)

    def _stragglers(self, lane: Lane, kind: str, now: float) -> Iterator[int]:
        """Steps that one worker has had for too long, and that another one, of a kind, may run; the oldest first."""
        count, seconds = self._finished[lane]
        mean = seconds / count if count else inf
        for run in tuple(self._runs[lane]):
            step = self._steps.get(run.step)
            if step is None or step.twice or step.deaths or step.kind not in (None, kind):
                continue
            expected = mean if step.seconds is None else step.seconds
            if now - run.since > max(self._patience.twice_seconds, LONG_TIMES * expected):
                yield run.step
