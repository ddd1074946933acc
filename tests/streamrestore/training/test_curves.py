"""A training log becomes values and a picture, the same bytes each time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from streamrestore.errors import ConfigError, OutputError, SourceError
from streamrestore.training.curves import Moment, plot_curves, read_log


def write_log(path: Path, *, measured: bool = True) -> Path:
    lines = [
        {"step": step, "loss": 1 / step, "learning_rate": 1e-3, "seconds": 0.5 * step, "psnr": psnr}
        for step, psnr in ((10, None), (20, 25.5 if measured else None), (30, 27.25 if measured else None))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_log_is_read_by_step(tmp_path: Path) -> None:
    moments = read_log(write_log(tmp_path / "log.jsonl"))
    assert moments[1:] == [Moment(20, 1 / 20, 1e-3, 25.5), Moment(30, 1 / 30, 1e-3, 27.25)]
    assert moments[0].psnr is None


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no line yet"), ("loss,psnr\n", "is no log"), ("[1]\n", "is no log"), ("{}\n", "is no log")],
)
def test_what_is_no_log_is_said(tmp_path: Path, text: str, message: str) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(text)
    with pytest.raises(SourceError, match=message):
        read_log(log)


def test_a_log_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read_log(tmp_path / "log.jsonl")


def test_the_picture_shows_all_three_curves_and_is_the_same_each_time(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.jsonl")
    one, two = tmp_path / "one.svg", tmp_path / "two.svg"
    plot_curves(log, one)
    plot_curves(log, two)
    assert one.read_bytes() == two.read_bytes()
    drawn = one.read_text()
    assert all(f">{label}<" in drawn for label in ("loss", "held-out PSNR, dB", "learning rate", "step"))
    assert "<dc:date>" not in drawn
    plot_curves(write_log(log, measured=False), two)
    assert one.read_bytes() != two.read_bytes()


def test_the_suffix_decides_the_format(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.jsonl")
    plot_curves(log, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"\.svg or \.png, not as curves\.gif"):
        plot_curves(log, tmp_path / "curves.gif")
    with pytest.raises(OutputError, match="cannot be written: No such file"):
        plot_curves(log, tmp_path / "nowhere" / "curves.svg")


def test_without_matplotlib_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install matplotlib"):
        plot_curves(write_log(tmp_path / "log.jsonl"), tmp_path / "curves.svg")


def test_matplotlib_is_not_loaded_before_it_is_needed() -> None:
    script = "import sys, streamrestore.training.curves; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
