"""The command line as users meet it: messages, exit codes, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import cli
from streamrestore import __version__
from tests.clips import Clip, make_clip
from tests.networks import tiny_model
from tests.pipelines.runs import times

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: (exit code, standard output, standard error)."""

    def run_command(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["streamrestore", *map(str, arguments)])
        capsys.readouterr()
        code = cli.run_command()
        out, err = capsys.readouterr()
        return code, out, err

    return run_command


@pytest.fixture
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny network, so that a run takes a moment."""
    from streamrestore.weights import write_weights

    return write_weights(tiny_model(), tmp_path_factory.mktemp("weights"))


def restore(run: Run, weights: Path, *arguments: str | Path) -> tuple[int, str, str]:
    return run("restore", *arguments, "-t", "derain", "--weights", weights, "--workers", "0", "--devices", "cpu")


def test_version_help_and_devices(run: Run) -> None:
    assert run("--version")[:2] == (0, f"streamrestore {__version__}\n")
    code, out, _ = run("restore", "--help")
    assert code == 0
    for option in ("--task", "--stages", "--local-pooling", "--strength", "-c:v", "--ss", "--pix-fmt", "--workers"):
        assert option in out
    code, out, _ = run("devices")
    assert code == 0
    assert "cpu" in out
    assert "precision: " in out


def test_a_file_is_restored_beside_the_input(run: Run, tiny: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", Clip(sound="aac"))
    code, out, err = restore(run, tiny, source)
    assert code == 0, err
    assert f"{tmp_path / 'clip.derain.mp4'}: 12 frames" in out
    assert "is the bottleneck: decode" in out
    assert times(tmp_path / "clip.derain.mp4") == times(source)
    for again in ([], ["-n"]):
        code, _, err = restore(run, tiny, source, *again)
        assert code == 0
        assert "is done already, as its receipt says" in err
    code, _, err = restore(run, tiny, source, "--strength", "0.5")
    assert code == 4
    assert "exists; overwrite it with -y" in err
    assert restore(run, tiny, source, "--strength", "0.5", "-n")[0] == 4
    assert restore(run, tiny, source, "--strength", "0.5", "-y")[0] == 0


def test_reuse_changes_no_byte_and_its_threshold_is_another_request(run: Run, tiny: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mkv", Clip(codec="ffv1", options={}))
    outputs = [tmp_path / f"{name}.mkv" for name in ("usual", "without", "near")]
    for output, options in zip(outputs, ([], ["--no-reuse"], ["--reuse-threshold", "255"]), strict=True):
        code, _, err = restore(run, tiny, source, "-c:v", "ffv1", "-o", output, *options)
        assert code == 0, err
    usual, without, near = (output.read_bytes() for output in outputs)
    assert usual == without
    assert near != usual
    receipts = [json.loads(Path(f"{output}.receipt.json").read_text()) for output in outputs]
    assert receipts[0]["key"] == receipts[1]["key"] != receipts[2]["key"]
    assert receipts[2]["settings"]["reuse_threshold"] == 255


def test_ffmpeg_habits_work(run: Run, tiny: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", Clip(pts=tuple(range(0, 40 * 1000, 1000))))
    output = tmp_path / "out" / "x.mkv"
    code, _, err = restore(
        run, tiny, "-i", source, "-ss", "0.5", "-to", "00:00:01", "-c:v", "ffv1", "-e", "slices=4", "-o", output
    )
    assert code == 0, err
    assert len(times(output)) == 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "dehaze"], "'dehaze' is no task: give derain, deblur, denoise"),
        (["--devices", "7"], "there is no CUDA GPU 7 here"),
        (["--devices", "gpu"], "there is no GPU here"),
        (["--devices", "gpus"], "give auto, cpu, gpu, or GPU numbers"),
        (["--patch", "tiny"], "'tiny' is no size"),
        (["--ss", "soon"], "--ss 'soon' is no time"),
        (["-e", "fast"], "give KEY=VALUE"),
        (["-c:v", "divx"], "there is no codec divx"),
        (["--crf", "99"], "out of the range"),
        (["--preset", "warp"], "has no preset warp"),
        (["-y", "-n"], "contradict each other"),
        (["--no-reuse", "--reuse-threshold", "2"], "contradict each other"),
        (["--reuse-threshold", "-1"], "--reuse-threshold"),
        (["-e", "tune=foo"], "libx264 cannot be opened with"),
        (["--pix-fmt", "foo"], "pixel format foo cannot be written"),
        (["-c:v", "prores"], "or another --pix-fmt"),
        (["-t", "derain", "-t", "derain"], "has a task twice"),
        (["--weights", "nowhere", "--task", "derain"], "nowhere"),
        (["-o", "result.txt"], ".mkv holds every stream"),
        (["--strength", "2"], "--strength"),
        (["--stages", "4"], "--stages"),
        (["--precision", "int8"], "--precision"),
    ],
)
def test_impossible_requests_are_said_and_exit_2(run: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    source = make_clip(tmp_path / "clip.mp4")
    task = [] if {"--task", "-t"} & set(arguments) else ["-t", "derain"]
    code, _, err = run("restore", source, "--workers", "0", *task, *arguments)
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_task_without_weights_says_how_to_get_them(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMRESTORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("streamrestore.weights.SHIPPED_FOLDER", tmp_path / "none")
    code, _, err = run("restore", make_clip(tmp_path / "clip.mp4"), "-t", "deblur")
    assert code == 2
    assert "streamrestore weights import FILE" in err


def test_inputs_that_cannot_be_read_are_said_and_exit_3(run: Run, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    (tmp_path / "empty.mp4").touch()
    make_clip(tmp_path / "sound.mp4", Clip(sound="aac"))
    _drop_video(tmp_path / "sound.mp4", tmp_path / "audio.mp4")
    whole = make_clip(tmp_path / "whole.mp4", Clip(pts=tuple(range(0, 90 * 1001, 1001))))
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:2000])
    before = {path.name for path in tmp_path.iterdir()}
    for name in ("text.mp4", "empty.mp4", "audio.mp4", "cut.mp4", "missing.mp4"):
        code, out, err = restore(run, tiny, tmp_path / name)
        assert (code, out) == (3, ""), name
        assert err.startswith("error: "), name
        assert name in err
        assert "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} == before


def _drop_video(source: Path, output: Path) -> None:
    import av

    with av.open(str(source)) as container, av.open(str(output), "w") as target:
        stream = container.streams.audio[0]
        copy = target.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.size:
                packet.stream = copy
                target.mux(packet)


def test_an_output_that_cannot_be_written_exits_4(run: Run, tiny: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4")
    code, _, err = restore(run, tiny, source, "-o", source / "below" / "x.mp4")
    assert code == 4
    assert "choose another place" in err


def test_of_several_inputs_the_good_ones_are_done(run: Run, tiny: Path, tmp_path: Path) -> None:
    good = make_clip(tmp_path / "good.mp4")
    silent = make_clip(tmp_path / "second.mkv", Clip(size=(64, 80), pix_fmt="yuv422p"))
    (tmp_path / "bad.mp4").write_text("no video")
    code, _, err = restore(run, tiny, tmp_path, "-o", tmp_path / "out/")
    assert code == 6
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{name}{suffix}" for name in ("good.derain.mp4", "second.derain.mkv") for suffix in ("", ".receipt.json")
    ]
    assert "bad.mp4" in err
    assert times(tmp_path / "out" / "good.derain.mp4") == times(good)
    assert times(tmp_path / "out" / "second.derain.mkv") == times(silent)


def test_json_progress_is_one_object_a_line(run: Run, tiny: Path, tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    code, out, _ = restore(run, tiny, tmp_path, "--progress", "json")
    assert code == 6
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events if event["event"] != "progress"] == ["begin", "done", "failed"]
    done = next(event for event in events if event["event"] == "done")
    assert done["frames"] == 12
    assert done["bottleneck"] in ("decode", "restore", "encode")
    assert 0 <= done["restore"] <= 1


def test_quiet_says_nothing(run: Run, tiny: Path, tmp_path: Path) -> None:
    assert restore(run, tiny, make_clip(tmp_path / "clip.mp4"), "-q") == (0, "", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.ray)])
def test_a_signal_stops_cleanly(tiny: Path, tmp_path: Path, number: signal.Signals, code: int, workers: int) -> None:
    source = make_clip(tmp_path / "clip.mp4", Clip(size=(120, 160), pts=tuple(range(0, 3000 * 1001, 1001))))
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "restore", str(source)]
    command += ["-t", "derain", "--weights", str(tiny), "--workers", str(workers), "--devices", "cpu"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        partial = tmp_path / "clip.derain.mp4.partial"
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("clip.derain.mp4.work/*/*.part*")) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "stopped before" in err
    assert "Traceback" not in err
    assert not (tmp_path / "clip.derain.mp4").exists()
    assert not partial.exists()


def test_the_version_is_said_without_loading_torch() -> None:
    script = (
        "import sys\nfrom pipelines import cli\nsys.argv = ['streamrestore', '--version']\n"
        "try:\n    cli.main()\nexcept SystemExit as leaving:\n    sys.exit(leaving.code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
