"""``streamrestore verify`` as users meet it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from pipelines import cli
from streamrestore.receipt import receipt_path, write_receipt
from tests.clips import Clip, make_clip
from tests.outputs import FFV1, Made, make
from tests.receipts import issue

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["streamrestore", "verify", *map(str, arguments)])
        capsys.readouterr()
        code = cli.run_command()
        out, err = capsys.readouterr()
        return code, out, err

    return run_command


@pytest.fixture
def made(tmp_path: Path) -> Made:
    made = make(make_clip(tmp_path / "clip.mkv", Clip(sound="aac")), FFV1)
    write_receipt(receipt_path(made.path), issue(made))
    return made


def test_a_good_output_is_verified_with_and_without_its_source(run: Run, made: Made) -> None:
    code, out, err = run(made.path)
    assert (code, err) == (0, "")
    assert f"source {made.info.path}: read, and compared stream by stream" in out
    assert "\nverified: " in out
    assert ", 0 mismatches" in out
    aside = made.info.path.rename(made.info.path.with_name("aside.mkv"))
    code, out, _ = run(made.path)
    assert code == 0
    assert "not there, so only the receipt was compared; --source names it" in out
    code, out, _ = run(made.path, "--source", aside)
    assert code == 0
    assert f"source {aside}: read" in out


def test_they_may_move_together(run: Run, made: Made, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (made.path, made.info.path, receipt_path(made.path)):
        shutil.move(path, moved)
    code, out, _ = run(moved / made.path.name)
    assert code == 0
    assert "compared stream by stream" in out


def test_one_flipped_byte_of_a_picture_is_found(run: Run, made: Made) -> None:
    with av.open(str(made.path)) as container:
        picture = [bytes(packet) for packet in container.demux(video=0)][5]
    data = bytearray(made.path.read_bytes())
    data[data.index(picture) + 90] ^= 1
    made.path.write_bytes(data)
    code, out, _ = run(made.path)
    assert code == 5
    assert "MISMATCH: SHA-256 of the output: expected" in out
    assert "MISMATCH: frames with the content in the receipt: expected 12, found 11" in out
    assert "NOT verified" in out


def test_another_source_is_found(run: Run, made: Made, tmp_path: Path) -> None:
    other = make_clip(tmp_path / "other.mkv", Clip())
    code, out, _ = run(made.path, "--source", other)
    assert code == 5
    assert "MISMATCH: SHA-256 of the source" in out


def test_an_output_of_another_file_under_this_receipt_is_found(run: Run, made: Made, tmp_path: Path) -> None:
    other = make(make_clip(tmp_path / "other.mkv", Clip(pts=range(0, 11 * 1001, 1001))), FFV1)
    other.path.replace(made.path)
    code, out, _ = run(made.path, "--json")
    assert code == 5
    document = json.loads(out)
    assert document["verified"] is False
    failed = {check["name"] for check in document["checks"] if check["verdict"] == "mismatch"}
    assert {"SHA-256 of the output", "frames", "audio stream #1"} <= failed
    made.path.write_bytes(b"no video at all")
    code, out, _ = run(made.path)
    assert code == 5
    assert "MISMATCH: plays" in out


def test_json_gives_every_check(run: Run, made: Made) -> None:
    code, out, _ = run(made.path, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["verified"] is True
    assert document["source"] == str(made.info.path)
    assert len(document["checks"]) > 30
    assert {check["verdict"] for check in document["checks"]} == {"ok"}


def test_what_cannot_be_verified_is_told_from_what_is_wrong(run: Run, made: Made, tmp_path: Path) -> None:
    code, _, err = run(made.info.path)
    assert code == 3
    assert "there is no receipt that can be read at" in err
    code, _, err = run(made.path, "--source", tmp_path / "nowhere.mkv")
    assert code == 3
    assert "nowhere.mkv is no file" in err
    receipt_path(made.path).write_text("{}")
    code, _, err = run(made.path)
    assert code == 3
    assert "is damaged, or no receipt" in err
    code, _, err = run()
    assert code == 2
    assert "no file was given" in err


def test_the_schema_is_printed(run: Run) -> None:
    code, out, _ = run("--schema")
    assert code == 0
    assert json.loads(out)["title"] == "Receipt"


def test_help_does_not_wait_for_torch() -> None:
    script = "import sys, pipelines.verify_cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
