"""``streamrestore evaluate`` as users meet it."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import pytest
import torch
from av.video.stream import VideoStream

from pipelines import cli
from streamrestore.metrics import HIGHEST_DB, psnr
from streamrestore.pairs import read_video
from streamrestore.side_by_side import LINE_PIXELS, write_png
from streamrestore.weights import write_weights
from tests.clips import STEADY, Clip, make_clip, paint
from tests.networks import tiny_model

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["streamrestore", "evaluate", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "160")
        capsys.readouterr()
        code = cli.run_command()
        out, err = capsys.readouterr()
        return code, out, err

    return run_command


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    return write_weights(tiny_model(), tmp_path / "weights")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two pairs of pictures of one size."""
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b"):
        for place, spread in (("input", 30), ("target", 5)):
            folder = tmp_path / "pairs" / place
            folder.mkdir(parents=True, exist_ok=True)
            picture = 120 + torch.randint(-spread, spread, (3, 32, 40), generator=generator)
            write_png(picture.to(torch.uint8), folder / f"{name}.png")
    return tmp_path / "pairs"


def evaluate(run: Run, weights: Path, *arguments: str | Path) -> tuple[int, str, str]:
    return run("-t", "derain", "--weights", weights, "--device", "cpu", "--precision", "fp32", *arguments)


def test_a_folder_of_pairs_is_restored_and_measured(run: Run, tiny: Path, pairs: Path, tmp_path: Path) -> None:
    report, pictures = tmp_path / "report.json", tmp_path / "pictures"
    code, out, err = evaluate(run, tiny, pairs, "--json", report, "--pictures", pictures, "--stages", "2")
    assert code == 0, err
    document = json.loads(report.read_text())
    assert (document["schema"], document["tasks"], document["measure"]) == (1, ["derain"], "Y")
    assert document["settings"] | {"device": "cpu", "precision": "fp32", "stages": 2} == document["settings"]
    (weights,) = document["weights"]
    assert weights["sha256"] == (tiny.parent / f"{tiny.name}.sha256").read_text().split()[0]
    assert {"streamrestore", "torch", "av", "device"} <= document["environment"].keys()
    (found,) = document["sets"]
    assert (found["set"], found["degradation"], found["pairs"]) == ("pairs", None, 2)
    assert [item["name"] for item in found["items"]] == ["a", "b"]
    for figure in ("psnr_input", "psnr_restored", "ssim_input", "ssim_restored"):
        values = [item[figure] for item in found["items"]]
        assert found[figure] == pytest.approx(sum(values) / 2)
    assert found["psnr_restored"] != found["psnr_input"]
    row = next(line for line in out.splitlines() if "pairs" in line and "→" in line and "PSNR" not in line)
    assert f"{found['psnr_input']:.2f} → {found['psnr_restored']:.2f}" in row
    assert f"{found['psnr_restored'] - found['psnr_input']:+.2f}" in row
    assert f"{found['ssim_input']:.4f} → {found['ssim_restored']:.4f}" in row

    (shown,) = read_video(pictures / "pairs" / "a.png")
    assert shown.shape == (3, 32, 3 * 40 + 2 * LINE_PIXELS)
    (degraded,), (target,) = (read_video(pairs / name / "a.png") for name in ("input", "target"))
    assert torch.equal(shown[..., :40], degraded)
    assert torch.equal(shown[..., -40:], target)
    assert not torch.equal(shown[..., 40 + LINE_PIXELS : 80 + LINE_PIXELS], degraded)


def test_settings_change_the_figures(run: Run, tiny: Path, pairs: Path, tmp_path: Path) -> None:
    figures = set()
    for option in ([], ["--stages", "1"], ["--self-ensemble"], ["--measure", "RGB"]):
        code, _, err = evaluate(run, tiny, pairs, "--json", tmp_path / "report.json", *option)
        assert code == 0, err
        figures.add(json.loads((tmp_path / "report.json").read_text())["sets"][0]["psnr_restored"])
    assert len(figures) == 4


def test_clean_pictures_measure_harm_and_noise(run: Run, tmp_path: Path, pairs: Path) -> None:
    (tmp_path / "weights").mkdir()
    identity = write_weights(replace(tiny_model(scale=0), name="identity"), tmp_path / "weights")
    clean, report = pairs / "target", tmp_path / "report.json"
    code, out, err = evaluate(run, identity, clean, "--json", report)
    assert code == 0, err
    assert "equal → equal" in out
    (found,) = json.loads(report.read_text())["sets"]
    assert (found["degradation"], found["psnr_restored"], found["ssim_restored"]) == ("clean", HIGHEST_DB, 1)
    code, out, err = evaluate(
        run, identity, clean, "--noise", "10", "--seed", "3", "--measure", "RGB", "--json", report
    )
    assert code == 0, err
    (found,) = json.loads(report.read_text())["sets"]
    assert found["psnr_input"] == found["psnr_restored"] == pytest.approx(28.13, abs=0.3)
    assert "target, Gaussian noise of sigma 10, seed 3" in out


def test_two_videos_are_compared_as_they_are(run: Run, tmp_path: Path) -> None:
    clip = Clip(pts=STEADY[:4])
    target = make_clip(tmp_path / "clean.mp4", replace(clip, options={"preset": "ultrafast", "crf": "1"}))
    degraded = make_clip(tmp_path / "coarse.mp4", replace(clip, options={"preset": "ultrafast", "crf": "45"}))
    report, pictures = tmp_path / "report.json", tmp_path / "pictures"
    code, out, err = run("-t", "none", degraded, target, "--json", report, "--pictures", pictures)
    assert code == 0, err
    document = json.loads(report.read_text())
    assert (document["tasks"], document["weights"], document["settings"]) == ([], [], None)
    assert document["measure"] == "RGB"
    (item,) = document["sets"][0]["items"]
    wanted = [psnr(*both) for both in zip(read_video(degraded), read_video(target), strict=True)]
    assert [frame["psnr_input"] for frame in item["frames"]] == wanted
    assert item["psnr_input"] == pytest.approx(sum(wanted) / 4)
    assert "→" not in out
    (shown,) = read_video(pictures / "coarse.mp4" / "coarse.png")
    assert shown.shape == (3, 48, 2 * 64 + LINE_PIXELS)


def test_flicker_is_shown_where_the_scene_stands_still(run: Run, tiny: Path, tmp_path: Path) -> None:
    code, out, err = evaluate(run, tiny, *still_clips(tmp_path), "--json", tmp_path / "report.json")
    assert code == 0, err
    (item,) = json.loads((tmp_path / "report.json").read_text())["sets"][0]["items"]
    flicker = item["flicker"]
    assert (flicker["still_share"], flicker["target"]) == (1, 0)
    assert flicker["input"] > 2
    assert f"{flicker['input']:.2f} → {flicker['restored']:.2f} (0.00)" in out


def still_clips(folder: Path) -> tuple[Path, Path]:
    """Frames that differ, and one of them shown again and again."""
    degraded = make_clip(folder / "moving.mkv", Clip(pts=STEADY[:3], codec="ffv1", options={}))
    target = folder / "still.mkv"
    with av.open(str(target), "w") as output:
        stream = output.add_stream("ffv1", rate=30)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for pts in range(3):
            frame = av.VideoFrame(64, 48, "yuv420p")
            paint(frame, 0)
            frame.pts = pts
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return degraded, target


def test_what_is_wrong_is_said_before_work_starts(run: Run, tiny: Path, pairs: Path, tmp_path: Path) -> None:
    wrong: list[tuple[int, str, list[str | Path]]] = [
        (2, "-t none runs no network", ["-t", "none", pairs, "--self-ensemble"]),
        (2, "is no task", ["-t", "dehaze", pairs]),
        (2, "name what is to be measured", ["-t", "auto", pairs]),
        (3, "there is no", ["-t", "none", tmp_path / "nowhere"]),
        (4, "there is no folder", ["-t", "none", pairs, "--json", tmp_path / "nowhere" / "report.json"]),
        (4, "it is a folder", ["-t", "none", pairs, "--json", tmp_path]),
        (4, "is no place for pictures", ["-t", "none", pairs, "--pictures", tiny]),
        (2, "neither a file", ["-t", "derain", pairs, "--weights", "nobody", "--pictures", tmp_path / "pictures"]),
    ]
    for expected, words, arguments in wrong:
        code, out, err = run(*arguments)
        assert (code, out) == (expected, "")
        assert words in err
        assert "Traceback" not in err
    assert not (tmp_path / "pictures").exists()


def test_a_pair_that_cannot_be_measured_is_found_before_work_starts(run: Run, pairs: Path, tmp_path: Path) -> None:
    write_png(torch.zeros(3, 32, 41, dtype=torch.uint8), pairs / "target" / "b.png")
    code, out, err = run("-t", "none", pairs, "--pictures", tmp_path / "pictures")
    assert (code, out) == (3, "")
    assert "b: the input is 40x32 px and the target 41x32 px" in err
    assert not list((tmp_path / "pictures").rglob("*.png"))


def test_what_is_measured_is_never_replaced(run: Run, pairs: Path, tmp_path: Path) -> None:
    clean = pairs / "target"
    before = {path: path.read_bytes() for path in clean.iterdir()}
    for arguments in (["--pictures", pairs], ["--json", clean / "a.png"]):
        code, out, err = run("-t", "none", clean, "--noise", "25", *arguments)
        assert (code, out) == (4, "")
        assert "is itself measured and would be replaced" in err
    assert {path: path.read_bytes() for path in clean.iterdir()} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_costs_the_file_but_not_the_table(run: Run, pairs: Path) -> None:
    code, out, err = run("-t", "none", pairs, "--json", "/dev/full")
    assert code == 7
    assert "no space left" in err
    assert "PSNR RGB in dB" in out


def test_brackets_in_names_are_shown(run: Run, pairs: Path) -> None:
    code, out, err = run("-t", "none", pairs.rename(pairs.with_name("rain [heavy]")))
    assert code == 0, err
    assert "rain [heavy]" in out


def test_help_does_not_wait_for_torch() -> None:
    script = "import sys, pipelines.evaluate_cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
