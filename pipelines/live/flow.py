"""The frames of one stream on their way: to the restorers and back, and on in order.

Every frame that is captured has one fate, decided here: restored, passed on as it came, or dropped; each
is counted once.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pipelines.live.config import DropPolicy
from streamrestore.frame import Planes, Restored
from streamrestore.live.ordering import FrameOrder
from streamrestore.patches import PatchPlan
from streamrestore.probing import SourceInfo

PENDING_FRAMES = 2
"""Frames that wait for a restorer: more would only be delay."""

WAITING_FRAMES = 16
"""Frames of a stream that may lose none; then its source has to wait."""

PROBE_SECONDS = 2.0
"""Between two frames that are restored only to know whether there is time for more."""


@dataclass(slots=True, eq=False)
class LiveFrame:
    """A captured frame on its way."""

    number: int
    planes: Planes
    """As captured, then as restored."""
    info: SourceInfo
    plan: PatchPlan
    pts: int
    arrival_seconds: float
    deadline: float
    stages: int = 0
    """Of the network that were run; 0 while, or where, it is as it came."""
    asked_at: float | None = None
    """When it was given to a restorer."""
    settled_at: float | None = None
    probe: bool = False
    """Whether only the time it takes is of interest."""
    cancel: Callable[[], object] | None = None
    """Takes it back from the restorers, while none has begun."""


@dataclass(slots=True)
class Fates:
    """Frames by what became of them."""

    captured: int = 0
    restored: dict[int, int] = field(default_factory=dict)
    """By stages of the network that were run."""
    passed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """By reason."""


class FrameFlow:
    """Knows of each frame that was captured where it is, and says when it is to be shown. For one thread.

    ``now`` is always seconds on the system's monotonic clock.
    """

    def __init__(self, policy: DropPolicy, max_latency_seconds: float) -> None:
        """Begin without frames.

        Args:
            policy: What becomes of frames for which there is no time.
            max_latency_seconds: What a frame may take from its arrival until it is shown.
        """
        self._policy: DropPolicy = policy
        self._max_latency = max_latency_seconds
        self._order = self._new_order()
        self._frames: dict[int, LiveFrame] = {}
        """Captured, and not gone yet."""
        self._captured = 0
        self.pending: deque[LiveFrame] = deque()
        """Those that wait for a restorer."""
        self._overflowed = 0
        """Frames since `take_overflow` that found no time."""
        self.fates = Fates()
        self.level = 0
        """How many stages of the network are run on frames; 0 passes them on."""
        self.probes = False
        """Whether frames may be restored only to know what that takes, where frames are passed on."""
        self._probe: LiveFrame | None = None
        """Of those the one that is out."""
        self._probed = 0.0

    @property
    def in_flight(self) -> int:
        """Frames captured and not gone yet."""
        return len(self._frames)

    @property
    def is_full(self) -> bool:
        """Whether its source has to wait, since no frame may be lost."""
        return self._policy == "wait" and len(self._frames) >= WAITING_FRAMES

    @property
    def degrades(self) -> bool:
        """Whether less work is done on its frames where there is no time for all of it."""
        return self._policy == "degrade"

    @property
    def most_urgent(self) -> float | None:
        """Deadline of the frame that waits for a restorer; None where none does."""
        return self.pending[0].deadline if self.pending else None

    def take_overflow(self) -> int:
        """Frames since the last call that found no time."""
        count, self._overflowed = self._overflowed, 0
        return count

    def skip(self, frames: int) -> None:
        """Count frames that were captured and lost before they came here."""
        if frames:
            self.fates.captured += frames
            self._drop("reader", frames)
            self._overflowed += frames

    def add(
        self, planes: Planes, info: SourceInfo, plan: PatchPlan, pts: int, arrival_seconds: float, now: float
    ) -> None:
        """Take a frame in that was captured."""
        self.fates.captured += 1
        deadline = arrival_seconds + self._max_latency
        frame = LiveFrame(self._captured, planes, info, plan, pts, arrival_seconds, deadline)
        self._captured += 1
        self._frames[frame.number] = frame
        self._order.add(frame.number, arrival_seconds)
        if self.level == 0 and self.degrades:
            self._pass(frame, now)
            if self.probes and self._probe is None and now >= self._probed + PROBE_SECONDS:
                self._probed = now
                due = now + PROBE_SECONDS
                self._probe = LiveFrame(-1, planes, info, plan, 0, now, due, probe=True)
                self.pending.append(self._probe)
            return
        self.pending.append(frame)
        while self._policy != "wait" and len(self.pending) > PENDING_FRAMES:
            self._overflowed += 1
            self._give_up(self.pending.popleft(), "overload", now)

    def answer(self, frame: LiveFrame, restored: Restored | None, stages: int, now: float) -> None:
        """A restorer is done with a frame.

        Args:
            frame: Which.
            restored: What came of it; None where restoring failed.
            stages: That were run.
            now: When.
        """
        if frame.probe:
            self._probe = None
        if frame.probe or self._frames.get(frame.number) is not frame or frame.settled_at is not None:
            return
        if restored is None:
            self._pass(frame, now)
            return
        frame.planes = tuple(plane[0] for plane in restored.planes)
        frame.stages, frame.settled_at = stages, now
        self._order.settle(frame.number, now)

    def take(self, now: float) -> Iterator[LiveFrame]:
        """Frames whose time has come to be shown, in order; each is gone then, and counted."""
        for leaving in self._order.take(now):
            frame = self._frames.pop(leaving.number)
            if leaving.given_up:
                if frame.cancel is not None:
                    frame.cancel()
                if frame in self.pending:
                    self.pending.remove(frame)
                self._overflowed += 1
                if self._policy == "drop-oldest":
                    self._drop("late")
                    continue
            if frame.stages:
                self.fates.restored[frame.stages] = self.fates.restored.get(frame.stages, 0) + 1
            else:
                self.fates.passed += 1
            yield frame

    def due(self, now: float) -> float | None:
        """When time alone asks for something, at the earliest."""
        return self._order.due(now)

    def release(self, now: float) -> None:
        """Let all that wait be shown as they came."""
        for frame in self._frames.values():
            if frame.settled_at is None:
                self._pass(frame, now)
        self.pending.clear()

    def fail(self) -> None:
        """Drop all frames, after something that should not be."""
        self._drop("failed", len(self._frames))
        self._frames.clear()
        self.pending.clear()
        self._probe = None
        self._order = self._new_order()

    def _new_order(self) -> FrameOrder:
        return FrameOrder(float("inf") if self._policy == "wait" else self._max_latency)

    def _pass(self, frame: LiveFrame, now: float) -> None:
        """Let a frame go out as it came."""
        frame.settled_at = now
        self._order.release(frame.number)

    def _give_up(self, frame: LiveFrame, reason: str, now: float) -> None:
        """What becomes of a frame that will not be restored in time."""
        if frame.probe:
            self._probe = None
            return
        if self._policy == "drop-oldest":
            self._order.drop(frame.number)
            del self._frames[frame.number]
            self._drop(reason)
        else:
            self._pass(frame, now)

    def _drop(self, reason: str, count: int = 1) -> None:
        self.fates.dropped[reason] = self.fates.dropped.get(reason, 0) + count
