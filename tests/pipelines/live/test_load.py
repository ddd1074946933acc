"""Where restorers have not time for everything, delay stays bounded, and what gives is what was asked for."""

import os
import re
import signal
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pipelines.live.flow import WAITING_FRAMES
from tests.live.through import MOST_BUSY_SECONDS, MOST_GAP_SECONDS, Through, check_accounts, open_through
from tests.live.viewer import Picture, fresh, indices, largest_gap, latencies, lost, reordered, slope

SECONDS = (0.008, 0.016, 0.024)
"""Three stages take 0.6 of the time there is."""

SLOW = 2.8
"""So much longer, they would take 1.7 times what there is, two stages 1.1 and one 0.56 times."""

LATE_SECONDS = 0.6
"""What the rest of the way may take on a busy machine."""

SOON_SECONDS = 30.0


def grown(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, int]:
    """Frames by their fate, of the time between."""
    counts = {fate: count - before["counts"].get(fate, 0) for fate, count in after["counts"].items()}
    return {fate: count for fate, count in counts.items() if count}


def watch(through: Through, seconds: float) -> list[Picture]:
    """What was seen in so long."""
    begin, end = len(through.viewer.pictures), time.monotonic() + seconds
    through.viewer.wait_for(lambda: time.monotonic() >= end, seconds + SOON_SECONDS)
    return through.viewer.pictures[begin:]


def late(pictures: Sequence[Picture]) -> float:
    """The latency that one in twenty exceeds."""
    return statistics.quantiles(latencies(fresh(pictures)), n=20)[-1]


def check_delay(pictures: Sequence[Picture], max_latency: float) -> None:
    """It is bounded, and does not grow."""
    assert late(pictures) <= max_latency + LATE_SECONDS
    assert abs(slope(fresh(pictures))) <= 0.05, "every second would add to it"
    assert reordered(indices(pictures)) == []


def test_degrade_keeps_the_rate_by_less_work_for_each_frame() -> None:
    with open_through(seconds=SECONDS) as through:
        through.run.wait_for(lambda stream: stream["level"] == 3 and stream["counts"]["restored_3"] >= 25)
        through.run.slow_down(SLOW)
        before = through.run.wait_for(lambda stream: stream["level"] == 1)
        sent = through.camera.frames
        pictures = watch(through, 5.0)
        sent, after = through.camera.frames - sent, through.run.stream()
        # What the camera itself had no time for is not missing.
        assert len(fresh(pictures)) >= 0.9 * min(sent, 5 * 25)
        check_delay(pictures, 1.0)
        counts = grown(before, after)
        assert not [fate for fate in counts if fate.startswith("dropped_")]
        assert counts["restored_1"] >= 0.8 * counts["captured"], counts
        assert after["latency_seconds"]["p95"] <= 1.0 + LATE_SECONDS
        through.run.slow_down(1.0)
        through.run.wait_for(lambda stream: stream["level"] >= 2, SOON_SECONDS)
        through.check_viewer()
        through.check_accounts()
        assert through.busy_seconds() <= MOST_BUSY_SECONDS


def test_drop_oldest_loses_frames_and_nothing_else() -> None:
    with open_through(seconds=SECONDS, stream={"drop_policy": "drop-oldest"}) as through:
        through.run.slow_down(SLOW)
        watch(through, 1.0)
        before = through.run.stream()
        pictures = watch(through, 5.0)
        counts = grown(before, through.run.stream())
        dropped = counts.get("dropped_overload", 0) + counts.get("dropped_late", 0)
        assert set(counts) <= {"captured", "restored_3", "dropped_overload", "dropped_late"}, counts
        assert 0.2 * counts["captured"] <= dropped <= 0.7 * counts["captured"], counts
        check_delay(pictures, 1.0)
        through.run.slow_down(1.0)
        watch(through, 1.0)
        before = through.run.stream()
        through.await_fresh(SOON_SECONDS)
        counts = grown(before, through.run.stream())
        assert counts["restored_3"] >= 0.8 * counts["captured"], counts
        through.check_viewer()
        through.check_accounts()


def test_wait_drops_nothing() -> None:
    with open_through(seconds=SECONDS, stream={"drop_policy": "wait"}) as through:
        before, begin = through.run.stream(), len(through.viewer.pictures)
        through.run.slow_down(SLOW)
        pictures = watch(through, 4.0)
        during = through.run.stream()
        assert during["in_flight"] >= WAITING_FRAMES - 4, "the source does not have to wait"
        assert during["in_flight"] <= WAITING_FRAMES + 1
        assert set(grown(before, during)) <= {"captured", "restored_3"}
        assert slope(fresh(pictures)) > 0.1, "there was no need to wait"
        through.run.slow_down(0.5)
        # All that waited in the source comes, without a hole.
        behind = through.camera.frames
        through.viewer.wait_for(lambda: max(indices(through.viewer.pictures)) >= behind, SOON_SECONDS)
        assert set(grown(before, through.run.stream())) <= {"captured", "restored_3"}
        seen = indices(through.viewer.pictures[begin:])
        assert lost(seen) == []
        assert reordered(seen) == []
        through.check_accounts()


def test_frames_that_restorers_are_stuck_with_are_passed_on_in_order() -> None:
    with open_through(seconds=SECONDS, stream={"max_latency": 0.2}) as through:
        through.run.wait_for(lambda stream: stream["counts"]["restored_3"] >= 25)
        before, begin = through.run.stream(), len(through.viewer.pictures) - 1
        for _ in range(2):
            through.run.slow_down(40.0)
            time.sleep(0.1)
            through.run.slow_down(1.0)
            through.await_fresh(SOON_SECONDS, count=50)
        through.run.wait_for(lambda stream: stream["counts"]["restored_3"] > before["counts"]["restored_3"])
        pictures, counts = through.viewer.pictures[begin:], grown(before, through.run.stream())
        assert counts["passed"] >= 15, "two seconds without a restorer"
        assert not [fate for fate in counts if fate.startswith("dropped_")], counts
        assert reordered(indices(pictures)) == []
        assert lost(indices(pictures)) == []
        assert largest_gap(pictures) <= 0.9, "they were waited for"
        through.check_accounts()


def actors(processes: Mapping[int, str]) -> set[int]:
    return {pid for pid, line in processes.items() if line.startswith("ray::RestorerActor")}


@pytest.mark.ray
def test_a_worker_that_is_killed_costs_at_most_its_frames_and_is_replaced() -> None:
    with open_through(seconds=(0.02, 0.04, 0.06), workers=2) as through:
        through.run.wait_for(lambda stream: stream["counts"]["restored_3"] >= 25, 120)
        before, begin = through.run.stream(), len(through.viewer.pictures) - 1
        running = actors(through.run.processes)
        assert len(running) == 2, through.run.processes
        os.kill(min(running), signal.SIGKILL)
        through.await_fresh(SOON_SECONDS, count=50)
        deadline = time.monotonic() + 60
        while len(now := actors(through.run.processes)) < 2 or min(running) in now:
            assert time.monotonic() < deadline, through.run.processes
            time.sleep(0.1)
        through.await_fresh(SOON_SECONDS, count=25)
        after = through.run.stream()
        pictures, counts = through.viewer.pictures[begin:], grown(before, after)
        assert reordered(indices(pictures)) == []
        assert largest_gap(pictures) <= MOST_GAP_SECONDS, through.run.log
        assert lost(indices(pictures)) == []
        assert not [fate for fate in counts if fate.startswith("dropped_")], counts
        assert after["level"] >= 1
        check_accounts(after)
        through.run.wait_for(lambda stream: stream["level"] == 3, 60)
        through.run.wait_for(lambda _: through.run.health()["workers"] == {"ready": 2, "starting": 0, "lost": 0}, 60)
        assert 'streamrestore_workers{state="ready"} 2.0' in through.run.page("/metrics")[1]
        assert through.busy_seconds() <= MOST_BUSY_SECONDS
        through.run.terminate()
        assert through.run.wait(60) == 0, through.run.log
        assert len(re.findall(r"a worker was lost: \w+Error: ", through.run.log)) == 1, through.run.log
        assert len(re.findall(r"a lost worker was replaced: 2 workers are ready", through.run.log)) == 1
