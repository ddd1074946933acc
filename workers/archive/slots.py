"""Which workers there are: started, replaced when they die, ended where devices are claimed or machines go.

No Ray, no threads and no clock in here. A worker is a *slot* that lives several *lives*, one after each death.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import NamedTuple

from workers.archive.contract import Lane
from workers.archive.patience import StepPatience
from workers.scheduling import Life

DEATHS_OF_A_SLOT = 10
"""A slot whose workers died so often, and restored nothing in between, rests: three steps that are at fault, one after
the other, are no reason yet."""

FALSE_STARTS = 4
"""So does a slot whose workers died so often before they were ready."""

FAILING_SECONDS = 60.0
"""Where workers only failed to start for so long, while none was ready, there is no hope for those that still wait for
a machine."""

QUIET_SECONDS = 10.0
"""After devices were left to others, for so long no worker waits for one that is not there yet: it might get in before
them."""


class SlotState(StrEnum):
    """What a slot is doing."""

    AWAY = "away"
    """It has no worker, and may be given one later."""
    WAITING = "waiting"
    """For a machine that has room for its worker."""
    BUILDING = "building"
    """Its worker builds the context."""
    READY = "ready"


class Run(NamedTuple):
    """A step that a worker has."""

    life: Life
    step: int
    lane: Lane
    since: float


@dataclass(slots=True)
class Slot:
    """One worker after the other."""

    life: Life
    state: SlotState = SlotState.AWAY
    since: float = 0.0
    """When it came to its state."""
    until: float = -inf
    """When it may have a worker again."""
    broken: bool = False
    """Whether its last workers could not start, or only died."""
    draining: bool = False
    """It leaves its device to others: it gets no more steps, and is ended when it has none."""
    leaving: bool = False
    """Its machine is about to go: the same, and for good."""
    reserved: int | None = None
    """A step that waits until this slot has no other."""
    node: str = ""
    gpus: tuple[str, ...] = ()
    kind: str = ""
    runs: dict[int, Run] = field(default_factory=dict)
    """By step; also of steps that another worker has answered since."""
    strikes: int = 0
    """Deaths since its device was last of use."""
    false_starts: int = 0
    """Deaths since a worker was ready."""
    rests: int = 0
    """How often it has rested since then."""

    @property
    def takes_steps(self) -> bool:
        """Whether it may be given another step."""
        return self.state is SlotState.READY and not self.draining and not self.leaving

    def load(self, lane: Lane) -> int:
        """How many steps of a lane it has."""
        return sum(run.lane == lane for run in self.runs.values())


class Slots:
    """All slots, and every decision about their workers. For one thread.

    ``now`` is always seconds on one monotonic clock.
    """

    def __init__(self, patience: StepPatience) -> None:
        self._patience = patience
        self._slots: list[Slot] = []
        self._slots_in: dict[SlotState, dict[int, Slot]] = {state: {} for state in SlotState}
        """By number, in the order in which they came to that state."""
        self.kinds, self.nodes = Counter[str](), Counter[str]()
        """Of workers that are ready, and how many there are of each."""
        self._places, self._reserved, self._sharing = 0, 0, 1
        self._quiet_until = -inf
        self._draining: dict[int, Slot] = {}
        self._leaving: dict[int, Slot] = {}
        self._withdrawn: list[Life] = []
        """Workers that waited, and were ended for a claim."""
        self._most_placed = 0
        self._failed_starts = 0
        """Workers that died in starting since the last one was ready."""
        self._failing_since = inf
        self._barren = 0
        """Workers that died since the device of any was last of use."""
        self.deaths = 0
        self.lost = False
        """Whether there is no worker, and no hope for one."""

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, number: int) -> Slot:
        return self._slots[number]

    def find(self, life: Life, *states: SlotState) -> Slot | None:
        """The slot whose present life this is, if it is in one of these states."""
        slot = self._slots[life.slot]
        return slot if slot.life == life and slot.state in states else None

    def among(self, *states: SlotState) -> list[Slot]:
        """Slots in these states."""
        return [slot for state in states for slot in self._slots_in[state].values()]

    def count(self, state: SlotState) -> int:
        """How many slots are in a state."""
        return len(self._slots_in[state])

    def grow(self, count: int) -> None:
        """There are to be so many slots, if there are not more already."""
        for number in range(len(self._slots), count):
            slot = Slot(Life(number, 0))
            self._slots.append(slot)
            self._slots_in[SlotState.AWAY][number] = slot

    def start(self, now: float) -> tuple[Life, ...]:
        """Let those that have no worker and may have one now wait for a machine."""
        room = max(0, self._room(now) - self._active())
        due = [slot for slot in self._slots_in[SlotState.AWAY].values() if now >= slot.until][:room]
        for slot in due:
            self._enter(slot, SlotState.WAITING, now)
        return tuple(slot.life for slot in due)

    def place(self, slot: Slot, node: str, gpus: tuple[str, ...], now: float) -> None:
        """A machine had room for a slot's worker."""
        slot.node, slot.gpus = node, gpus
        self._enter(slot, SlotState.BUILDING, now)
        self._most_placed = max(self._most_placed, self.count(SlotState.BUILDING) + self.count(SlotState.READY))

    def get_ready(self, slot: Slot, kind: str, now: float) -> None:
        """A slot's worker has built its context."""
        slot.kind, slot.false_starts = kind, 0
        self._failed_starts, self._failing_since = 0, inf
        self._enter(slot, SlotState.READY, now)
        self.kinds[kind] += 1
        self.nodes[slot.node] += 1

    def answered(self, slot: Slot) -> None:
        """A slot's worker has done something with its device."""
        self._barren = 0
        slot.strikes = slot.rests = 0
        slot.broken = False

    def bury(self, slot: Slot, now: float, *, innocent: bool, hopeless: bool) -> None:
        """A slot's worker is dead; it is to have no steps any more.

        Args:
            slot: Which one.
            now: When.
            innocent: Its machine was lost: that says nothing about the slot.
            hopeless: It failed to start for a reason that will not go away by itself.
        """
        self.deaths += 1
        if not innocent:
            self._barren += 1
            if slot.state is SlotState.READY:
                slot.strikes += 1
            else:
                slot.false_starts += 1
                self._failed_starts += 1
                self._failing_since = min(self._failing_since, now)
        if hopeless or slot.strikes >= DEATHS_OF_A_SLOT or slot.false_starts >= FALSE_STARTS:
            rest_seconds = self._patience.rest_seconds * 2.0 ** min(slot.rests, 30)
            slot.until = now + min(rest_seconds, self._patience.longest_rest_seconds)
            slot.rests += 1
            slot.broken = True
        self._leave(slot, now)
        self.lost = self._is_lost(now)

    def make_room(self, places: int, reserved: int, now: float, sharing: int = 1) -> list[Slot]:
        """Leave devices to those who claim them, and whole ones: two that are half empty are no empty one.

        Args:
            places: Workers that the cluster's machines would have room for.
            reserved: How many of these places are claimed by others; 0 where nobody claims any.
            now: When.
            sharing: Places of one device.

        Returns:
            Slots that drain from now on, and those that do not any more.
        """
        new = reserved > self._reserved
        self._places, self._reserved, self._sharing = places, reserved, sharing
        devices = _least_busy_first(
            slot for slot in self.among(SlotState.BUILDING, SlotState.READY) if not slot.leaving
        )
        usable = max(0, places - reserved) // sharing if reserved else len(devices)
        leaving = max(0, len(devices) - usable)
        drained = sum(any(slot.draining for slot in slots) for slots in devices)
        if new or leaving > drained:
            self._quiet_until = now + QUIET_SECONDS
        changed = [slot for slots in devices[:leaving] for slot in slots if not slot.draining]
        changed += [slot for slots in devices[leaving:] for slot in slots if slot.draining]
        for slot in changed:
            slot.draining = not slot.draining
            if slot.draining:
                self._draining[slot.life.slot] = slot
            else:
                del self._draining[slot.life.slot]
        surplus = max(0, self._active() - self._room(now))
        for slot in self.among(SlotState.WAITING)[::-1][:surplus]:
            self._withdrawn.append(slot.life)
            self._leave(slot, now)
        return changed

    def leave(self, nodes: Collection[str]) -> list[Slot]:
        """Leave machines that are about to go.

        Args:
            nodes: Ray's ids of them.

        Returns:
            Slots that do so from now on.
        """
        placed = self.among(SlotState.BUILDING, SlotState.READY) if nodes else ()
        changed = [slot for slot in placed if slot.node in nodes and not slot.leaving]
        for slot in changed:
            slot.draining, slot.leaving = False, True
            self._draining.pop(slot.life.slot, None)
            self._leaving[slot.life.slot] = slot
        return changed

    def drained(self) -> list[Slot]:
        """Slots that are to leave their devices, or their machines, and have nothing to do."""
        return [slot for slot in (*self._draining.values(), *self._leaving.values()) if not slot.runs]

    def end_drained(self, now: float) -> tuple[Life, ...]:
        """Workers to be killed, since others claim their devices, or their machines go.

        They are no deaths, and away until there is room.
        """
        idle = self.drained()
        lives = (*self._withdrawn, *(slot.life for slot in idle))
        self._withdrawn = []
        for slot in idle:
            if slot.draining:
                self._quiet_until = now + QUIET_SECONDS
            self._leave(slot, now)
        return lives

    def _enter(self, slot: Slot, state: SlotState, now: float) -> None:
        del self._slots_in[slot.state][slot.life.slot]
        self._slots_in[state][slot.life.slot] = slot
        slot.state, slot.since = state, now

    def _leave(self, slot: Slot, now: float) -> None:
        """A slot has no worker any more; the next one is another life."""
        if slot.state is SlotState.READY:
            self.kinds -= Counter([slot.kind])  # leaves out what there is none of any more
            self.nodes -= Counter([slot.node])
        self._enter(slot, SlotState.AWAY, now)
        slot.life = Life(slot.life.slot, slot.life.number + 1)
        slot.draining = slot.leaving = False
        self._draining.pop(slot.life.slot, None)
        self._leaving.pop(slot.life.slot, None)

    def _active(self) -> int:
        return len(self._slots) - self.count(SlotState.AWAY)

    def _room(self, now: float) -> int:
        """How many workers there may be now: those that wait included, and those that are to be ended."""
        if not self._reserved:
            return len(self._slots)
        if self._sharing > 1 and (self._draining or now < self._quiet_until):
            # A new one might get a share of a device that is being left.
            return self.count(SlotState.BUILDING) + self.count(SlotState.READY)
        missing = max(0, len(self._slots) - self._places) if now >= self._quiet_until else 0
        ending = len(self._draining) + len(self._leaving)
        return max(0, self._places - self._reserved) + ending + missing

    def _is_lost(self, now: float) -> bool:
        away = self._slots_in[SlotState.AWAY]
        if len(away) == len(self._slots) and all(slot.broken for slot in away.values()):
            return True
        if self.count(SlotState.READY) or self.count(SlotState.BUILDING):
            return False
        # Those that wait for a machine would take their turn with what failed for all others.
        failing = self._failed_starts >= FALSE_STARTS and now - self._failing_since >= FAILING_SECONDS
        return failing or self._barren >= DEATHS_OF_A_SLOT * max(1, self._most_placed)


def _least_busy_first(placed: Iterable[Slot]) -> list[list[Slot]]:
    """Slots by their devices, in the order in which these are left to others: those that are being left, and then those
    with the least to do.
    """
    devices: dict[tuple[str, tuple[str, ...]], list[Slot]] = {}
    for slot in placed:
        devices.setdefault((slot.node, slot.gpus), []).append(slot)
    return sorted(
        devices.values(),
        key=lambda slots: (not any(slot.draining for slot in slots), sum(len(slot.runs) for slot in slots)),
    )
