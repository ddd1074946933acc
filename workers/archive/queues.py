"""Steps that wait, in order, and which of them a machine takes first: those of groups that it has begun.

Steps of one *group* read the same source. The machine whose worker is given the first of them is the group's *home*: it
has the source from then on. A home is given up where a step failed, as the machine may be to blame, where no worker is
left, and where the machine is about to go.

No Ray and no clock in here. What one step costs does not grow with steps, groups or machines.
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush

from workers.archive.contract import Lane

LONGEST_LEAD = 10_000
"""By how many numbers a step at home may go before the first of all: or that might wait for ever."""

GROUPS_REMEMBERED = 10_000
"""Of which no step is left: the next one may come in a moment."""

_NOWHERE = ""
"""The home of a group that has none."""


@dataclass(slots=True)
class _Group:
    home: str = _NOWHERE
    steps: set[int] = field(default_factory=set)
    """Those that have not ended."""


@dataclass(frozen=True, slots=True)
class _Step:
    lane: Lane
    kind: str | None
    group: str | None


class StepQueues:
    """Steps that have not ended, and the order of those that wait. For one thread."""

    def __init__(self) -> None:
        self._steps: dict[int, _Step] = {}
        self._waiting: set[int] = set()
        self._of_all: dict[tuple[Lane, str | None], list[int]] = {}
        """Heaps of those that wait for a kind of worker, and of some that do not any more."""
        self._at_home: dict[tuple[Lane, str | None, str], list[int]] = {}
        """The same steps, by their groups' homes, too; and some that have another home now."""
        self._groups: dict[str, _Group] = {}
        self._ended: dict[str, None] = {}
        """Groups of which no step is left, the newest last."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, number: int) -> bool:
        return number in self._waiting

    def add(self, number: int, lane: Lane, kind: str | None, group: str | None) -> None:
        """A new step; it does not wait yet."""
        self._steps[number] = _Step(lane, kind, group)
        if group is not None:
            self._ended.pop(group, None)
            self._groups.setdefault(group, _Group()).steps.add(number)

    def put(self, number: int) -> None:
        """A step waits."""
        step = self._steps[number]
        self._waiting.add(number)
        heappush(self._of_all.setdefault((step.lane, step.kind), []), number)
        self._put_at_home(number)

    def take(self, number: int, node: str) -> None:
        """A step is given to a worker of a machine, whether it waited here or elsewhere."""
        self._waiting.discard(number)
        group = self._group(number)
        if group is not None and group.home == _NOWHERE:
            self._move(group, node)

    def forget(self, number: int) -> None:
        """A step has ended."""
        self._waiting.discard(number)
        step = self._steps.pop(number, None)
        if step is None or step.group is None:
            return
        steps = self._groups[step.group].steps
        steps.discard(number)
        if not steps:
            self._ended[step.group] = None
            if len(self._ended) > GROUPS_REMEMBERED:
                oldest = next(iter(self._ended))
                del self._ended[oldest], self._groups[oldest]

    def shun(self, number: int, node: str) -> None:
        """A step failed on a machine: it is its group's home no more."""
        group = self._group(number)
        if group is not None and group.home == node:
            self._move(group, _NOWHERE)

    def desert(self, node: str) -> None:
        """A machine has no worker any more, or is about to go."""
        for group in self._groups.values():
            if group.home == node:
                self._move(group, _NOWHERE)
        for key in [key for key in self._at_home if key[2] == node]:
            del self._at_home[key]

    def home(self, number: int) -> str:
        """The machine that has the step's source; empty where none does."""
        group = self._group(number)
        return _NOWHERE if group is None else group.home

    def first(self, lane: Lane, kind: str | None) -> int | None:
        """The first step that waits for a worker of a kind; None: for one of any."""
        queue = self._of_all.get((lane, kind), [])
        while queue and queue[0] not in self._waiting:
            heappop(queue)
        return queue[0] if queue else None

    def heads(self, lane: Lane) -> list[tuple[int, str | None]]:
        """The first step for each kind of worker, with that kind, in order."""
        kinds = [kind for of, kind in self._of_all if of == lane]
        return sorted((head, kind) for kind in kinds if (head := self.first(lane, kind)) is not None)

    def choose(self, lane: Lane, kind: str, node: str, first: int) -> int:
        """The step that a machine's worker takes: the first that is at home there, or nowhere, else the first of all.

        Args:
            lane: Of the step.
            kind: Of the worker.
            node: Its machine.
            first: The first of all that the worker may run.
        """
        near = [self._first_at(lane, of, home) for of in (None, kind) for home in (_NOWHERE, node)]
        chosen = min((head for head in near if head is not None), default=first)
        return first if chosen - first > LONGEST_LEAD else chosen

    def _group(self, number: int) -> _Group | None:
        step = self._steps.get(number)
        return None if step is None or step.group is None else self._groups[step.group]

    def _first_at(self, lane: Lane, kind: str | None, home: str) -> int | None:
        queue = self._at_home.get((lane, kind, home), [])
        while queue and (queue[0] not in self._waiting or self.home(queue[0]) != home):
            heappop(queue)
        return queue[0] if queue else None

    def _put_at_home(self, number: int) -> None:
        step, home = self._steps[number], self.home(number)
        # Takes those away that do not wait any more: it may be that nobody else looks.
        self._first_at(step.lane, step.kind, home)
        heappush(self._at_home.setdefault((step.lane, step.kind, home), []), number)

    def _move(self, group: _Group, home: str) -> None:
        group.home = home
        for number in group.steps & self._waiting:
            self._put_at_home(number)
