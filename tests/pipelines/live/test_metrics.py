"""What Prometheus scrapes is what the reports say, and parses."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.live.metrics import BUCKETS, LiveMetrics, output_fates, stream_fates
from streamrestore.live.report import OutputReport, StreamReport
from streamrestore.live.states import Cause, PublisherState, ReaderState
from tests.pipelines.live.reports import OUTPUT, STREAM

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(metrics: LiveMetrics) -> Samples:
    samples = dict[tuple[str, frozenset[tuple[str, str]]], float]()
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        assert family.documentation
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples, f"{sample} is there twice"
            samples[key] = sample.value
    return samples


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"streamrestore_{name}", frozenset(labels.items())]


def test_a_stream_as_it_is_scraped() -> None:
    samples = scrape(LiveMetrics(lambda: (STREAM,)))
    for fate, count in {
        "captured": 100,
        "restored_3": 60,
        "restored_2": 20,
        "restored_1": 10,
        "passed": 6,
        "dropped_overload": 2,
        "opening": 7,
    }.items():
        assert value(samples, "frames_total", stream="front-door", fate=fate) == count
    assert value(samples, "frames_in_flight", stream="front-door") == 2
    for state in ReaderState:
        here = value(samples, "reader_state", stream="front-door", state=state.value)
        assert here == (state is ReaderState.STREAMING)
    for cause in Cause:
        ended = value(samples, "reconnects_total", stream="front-door", end="reader", cause=cause.value)
        assert ended == {Cause.TIMEOUT: 3, Cause.NO_VIDEO: 1}.get(cause, 0)
    assert value(samples, "respawns_total", stream="front-door", end="reader") == 4
    numbers: dict[str, float] = {
        "outage_seconds_total": 12.5,
        "rebases_total": 2,
        "damage_total": 9,
        "level": 2,
        "fps": 25,
        "frame_age_seconds": 0.03,
    }
    for name, number in numbers.items():
        assert value(samples, name, stream="front-door") == number


def test_an_output_as_it_is_scraped() -> None:
    samples = scrape(LiveMetrics(lambda: (STREAM,)))
    names = {"stream": "front-door", "output": "rtsp://***@server/front"}
    for fate, count in {"published": 90, "held": 5, "dropped_full": 2, "dropped_unavailable": 3}.items():
        assert value(samples, "output_frames_total", fate=fate, **names) == count
    assert value(samples, "output_frames_in_flight", **names) == 1
    assert value(samples, "output_age_seconds", **names) == 0.04
    for state in PublisherState:
        here = value(samples, "publisher_state", state=state.value, **names)
        assert here == (state is PublisherState.PUBLISHING)
    ends = {"stream": "front-door", "end": "rtsp://***@server/front"}
    assert value(samples, "reconnects_total", cause="ended", **ends) == 1
    assert value(samples, "respawns_total", **ends) == 1


def test_every_captured_frame_has_one_fate() -> None:
    fates = stream_fates(STREAM)
    captured, _ = fates.pop("captured"), fates.pop("opening")
    assert captured == sum(fates.values()) + STREAM.in_flight
    assert list(output_fates(OUTPUT)) == ["published", "held", "dropped_full", "dropped_unavailable"]


def test_what_has_not_come_yet_is_infinitely_old() -> None:
    output = OutputReport("hls/", PublisherState.WAITING)
    samples = scrape(LiveMetrics(lambda: [StreamReport("a", "cam", ReaderState.CONNECTING, outputs=(output,))]))
    assert value(samples, "frame_age_seconds", stream="a") == float("inf")
    assert value(samples, "output_age_seconds", stream="a", output="hls/") == float("inf")


def test_the_reports_of_the_moment_are_told() -> None:
    reports = [STREAM]
    metrics = LiveMetrics(lambda: reports)
    scrape(metrics)
    reports[:] = [replace(STREAM, captured=101), replace(STREAM, name="yard", captured=5)]
    samples = scrape(metrics)
    assert value(samples, "frames_total", stream="front-door", fate="captured") == 101
    assert value(samples, "frames_total", stream="yard", fate="captured") == 5


def test_outputs_that_differ_in_secrets_only_do_not_collide() -> None:
    twins = tuple(replace(OUTPUT, name="rtmp://live/app/***", published=count) for count in (1, 2))
    odd = replace(OUTPUT, name="reader")
    samples = scrape(LiveMetrics(lambda: [replace(STREAM, outputs=(*twins, odd))]))
    for name, count in {"rtmp://live/app/***": 1, "rtmp://live/app/*** #2": 2}.items():
        assert value(samples, "output_frames_total", stream="front-door", output=name, fate="published") == count
    assert value(samples, "respawns_total", stream="front-door", end="reader #2") == 1


def test_latencies_are_a_histogram() -> None:
    metrics = LiveMetrics(tuple)
    for seconds in (0.004, 0.12, 0.12, 3.0, 60.0):
        metrics.observe("front-door", "total", seconds)
    metrics.observe("front-door", "queue", 0.001)
    samples = scrape(metrics)
    total = {"stream": "front-door", "part": "total"}
    assert value(samples, "latency_seconds_count", **total) == 5
    assert value(samples, "latency_seconds_sum", **total) == pytest.approx(63.244)
    assert value(samples, "latency_seconds_bucket", le="0.005", **total) == 1
    assert value(samples, "latency_seconds_bucket", le="0.15", **total) == 3
    assert value(samples, "latency_seconds_bucket", le="10.0", **total) == 4
    assert value(samples, "latency_seconds_bucket", le="+Inf", **total) == 5
    assert value(samples, "latency_seconds_count", stream="front-door", part="queue") == 1
    assert (BUCKETS[0], BUCKETS[-1]) == (0.005, 10.0)
    assert list(BUCKETS) == sorted(set(BUCKETS))


def test_the_process_and_the_supervisor_are_told_of() -> None:
    samples = scrape(LiveMetrics(tuple, lambda: 0.25))
    assert samples["process_resident_memory_bytes", frozenset()] > 1e6
    assert value(samples, "supervisor_gap_seconds") == 0.25


def test_workers_are_counted_by_what_they_are() -> None:
    counts = {"ready": 3, "starting": 1, "lost": 2}
    metrics = LiveMetrics(tuple, workers=lambda: counts)
    scrape(metrics)
    counts.update(ready=4, starting=0)
    samples = scrape(metrics)
    for state, count in {"ready": 4, "starting": 0, "lost": 2}.items():
        assert value(samples, "workers", state=state) == count


def test_two_runs_share_nothing() -> None:
    one, two = LiveMetrics(tuple), LiveMetrics(tuple)
    one.observe("a", "work", 1.0)
    assert ("streamrestore_latency_seconds_count", frozenset({("stream", "a"), ("part", "work")})) not in scrape(two)
    assert b"streamrestore" not in generate_latest(REGISTRY)
