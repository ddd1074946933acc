"""Shot by shot: each gets what it needs and no more, is looked at once, and that is written down."""

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipelines import cli
from pipelines.looking import describe_shots
from pipelines.outputs import Item
from pipelines.pipe import prepare_pipe
from pipelines.planning import FileOptions, Network, prepare_file
from pipelines.progress import describe_finished
from streamrestore.assessor import TASKS_IN_ORDER, Assessment
from streamrestore.devices import Precision
from streamrestore.encoding import EncodingRequest
from streamrestore.errors import ConfigError, DeviceMemoryError, OutputError, StoppedError
from streamrestore.frame import Chunk, Restored
from streamrestore.opening import PIPE
from streamrestore.receipt import Receipt, read_receipt, receipt_path
from streamrestore.shots import Shot
from streamrestore.tasks import Task
from streamrestore.weights import write_weights
from tests.assessors import DarkIsNoisy
from tests.clips import INFO
from tests.networks import tiny_model
from tests.pipelines.driver import Driver, in_segment
from tests.pipelines.runs import CPU, LOSSLESS, Notes, read, restore
from workers import RestorerPool, open_pool

BRIGHT, DIM, NIGHT = 170, 50, 6
"""Mean luma of scenes: as the assessor sees them, clean, noisy, and noisy and blurred."""

SCENES = ((BRIGHT, 14), (DIM, 13), (NIGHT, 11), (BRIGHT + 30, 9))
"""(mean luma, frames). No cut is where a chunk of four frames or a segment of ten would end."""

STARTS = (0, 14, 27, 38, 47)

ADDED: dict[Task, int] = {"denoise": 1, "derain": 2, "deblur": 4}
MODELS = tuple(replace(tiny_model(), task=task, name=f"tiny-{task}") for task in TASKS_IN_ORDER)


def make_scenes(path: Path, scenes: Sequence[tuple[int, int]] = SCENES, *, codec: str = "ffv1") -> Path:
    """A clip of a frame a second, so that a segment is ten frames; each scene pans over a picture of its own."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=1)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        number = 0
        for scene, (mean, count) in enumerate(scenes):
            random = np.random.default_rng(scene)
            wide = np.kron(random.uniform(0.6, 1.4, (8, 24)), np.ones((8, 8))) * mean
            for step in range(count):
                luma = np.roll(wide, -step, 1)[:, :96].clip(1, 234).astype(np.uint8)
                planes = np.concatenate([luma, np.full((32, 96), 128, np.uint8)])
                frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1)
                output.mux(stream.encode(frame))
                number += 1
        output.mux(stream.encode(None))
    return path


def auto(assessor: DarkIsNoisy, encoding: EncodingRequest = LOSSLESS) -> FileOptions:
    return FileOptions(Network(MODELS, CPU, Precision.FP32, assessor=assessor), encoding=encoding)


@dataclass
class Recording:
    """Adds a number for each task to every sample, and remembers what it was given."""

    chunks: list[Chunk] = field(default_factory=list)
    before: Callable[[int], None] = lambda _: None
    """Called with the number of each chunk."""

    def __call__(self) -> "Recording":
        return self

    def restore(self, chunk: Chunk) -> Restored:
        self.before(len(self.chunks))
        self.chunks.append(chunk)
        assert chunk.tasks is not None
        offset = np.uint8(sum(ADDED[task] for task in chunk.tasks))
        return Restored(tuple(plane + offset for plane in chunk.planes), 0.001)


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture
def pool(recording: Recording) -> Iterator[RestorerPool]:
    pool = open_pool(recording, workers=0)
    yield pool
    pool.close()


def lumas(path: Path) -> list[NDArray[np.uint8]]:
    return [np.asarray(planes[0], np.uint8) for _, planes in read(path)]


def changes(source: Path, output: Path) -> list[int]:
    """What was added to every sample of each frame."""
    found = [np.unique(b.astype(int) - a.astype(int)) for a, b in zip(lumas(source), lumas(output), strict=True)]
    assert all(len(values) == 1 for values in found)
    return [int(values[0]) for values in found]


def receipt_of(output: Path) -> Receipt:
    return read_receipt(receipt_path(output))


def test_each_shot_gets_what_it_needs_and_clean_ones_stay_bit_for_bit(
    tmp_path: Path, recording: Recording, pool: RestorerPool
) -> None:
    source, output, notes, assessor = make_scenes(tmp_path / "in.mkv"), tmp_path / "out.mkv", Notes(), DarkIsNoisy()
    finished = restore(source, output, pool, auto(assessor), notes=notes)
    assert changes(source, output) == [0] * 14 + [1] * 13 + [5] * 11 + [0] * 9
    assert len(assessor.seen) == 4
    assert notes.looked == [(source, 47)]
    # Chunks hold frames of one shot and one segment, and none of a clean shot. Segments begin at 20, 30 and 36.
    assert [(len(chunk.planes[0]), chunk.tasks) for chunk in recording.chunks] == [
        *[(frames, ("denoise",)) for frames in (4, 2, 4, 3)],
        *[(frames, ("denoise", "deblur")) for frames in (3, 4, 2, 2)],
    ]
    assert (finished.progress.frames, finished.untouched) == (47, 23)
    assert "47 frames, 23 of which needed no restoring, in " in describe_finished(finished)
    said = [note.removeprefix(f"{source}: ") for note in notes.notes]
    assert "4 shots: denoise in 2, deblur in 1, nothing to be done in 2" in said
    assert "shot 2, 14.000 to 27.000 s: denoise (rain 12 %, noise 88 %, blur 0 %)" in said
    assert "shot 4, 38.000 to 47.000 s: nothing to be done (rain 12 %, noise 25 %, blur 0 %)" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "out.mkv", "out.mkv.receipt.json"]


def test_the_receipt_names_each_shot_and_counts_untouched_frames_apart(tmp_path: Path, pool: RestorerPool) -> None:
    source, output = make_scenes(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    restore(source, output, pool, auto(DarkIsNoisy()))
    receipt = receipt_of(output)
    ticks = [start * 1000 for start in STARTS]
    assert [(shot.start_pts, shot.stop_pts) for shot in receipt.shots] == list(pairwise(ticks))
    assert [shot.frames for shot in receipt.shots] == [14, 13, 11, 9]
    assert [shot.tasks for shot in receipt.shots] == [(), ("denoise",), ("denoise", "deblur"), ()]
    assert [(shot.rain, shot.noise, shot.blur) for shot in receipt.shots[:2]] == [
        (0.125, 0.25, 0.0),
        (0.125, 0.875, 0.0),
    ]
    counts = receipt.counts
    assert (counts.restored, counts.untouched, counts.passed_through) == (24, 23, 0)
    assert sum(segment.counts.untouched for segment in receipt.segments) == 23
    assert [stamp.untouched for stamp in receipt.stamps()] == [True] * 14 + [False] * 24 + [True] * 9
    assert receipt.settings["tasks"] == ["auto"]
    assert receipt.settings["assessor"] == "d" * 64
    assert [used.task for used in receipt.weights] == list(TASKS_IN_ORDER)
    [check] = [check for check in receipt.checks if check.name == "frames that were left untouched"]
    assert check.found == "23 as in the source"
    tag = dict(receipt.plan.tags)["RESTORATION"]
    assert "where needed denoise (tiny-denoise), derain (tiny-derain), deblur (tiny-deblur)" in tag


@pytest.mark.parametrize("stopped_before", [0, 3, 5])
def test_a_job_that_goes_on_does_not_look_again_and_ends_in_the_same_bytes(
    tmp_path: Path, pool: RestorerPool, stopped_before: int
) -> None:
    source = make_scenes(tmp_path / "in.mkv")
    lossy = EncodingRequest(preset="ultrafast")
    restore(source, tmp_path / "undisturbed.mkv", pool, auto(DarkIsNoisy(), lossy))
    output, stop = tmp_path / "out.mkv", threading.Event()
    stopping = open_pool(Recording(before=lambda number: stop.set() if number == stopped_before else None), workers=0)
    with pytest.raises(StoppedError):
        restore(source, output, stopping, auto(DarkIsNoisy(), lossy), stop=stop)
    stopping.close()
    assessor, again = DarkIsNoisy(), Notes()
    assert restore(source, output, pool, auto(assessor, lossy), notes=again).untouched == 23
    assert assessor.seen == []
    assert again.looked == []
    assert any("shot 3, 27.000 to 38.000 s: denoise, deblur" in note for note in again.notes)
    assert output.read_bytes() == (tmp_path / "undisturbed.mkv").read_bytes()
    assert not output.with_name("out.mkv.work").exists()


def test_a_stop_before_the_first_segment_is_done_says_what_stays(tmp_path: Path) -> None:
    source, stop, notes = make_scenes(tmp_path / "in.mkv", ((DIM, 30),)), threading.Event(), Notes()
    pool = open_pool(Recording(before=lambda _: stop.set()), workers=0)
    with pytest.raises(StoppedError):
        restore(source, tmp_path / "out.mkv", pool, auto(DarkIsNoisy()), stop=stop, notes=notes)
    pool.close()
    [kept] = (tmp_path / "out.mkv.work").glob("*/shots.json")
    assert f"what its shots need is kept in {kept.parent}; the same command goes on from there" in notes.notes[-1]


def test_shots_that_cannot_be_read_back_are_looked_at_again(tmp_path: Path, pool: RestorerPool) -> None:
    source, output = make_scenes(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    restore(source, output, pool, replace(auto(DarkIsNoisy()), keep=True))
    before = output.read_bytes()
    [kept] = tmp_path.glob("out.mkv.work/*/shots.json")
    kept.write_bytes(kept.read_bytes()[:40])
    assessor = DarkIsNoisy()
    restore(source, output, pool, replace(auto(assessor), overwrite=True))
    assert len(assessor.seen) == 4
    assert output.read_bytes() == before


def test_a_stop_while_looking_leaves_nothing(tmp_path: Path, recording: Recording, pool: RestorerPool) -> None:
    stop = threading.Event()

    @dataclass
    class Stopping(DarkIsNoisy):
        def assess(self, pictures: Sequence[object]) -> Assessment:
            stop.set()
            return Assessment(0, 0, 0)

    source = make_scenes(tmp_path / "in.mkv")
    with pytest.raises(StoppedError, match="while looking"):
        restore(source, tmp_path / "out.mkv", pool, auto(Stopping()), stop=stop)
    assert recording.chunks == []
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_where_nothing_needs_restoring_the_output_is_made_and_it_is_said(
    tmp_path: Path, recording: Recording, pool: RestorerPool
) -> None:
    source, output, notes = make_scenes(tmp_path / "in.mkv", ((BRIGHT, 9), (BRIGHT, 8))), tmp_path / "out.mkv", Notes()
    finished = restore(source, output, pool, auto(DarkIsNoisy()), notes=notes)
    assert recording.chunks == []
    assert changes(source, output) == [0] * 17
    assert any("nothing needs restoring: 2 shots, all clean" in note for note in notes.notes)
    assert "17 frames, none of which needed restoring, in " in describe_finished(finished)
    assert receipt_of(output).counts.untouched == 17


def test_a_part_has_the_shots_of_that_part(tmp_path: Path, pool: RestorerPool) -> None:
    source, output = make_scenes(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    restore(source, output, pool, replace(auto(DarkIsNoisy()), start_seconds=5.0, stop_seconds=36.0))
    assert [(shot.frames, shot.tasks) for shot in receipt_of(output).shots] == [
        (9, ()),
        (13, ("denoise",)),
        (9, ("denoise", "deblur")),
    ]
    assert [int(b[0, 0]) - int(a[0, 0]) for a, b in zip(lumas(source)[5:36], lumas(output), strict=True)] == (
        [0] * 9 + [1] * 13 + [5] * 9
    )


def test_smaller_patches_do_not_ask_for_another_look(tmp_path: Path) -> None:
    def small_memory(_: int) -> None:
        if len(sizes) == 0:
            sizes.append(1)
            raise DeviceMemoryError("one patch does not fit")

    sizes = list[int]()
    source, output, assessor, notes = make_scenes(tmp_path / "in.mkv"), tmp_path / "out.mkv", DarkIsNoisy(), Notes()
    pool = open_pool(Recording(before=small_memory), workers=0)
    models = tuple(replace(model, crop=64) for model in MODELS)
    wanted = auto(assessor)
    restore(source, output, pool, replace(wanted, network=replace(wanted.network, models=models)), notes=notes)
    pool.close()
    assert any("beginning again with patches of" in note for note in notes.notes)
    assert len(assessor.seen) == 4
    assert changes(source, output) == [0] * 14 + [1] * 13 + [5] * 11 + [0] * 9
    assert not output.with_name("out.mkv.work").exists()


def test_another_assessor_is_another_request(tmp_path: Path, pool: RestorerPool) -> None:
    source, output = make_scenes(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    restore(source, output, pool, auto(DarkIsNoisy()))
    assert prepare_file(Item(source, output), auto(DarkIsNoisy())).done
    with pytest.raises(OutputError, match="exists"):
        prepare_file(Item(source, output), auto(DarkIsNoisy(sha256="e" * 64)))


def test_the_chain_is_planned_as_a_whole(tmp_path: Path) -> None:
    source, wanted = make_scenes(tmp_path / "in.mkv"), auto(DarkIsNoisy())
    models = tuple(replace(model, crop=crop) for model, crop in zip(MODELS, (64, 32, 48), strict=True))
    network = replace(wanted.network, models=models)
    assert network.flops_per_pixel == sum(replace(network, models=(model,)).flops_per_pixel for model in models)
    job = prepare_file(Item(source, None), replace(wanted, network=network))
    assert (
        job.patches
        == prepare_file(Item(source, None), replace(wanted, network=replace(network, models=models[1:2]))).patches
    )
    assert job.output == tmp_path / "in.auto.mkv"


def test_standard_input_is_refused_and_files_go_to_standard_output(
    tmp_path: Path, pool: RestorerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.pipelines.test_pipe import Shell, wanted

    with pytest.raises(ConfigError, match=r"can be read only once: put it into a file, or name the tasks"):
        prepare_pipe(Item(PIPE, tmp_path / "out.mkv"), auto(DarkIsNoisy()), threading.Event())
    source, notes = make_scenes(tmp_path / "in.mkv"), Notes()
    options = replace(wanted("matroska", LOSSLESS), network=auto(DarkIsNoisy()).network)
    shell = Shell(pool, monkeypatch)  # type: ignore[arg-type] # any pool will do
    (tmp_path / "out.mkv").write_bytes(shell.run(Item(source, PIPE), options, notes=notes))
    assert changes(source, tmp_path / "out.mkv") == [0] * 14 + [1] * 13 + [5] * 11 + [0] * 9
    assert any("4 shots: denoise in 2" in note for note in notes.notes)


@pytest.mark.ray
def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path, ray_cluster: None) -> None:
    from streamrestore.restorer import Restorer, RestorerSettings

    source = make_scenes(tmp_path / "in.mkv")
    written = []
    for workers in (0, 2):
        build = partial(Restorer, MODELS, RestorerSettings("cpu", Precision.FP32, stages=1, threads=2))
        pool = open_pool(build, workers=workers)
        pool.ready(120)
        restore(source, tmp_path / f"{workers}.mkv", pool, auto(DarkIsNoisy(), EncodingRequest(preset="ultrafast")))
        pool.close()
        written.append((tmp_path / f"{workers}.mkv").read_bytes())
    assert written[0] == written[1]


def test_long_lists_are_short_on_a_console() -> None:
    shots = [Shot(100 * number, 100 * number + 100, 3, Assessment(0, number % 2, 0)) for number in range(40)]
    lines = list(describe_shots(shots, INFO))
    assert lines[0] == "40 shots: denoise in 20, nothing to be done in 20"
    assert len(lines) == 14
    assert lines[-1] == "and 28 more shots"
    assert list(describe_shots([], INFO)) == []
    assert next(describe_shots(shots[1:2], INFO)) == "1 shot: denoise in 1"


def weights_for_all(folder: Path) -> list[str | Path]:
    return [part for model in MODELS for part in ("--weights", write_weights(model, folder))]


def test_the_command_line_restores_shot_by_shot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("streamrestore.assessor.load_assessor", DarkIsNoisy)
    source, weights = make_scenes(tmp_path / "in.mkv"), weights_for_all(tmp_path)
    command = ["restore", source, "-t", "auto", *weights, "--workers", "0", "--devices", "cpu", "--stages", "1"]

    def run(*more: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["streamrestore", *map(str, [*command, *more])])
        return cli.run_command(), *capsys.readouterr()

    code, out, err = run()
    assert code == 0, err
    assert f"{source}: looking at the footage" in err
    assert "4 shots: denoise in 2, deblur in 1, nothing to be done in 2" in err
    assert f"{tmp_path / 'in.auto.mkv'}: 47 frames, 23 of which needed no restoring" in out
    assert "is done already" in run()[2]
    code, out, _ = run("-y", "--progress", "json")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events if event["event"] in ("look", "begin", "done")] == [
        "look",
        "begin",
        "done",
    ]
    assert events[-1]["untouched"] == 23
    for more, message in (
        (["-t", "derain"], "auto chooses the tasks itself: give it alone"),
        (["--weights", weights[1]], "two of the weights are for one task"),
    ):
        code, _, err = run(*more)
        assert code == 2
        assert message in " ".join(err.split())


def test_a_killed_run_goes_on_without_another_look(tmp_path: Path) -> None:
    source = make_scenes(tmp_path / "in.mkv", codec="libx264")
    command = ["restore", source, "-t", "auto", *weights_for_all(tmp_path), "--workers", "0", "--devices", "cpu"]
    command += ["--stages", "1", "--progress", "plain", "-o"]
    before = "import streamrestore.assessor, tests.assessors\n"
    before += "streamrestore.assessor.load_assessor = tests.assessors.DarkIsNoisy\n"
    with Driver(tmp_path / "log") as driver:
        assert driver.run(*command, tmp_path / "undisturbed.mkv", before=before).code == 0
        output = tmp_path / "out.mkv"
        killed = driver.run(*command, output, before=before + in_segment(3, signal.SIGKILL))
        assert killed.code == -signal.SIGKILL
        assert "looking at the footage" in killed.said
        finished = driver.run(*command, output, before=before)
    assert finished.code == 0, finished.said
    assert "looking at the footage" not in finished.said
    assert "going on from an earlier run: 3 of 5 segments" in finished.said
    assert output.read_bytes() == (tmp_path / "undisturbed.mkv").read_bytes()
