"""One stream: its frames from the reader through the restorers, in order, to its outputs.

Every frame that is captured has one fate, decided here: restored, passed on as it came, or dropped; each
is counted once.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from pipelines.live.log import note
from pipelines.live.metrics import LiveMetrics
from pipelines.live.publishing import Encoded, OutputChanged, PublisherLink
from pipelines.live.reading import Captured, Changed, ReaderLink
from streamrestore.frame import Planes, Restored
from streamrestore.live.clock import LIVE_TIME_BASE, LiveClock
from streamrestore.live.ordering import FrameOrder
from streamrestore.live.report import Latency, StreamReport
from streamrestore.live.states import ReaderState
from streamrestore.patches import PatchPlan
from streamrestore.probing import SourceInfo
from workers.live.messages import Opened, Sound

DropPolicy = Literal["degrade", "drop-oldest", "wait"]

PENDING_FRAMES = 2
"""Frames that wait for a restorer: more would only be delay."""

WAITING_FRAMES = 16
"""Frames of a stream that may lose none; then its source has to wait."""

HELD_AFTER_SECONDS = 0.5
HELD_SECONDS = 0.2
"""The last frame goes out again five times a second when nothing fresh has for half a second."""

FIRST_HELD_SECONDS = 0.04
"""Between the first two repeats: muxers and decoders keep a picture until they see the next one."""

CARD_AFTER_SECONDS = 5.0
"""Without anything from the source for so long, viewers are told."""

PROBE_SECONDS = 2.0
"""Between two frames that are restored only to know whether there is time for more."""

_RECENT_SECONDS = 10.0
"""What latencies are told of."""

_RATE_SECONDS = 2.0
"""Over which the rate of frames is counted."""


@dataclass(slots=True)
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
class _Counts:
    captured: int = 0
    restored: dict[int, int] = field(default_factory=dict)
    passed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


class StreamSession:
    """Leads one stream. For one thread; never blocks. ``now`` is always seconds on the system's monotonic clock."""

    def __init__(
        self,
        name: str,
        source: str,
        reader: ReaderLink,
        outputs: Iterable[PublisherLink],
        plan: Callable[[SourceInfo], PatchPlan],
        metrics: LiveMetrics,
        now: float,
        *,
        policy: DropPolicy,
        max_latency_seconds: float,
    ) -> None:
        """Begin.

        Args:
            name: Of the stream.
            source: Its address without secrets.
            reader: Reads it.
            outputs: Where it goes.
            plan: Says how frames of a format are cut into patches.
            metrics: Is told latencies.
            now: When.
            policy: What becomes of frames for which there is no time.
            max_latency_seconds: What a frame may take from its arrival to the outputs.
        """
        self.name = name
        self.source = source
        self.reader = reader
        self.outputs = tuple(outputs)
        self._plan_of = plan
        self._metrics = metrics
        self._policy: DropPolicy = policy
        self._max_latency = max_latency_seconds
        self._clock = LiveClock(now)
        self._order = FrameOrder(float("inf") if policy == "wait" else max_latency_seconds)
        self._frames: dict[int, LiveFrame] = {}
        """Captured, and not gone yet."""
        self.pending: deque[LiveFrame] = deque()
        """Those that wait for a restorer."""
        self.overflowed = 0
        """Frames since `take_overflow` that found no time."""
        self._counts = _Counts()
        self._numbers = 0
        self._info: SourceInfo | None = None
        self._plan: PatchPlan | None = None
        self.level = 0
        """How many stages of the network are run on frames; 0 passes them on."""
        self.probes = False
        """Whether frames may be restored only to know what that takes, where frames are passed on."""
        self._probe: LiveFrame | None = None
        """Of those the one that is out."""
        self._probed = 0.0
        self._usual_latency = 0.0
        self._hold_at: float | None = None
        """When the last frame goes out again; None before the first."""
        self._holding = False
        self._captured_at: float | None = None
        self._latencies: deque[tuple[float, float]] = deque()
        self._arrivals: deque[float] = deque()

    # What came.

    def receive(self, now: float) -> None:
        """Take what the reader and the publishers have said."""
        for said in self.reader.receive(now):
            match said:
                case Captured():
                    self._capture(said, now)
                case Sound():
                    self._play(said, now)
                case Opened():
                    self._clock.connected()
                    if said.sound_words:
                        note(self.name, "reader", f"sound: {said.sound_words}, copied through")
                    for link in self.outputs:
                        self._tell_output(link, link.hear(said.sound, now))
                case Changed():
                    self._tell_reader(said)
        for link in self.outputs:
            for event in link.receive(now):
                match event:
                    case Encoded():
                        self._metrics.observe(self.name, "encode", event.seconds)
                    case OutputChanged():
                        self._tell_output(link, (event,))

    def _capture(self, captured: Captured, now: float) -> None:
        skipped = captured.skipped
        self._counts.captured += 1 + skipped
        if skipped:
            self._drop("reader", skipped)
            self.overflowed += skipped
        if captured.info is not self._info:
            self._learn(captured.info)
        assert self._plan is not None
        self._captured_at = now
        self._arrivals.append(captured.arrival_seconds)
        frame = LiveFrame(
            number=self._numbers,
            planes=captured.planes,
            info=captured.info,
            plan=self._plan,
            pts=self._clock.video(captured.arrival_seconds, captured.media_seconds),
            arrival_seconds=captured.arrival_seconds,
            deadline=captured.arrival_seconds + self._max_latency,
        )
        self._numbers += 1
        self._frames[frame.number] = frame
        self._order.add(frame.number, captured.arrival_seconds)
        if self.level == 0 and self._policy == "degrade":
            self._pass(frame, now)
            if self.probes and self._probe is None and now >= self._probed + PROBE_SECONDS:
                self._probed = now
                due = now + PROBE_SECONDS
                self._probe = LiveFrame(-1, frame.planes, frame.info, frame.plan, 0, now, due, probe=True)
                self.pending.append(self._probe)
            return
        self.pending.append(frame)
        if self._policy == "wait":
            self.reader.paused = len(self._frames) >= WAITING_FRAMES
        while self._policy != "wait" and len(self.pending) > PENDING_FRAMES:
            self.overflowed += 1
            self._give_up(self.pending.popleft(), "overload", now)

    def _learn(self, info: SourceInfo) -> None:
        self._plan = self._plan_of(info)
        video = info.video
        rate = f", {float(info.average_rate):g} fps" if info.average_rate else ""
        note(
            self.name,
            "reader",
            f"{info.codec} {video.width}x{video.height} {info.pixel_format_name}{rate}, "
            f"{self._plan.patches} patches a frame",
        )
        self._info = info

    def _play(self, sound: Sound, now: float) -> None:
        pts = self._clock.audio(sound.arrival_seconds, sound.media_seconds, sound.duration_seconds)
        if pts is not None:
            for link in self.outputs:
                link.play(sound.data, pts, round(sound.duration_seconds / LIVE_TIME_BASE), now)

    # To the restorers and back.

    @property
    def most_urgent(self) -> float | None:
        """Deadline of the frame that waits for a restorer; None where none does."""
        return self.pending[0].deadline if self.pending else None

    def take_overflow(self) -> int:
        """Frames since the last call that found no time."""
        count, self.overflowed = self.overflowed, 0
        return count

    @property
    def degrades(self) -> bool:
        """Whether less work is done on its frames where there is no time for all of it."""
        return self._policy == "degrade"

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

    # To the outputs.

    def tick(self, now: float) -> None:
        """Do what time and what came ask for."""
        for change in self.reader.tick(now):
            self._tell_reader(change)
        for leaving in self._order.take(now):
            frame = self._frames.pop(leaving.number)
            if leaving.given_up:
                if frame.cancel is not None:
                    frame.cancel()
                if frame in self.pending:
                    self.pending.remove(frame)
                self.overflowed += 1
                if self._policy == "drop-oldest":
                    self._drop("late")
                    continue
            self._show(frame, now)
        if self.reader.paused and len(self._frames) < WAITING_FRAMES:
            self.reader.paused = False
        self._hold(now)
        for link in self.outputs:
            self._tell_output(link, link.tick(now))

    def due(self, now: float) -> float:
        """When time alone asks for something, at the earliest."""
        times = [self.reader.due(), self._order.due(now), *(link.due() for link in self.outputs)]
        times.append(self._hold_at)
        return min((time for time in times if time is not None), default=now + 1.0)

    def _show(self, frame: LiveFrame, now: float) -> None:
        if frame.stages:
            self._counts.restored[frame.stages] = self._counts.restored.get(frame.stages, 0) + 1
        else:
            self._counts.passed += 1
        pts = self._clock.fresh(frame.pts)
        for link in self.outputs:
            self._tell_output(link, link.show(frame.planes, frame.info, pts, now))
        self._hold_at, self._holding = now + HELD_AFTER_SECONDS, False
        total = now - frame.arrival_seconds
        self._latencies.append((now, total))
        self._metrics.observe(self.name, "total", total)
        if frame.asked_at is not None and frame.settled_at is not None:
            self._metrics.observe(self.name, "queue", frame.asked_at - frame.arrival_seconds)
            self._metrics.observe(self.name, "work", frame.settled_at - frame.asked_at)
            self._metrics.observe(self.name, "reorder", now - frame.settled_at)

    def _hold(self, now: float) -> None:
        """Show the last frame again where nothing fresh came."""
        if self._hold_at is None or now < self._hold_at:
            return
        self._hold_at = now + (HELD_SECONDS if self._holding else FIRST_HELD_SECONDS)
        self._holding = True
        pts = self._clock.held(now, self._usual_latency)
        card = self._captured_at is not None and now >= self._captured_at + CARD_AFTER_SECONDS
        for link in self.outputs:
            link.repeat(pts, now, card=card)

    def recover(self, now: float, words: str) -> None:
        """Begin anew after something that should not be: the other streams are not to suffer from it."""
        self._drop("failed", len(self._frames))
        self._frames.clear()
        self.pending.clear()
        self._probe = None
        self._order = FrameOrder(float("inf") if self._policy == "wait" else self._max_latency)
        self.reader.paused = False
        for change in self.reader.fail(now, words):
            self._tell_reader(change)
        for link in self.outputs:
            self._tell_output(link, link.fail(now, words))

    def stop_reading(self, now: float) -> None:
        """Take nothing more from the source."""
        for change in self.reader.stop(now):
            self._tell_reader(change)

    def flush(self, now: float) -> None:
        """Let out what is left as it is."""
        for frame in tuple(self._frames.values()):
            if frame.settled_at is None:
                self._pass(frame, now)
        self.pending.clear()
        self.tick(now)

    def finish(self, now: float) -> None:
        """Have the outputs closed in good order."""
        for link in self.outputs:
            self._tell_output(link, link.finish(now))

    def close(self) -> None:
        """Kill the processes; may be called twice."""
        self.reader.close()
        for link in self.outputs:
            link.close()

    @property
    def in_flight(self) -> int:
        """Frames captured and not gone yet."""
        return len(self._frames)

    # What is known.

    def report(self, now: float) -> StreamReport:
        """What is known of it now."""
        while self._latencies and self._latencies[0][0] < now - _RECENT_SECONDS:
            self._latencies.popleft()
        if (latency := self._latency()) is not None:
            self._usual_latency = latency.p50
        return StreamReport(
            name=self.name,
            source=self.source,
            state=self.reader.state,
            captured=self._counts.captured,
            restored=dict(self._counts.restored),
            passed=self._counts.passed,
            dropped=dict(self._counts.dropped),
            in_flight=len(self._frames),
            opening=self.reader.opening,
            level=self.level,
            fps=self.fps(now),
            latency=latency,
            frame_age_seconds=None if self._captured_at is None else now - self._captured_at,
            reconnects=dict(self.reader.reconnects),
            respawns=self.reader.respawns,
            outage_seconds=self.reader.outage_now(now),
            rebases=self._clock.rebases,
            damaged=self.reader.damaged,
            pid=self.reader.pid,
            outputs=tuple(link.report(now) for link in self.outputs),
        )

    def fps(self, now: float) -> float:
        """Frames a second that come, lately."""
        while self._arrivals and self._arrivals[0] < now - _RATE_SECONDS:
            self._arrivals.popleft()
        return len(self._arrivals) / _RATE_SECONDS

    def _latency(self) -> Latency | None:
        if not self._latencies:
            return None
        ordered = sorted(latency for _, latency in self._latencies)

        def at(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

        return Latency(at(0.5), at(0.95), at(0.99), ordered[-1])

    def _drop(self, reason: str, count: int = 1) -> None:
        self._counts.dropped[reason] = self._counts.dropped.get(reason, 0) + count

    def _tell_reader(self, change: Changed) -> None:
        bad = change.after in (ReaderState.BACKOFF, ReaderState.AUTH_FAILED) and change.cause is not None
        note(
            self.name,
            "reader",
            f"{change.before} -> {change.after}" + (f": {change.cause}, {change.words}" if change.cause else ""),
            level=logging.WARNING if bad else logging.INFO,
            address=self.source,
        )

    def _tell_output(self, link: PublisherLink, changes: Iterable[OutputChanged] | Iterator[OutputChanged]) -> None:
        for change in changes:
            words = ", ".join(part for part in (change.cause, change.words) if part)
            note(
                self.name,
                "publisher",
                f"{change.before} -> {change.after}" + (f": {words}" if words else ""),
                level=logging.WARNING if change.cause else logging.INFO,
                address=str(link.address),
            )
