"""``streamrestore train`` as users meet it: stopped and killed it comes to the same weights, and mistakes are said."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines import cli
from streamrestore.training import runs
from streamrestore.training.curves import read_log
from streamrestore.training.train import HELD_OUT_EVERY
from tests.images import image
from tests.pipelines.driver import Driver, Ended, signalled

STEPS = 10

SETUP = """
import torch
import streamrestore.training.train as module
torch.set_num_threads(1)
module.train.__kwdefaults__["save_every"] = 4
"""
"""Threads would wait for each other longer than they compute; and checkpoints come soon."""

RECIPE = f"""
task = "derain"
crop = 16
batch = 1
steps = {STEPS}
learning_rate = 1e-3
final_learning_rate = 1e-6
warmup_steps = 3
weight_decay = 0.0
gradient_clip = 1.0
ema_decay = 0.9
seed = 1

[widths]
n_feat = 8
scale_unetfeats = 4
scale_orsnetfeats = 4
num_cab = 1
"""

Run = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Bench:
    """A recipe, pictures, and what an undisturbed run makes of them."""

    recipe: Path
    data: Path
    whole: Path
    ended: Ended

    def arguments(self, out: Path) -> list[str | Path]:
        return ["train", self.recipe, "--data", self.data, "-o", out, "--device", "cpu"]

    def check_same(self, out: Path) -> None:
        assert (out / "tiny.safetensors").read_bytes() == (self.whole / "tiny.safetensors").read_bytes()
        assert read_log(out / "log.jsonl") == read_log(self.whole / "log.jsonl")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with Driver(tmp_path_factory.mktemp("driver") / "log") as driver:
        yield driver


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, driver: Driver) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    recipe, data, whole = folder / "tiny.toml", folder / "images", folder / "whole"
    recipe.write_text(RECIPE)
    data.mkdir()
    for index in range(HELD_OUT_EVERY):
        (data / f"{index:02}.png").write_bytes(image("png", "rgb24", index))
    bench = Bench(recipe, data, whole, Ended(0, ""))
    ended = driver.run(*bench.arguments(whole), before=SETUP)
    assert ended.code == 0, ended.said
    return Bench(recipe, data, whole, ended)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: (exit code, standard output, standard error)."""

    def run_command(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["streamrestore", *map(str, arguments)])
        code = cli.run_command()
        out, err = capsys.readouterr()
        return code, out, err

    return run_command


def at_step(step: int, number: signal.Signals) -> str:
    return SETUP + signalled(number, "streamrestore.training.train", "restoration_loss", step)


def test_a_run_leaves_weights_log_and_curves(bench: Bench) -> None:
    names = {path.name for path in bench.whole.iterdir()}
    assert names == {"checkpoint.pt", "log.jsonl", "curves.svg", "tiny.safetensors", "tiny.safetensors.sha256"}
    lines = [json.loads(line) for line in (bench.whole / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, STEPS]
    assert all(0 < line["loss"] < 10 and line["psnr"] > 5 for line in lines)
    assert "held-out PSNR" in (bench.whole / "curves.svg").read_text()


def test_it_says_where_it_is_and_what_came_of_it(bench: Bench) -> None:
    said = bench.ended.said
    assert re.search(
        rf"step 8/{STEPS}  \d:\d\d:\d\d left  \d+\.\d\d steps/s  "
        r"loss \d\.\d{4}  held-out \d+\.\d\d dB  learning rate \d\.\de-\d\d",
        said,
    ), said
    assert f"-t derain --weights {bench.whole / 'tiny.safetensors'}" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_is_heard_and_the_same_command_goes_on_exactly(
    driver: Driver, bench: Bench, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    ended = driver.run(*bench.arguments(tmp_path / "run"), before=at_step(7, number))
    assert ended.code == code, ended.said
    assert f"stopped after step 7 of {STEPS}; the same command goes on from there" in ended.said
    assert not (tmp_path / "run" / "tiny.safetensors").exists()
    ended = driver.run(*bench.arguments(tmp_path / "run"), before=SETUP)
    assert ended.code == 0, ended.said
    assert "going on after step 7\n" in ended.said
    bench.check_same(tmp_path / "run")


def test_a_kill_costs_the_steps_since_the_last_checkpoint(driver: Driver, bench: Bench, tmp_path: Path) -> None:
    assert driver.run(*bench.arguments(tmp_path), before=at_step(10, signal.SIGKILL)).code == -signal.SIGKILL
    ended = driver.run(*bench.arguments(tmp_path), before=SETUP)
    assert ended.code == 0, ended.said
    assert "going on after step 8\n" in ended.said
    bench.check_same(tmp_path)


@pytest.mark.parametrize(("write", "step"), [(3, 4), (4, 8)], ids=["checkpoint", "log"])
def test_a_kill_while_either_file_is_written_costs_no_line(
    driver: Driver, bench: Bench, tmp_path: Path, write: int, step: int
) -> None:
    before = SETUP + signalled(signal.SIGKILL, "streamrestore.training.runs", "write_durably", write)
    assert driver.run(*bench.arguments(tmp_path), before=before).code == -signal.SIGKILL
    ended = driver.run(*bench.arguments(tmp_path), before=SETUP)
    assert ended.code == 0, ended.said
    assert f"going on after step {step}\n" in ended.said
    bench.check_same(tmp_path)


def test_a_finished_run_is_not_done_again(run: Run, bench: Bench) -> None:
    before = (bench.whole / "log.jsonl").read_bytes(), (bench.whole / "tiny.safetensors").read_bytes()
    code, _, err = run(*bench.arguments(bench.whole))
    assert code == 0, err
    assert "step" not in err
    assert before == ((bench.whole / "log.jsonl").read_bytes(), (bench.whole / "tiny.safetensors").read_bytes())


def test_without_matplotlib_there_are_weights_and_a_line(
    run: Run, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("checkpoint.pt", "log.jsonl"):
        (tmp_path / name).write_bytes((bench.whole / name).read_bytes())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = run(*bench.arguments(tmp_path))
    assert code == 0
    assert "no picture of the curves: they are drawn by matplotlib: pip install matplotlib" in err
    assert not (tmp_path / "curves.svg").exists()
    bench.check_same(tmp_path)


@pytest.mark.parametrize(
    ("option", "value", "code", "message"),
    [
        ("--data", "nowhere", 3, "nowhere is no folder: give one of clean images"),
        ("--data", "empty", 3, "no image below"),
        ("--device", "cuda:7", 2, "there is no --device cuda:7 here: give auto, or one of "),
        ("--out", "a-file", 4, "a-file cannot be written to: it is a file"),
    ],
)
def test_mistakes_are_said(
    run: Run, bench: Bench, tmp_path: Path, option: str, value: str, code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").touch()
    given = value if option == "--device" else tmp_path / value
    ended, _, err = run(*bench.arguments(tmp_path / "run"), option, given)
    assert ended == code
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("line", "message"), [("speed = 3\n", "speed"), ('seed = "x', "is no training recipe")])
def test_a_wrong_recipe_is_said(run: Run, bench: Bench, tmp_path: Path, line: str, message: str) -> None:
    recipe = tmp_path / "wrong.toml"
    recipe.write_text(line + RECIPE)
    code, _, err = run("train", recipe, "--data", bench.data, "-o", tmp_path / "run")
    assert code == 2
    assert message in err
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_said(run: Run, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "write_durably", lambda *_: Path("/dev/full").write_bytes(bytes(1)))
    code, _, err = run(*bench.arguments(tmp_path))
    assert code == 7
    assert "checkpoint.pt: no space left: free some and start again" in err


def test_another_recipe_does_not_go_on(run: Run, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes((bench.whole / "checkpoint.pt").read_bytes())
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE.replace("seed = 1", "seed = 2"))
    code, _, err = run("train", recipe, "--data", bench.data, "-o", tmp_path, "--device", "cpu")
    assert code == 2
    assert "was begun with another recipe: train into an empty folder" in err


def test_help_does_not_wait_for_torch() -> None:
    script = "import sys, pipelines.train_cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
