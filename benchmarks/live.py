"""What a live stream keeps of its promises: latency, outages, overload, dead workers and cameras.

A camera, an RTSP relay that misbehaves on command, the live pipeline with restorers that sleep 30 ms a frame in the
place of a network, another relay and a viewer, all processes of their own on this machine; 320x180 at 25 pictures a
second with a key frame each second. Each picture carries its number and the time at which the camera's encoder got it.
Then the shipped deraining weights on this CPU, for what they hold live.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from _processes import family
from _record import record

from tests.live.camera import Camera
from tests.live.ports import free_port
from tests.live.relay import Relay
from tests.live.restored import Restored
from tests.live.through import Through, check_accounts, open_through
from tests.live.viewer import (
    Picture,
    Viewer,
    duplicated,
    fresh,
    indices,
    largest_gap,
    latencies,
    lost,
    reordered,
    slope,
)

CLEAN_SECONDS = OVERLOAD_SECONDS = 60.0
JITTER = 0.3
NEED = 0.6
"""Workers' share of what is needed, where they are overloaded."""
OUTAGE_SECONDS = 4.0
REAL = ((180, 320, 25.0), (270, 480, 25.0), (360, 640, 25.0), (360, 640, 12.5))
"""(height, width, pictures a second) that the shipped weights are tried on."""
REAL_SECONDS = 15.0


def at(values: Sequence[float], share: float) -> float:
    """The value that such a share of all is at most."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def since(through: Through, when: float) -> list[Picture]:
    """What the viewer has seen since a moment."""
    return [picture for picture in through.viewer.pictures if picture.arrival >= when]


def own_latency() -> float:
    """Of camera, relay and viewer alone, codec and all: the median."""
    with Relay() as relay, Camera(relay.url("camera")) as camera:
        camera.wait_for_session()
        with Viewer(relay.url("camera")) as viewer:
            viewer.wait_for_pictures(250, 60)
            return median(latencies(fresh(viewer.pictures)))


def clean() -> dict[str, object]:
    """A minute without trouble."""
    own = own_latency()
    with open_through(jitter=JITTER) as through:
        begun = time.monotonic()
        time.sleep(CLEAN_SECONDS)
        pictures = since(through, begun)
        seen, found = indices(pictures), fresh(pictures)
        check_accounts(through.run.stream())
        late = latencies(found)
        return {
            "pictures": len(found),
            "lost": len(lost(seen)),
            "reordered": len(reordered(seen)),
            "doubled": len(duplicated(seen)),
            "own_ms": own * 1000,
            "p50_ms": at(late, 0.5) * 1000,
            "p95_ms": at(late, 0.95) * 1000,
            "max_ms": max(late) * 1000,
            "p95_beyond_own_ms": (at(late, 0.95) - own) * 1000,
            "supervisor_busy_ms": through.busy_seconds() * 1000,
        }


def source_faults() -> Iterator[dict[str, object]]:
    """Outages of the source, one after the other on one run."""

    def silent(through: Through, how: Callable[[], object]) -> tuple[float, float]:
        """Begin an outage that ends by itself; when it was noticed after its beginning, and its end."""
        begun = time.monotonic()
        how()
        before = sum(through.run.stream()["reconnects"].values())
        through.run.wait_for(lambda stream: sum(stream["reconnects"].values()) > before)
        noticed = time.monotonic() - begun
        return noticed, begun + OUTAGE_SECONDS

    with open_through(audio=True, jitter=JITTER) as through:
        source = through.source

        def killed() -> None:
            source.crash()

        faults: dict[str, tuple[Callable[[], object], Callable[[], object] | None]] = {
            "source stalls": (lambda: source.stall(OUTAGE_SECONDS), None),
            "source freezes": (lambda: source.freeze(OUTAGE_SECONDS), None),
            "server killed": (killed, source.restart),
            "pictures stop, sound goes on": (lambda: source.mute(0), source.unmute),
        }
        for name, (begin, end) in faults.items():
            start = len(through.viewer.pictures) - 1
            noticed, back = silent(through, begin)
            if end is not None:
                time.sleep(max(0.0, back - time.monotonic()))
                end()
                back = time.monotonic()
                if name == "server killed":
                    # The source is back when its camera publishes again.
                    sessions = through.camera.sessions
                    through.camera.wait_for_session(sessions + 1)
                    back = time.monotonic()
            through.await_fresh(60)
            pictures = through.viewer.pictures[start:]
            new = next(picture for picture in fresh(through.viewer.pictures) if picture.arrival > back)
            yield {
                "fault": name,
                "noticed_seconds": noticed,
                "fresh_after_seconds": new.arrival - back,
                "largest_gap_seconds": largest_gap(pictures),
                "sessions": through.viewer.sessions,
            }
            time.sleep(11)  # ten good seconds end an outage
        check_accounts(through.run.stream())


def output_faults() -> Iterator[dict[str, object]]:
    """Outages of the output's server, one after the other on one run; pictures are large, so that buffers fill."""
    with open_through(noise=True, jitter=JITTER) as through:
        target = through.target

        def published() -> int:
            return int(through.run.stream()["outputs"][0]["counts"]["published"])

        faults: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "output frozen": (target.suspend, target.resume),
            "output killed": (target.crash, target.restart),
            "output refuses": (target.kill, target.relisten),
        }
        for name, (begin, end) in faults.items():
            begin()
            time.sleep(OUTAGE_SECONDS)
            before = published()
            end()
            back = time.monotonic()
            while published() <= before + 1:
                time.sleep(0.02)
            stream = through.run.stream()
            yield {
                "fault": name,
                "publishing_after_seconds": time.monotonic() - back,
                "supervisor_busy_ms": through.busy_seconds() * 1000,
                "source_dropped": sum(n for fate, n in stream["counts"].items() if fate.startswith("dropped_")),
            }
            time.sleep(11)
            check_accounts(through.run.stream())


def overload(policy: str) -> dict[str, object]:
    """Workers that are too slow, for a minute."""
    with open_through(jitter=JITTER, stream={"drop_policy": policy}) as through:
        through.run.slow_down(0.04 / 0.03 / NEED)
        time.sleep(3)
        begun = time.monotonic()
        time.sleep(OVERLOAD_SECONDS)
        pictures = fresh(since(through, begun))
        counts = through.run.stream()["counts"]
        through.run.slow_down(1.0)
        eased = time.monotonic()
        through.run.wait_for(lambda stream: stream["level"] == 3, 60)
        check_accounts(through.run.stream())
        late = latencies(pictures)
        return {
            "policy": policy,
            "fps": len(pictures) / OVERLOAD_SECONDS,
            "p50_ms": at(late, 0.5) * 1000,
            "p95_ms": at(late, 0.95) * 1000,
            "slope_ms_per_second": slope(pictures) * 1000,
            "counts": counts,
            "three_stages_again_after_seconds": time.monotonic() - eased,
        }


def dead_worker() -> dict[str, object]:
    """One of two Ray workers killed while it restores."""
    with open_through(jitter=JITTER, workers=2, seconds=(0.06, 0.06, 0.06)) as through:
        through.run.wait_for(lambda stream: stream["counts"].get("restored_3", 0) > 50, 120)
        time.sleep(5)
        start = len(through.viewer.pictures) - 1
        killed = next(pid for pid in family(through.run.pid) if "RestorerActor" in command(pid))
        subprocess.run(["kill", "-9", str(killed)], check=True)
        died = time.monotonic()
        through.await_fresh(60, count=50)
        while sum("RestorerActor" in command(pid) for pid in family(through.run.pid)) < 2:
            time.sleep(0.05)
        back = time.monotonic() - died
        through.await_fresh(60, count=50)
        pictures = through.viewer.pictures[start:]
        check_accounts(through.run.stream())
        return {
            "largest_gap_seconds": largest_gap(pictures),
            "lost": len(lost(indices(pictures))),
            "reordered": len(reordered(indices(pictures))),
            "process_back_after_seconds": back,
        }


def command(pid: int) -> str:
    """What a process calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


@contextmanager
def cameras(relays: Sequence[Relay], count: int) -> Iterator[None]:
    """Each on a relay of its own."""
    opened = list[Camera]()
    try:
        for number in range(count):
            opened.append(Camera(relays[number].url("camera"), fps=12.5).__enter__())
            opened[-1].wait_for_session()
        yield
    finally:
        for camera in opened:
            camera.__exit__()


def dead_camera() -> dict[str, object]:
    """One of four cameras goes away for good: the rates of the others before and after."""
    relays = [Relay().__enter__() for _ in range(4)]
    try:
        with Relay() as target, cameras(relays, 4):
            streams = [
                {"name": f"cam{number}", "source": relay.url("camera"), "to": [target.url(f"out{number}")]}
                for number, relay in enumerate(relays)
            ]
            with Restored(*streams, seconds=(0.004, 0.008, 0.015), jitter=JITTER) as run:
                for number in range(4):
                    run.wait_for(lambda stream: stream["outputs"][0]["counts"]["published"] > 25, 60, number)

                def published() -> list[int]:
                    return [int(stream["outputs"][0]["counts"]["published"]) for stream in run.health()["streams"]]

                def rates(seconds: float) -> list[float]:
                    before, begun = published(), time.monotonic()
                    time.sleep(seconds)
                    return [(b - a) / (time.monotonic() - begun) for a, b in zip(before, published(), strict=True)]

                before = rates(15)
                relays[0].crash()
                time.sleep(3)
                after = rates(15)
    finally:
        for relay in relays:
            relay.__exit__()
    return {
        "fps_before": before[1:],
        "fps_after": after[1:],
        "least_ratio": min(b / a for a, b in zip(before[1:], after[1:], strict=True)),
    }


def real(height: int, width: int, fps: float) -> dict[str, object]:
    """The command itself with the shipped deraining weights."""
    port = free_port()
    with Relay() as relay, Camera(relay.url("camera"), size=(height, width), fps=fps) as camera:
        camera.wait_for_session()
        program = [str(Path(sys.executable).with_name("streamrestore")), "live", relay.url("camera")]
        asked = ["--to", relay.url("restored"), "-t", "derain", "--status", str(port)]
        process = subprocess.Popen([*program, *asked], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20  # where none is restored, all are passed on: also a result
            while time.monotonic() < deadline and (not (stream := health(port)) or not any(restored(stream))):
                time.sleep(0.2)
            time.sleep(10)  # until the number of stages has settled
            with Viewer(relay.url("restored")) as viewer:
                viewer.wait_for_pictures(10, 60)
                first, begun = health(port), time.monotonic()
                time.sleep(REAL_SECONDS)
                last = health(port)
                pictures = fresh([picture for picture in viewer.pictures if picture.arrival >= begun])
        finally:
            process.terminate()
            process.wait(30)
    spent = [b - a for a, b in zip(restored(first), restored(last), strict=True)]
    captured = last["counts"]["captured"] - first["counts"]["captured"]
    late = latencies(pictures)
    return {
        "height": height,
        "width": width,
        "fps": fps,
        "shown_fps": len(pictures) / REAL_SECONDS,
        "restored_share": sum(spent) / captured,
        "stages": {stages: count / captured for stages, count in zip((3, 2, 1), spent, strict=True)},
        "p95_ms": at(late, 0.95) * 1000 if late else None,
    }


def restored(stream: dict[str, Any]) -> list[int]:
    """Frames that three, two stages, and one were run on."""
    return [stream["counts"][f"restored_{stages}"] for stages in (3, 2, 1)]


def health(port: int) -> dict[str, Any]:
    """Of the one stream; nothing where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
    except OSError:
        return {}
    streams = json.loads(body)["streams"]
    return dict(streams[0]) if streams else {}


def main() -> None:
    """Everything, in some twelve minutes."""
    found: dict[str, object] = {}

    def tell(name: str, result: object) -> None:
        found[name] = result
        print(name, json.dumps(result), flush=True)

    tell("clean", clean())
    tell("source_faults", list(source_faults()))
    tell("output_faults", list(output_faults()))
    tell("overload", [overload(policy) for policy in ("degrade", "drop-oldest")])
    tell("dead_worker", dead_worker())
    tell("dead_camera", dead_camera())
    tell("real", [real(*each) for each in REAL])
    record("live", found)


if __name__ == "__main__":
    main()
