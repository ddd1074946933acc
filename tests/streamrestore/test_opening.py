"""Images as a source: opened the same way by everyone, each image once, and told from others."""

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from streamrestore.errors import ConfigError, SourceError
from streamrestore.identity import identify_file
from streamrestore.opening import InputRequest, Opening, find_opening
from streamrestore.probing import probe
from streamrestore.scan import scan_times
from streamrestore.source import Source, Trim, open_source
from tests.clips import make_clip
from tests.images import image, make_images

FILM = InputRequest(framerate=Fraction(24000, 1001))
KINDS = [
    *[("dpx", "dpx", form) for form in ("rgb24", "gbrp10le", "gbrp12le", "rgb48le", "gray16be")],
    *[("png", "png", form) for form in ("rgb24", "rgba64be", "gray16be", "ya16be")],
    *[("tiff", "tif", form) for form in ("rgb24", "rgb48le", "gray")],
]


@pytest.mark.parametrize(("codec", "suffix", "pix_fmt"), KINDS)
def test_images_are_a_video_in_planes(tmp_path: Path, codec: str, suffix: str, pix_fmt: str) -> None:
    opening = find_opening(make_images(tmp_path / "50%d" / f"f_%04d.{suffix}", codec, pix_fmt, first=86), FILM)
    info = probe(opening)
    assert (info.container, info.codec, info.pixel_format_name) == ("image2", codec, pix_fmt)
    assert (info.time_base, info.average_rate, info.estimated_frames) == (Fraction(1001, 24000), FILM.framerate, 4)
    source = Source(info)
    frames = list(source.frames())
    assert [(frame.pts, frame.duration) for frame in frames] == [(pts, 1) for pts in range(4)]
    assert scan_times(Source(info)) == [(pts, True) for pts in range(4)]
    assert len({frame.planes[0].tobytes() for frame in frames}) == 4
    later = list(source.frames(Trim(2, None)))
    assert [frame.pts for frame in later] == [2, 3]
    for mine, other in zip(later, frames[2:], strict=True):
        assert all(np.array_equal(*planes) for planes in zip(mine.planes, other.planes, strict=True))


def test_another_size_amid_images_is_treated_as_in_any_video(tmp_path: Path) -> None:
    path = make_images(tmp_path / "f_%d.png", "png", "rgb24")
    (tmp_path / "f_3.png").write_bytes(image("png", "rgb24", size=(32, 32)))
    frames = list(open_source(find_opening(path, FILM)).frames())
    assert [[str(defect) for defect in frame.defects] for frame in frames] == [[], [], ["rescaled"], []]


def test_images_are_told_from_others_and_hashed_together(tmp_path: Path) -> None:
    path = make_images(tmp_path / "f_%d.png", "png", "rgb24")
    opening = find_opening(path, FILM)
    files = [tmp_path / f"f_{number}.png" for number in range(1, 5)]
    assert opening.bytes() == sum(file.stat().st_size for file in files)
    assert opening.sha256() == hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    before = identify_file(opening)
    data = bytearray(files[1].read_bytes())
    data[len(data) // 2] ^= 1
    files[1].write_bytes(data)
    assert identify_file(opening) != before


def test_a_file_is_identified_as_ever(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4")
    assert identify_file(Opening(path)) == identify_file(path)
    assert probe(Opening(path)) == probe(path)


def test_images_that_change_meanwhile_are_noticed(tmp_path: Path) -> None:
    source = open_source(find_opening(make_images(tmp_path / "f_%d.png", "png", "rgb24"), FILM))
    with (tmp_path / "f_4.png").open("ab") as file:
        file.write(b"more")
    with pytest.raises(SourceError, match="was replaced, or its size changed"):
        list(source.frames())


def test_a_file_with_a_percent_sign_is_a_file(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "f_%d.mp4")
    assert find_opening(path) == Opening(path)


def test_what_must_be_said_and_what_must_not(tmp_path: Path) -> None:
    images, clip = make_images(tmp_path / "f_%d.png", "png", "rgb24"), make_clip(tmp_path / "a.mp4")
    with pytest.raises(ConfigError, match="--framerate 24"):
        find_opening(images)
    with pytest.raises(ConfigError, match="says itself how fast"):
        find_opening(clip, FILM)
    with pytest.raises(ConfigError, match="for -f rawvideo from standard input only"):
        find_opening(clip, InputRequest(size=(48, 64)))
    with pytest.raises(SourceError, match="does not exist"):
        find_opening(tmp_path / "b.mp4")
