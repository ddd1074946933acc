"""``--hwaccel``: what the GPU takes over, what is said where it does not, and that it decides what a job is."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines import cli, hardware
from pipelines.hardware import IN_SOFTWARE, Decoding, describe_hardware, hardware_facts, plan_decoding, with_nvenc
from pipelines.outputs import Item
from pipelines.planning import prepare_file
from streamrestore.devices import Device
from streamrestore.encoding import AUTOMATIC, EncodingRequest, plan_encoding
from streamrestore.errors import ConfigError
from streamrestore.nvdec import Nvdec
from streamrestore.probing import probe
from streamrestore.receipt import read_receipt, receipt_path
from streamrestore.weights import write_weights
from tests.clips import Clip, make_clip
from tests.networks import tiny_model
from tests.nvdec import stand_in
from tests.pipelines.runs import CPU, options

H200 = Device("cuda", 0, "NVIDIA H200", 1 << 37, bf16=True)
WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
Restore = Callable[..., tuple[int, str]]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", Clip(size=(96, 160)))


@pytest.fixture
def restore(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> Restore:
    """Runs the command in this process, on the CPU: (exit code, standard error)."""
    weights = write_weights(tiny_model(), tmp_path_factory.mktemp("weights"))

    def run(*arguments: str | Path) -> tuple[int, str]:
        asked = ["restore", *arguments, "-t", "derain", "--weights", weights, "--workers", "0", "--devices", "cpu"]
        monkeypatch.setattr(sys, "argv", ["streamrestore", *map(str, asked)])
        code = cli.run_command()
        return code, " ".join(capsys.readouterr().err.split())

    return run


def decoding(path: Path, device: Device = H200, **asked: object) -> Decoding:
    wanted = {"deinterlace": False, "on_error": "pass"} | asked
    return plan_decoding(probe(path), "auto", device, **wanted)  # type: ignore[arg-type] # of a dictionary's values


def test_nothing_is_tried_unasked(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "try_nvdec", lambda info, gpu: pytest.fail("tried"))
    assert plan_decoding(probe(clip), "none", H200, deinterlace=False, on_error="pass") is IN_SOFTWARE
    encoding = plan_encoding(probe(clip))
    assert with_nvenc(probe(clip), encoding, AUTOMATIC, "none", H200) is encoding


def test_what_a_gpu_cannot_do_is_left_to_software_and_said(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    assert decoding(clip).nvdec == Nvdec(0, "nv12")
    assert decoding(clip).notes == (
        "decoded by NVDEC on cuda:0 (NVIDIA H200), which does not tell of damage within a picture",
    )
    for left, why in (
        (decoding(clip, CPU), "restored on no NVIDIA GPU"),
        (decoding(clip, deinterlace=True), "bwdif"),
        (decoding(clip, on_error="fail"), "--on-error fail"),
    ):
        assert left.nvdec is None
        assert left.notes[0].startswith("decoded in software: ")
        assert why in left.notes[0]


def test_a_gpu_that_is_insisted_on_decodes_or_ends_the_job(clip: Path) -> None:
    with pytest.raises(ConfigError, match=r"clip\.mp4 cannot be decoded on the GPU, as --hwaccel cuda asks: .*auto"):
        plan_decoding(probe(clip), "cuda", CPU, deinterlace=False, on_error="pass")


@WITHOUT_GPU
def test_an_encoder_that_is_not_there_is_said(clip: Path) -> None:
    info = probe(clip)
    encoding = plan_encoding(info)
    planned = with_nvenc(info, encoding, AUTOMATIC, "auto", H200)
    assert replace(planned, notes=()) == replace(encoding, notes=())
    assert planned.notes[-1].startswith("encoded in software (libx264): NVIDIA H200 has no NVENC")
    asked = EncodingRequest(codec="h264")
    assert with_nvenc(info, encoding, asked, "auto", H200) is encoding


@WITHOUT_GPU
def test_what_hardware_does_is_listed() -> None:
    assert list(describe_hardware(CPU)) == [
        "hwaccel: no NVIDIA GPU is used, so video is decoded and encoded in software"
    ]
    decoders, encoders = describe_hardware(H200)
    assert decoders.startswith("NVDEC on cuda:0: none; not h264, hevc, vp9, av1: FFmpeg cannot use cuda:0")
    assert encoders.startswith("NVENC on cuda:0: none; not h264, hevc, av1: NVIDIA H200 has no NVENC")


def test_what_is_decoded_by_nvdec_is_another_job(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    monkeypatch.setattr(hardware, "_gpu", lambda device: 0)
    item = Item(clip, tmp_path / "out.mkv", None)
    plain, fast = (prepare_file(item, replace(options(), hwaccel=choice)) for choice in ("none", "auto"))
    assert fast.source.nvdec == Nvdec(0, "nv12")
    assert plain.source.nvdec is None
    assert "hwaccel" not in plain.facts()
    assert fast.facts()["hwaccel"] == "auto"
    assert hardware_facts(plain.decoding, plain.encoding) == {"decoder": "software"}
    facts = hardware_facts(fast.decoding, fast.encoding)
    assert facts["decoder"] == "nvdec"
    assert facts["driver"]


def test_a_file_decoded_by_a_gpu_has_the_same_bytes_and_says_so(
    clip: Path, tmp_path: Path, restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, fast = tmp_path / "plain.mkv", tmp_path / "fast.mkv"
    assert restore(clip, "-o", plain)[0] == 0
    stand_in(monkeypatch)
    monkeypatch.setattr(hardware, "_gpu", lambda device: 0)
    code, err = restore(clip, "-o", fast, "--hwaccel", "cuda", "-c:v", "h264")
    assert code == 0, err
    assert "decoded by NVDEC" in err
    one, other = read_receipt(receipt_path(plain)), read_receipt(receipt_path(fast))
    assert one.output.sha256 == other.output.sha256
    assert one.frames == other.frames
    assert (one.plan.decoder, other.plan.decoder) == ("software", "nvdec")
    assert other.settings["hwaccel"] == "cuda"
    assert any("decoded by NVDEC" in warning for warning in other.warnings)


@WITHOUT_GPU
def test_without_a_gpu_auto_is_software_and_cuda_is_refused(clip: Path, tmp_path: Path, restore: Restore) -> None:
    plain, fast = tmp_path / "plain.mkv", tmp_path / "fast.mkv"
    assert restore(clip, "-o", plain)[0] == 0
    code, err = restore(clip, "-o", fast, "--hwaccel", "auto")
    assert code == 0
    assert "decoded in software: it is restored on no NVIDIA GPU" in err
    assert "encoded in software (libx264): it is restored on no NVIDIA GPU" in err
    assert plain.read_bytes() == fast.read_bytes()
    code, err = restore(clip, "-o", tmp_path / "none.mkv", "--hwaccel", "cuda")
    assert code == 2
    assert "as --hwaccel cuda asks" in err
    assert not (tmp_path / "none.mkv").exists()
