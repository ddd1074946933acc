"""How many stages of the network live frames get now: less work per frame before fewer frames.

Decides and never acts: no threads and no clock in here. All streams that share a pool share one ladder, for what
is short is the devices' time, and that is the pool's.

The *load* of a level is how many seconds of a worker's time are asked for in each second it has. Above 1 frames must
be lost, so the way down is taken at once, as far as is needed. The way up is taken when the next level would leave
room, after a while and one step at a time; where such a step was wrong, the next one waits longer.

How long a frame takes at a level is measured where that level is run. Elsewhere it is guessed from the level that is,
and from what the levels cost relative to each other: first as given, then as seen when a level was changed.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, inf, log
from statistics import fmean

from streamrestore.tasks import Stages

FULL_LOAD = 1.0
"""A level with more load is left."""

SAFE_LOAD = 0.9
"""The way down ends at the highest level with at most this much."""

LIGHT_LOAD = 0.8
"""The way up is taken to a level with at most this much."""

HOPELESS = 2.0
"""How much more one stage may be loaded than other levels: half of the frames are passed on then. Beyond, all are,
since a picture that changes between restored and not is worse than one that is never restored."""

HOLD_SECONDS = 5.0
"""The way up must have been open for so long."""

LONGEST_HOLD_SECONDS = 120.0
TAKEN_BACK_SECONDS = 60.0
"""A step up that is taken back so soon was wrong, and doubles the hold."""

QUIET_SECONDS = 300.0
"""After so long without a step down, half of the hold is forgotten. More than the longest hold and a step that is
taken back, so that steps that are always wrong stay rare."""

START_SECONDS = 10.0
START_HOLD_SECONDS = 1.0
"""First frames may be slow for reasons of their own. So in the first seconds after the first measurement the way up
is short, and any number of steps."""

OVERFLOW_SHARE = 0.02
OVERFLOW_SECONDS = 1.0
"""When more than this share of the frames of so long found no room, the load is higher than it looks; not so soon
after a step, when workers still have frames from before."""

FRESH_SECONDS = 2.0
"""A measurement that is older says less than a guess from one that is not."""

SMOOTHING_SECONDS = 0.5
SMOOTHING_FRAMES = 5
"""Time constant of the mean, and frames it is made of: whatever is more."""

LARGEST_RISE = 2.0
"""A mean rises this many times at most between two decisions: one frame that hung is not yet a slow device."""

SPARSE_SECONDS = 2.0
"""Where frames are few, time alone makes the mean forget."""

EXPLORE_LOAD = 0.7
EXPLORE_SECONDS = 30.0
TRIED_SECONDS = 900.0
"""Where only a guess stands against the level above, although this one has at most so much load, the level above is
tried after so long: what is guessed may be wrong for ever. What a step up taught is believed for a quarter of an
hour."""

LEARNED_FRAMES = 8
"""So many frames after a step say what its two levels cost."""


@dataclass(slots=True)
class _Measurement:
    seconds: float
    at: float


@dataclass(slots=True)
class _Step:
    """A change from one level to another, from which their relative costs are learned."""

    below: int
    above: int
    up: bool
    seconds_before: float
    after: list[float] = field(default_factory=list)


class QualityLadder:
    """What frames take at each level, and which level is run. For one thread.

    A level is a number of stages; at level 0 all frames are passed on as they are. ``now`` is always seconds on one
    monotonic clock.
    """

    def __init__(self, most: Stages, costs: Mapping[int, float]) -> None:
        """Begin at the highest level.

        Args:
            most: The highest level.
            costs: What each level from 1 to ``most`` costs, relative to each other.

        Raises:
            ValueError: The costs are not positive numbers that rise with the level.
        """
        given = [costs.get(level, 0.0) for level in range(1, most + 1)]
        if not all(below < above < inf for below, above in zip([0.0, *given], given, strict=False)):
            raise ValueError(f"costs {dict(costs)} must be positive and rise for each of levels 1 to {most}")
        self._most: int = most
        self._level: int = most
        self._given = dict(enumerate(given, 1))
        self._relative = dict(self._given)
        """As given, corrected by what was learned."""
        self._observed: dict[int, list[float]] = {}
        """Since the last decision."""
        self._measured: dict[int, _Measurement] = {}
        self._step: _Step | None = None
        self._tried: dict[int, float] = {}
        """When it was last seen what a step up to a level means, unless that is too long ago."""
        self._overflows: deque[tuple[float, int]] = deque()
        self._first_measured_at: float | None = None
        self._changed_at = self._raised_at = -inf
        self._open_since: float | None = None
        """Since when the way up is open."""
        self._quiet_since: float | None = None
        self._hold_seconds = HOLD_SECONDS

    @property
    def level(self) -> int:
        """Stages that frames get now."""
        return self._level

    def observe(self, stages: int, seconds: float) -> None:
        """A device was busy with one frame; taken into account by the next decision.

        Args:
            stages: Stages that were run, 1 to ``most``.
            seconds: How long.
        """
        self._observed.setdefault(stages, []).append(seconds)

    def seconds(self, level: int) -> float | None:
        """How long a frame takes at a level: measured lately, else guessed; None before the first measurement."""
        if level == 0:
            return 0.0
        if not self._measured:
            return None
        source = level if self._is_fresh(level) else self._newest(level)
        return self._measured[source].seconds * self._relative[level] / self._relative[source]

    def load(self, level: int, demand_fps: float, workers: int) -> float | None:
        """Seconds of work in each second that each worker would have; None before the first measurement."""
        seconds = self.seconds(level)
        if seconds is None:
            return None
        return demand_fps * seconds / workers if workers else inf if demand_fps * seconds else 0.0

    def decide(self, now: float, demand_fps: float, workers: int, overflowed: int) -> int:
        """Which level is run from now on. Called a few times a second.

        Args:
            now: When.
            demand_fps: Frames that all streams together capture in a second, counted over the last two; over less, a
                burst looks like more demand, and so does one frame where they are few.
            workers: How many are ready. Without any there is nothing to decide.
            overflowed: Frames since the last call that found no room, and were passed on or dropped.
        """
        self._learn(now)
        recent = now - self._changed_at <= OVERFLOW_SECONDS
        self._overflows.append((now, 0 if recent else overflowed))
        while self._overflows[0][0] <= now - OVERFLOW_SECONDS:
            self._overflows.popleft()
        self._calm_down(now)
        level = self._lowered(demand_fps, workers)
        if level == self._level:
            level = self._raised(now, demand_fps, workers)
        if level != self._level:
            self._change(level, now)
        return self._level

    def _newest(self, level: int) -> int:
        """The level that was measured last; of several, the one nearest to ``level``."""
        return max(self._measured, key=lambda other: (self._measured[other].at, -abs(other - level)))

    def _is_fresh(self, level: int) -> bool:
        own = self._measured.get(level)
        return own is not None and self._measured[self._newest(level)].at - own.at <= FRESH_SECONDS

    def _lowered(self, demand_fps: float, workers: int) -> int:
        load = self.load(self._level, demand_fps, workers)
        if self._level == 0 or not workers:
            return self._level
        if self._level == 1:
            # What one stage takes must have been seen before it is given up.
            return 0 if load is not None and load > HOPELESS * FULL_LOAD and self._is_fresh(1) else 1
        if load is not None and load > FULL_LOAD:
            below = ((level, self.load(level, demand_fps, workers)) for level in range(self._level - 1, 1, -1))
            return next((level for level, load in below if load is not None and load <= SAFE_LOAD), 1)
        return self._level - 1 if self._overflow_persists(demand_fps) else self._level

    def _overflow_persists(self, demand_fps: float) -> bool:
        """Whether too many frames found no room, over more than a moment."""
        times = [at for at, frames in self._overflows if frames]
        total = sum(frames for _, frames in self._overflows)
        lasting = len(times) > 1 and times[-1] - times[0] >= OVERFLOW_SECONDS / 2
        return lasting and total > OVERFLOW_SHARE * demand_fps * OVERFLOW_SECONDS

    def _raised(self, now: float, demand_fps: float, workers: int) -> int:
        starting = self._first_measured_at is not None and now - self._first_measured_at <= START_SECONDS
        levels = range(self._level + 1, (self._most if starting else min(self._level + 1, self._most)) + 1)
        loads = {level: self._load_going_up(level, demand_fps, workers) for level in levels}
        if not loads or (self._level and any(frames for _, frames in self._overflows)):
            self._open_since = None
            return self._level
        if min(loads.values()) > SAFE_LOAD:
            self._open_since = None
            if not self._explores(now, demand_fps, workers):
                return self._level
            # Else the same guess would take the step back before anything is measured.
            self._set_ratio(self._level, self._level + 1, 1.0)
            return self._level + 1
        best = max((level for level, load in loads.items() if load <= LIGHT_LOAD), default=self._level)
        if best == self._level:
            # Neither opens the way nor closes it: a load that wavers about the limit shall get there.
            return self._level
        if self._open_since is None:
            self._open_since = now
        brief = starting and self._hold_seconds == HOLD_SECONDS
        hold = START_HOLD_SECONDS if brief else self._hold_seconds
        return best if now - self._open_since >= hold else self._level

    def _explores(self, now: float, demand_fps: float, workers: int) -> bool:
        """Whether the level above is tried although it is said to be too much."""
        load = self.load(self._level, demand_fps, workers)
        untried = self._level + 1 not in self._tried
        quiet = now - self._changed_at >= max(EXPLORE_SECONDS, self._hold_seconds)
        return self._level > 0 and load is not None and load <= EXPLORE_LOAD and untried and quiet

    def _load_going_up(self, level: int, demand_fps: float, workers: int) -> float:
        load = self.load(level, demand_fps, workers)
        if load is None:
            return inf
        return load / HOPELESS if level == 1 else load

    def _change(self, level: int, now: float) -> None:
        up = level > self._level
        self._end_step(now)
        if not up:
            if now - self._raised_at < TAKEN_BACK_SECONDS:
                self._hold_seconds = min(2 * self._hold_seconds, LONGEST_HOLD_SECONDS)
            self._quiet_since = now
        else:
            self._raised_at = now
        before = self.seconds(self._level)
        if before and level and self._level in self._measured:
            self._step = _Step(min(level, self._level), max(level, self._level), up, before)
        self._level, self._changed_at = level, now
        self._open_since = None
        self._overflows.clear()

    def _calm_down(self, now: float) -> None:
        if self._quiet_since is None:
            self._quiet_since = now
        if now - self._quiet_since >= QUIET_SECONDS:
            self._quiet_since = now
            self._hold_seconds = max(self._hold_seconds / 2, HOLD_SECONDS)
        for level in [level for level, at in self._tried.items() if now - at >= TRIED_SECONDS]:
            del self._tried[level]
            self._set_ratio(level - 1, level, min(self._ratio(level - 1, level), self._given_ratio(level)))

    def _learn(self, now: float) -> None:
        """Take in what was observed since the last decision."""
        observed, self._observed = self._observed, {}
        for level, all_seconds in observed.items():
            if self._first_measured_at is None:
                self._first_measured_at = now
            mean, frames = fmean(all_seconds), len(all_seconds)
            before = self.seconds(level)
            known = self._measured.get(level)
            weight = 1 - exp(-frames / SMOOTHING_FRAMES)
            if known is not None and now - known.at <= FRESH_SECONDS:
                weight = max(weight, 1 - exp(-(now - known.at) / SPARSE_SECONDS))
                weight = min(weight, 1 - exp(-(now - known.at) / SMOOTHING_SECONDS))
            elif known is not None and self._newest(level) == level:
                # Frames take so long, or come so rarely, that there is nothing to take a mean of.
                before = None
            seconds = mean if before is None else before + weight * (min(mean, LARGEST_RISE * before) - before)
            self._measured[level] = _Measurement(seconds, now)
            step = self._step
            if step is not None and level == (step.above if step.up else step.below) == self._level:
                step.after += all_seconds
                if len(step.after) >= LEARNED_FRAMES:
                    self._end_step(now)

    def _end_step(self, now: float) -> None:
        """Learn what the two levels of the last step cost.

        Before a step up, all was calm for a while, so what changed is due to the level. A step down is often due to
        a device that just became slower, or is faster again a moment later; so it never makes the way back up look
        longer than it is said to be. Too short costs one step that is soon taken back and learned from.
        """
        step, self._step = self._step, None
        if step is None or not (step.up or step.after):
            return
        given, current = self._given[step.above] / self._given[step.below], self._ratio(step.below, step.above)
        if step.up:
            # Where not one frame came back before the step had to be taken back, it is at least as long as was said.
            ratio = fmean(step.after) / step.seconds_before if step.after else max(given, current)
            self._tried[step.above] = now
        else:
            ratio = min(step.seconds_before / fmean(step.after), max(given, current))
        self._set_ratio(step.below, step.above, ratio)

    def _ratio(self, below: int, above: int) -> float:
        return self._relative[above] / self._relative[below]

    def _given_ratio(self, above: int) -> float:
        return self._given[above] / self._given[above - 1]

    def _set_ratio(self, below: int, above: int, ratio: float) -> None:
        """What lies between is shifted in proportion, what lies above keeps its distance."""
        base, old = self._relative[below], self._relative[above]
        spread = log(self._given[above] / self._given[below])
        for level in range(below + 1, above + 1):
            share = log(self._given[level] / self._given[below]) / spread
            self._relative[level] = base * max(ratio, 1.0) ** share
        for level in range(above + 1, self._most + 1):
            self._relative[level] *= self._relative[above] / old
