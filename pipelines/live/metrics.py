"""What a live run counts and measures, for Prometheus."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamrestore.live.report import OutputReport, StreamReport
from streamrestore.live.states import Cause, PublisherState, ReaderState

LatencyPart = Literal["queue", "work", "reorder", "encode", "total"]

BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
"""Of latencies, in seconds: fine where a live stream should be, coarse where it should not."""

READER = "reader"
"""The end of a stream that is no output."""

_PREFIX = "streamrestore_"
_NEVER = float("inf")
"""Age of what has not come yet: an alarm for old frames must ring for it, too."""


def stream_fates(report: StreamReport) -> dict[str, int]:
    """Frames of a stream by what became of them; those that were captured, and the opening bursts, too."""
    restored = {f"restored_{stages}": report.restored.get(stages, 0) for stages in (3, 2, 1)}
    dropped = {f"dropped_{reason}": count for reason, count in report.dropped.items()}
    return {"captured": report.captured, **restored, "passed": report.passed, **dropped, "opening": report.opening}


def output_fates(report: OutputReport) -> dict[str, int]:
    """Frames of an output by what became of them."""
    dropped = {f"dropped_{reason}": count for reason, count in report.dropped.items()}
    return {"published": report.published, "held": report.held, **dropped}


class LiveMetrics:
    """The metrics of one run. For any number of threads."""

    def __init__(
        self,
        reports: Callable[[], Sequence[StreamReport]],
        gap_seconds: Callable[[], float] | None = None,
        workers: Callable[[], Mapping[str, int]] | None = None,
    ) -> None:
        """Count from zero.

        Args:
            reports: Gives what is known now; called from other threads whenever somebody asks for metrics.
            gap_seconds: Gives the longest that the supervisor was busy in one go, lately; called in the same way.
            workers: Gives how many workers are in which state; called in the same way.
        """
        self.registry = CollectorRegistry()
        """Of this run alone."""
        self._latency = Histogram(
            f"{_PREFIX}latency_seconds",
            "What frames took, by part of their way: waiting for a restorer, being restored, waiting for their turn, "
            "being encoded and written; and in total, from their arrival to being handed to the outputs.",
            ("stream", "part"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Reports(reports, gap_seconds, workers))
        ProcessCollector(registry=self.registry)

    def observe(self, stream: str, part: LatencyPart, seconds: float) -> None:
        """Take in what one frame took."""
        self._latency.labels(stream, part).observe(seconds)


class _Reports(Collector):
    """Turns the reports of the moment into metrics."""

    def __init__(
        self,
        reports: Callable[[], Sequence[StreamReport]],
        gap_seconds: Callable[[], float] | None,
        workers: Callable[[], Mapping[str, int]] | None,
    ) -> None:
        self._reports = reports
        self._gap_seconds = gap_seconds
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        families = _Families()
        if self._gap_seconds is not None:
            words = "The longest it was busy in one go, of the last minute."
            families.gauge("supervisor_gap_seconds", words, self._gap_seconds())
        for state, count in self._workers().items() if self._workers is not None else ():
            families.gauge("workers", "Workers that restore, by what they are.", count, state=state)
        for report in self._reports():
            _add_stream(families, report)
            for name, output in zip(_distinct(output.name for output in report.outputs), report.outputs, strict=True):
                _add_output(families, report.name, name, output)
        yield from families


class _Families:
    """Metrics by their names, made where they are met first."""

    def __init__(self) -> None:
        self._families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._families.values())

    def count(self, name: str, words: str, value: float, **labels: str) -> None:
        family = self._families.setdefault(name, CounterMetricFamily(_PREFIX + name, words, labels=list(labels)))
        family.add_metric(list(labels.values()), value)

    def gauge(self, name: str, words: str, value: float, **labels: str) -> None:
        family = self._families.setdefault(name, GaugeMetricFamily(_PREFIX + name, words, labels=list(labels)))
        family.add_metric(list(labels.values()), value)


def _add_stream(to: _Families, report: StreamReport) -> None:
    stream = report.name
    for fate, count in stream_fates(report).items():
        to.count(
            "frames", "Frames by what became of them, and all that were captured.", count, stream=stream, fate=fate
        )
    to.gauge("frames_in_flight", "Captured, and without a fate yet.", report.in_flight, stream=stream)
    for state in ReaderState:
        here = float(report.state is state)
        to.gauge("reader_state", "1 for the state that the reader is in.", here, stream=stream, state=state.value)
    _add_losses(to, stream, READER, report.reconnects, report.respawns)
    to.count("outage_seconds", "How long nothing came from the source.", report.outage_seconds, stream=stream)
    to.count("rebases", "Jumps of the source's clock that were taken out.", report.rebases, stream=stream)
    to.count("damage", "Complaints of the decoder about what came.", report.damaged, stream=stream)
    to.gauge("level", "Stages of the network that are run now; 0 passes frames on.", report.level, stream=stream)
    to.gauge("fps", "Frames captured a second, lately.", report.fps, stream=stream)
    age = _NEVER if report.frame_age_seconds is None else report.frame_age_seconds
    to.gauge("frame_age_seconds", "Since the last frame was captured.", age, stream=stream)


def _add_output(to: _Families, stream: str, output: str, report: OutputReport) -> None:
    for fate, count in output_fates(report).items():
        words = "Frames by what became of them at an output."
        to.count("output_frames", words, count, stream=stream, output=output, fate=fate)
    words = "Handed to the publisher's process, and not yet answered for."
    to.gauge("output_frames_in_flight", words, report.in_flight, stream=stream, output=output)
    for state in PublisherState:
        words, here = "1 for the state that the publisher is in.", float(report.state is state)
        to.gauge("publisher_state", words, here, stream=stream, output=output, state=state.value)
    _add_losses(to, stream, output, report.reconnects, report.respawns)
    age = _NEVER if report.age_seconds is None else report.age_seconds
    to.gauge("output_age_seconds", "Since the last frame, fresh or held, went out.", age, stream=stream, output=output)


def _add_losses(to: _Families, stream: str, end: str, reconnects: Mapping[Cause, int], respawns: int) -> None:
    for cause in Cause:
        words = "Connections that ended or were not made."
        to.count("reconnects", words, reconnects.get(cause, 0), stream=stream, end=end, cause=cause.value)
    to.count("respawns", "Processes that were killed or died, and were replaced.", respawns, stream=stream, end=end)


def _distinct(names: Iterator[str]) -> list[str]:
    """Names of outputs, numbered where they differ in nothing but secrets: the same metric must not come twice."""
    seen = Counter[str]({READER: 1})
    distinct = list[str]()
    for name in names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return distinct
