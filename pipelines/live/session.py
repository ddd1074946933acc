"""One stream: what its reader says goes to its outputs; what becomes of frames between them is `FrameFlow`'s."""

import logging
from collections import deque
from collections.abc import Callable, Iterable

from pipelines.live.config import DropPolicy
from pipelines.live.flow import FrameFlow, LiveFrame
from pipelines.live.log import note
from pipelines.live.metrics import LiveMetrics
from pipelines.live.publishing import Encoded, OutputChanged, PublisherLink
from pipelines.live.reading import Captured, Changed, ReaderLink
from streamrestore.live.clock import LIVE_TIME_BASE, LiveClock
from streamrestore.live.report import Latency, StreamReport
from streamrestore.live.states import ReaderState
from streamrestore.patches import PatchPlan
from streamrestore.probing import SourceInfo
from workers.live.messages import Opened, Remark, Sound

HELD_AFTER_SECONDS = 0.5
HELD_SECONDS = 0.2
"""The last frame goes out again five times a second when nothing fresh has for half a second."""

FIRST_HELD_SECONDS = 0.04
"""Between the first two repeats: muxers and decoders keep a picture until they see the next one."""

CARD_AFTER_SECONDS = 5.0
"""Without anything from the source for so long, viewers are told."""

_RECENT_SECONDS = 10.0
"""What latencies are told of."""

_RATE_SECONDS = 2.0
"""Over which the rate of frames is counted."""


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
        self._clock = LiveClock(now)
        self.flow = FrameFlow(policy, max_latency_seconds)
        self._info: SourceInfo | None = None
        self._plan: PatchPlan | None = None
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
                case Remark():
                    note(self.name, "reader", said.words, level=logging.WARNING)
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
        self.flow.skip(captured.skipped)
        if captured.info is not self._info:
            self._learn(captured.info)
        assert self._plan is not None
        self._captured_at = now
        arrival = captured.arrival_seconds
        self._arrivals.append(arrival)
        pts = self._clock.video(arrival, captured.media_seconds)
        self.flow.add(captured.planes, captured.info, self._plan, pts, arrival, now)
        self.reader.paused = self.flow.is_full

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

    # To the outputs.

    def tick(self, now: float) -> None:
        """Do what time and what came ask for."""
        for change in self.reader.tick(now):
            self._tell_reader(change)
        for frame in self.flow.take(now):
            self._show(frame, now)
        self.reader.paused = self.flow.is_full
        self._hold(now)
        for link in self.outputs:
            self._tell_output(link, link.tick(now))

    def due(self, now: float) -> float:
        """When time alone asks for something, at the earliest."""
        times = [self.reader.due(), self.flow.due(now), *(link.due() for link in self.outputs)]
        times.append(self._hold_at)
        return min((time for time in times if time is not None), default=now + 1.0)

    def _show(self, frame: LiveFrame, now: float) -> None:
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
        self.flow.fail()
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
        self.flow.release(now)
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

    # What is known.

    def report(self, now: float) -> StreamReport:
        """What is known of it now."""
        while self._latencies and self._latencies[0][0] < now - _RECENT_SECONDS:
            self._latencies.popleft()
        if (latency := self._latency()) is not None:
            self._usual_latency = latency.p50
        fates = self.flow.fates
        return StreamReport(
            name=self.name,
            source=self.source,
            state=self.reader.state,
            captured=fates.captured,
            restored=dict(fates.restored),
            passed=fates.passed,
            dropped=dict(fates.dropped),
            in_flight=self.flow.in_flight,
            opening=self.reader.opening,
            level=self.flow.level,
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

    def _tell_reader(self, change: Changed) -> None:
        bad = change.after in (ReaderState.BACKOFF, ReaderState.AUTH_FAILED) and change.cause is not None
        note(
            self.name,
            "reader",
            f"{change.before} -> {change.after}" + (f": {change.cause}, {change.words}" if change.cause else ""),
            level=logging.WARNING if bad else logging.INFO,
            address=self.source,
        )

    def _tell_output(self, link: PublisherLink, changes: Iterable[OutputChanged]) -> None:
        for change in changes:
            words = ", ".join(part for part in (change.cause, change.words) if part)
            note(
                self.name,
                "publisher",
                f"{change.before} -> {change.after}" + (f": {words}" if words else ""),
                level=logging.WARNING if change.cause else logging.INFO,
                address=str(link.address),
            )
