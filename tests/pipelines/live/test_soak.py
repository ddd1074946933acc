"""A live stream that has a fault every ten seconds for SOAK_MINUTES: nothing grows, nothing is lost."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.relay import Relay
from tests.live.through import Through, open_through
from tests.live.viewer import indices, reordered

MINUTES = float(os.environ.get("SOAK_MINUTES", "2"))
FAULT_SECONDS = 10.0

GROWTH = 1.05
SLACK_BYTES = 8 << 20
"""What a process may take more in any case: a run of two minutes is still filling its caches."""


def family(head: int) -> list[int]:
    """A process and all below it."""
    parents = dict[int, int]()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    found = [head]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def held(pid: int) -> tuple[int, int, int, int]:
    """Bytes of the supervisor, its descriptors, its threads, and the processes below it."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    resident = int(fields["VmRSS"].split()[0]) << 10
    return resident, len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"]), len(family(pid)) - 1


def faults(through: Through) -> list[Callable[[], object]]:
    """What may happen, each at an end by itself within a few seconds."""
    source, target, run = through.source, through.target, through.run

    def away(relay: Relay) -> None:
        relay.kill(rst=True)
        time.sleep(2)
        relay.relisten()

    def lossy() -> None:
        source.drop(0.02)
        time.sleep(2)
        source.drop(0.0)

    return [
        lambda: source.stall(3),
        lambda: source.freeze(3),
        lambda: source.kick("pub"),
        lambda: source.kick("play"),
        lambda: away(source),
        lambda: source.jump(-10),
        lambda: source.jump(10),
        lossy,
        lambda: target.kick("pub"),
        lambda: away(target),
        lambda: os.kill(run.stream()["pid"], signal.SIGKILL),
        lambda: os.kill(run.stream()["outputs"][0]["pid"], signal.SIGKILL),
    ]


@pytest.mark.soak
@pytest.mark.slow
def test_nothing_grows_and_nothing_is_lost_through_a_fault_every_ten_seconds() -> None:
    chance = random.Random(2026)
    with open_through(audio=True, jitter=0.3) as through:
        todo = faults(through)
        pid, begun = through.run.pid, time.monotonic()
        first: tuple[int, int, int, int] | None = None
        number = 0
        while time.monotonic() < begun + 60 * MINUTES:
            next_at = time.monotonic() + FAULT_SECONDS
            # Each once, then by chance.
            (todo[number] if number < len(todo) else chance.choice(todo))()
            number += 1
            through.run.wait_for(
                lambda stream: stream["state"] == "streaming" and stream["outputs"][0]["state"] == "publishing", 60
            )
            through.check_accounts()
            time.sleep(max(0.0, next_at - time.monotonic()))
            if first is None and time.monotonic() > begun + 60 * min(1.0, MINUTES / 2):
                first = held(pid)
        through.await_fresh(60)
        assert first is not None
        last = held(pid)
        through.check_accounts()
        assert reordered(indices(through.viewer.pictures)) == []
        assert last[0] <= GROWTH * first[0] + SLACK_BYTES, (first, last)
        # A connection that is just being made anew counts for a moment.
        for before, after in zip(first[1:], last[1:], strict=True):
            assert after <= before + 3, (first, last)
        assert through.run.stream()["state"] == "streaming"
        below = family(pid)
    deadline = time.monotonic() + 20
    while [other for other in below if Path(f"/proc/{other}").exists()]:
        assert time.monotonic() < deadline, "processes were left behind by a killed supervisor"
        time.sleep(0.1)
