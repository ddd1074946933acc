"""What an archive costs beside restoring, and what it loses when things are killed: nothing.

``waiting``: 32 workers whose device takes half a second for a segment, while items are planned, segments committed,
and results joined, verified and recorded for real, on the cores of this machine: the share of the ideal rate, and the
driver's processor time. ``resume``: clips that are all done, and what the list of them takes in memory. ``faults``: the
command, whose workers or driver are killed at random, run again until it is done. ``nodes``: machines of a cluster that
are killed or frozen with their work, and how long it takes until that is given to others, with the settings of
docs/cluster.md.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _processes import family
from _record import record

from pipelines.archive import run as archive_run
from pipelines.archive.command import RunParameters, make_request, run_archive
from pipelines.archive.context import ArchiveContext
from pipelines.archive.items import ArchiveItem
from pipelines.archive.ledger import Ledger
from pipelines.archive.listing import list_items
from pipelines.archive.progress import ArchiveProgress, make_archive_reporter
from pipelines.archive.records import DoneRecord
from pipelines.archive.request import ArchiveRequest
from pipelines.archive.run import ArchiveRun
from pipelines.archive.standing import find_standing
from pipelines.archive.state import StateFile
from pipelines.archive.steps import PlanItem, Planned, RestoreSegment, SegmentDone
from pipelines.engine import StageLoad
from pipelines.exit_codes import ExitCode
from pipelines.shipping import unpack
from streamrestore.checkpoint import write_safetensors
from streamrestore.encoding import EncodingRequest
from streamrestore.frame import Stamp
from streamrestore.segment_file import PacketOrder
from tests.apart import without_ray
from tests.clips import Clip, make_clip
from tests.networks import tiny_model
from workers.archive import open_step_pool
from workers.archive.pool import RayStepPool
from workers.cluster import Cluster

Row = dict[str, Any]
"""Of the JSON."""

WORKERS = 32
SEGMENT_SECONDS = 0.5
SEGMENTS_PER_ITEM = 16
ROUNDS = 40
"""Segments of each worker."""
MANY = 10_000
FAULT_RUNS = 20
FAULT_CLIPS = 3
KILLS_OF_A_RUN = 2
FAULT_AFTER_SECONDS = (5.0, 11.0)
"""When something is killed: Ray alone takes five seconds to start."""
START_SECONDS = 300.0
RUN_SECONDS = 600.0
CLUSTER = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""Of docs/cluster.md."""
STORE_BYTES = 100 << 20
COMMAND = Path(sysconfig.get_path("scripts")) / "streamrestore"
FAST = EncodingRequest(preset="ultrafast")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A segment that was restored before."""

    content: bytes
    order: PacketOrder
    stamps: tuple[Stamp, ...]


class SleepingContext(ArchiveContext):
    """A worker whose device takes half a second for a segment, whatever is in it."""

    def __init__(self, request: ArchiveRequest, prepared: dict[int, Prepared]) -> None:
        super().__init__(request, "cpu")
        self.computing = threading.Lock()
        self.prepared = prepared


@dataclass(frozen=True, slots=True)
class SleepSegment:
    """In place of `RestoreSegment`: the device's time, and the commit."""

    item: ArchiveItem
    planned: Planned
    index: int

    def __call__(self, context: SleepingContext) -> SegmentDone:
        _, folder = unpack(self.planned.job, context.network(self.item), self.planned.folder)
        folder.open()
        with context.computing:
            time.sleep(SEGMENT_SECONDS)
        prepared = context.prepared[self.index]
        with folder.part(self.index) as part:
            part.write_bytes(prepared.content)
            folder.commit(part, self.index, prepared.order, prepared.stamps, SEGMENT_SECONDS)
        return SegmentDone(self.index, len(prepared.stamps), SEGMENT_SECONDS, StageLoad(0.0, 1.0, 0.0))


class Watch:
    """A reporter that notes when segments ended, and what the driver had used by then."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int, float]] = []
        self._quiet = make_archive_reporter("none", quiet=True)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a reporter has
        return getattr(self._quiet, name)

    def update(self, progress: ArchiveProgress) -> None:
        if progress.segments_done > (self.seen[-1][1] if self.seen else 0):
            self.seen.append((time.monotonic(), progress.segments_done, time.process_time()))


def parameters(source: Path, target: Path) -> RunParameters:
    return RunParameters(
        source=str(source), target=str(target), task=["derain"], devices="cpu", workers=0, progress="none"
    )


def prepare_segments(request: ArchiveRequest, item: ArchiveItem) -> dict[int, Prepared]:
    """Restore a clip, here, and keep its segments."""
    context = ArchiveContext(request, "cpu")
    planned = PlanItem(item)(context)
    assert isinstance(planned, Planned)
    for index in planned.missing:
        RestoreSegment(item, planned, index)(context)
    _, folder = unpack(planned.job, context.network(item), planned.folder)
    return {
        index: Prepared(folder.file_of(found).read_bytes(), found.order, found.stamps)
        for index, found in folder.records().items()
    }


def waiting(folder: Path) -> Row:
    """Sleeping devices; all else is real."""
    source, target = folder / "in", folder / "out"
    source.mkdir()
    # A frame every five seconds, two of them a segment.
    pts = tuple(range(0, 2 * SEGMENTS_PER_ITEM * 150_000, 150_000))
    first = make_clip(source / "000.mkv", Clip(pts=pts, size=(32, 32), gop=2))
    for number in range(1, WORKERS * ROUNDS // SEGMENTS_PER_ITEM):
        shutil.copy(first, source / f"{number:03}.mkv")
    listing = list_items(str(source), str(target))
    items = listing.items
    request = replace(make_request(parameters(source, target), listing), encoding=FAST)
    aside = replace(request, target=request.target.parent.child("aside"))
    prepared = prepare_segments(aside, items[0])
    setattr(archive_run, "RestoreSegment", SleepSegment)  # noqa: B010 - the run takes it for its own
    build = partial(SleepingContext, request, prepared)
    cluster = Cluster(cpus=WORKERS)
    with closing(RayStepPool(build, cluster=cluster, workers=WORKERS, devices="cpu")) as pool:
        deadline = time.monotonic() + START_SECONDS
        while pool.state().workers < WORKERS and time.monotonic() < deadline:
            time.sleep(0.5)
        watch = Watch()
        driver = ArchiveRun(lambda: pool, request, watch, state=StateFile(request.target, {}))
        code = driver.run(find_standing(items, request), threading.Event())
    assert code is ExitCode.DONE, code
    # All of it, from when the first device began: also the end, when there is not enough for all of them.
    (since, from_count, cpu_before), (until, to_count, cpu_after) = watch.seen[0], watch.seen[-1]
    rate, ideal = to_count / (until - since + SEGMENT_SECONDS), WORKERS / SEGMENT_SECONDS
    cpu_ms = (cpu_after - cpu_before) * 1000 / (to_count - from_count)
    print(f"{WORKERS} sleeping devices: {rate:.1f} of {ideal:.1f} segments a second; driver {cpu_ms:.2f} ms a segment")
    return {
        "workers": WORKERS,
        "segment_seconds": SEGMENT_SECONDS,
        "items": len(items),
        "segments_per_second": round(rate, 2),
        "of_ideal": round(rate / ideal, 4),
        "driver_cpu_ms_per_segment": round(cpu_ms, 3),
    }


def resume(folder: Path) -> Row:
    """Clips that are all done."""
    rows = [_resume(folder / str(count), count) for count in (MANY // 10, MANY)]
    per_item = (rows[1]["peak_mb"] - rows[0]["peak_mb"]) * 1e6 / (MANY - MANY // 10)
    print(f"{MANY} clips that are done: {rows[1]['seconds']} s, {per_item:.0f} bytes each")
    return {"items": MANY, "seconds": rows[1]["seconds"], "bytes_per_item": round(per_item)}


def _resume(folder: Path, count: int) -> Row:
    source, target = folder / "in", folder / "out"
    source.mkdir(parents=True)
    names = [f"{number % 100}/{number}.mp4" for number in range(count)]
    for name in names:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(name.encode())
    manifest = folder / "clips.jsonl"
    manifest.write_text("".join(json.dumps({"source": str(source / name)}) + "\n" for name in names))
    listing = list_items(str(manifest), str(target))
    items, request = listing.items, make_request(parameters(manifest, target), listing)
    ledger, now = Ledger(request.target), datetime.now(UTC)
    for item in items:
        output = target / f"{item.stem}.mp4"
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(b"done")
        facts = {
            "schema": 1,
            "id": item.id,
            "source": item.name,
            "hint": item.hint,
            "request": min(request.keys(item.options)),
            "ended": now,
            "host": "",
            "output": output.relative_to(target).as_posix(),
            "bytes": 4,
            "sha256": "0" * 64,
            "frames": 1,
            "passed": 0,
            "video_seconds": 0.0,
            "work_seconds": 0.0,
            "device": "",
            "warnings": (),
        }
        ledger.keep_done(DoneRecord.model_validate(facts))
    script = [sys.executable, __file__, "resume", str(manifest), str(target)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def resume_once(manifest: str, target: str) -> None:
    """In a process of its own: the whole command but for the interpreter's start."""
    began = time.perf_counter()
    code = run_archive(parameters(Path(manifest), Path(target)))
    seconds = time.perf_counter() - began
    assert code is ExitCode.DONE, code
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": round(seconds, 2), "peak_mb": round(peak / 1e6, 2)}), flush=True)
    os._exit(0)


def faults(folder: Path) -> Row:
    """Runs of the command in which something is killed, until each is done."""
    source = folder / "in"
    source.mkdir()
    for number in range(FAULT_CLIPS):
        # A frame every three seconds, four of them a segment.
        pts = tuple(range(number, 120 * 90_000, 90_000))
        make_clip(source / f"{number}.mkv", Clip(pts=pts, size=(96, 96), gop=4))
    write_safetensors(tiny_model(scale=0.5, crop=96), folder / "tiny.safetensors")
    command = [str(COMMAND), "archive", "run", str(source), "-t", "derain", "--weights"]
    command += [str(folder / "tiny.safetensors"), "--devices", "cpu", "--stages", "1", "--progress", "none"]
    subprocess.run([*command, str(folder / "undisturbed"), "--workers", "0"], check=True)
    wanted = _contents(folder / "undisturbed")
    rng, found, killed = random.Random(0), Counter[str](), Counter[str]()
    for number in range(FAULT_RUNS):
        target, attempts, code = folder / str(number), 0, 1
        while code != 0:
            process = subprocess.Popen([*command, str(target), "--workers", "2"], stderr=subprocess.DEVNULL)
            if attempts < KILLS_OF_A_RUN:
                killed[_kill_something(process, rng)] += 1
            attempts += 1
            code = process.wait(RUN_SECONDS)
        got = _contents(target)
        records = list((target / ".streamrestore" / "done").glob("*.json"))
        found["lost"] += len(wanted.keys() - got.keys())
        found["doubled"] += max(0, len(records) - len(wanted))
        found["identical"] += got == wanted
        shutil.rmtree(target)
        print(f"run {number + 1}: {'the same bytes' if got == wanted else 'OTHER BYTES'}; killed so far {dict(killed)}")
    return {
        "runs": FAULT_RUNS,
        "killed": dict(killed),
        "lost": found["lost"],
        "doubled": found["doubled"],
        "identical": found["identical"],
    }


def _kill_something(process: "subprocess.Popen[bytes]", rng: random.Random) -> str:
    """After a while: a worker, or the driver; gives what it was."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(rng.uniform(*FAULT_AFTER_SECONDS))
        return "nothing"
    workers = list[int]()
    for pid in family(process.pid):
        with suppress(OSError):
            if b"SegmentWorker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                workers.append(pid)
    victim, name = (rng.choice(workers), "worker") if workers and rng.random() < 0.6 else (process.pid, "driver")
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    return name


def _contents(target: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in target.glob("*.mkv")}


def nodes(folder: Path) -> Row:
    """Machines of a cluster that are lost."""
    row = Row()
    for story in ("killed", "frozen"):
        script = [sys.executable, __file__, "lose", story]
        done = subprocess.run(script, env=without_ray() | CLUSTER, capture_output=True, text=True, check=True)
        row[f"{story}_seconds"] = round(float(done.stdout.splitlines()[-1]), 2)
        print(f"a machine that is {story}: its work is given to others after {row[f'{story}_seconds']} s")
    return row


def lose(story: str) -> None:
    """In a process of its own, which has a Ray of its own: lose a machine, say how long its work was nobody's."""
    from ray.cluster_utils import Cluster as Machines

    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    machines = Machines(initialize_head=True, head_node_args=head)
    machines.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    pool = open_step_pool(Awake, workers=None, address=machines.address)
    first = pool.first_ready(START_SECONDS)
    second = machines.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    while len(pool.workers()) < 2:
        time.sleep(0.05)
    (late,) = set(pool.workers()) - {first}
    for _ in range(4):
        pool.submit(Doze(), "restore")
    while pool.state().busy < 4:
        time.sleep(0.05)
    time.sleep(5)  # in which both machines were heard of
    pids = [late.pid, *(info.process.pid for infos in second.all_processes.values() for info in infos)]
    began = time.monotonic()
    if story == "killed":
        machines.remove_node(second, allow_graceful=False)
    else:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    while pool.state().redispatched < 2:
        time.sleep(0.02)
    print(time.monotonic() - began, flush=True)
    for pid in family()[1:] + pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(0)


class Awake:
    """The least a context has."""

    kind = "any"

    def check(self) -> None:
        """It has no device."""


class Doze:
    """A step that is long enough."""

    def __call__(self, context: Awake) -> None:
        time.sleep(START_SECONDS)


def main() -> None:
    """Measure everything, or only the part that is named."""
    if sys.argv[1:2] == ["resume"] and len(sys.argv) == 4:
        resume_once(*sys.argv[2:])
    if sys.argv[1:2] == ["lose"]:
        lose(sys.argv[2])
    parts = {"waiting": waiting, "resume": resume, "nodes": nodes, "faults": faults}
    results = dict[str, Row]()
    for name, part in parts.items():
        if not sys.argv[1:] or name in sys.argv[1:]:
            with TemporaryDirectory() as folder:
                results[name] = part(Path(folder))
    if not sys.argv[1:]:
        record("archive", results)


if __name__ == "__main__":
    main()
