"""Numbered images in and out, whole runs: bit for bit where they hold the samples, and complete or not there."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipelines.outputs import Item
from pipelines.planning import FileOptions, prepare_file
from streamrestore.assembly import FinishedSegment
from streamrestore.encoding import EncodingRequest
from streamrestore.errors import ConfigError, OutputError, VerificationError
from streamrestore.frame import planes_md5
from streamrestore.image_output import assemble_images
from streamrestore.opening import InputRequest, find_opening
from streamrestore.receipt import read_receipt, receipt_path
from streamrestore.source import open_source
from tests.clips import Clip, make_clip
from tests.h273 import decoded
from tests.images import make_images
from tests.networks import offset_restorer
from tests.pipelines.runs import Notes, options, restore
from workers.inline import InlinePool

FILM = InputRequest(framerate=Fraction(24))
PLAIN = EncodingRequest()


@pytest.fixture(scope="module")
def pool() -> InlinePool:
    return InlinePool(partial(offset_restorer, 0))


def wanted(encoding: EncodingRequest = PLAIN, request: InputRequest = FILM) -> FileOptions:
    return replace(options(encoding=encoding), input=request)


def md5s(path: Path) -> list[str]:
    opening = find_opening(path, FILM if "%" in path.name else InputRequest())
    return [planes_md5(frame.planes) for frame in open_source(opening).frames()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt", "target"),
    [
        ("dpx", ".dpx", "gbrp10le", ".dpx"),
        ("dpx", ".dpx", "gbrp12le", ".dpx"),
        ("dpx", ".dpx", "rgb48le", ".tif"),
        ("tiff", ".tif", "rgb48le", ".png"),
        ("tiff", ".tif", "gray16le", ".tif"),
        ("png", ".png", "rgba64be", ".png"),
        ("png", ".png", "rgb24", ".dpx"),
        ("png", ".png", "gray", ".tiff"),
    ],
)
def test_images_hold_their_samples_and_keep_their_numbers(
    tmp_path: Path, pool: InlinePool, codec: str, suffix: str, pix_fmt: str, target: str
) -> None:
    source = make_images(tmp_path / "in" / f"f_%04d{suffix}", codec, pix_fmt, first=86)
    output = tmp_path / "out" / f"g_%03d{target}"
    restore(source, output, pool, wanted())
    assert names(tmp_path) == ["in", "out"]
    assert names(output.parent) == [f"g_%03d{target}.receipt.json", *(f"g_{n:03}{target}" for n in range(86, 90))]
    assert md5s(output) == md5s(source)
    receipt = read_receipt(receipt_path(output))
    assert receipt.output_frames() == tuple(stamp.md5 for stamp in receipt.stamps())
    assert (receipt.source.path, receipt.source.time_base) == (f"../in/f_%04d{suffix}", "1/24")


def test_ten_bits_become_sixteen_without_loss(tmp_path: Path, pool: InlinePool) -> None:
    source, notes = make_images(tmp_path / "f_%d.dpx", "dpx", "gbrp10le"), Notes()
    restore(source, tmp_path / "out" / "f_%d.tif", pool, wanted(), notes=notes)
    assert any("converted from gbrp10le to gbrp16le, since .tif has no 10 bits" in note for note in notes.notes)
    before = next(open_source(find_opening(source, FILM)).frames()).planes
    after = next(open_source(find_opening(tmp_path / "out" / "f_%d.tif", FILM)).frames()).planes
    assert all(np.array_equal(np.rint(mine * (1023 / 65535)), other) for mine, other in zip(after, before, strict=True))


@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_a_video_becomes_rgb_by_its_own_matrix(tmp_path: Path, pool: InlinePool, matrix: int) -> None:
    source = make_clip(tmp_path / "clip.mkv", Clip(codec="ffv1", options={}, colour=(1, matrix, 2, 2), sound="aac"))
    output, notes = tmp_path / "out" / "f_%03d.png", Notes()
    restore(source, output, pool, wanted(request=InputRequest()), notes=notes)
    said = "\n".join(notes.notes)
    assert "rounded once: .png holds no YUV" in said
    assert ".png holds pictures only: audio stream #1 (aac, deu) will be lost" in said
    assert "images hold no times" in said
    assert (names(output.parent)[1], len(names(output.parent))) == ("f_001.png", 13)
    opened = open_source(source)
    frame = next(opened.frames())
    red, green, blue = decoded(frame.planes, opened.info.video) * 255
    written = next(open_source(find_opening(output, FILM)).frames()).planes
    for mine, exact in zip(written, (green, blue, red), strict=True):
        assert np.abs(mine - exact).max() <= 0.51


def test_images_become_a_video(tmp_path: Path, pool: InlinePool) -> None:
    source = make_images(tmp_path / "shots" / "f_%04d.png", "png", "rgb48be")
    restore(source, tmp_path / "out.mkv", pool, wanted(EncodingRequest(preservation=True)))
    assert md5s(tmp_path / "out.mkv") == md5s(source)


def test_a_part_keeps_its_numbers(tmp_path: Path, pool: InlinePool) -> None:
    source = make_images(tmp_path / "in" / "f_%d.png", "png", "rgb24", first=10, count=6)
    part = replace(wanted(), start_seconds=2 / 24, stop_seconds=4 / 24)
    restore(source, tmp_path / "out" / "f_%d.png", pool, part)
    assert names(tmp_path / "out") == ["f_%d.png.receipt.json", "f_12.png", "f_13.png"]
    assert md5s(tmp_path / "out" / "f_%d.png") == md5s(source)[2:4]


def test_by_default_images_go_into_a_folder_of_their_own(tmp_path: Path, pool: InlinePool) -> None:
    source = make_images(tmp_path / "shots" / "f_%d.dpx", "dpx", "gbrp10le")
    job = prepare_file(Item(source, None), wanted())
    assert job.output == tmp_path / "shots.derain" / "f_%d.dpx"
    assert not job.output.parent.exists()
    assert job.work_root() == tmp_path / "shots.derain.work"


def test_existing_images_and_the_input_are_safe(tmp_path: Path, pool: InlinePool) -> None:
    source = make_images(tmp_path / "f_%d.png", "png", "rgb24")
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    with pytest.raises(ConfigError, match="is the input itself"):
        restore(source, source, pool, replace(wanted(), overwrite=True))
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before
    make_images(tmp_path / "out" / "f_%d.png", "png", "rgb24", first=4)
    with pytest.raises(OutputError, match=r"4 images .* exist; overwrite them with -y"):
        restore(source, tmp_path / "out" / "f_%d.png", pool, wanted())
    restore(source, tmp_path / "out" / "f_%d.png", pool, replace(wanted(), overwrite=True))
    assert names(tmp_path / "out")[1:] == [f"f_{number}.png" for number in range(1, 5)]


def test_a_result_that_is_there_is_done(tmp_path: Path, pool: InlinePool) -> None:
    source, output = make_images(tmp_path / "in" / "f_%d.png", "png", "rgb24"), tmp_path / "out" / "f_%d.png"
    restore(source, output, pool, wanted())
    assert prepare_file(Item(source, output), wanted()).done
    with pytest.raises(OutputError, match="exist"):
        prepare_file(Item(source, output), replace(wanted(), input=InputRequest(framerate=Fraction(25))))


def test_images_that_came_out_wrong_do_not_appear(
    tmp_path: Path, pool: InlinePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(path: Path, numbers: Sequence[int], segments: Sequence[FinishedSegment]) -> None:
        assemble_images(path, numbers, segments)
        (path.parent / "f_2.png").write_bytes(b"not an image")

    monkeypatch.setattr("pipelines.file.assemble_images", damage)
    source = make_images(tmp_path / "in" / "f_%d.png", "png", "rgb24")
    with pytest.raises(VerificationError, match=r"f_2\.png"):
        restore(source, tmp_path / "out" / "f_%d.png", pool, wanted())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("target", "encoding", "message"),
    [
        ("f_%d.png", EncodingRequest(codec="h264"), r"images named \*\.png are png, not h264"),
        ("f_%d.png", EncodingRequest(crf=17), "png has no CRF"),
        ("f_%d.dpx", EncodingRequest(pixel_format_name="gbrp14le"), "dpx cannot hold gbrp as gbrp14le: take"),
        ("clip.mkv", EncodingRequest(codec="png"), "png is for images only"),
        ("clip.mkv", EncodingRequest(codec="rawvideo"), "rawvideo is for pipes only"),
    ],
)
def test_what_cannot_be_is_said(
    tmp_path: Path, pool: InlinePool, target: str, encoding: EncodingRequest, message: str
) -> None:
    source = make_images(tmp_path / "in" / "f_%d.png", "png", "rgb24")
    with pytest.raises(ConfigError, match=message):
        restore(source, tmp_path / "out" / target, pool, wanted(encoding))
